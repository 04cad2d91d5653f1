import ast
import dataclasses
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import keras_skd

PACKAGE = Path(keras_skd.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = sorted(
    each.name
    for each in pkgutil.walk_packages([str(PACKAGE)], "keras_skd.")
    if not each.name.endswith("__main__")
)


def is_public(name):
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def public_functions(body, prefix=""):
    """``(qualified name, whether a method, node)`` of a module's public functions and methods."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(node.name):
            yield prefix + node.name, bool(prefix), node
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            yield from public_functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from public_functions([*node.body, *getattr(node, "orelse", ())], prefix)


def without_hints(source):
    """What lacks a hint, such as ``f: x`` for an argument and ``f: return``."""
    missing = []
    for name, is_method, node in public_functions(ast.parse(source).body):
        given = node.args
        arguments = [*given.posonlyargs, *given.args]
        static = any(getattr(each, "id", None) == "staticmethod" for each in node.decorator_list)
        if is_method and not static:
            arguments = arguments[1:]  # self or cls
        arguments += given.kwonlyargs
        arguments += [each for each in (given.vararg, given.kwarg) if each is not None]
        missing += [f"{name}: {each.arg}" for each in arguments if each.annotation is None]
        if node.returns is None and node.name != "__init__":
            missing.append(f"{name}: return")
    return missing


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_have_hints(path):
    assert without_hints(path.read_text(encoding="utf-8")) == []


def test_a_missing_hint_is_found():
    source = """
def f(a, b: int, *c, d=1, **e): ...
def _private(a): ...
class C:
    def __init__(self, a): ...
    def __call__(self, a: int): ...
    @property
    def p(self): ...
    @staticmethod
    def s(a) -> None: ...
    @classmethod
    def k(cls, a: int) -> None: ...
    def _private(self, a): ...
class _Private:
    def f(self, a): ...
if True:
    def g() -> None: ...
    def h(): ...
"""
    assert without_hints(source) == [
        *("f: a", "f: d", "f: c", "f: e", "f: return"),
        *("C.__init__: a", "C.__call__: return", "C.p: return", "C.s: a", "h: return"),
    ]


def names_for_hints(module):
    """The module's names, and those that it imports for hints alone (``if TYPE_CHECKING:``)."""
    names = dict(vars(module))
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module.__name__, "exec"), names)
    return names


def hinted(module):
    """``(name, function or class)`` of what a module defines and whose name is public."""
    for name, value in vars(module).items():
        if not is_public(name) or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            # What Keras's own classes annotate is none of ours, so a class's own is looked at.
            if dataclasses.is_dataclass(value):
                yield name, value
            for inner, member in vars(value).items():
                member = getattr(member, "func", None) or getattr(member, "fget", None) or member
                member = inspect.unwrap(getattr(member, "__func__", member))
                if is_public(inner) and inspect.isfunction(member):
                    yield f"{name}.{inner}", member
        elif inspect.isfunction(inspect.unwrap(value)):
            yield name, inspect.unwrap(value)


def unresolved(functions, names):
    """The hints that name what is not there."""
    wrong = []
    for name, value in functions:
        try:
            typing.get_type_hints(value, names)
        except (NameError, AttributeError, TypeError) as error:
            wrong.append(f"{name}: {error}")
    return wrong


@pytest.mark.parametrize("name", MODULES)
def test_hints_name_what_there_is(name):
    module = importlib.import_module(name)
    assert unresolved(hinted(module), names_for_hints(module)) == []


@pytest.mark.parametrize("name", sorted(keras_skd.__all__))
def test_public_names_have_hints_that_resolve(name):
    value = getattr(keras_skd, name)
    module = value if inspect.ismodule(value) else sys.modules[value.__module__]
    functions = list(hinted(module))
    assert functions
    if not inspect.ismodule(value):
        assert any(each.split(".")[0] == value.__name__ for each, _ in functions) or issubclass(
            value, Exception
        )
    assert unresolved(functions, names_for_hints(module)) == []


def test_a_wrong_hint_is_found():
    def wrong(): ...

    wrong.__annotations__ = {"a": "np.ndarray", "return": "keras.Modell"}
    keras, np = (importlib.import_module(each) for each in ("keras", "numpy"))
    (found,) = unresolved([("wrong", wrong)], {"np": np, "keras": keras})
    assert "Modell" in found
    (found,) = unresolved([("wrong", wrong)], {"keras": keras})
    assert "'np'" in found
    wrong.__annotations__["return"] = "keras.Model"
    assert unresolved([("wrong", wrong)], {"np": np, "keras": keras}) == []


@pytest.mark.parametrize("command", ["train", "evaluate", "restore", "profile", "compare"])
def test_hints_import_no_tensorflow(command):
    code = (
        f"import sys, keras_skd.{command}; "
        "print(sorted({'keras', 'tensorflow', 'PIL'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
