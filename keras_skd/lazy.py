"""Packages whose names are loaded when they are first used, so that ``--help`` answers at once."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package's ``__init__`` needs to load its public names on demand.

    Args:
        package: The package's ``__name__``.
        homes: Public name to the module that defines it, both relative to the package. A module
            that is public itself is its own home.

    Returns:
        ``(__getattr__, __dir__, __all__)``.
    """

    def get(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{homes[name]}")
        return module if homes[name].rsplit(".", 1)[-1] == name else getattr(module, name)

    names = sorted(homes)
    return get, lambda: names, names
