"""What README and docs say is so: their code runs, their commands parse, their links lead on."""

import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from tests import markdown

ROOT = Path(__file__).resolve().parents[1]
PLACES = (".", "docs", "results", "results/*", "benchmarks", "tests/golden", "android_demo/**")
FILES = sorted(
    file
    for file in {file for place in PLACES for file in ROOT.glob(f"{place}/*.md")}
    if "build" not in file.relative_to(ROOT).parts  # what `make apk` writes
    and file.name != "report.md"  # what `convert` writes
)
# What the changelog names may be gone.
CURRENT = [file for file in FILES if file.name != "CHANGELOG.md"]
COMMANDS = ("train", "convert", "evaluate", "restore", "profile", "compare")


def name_of(file):
    return str(file.relative_to(ROOT))


def executed():
    return [
        pytest.param(block.code, f"{name_of(file)}:{block.line}", id=f"{file.stem}-{block.line}")
        for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
        for block in markdown.blocks(file.read_text())
        if block.language == "python" and block.reason is None
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that code in the docs reads: name to path."""
    from PIL import Image

    from keras_skd.export.flatbuffer import with_metadata
    from keras_skd.export.schemes import Source, float16
    from keras_skd.models import Restormer, save_model, with_image_size

    folder = tmp_path_factory.mktemp("docs")
    keras.utils.set_random_seed(0)
    student = Restormer(dim=8, num_blocks=(1, 1, 0, 0), num_refinement_blocks=0, heads=(1, 1, 1, 1))
    task = {"task": "denoise", "noise": "gaussian", "sigma": "25"}
    save_model(student, folder / "student.keras", metadata=task)
    content = float16(Source(with_image_size(student, (64, 64)), None))
    metadata = {"name": "student", **task, "tile": 64, "scheme": "fp16"}
    (folder / "student_fp16.tflite").write_bytes(with_metadata(content, metadata))
    generator = np.random.default_rng(0)
    names = ["photo.jpg", *(f"photos/{scene}_{shot}.png" for scene in "123" for shot in "12")]
    names += [f"polyu/{scene}_{side}.JPG" for scene in "12" for side in ("real", "mean")]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        pixels = generator.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return {str(file.relative_to(folder)): file for file in folder.rglob("*.*")}


def run_block(code, source, folder, files, monkeypatch):
    """Executes a block in a folder that holds the files which it names."""
    for name, file in files.items():
        if re.search(rf"[\"']{re.escape(name.split('/')[0])}", code):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(file.read_bytes())
    monkeypatch.chdir(folder)
    exec(compile(code, source, "exec"), {"__name__": "__main__"})


def accept(words):
    """Fails where a command line of the docs is not one of the project."""
    if words[0] == "make":
        rules = re.findall(r"^([\w -]+):(?!=)", (ROOT / "Makefile").read_text(), re.M)
        targets = {target for rule in rules for target in rule.split()}
        asked = {word for word in words[1:] if "=" not in word}  # the others set variables
        assert asked <= targets, f"no such target: {words}"
        return
    if words[0] == "keras-skd":
        assert words[1] in COMMANDS, f"no such command: {words}"
        module, arguments = f"keras_skd.{words[1]}", words[2:]
    elif words[1] == "-m":
        module, arguments = words[2], words[3:]
    else:
        assert (ROOT / words[1]).is_file(), f"no such file: {words}"
        module, arguments = words[1].removesuffix(".py").replace("/", "."), words[2:]
        module = {"exports.convert": "keras_skd.convert"}.get(module, module)
    if module.split(".")[0] == "keras_skd":
        parser = importlib.import_module(module).parser()
        if arguments:  # a command that is only named has none
            parser.parse_args(arguments)
    elif module != "pytest":
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"no such module: {words}"


def exists(name):
    """Whether ``keras_skd.a.b`` is a module or something in one."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for count, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(parts[:count]))
            except ModuleNotFoundError:
                return False
    return True


def known_flags():
    """Every option of the commands, the demo, the benchmarks and pytest that the docs may name."""
    parsers = [importlib.import_module(f"keras_skd.{name}").parser() for name in COMMANDS]
    parsers.append(importlib.import_module("keras_skd.models.convert_checkpoint").parser())
    flags = {
        flag for parser in parsers for action in parser._actions for flag in action.option_strings
    }
    for script in (ROOT / "benchmarks").glob("*.py"):
        flags |= set(re.findall(r'"(--[a-z-]+)"', script.read_text()))
    return flags | {"--durations"}


@pytest.mark.parametrize(("code", "source"), executed())
def test_python_is_executed(code, source, files, tmp_path, monkeypatch):
    run_block(code, source, tmp_path, files, monkeypatch)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_blocks_that_are_not_executed_say_why(file):
    for block in markdown.blocks(file.read_text()):
        assert block.reason is None or len(block.reason) > 10, f"line {block.line}"


@pytest.mark.parametrize("file", CURRENT, ids=name_of)
def test_commands_are_accepted(file, capsys):
    for words in markdown.commands(file.read_text()):
        try:
            accept(words)
        except SystemExit as stop:
            if stop.code != 0:
                pytest.fail(f"{' '.join(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_links_lead_somewhere(file):
    assert markdown.broken_links(file, ROOT) == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_lines_are_short(file):
    assert markdown.long_lines(file.read_text()) == []


@pytest.mark.parametrize("file", CURRENT, ids=name_of)
def test_names_options_and_paths_exist(file):
    flags = known_flags()
    for code in markdown.inline_code(file.read_text()):
        for name in re.findall(r"\bkeras_skd(?:\.\w+)+", code):
            if not name.endswith(".py"):
                assert exists(name), f"`{code}`"
        if code.startswith("--"):
            assert set(re.findall(r"--[a-z][a-z-]+", code)) <= flags, f"`{code}`"
        if re.fullmatch(r"(keras_skd|docs|tests|benchmarks|exports)/[\w./*-]+", code):
            assert any(ROOT.glob(code.rstrip("/"))), f"`{code}`"


# Negative controls: each checker finds what is wrong.


def test_code_that_fails_is_noticed(tmp_path, files, monkeypatch):
    [block] = markdown.blocks("```python\nimport os\nassert os.path.getsize('photo.jpg') == 1\n```")
    assert block.reason is None
    with pytest.raises(AssertionError):
        run_block(block.code, "example.md:2", tmp_path, files, monkeypatch)
    with pytest.raises(NameError):  # a fresh namespace: nothing of this module is known
        run_block("markdown", "example.md:2", tmp_path, files, monkeypatch)


def test_reasons_are_read():
    marked = "<!-- not executed: needs a phone -->\n```python\nfly()\n```\n\n```python\nwalk()\n```"
    assert [block.reason for block in markdown.blocks(marked)] == ["needs a phone", None]
    [silent] = markdown.blocks("<!-- not executed: -->\n```python\nfly()\n```")
    assert silent.reason == ""
    with pytest.raises(ValueError, match="no end"):
        markdown.blocks("```python\nfly()")


@pytest.mark.parametrize(
    "line",
    [
        "python -m keras_skd.train --task dance --run runs/x",
        "python -m keras_skd.train --task denoise --data photos/ --run runs/x --epochs 3",
        "python exports/convert.py student.keras --scheme fp16 --tile big --output exported/",
        "keras-skd restore model.keras photo.jpg --outputs restored/",
        "keras-skd distil student.keras",
        "python benchmarks/missing.py",
        "python -m benchmarks.missing",
        "make coffee",
    ],
)
def test_commands_that_are_wrong_are_noticed(line, capsys):
    wrong = f"text\n```\n{line}\n```\nor `{line}`\n"
    found = markdown.commands(wrong)
    assert len(found) == 2
    for words in found:
        with pytest.raises((SystemExit, AssertionError)) as failure:
            accept(words)
        assert getattr(failure.value, "code", 2) == 2
    capsys.readouterr()


def test_commands_are_found_whole():
    text = (
        "```\npython -m keras_skd.profile \\\n    PRESET --size 256  # wide\nls\n```\n`make\ndemo`"
    )
    expected = [["python", "-m", "keras_skd.profile", "PRESET", "--size", "256"], ["make", "demo"]]
    assert markdown.commands(text) == expected
    assert markdown.commands("```python\nmake = 1\n```") == []


def test_links_that_are_broken_are_noticed(tmp_path):
    (tmp_path / "other.md").write_text("# One title, with `code`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#one-title-with-code) [c](https://example.org/) [d](#page)\n"
        "# Page\n![e](missing.png) [f](other.md#two) [g](../outside.md)\n```\n[h](code.md)\n```\n"
    )
    (tmp_path.parent / "outside.md").write_text("")
    assert markdown.broken_links(page, tmp_path) == ["missing.png", "other.md#two", "../outside.md"]


def test_lines_that_are_long_are_noticed():
    long = "x" * (markdown.LONGEST_LINE + 1)
    assert markdown.long_lines(f"short\n{long}\n| {long} |\n{long[1:]}\n") == [2]


def test_names_that_do_not_exist_are_noticed():
    assert exists("keras_skd.metrics.psnr")
    assert not exists("keras_skd.metrics.pnsr")
    assert not exists("keras_skd.tflite.TFLiteRunner")
    assert markdown.inline_code("a `keras_skd.\nmetrics` b\n\n`--flag` c") == [
        "keras_skd. metrics",
        "--flag",
    ]
    assert "--require-gpu" in known_flags()
    assert "--require-cpu" not in known_flags()


def test_something_is_checked():
    assert {ROOT / "README.md", ROOT / "docs/export.md", ROOT / "results/README.md"} <= set(FILES)
    assert executed()
    lines = markdown.commands((ROOT / "README.md").read_text())
    assert [words[:3] for words in lines].count(["python", "-m", "keras_skd.train"]) == 1
