"""The package as others install it: a wheel, beside nothing of the repository."""

import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*command, cwd):
    process = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder of a new environment's programs that has the wheel and its requirements."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    source = folder / "source"
    run("git", "clone", "--quiet", REPOSITORY, source, cwd=folder)
    # What is not committed yet is tested too; setuptools leaves its folders in the clone.
    changed = run("git", "ls-files", "-mo", "--exclude-standard", cwd=REPOSITORY).splitlines()
    for name in filter(lambda name: (REPOSITORY / name).is_file(), changed):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((REPOSITORY / name).read_bytes())
    removed = run("git", "ls-files", "-d", cwd=REPOSITORY).splitlines()
    for name in removed:
        (source / name).unlink()
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    run(*pip, *build, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    run(programs / "python", *pip[1:], "install", "--no-deps", wheel, cwd=folder)
    # The requirements come from the environment of the tests; a path in a .pth file brings the
    # packages there, but not the repository that is installed as editable.
    site = run(
        programs / "python",
        "-c",
        "import sysconfig; print(sysconfig.get_paths()['purelib'])",
        cwd=folder,
    ).strip()
    Path(site, "requirements.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return programs


def test_the_installed_package_is_the_wheel_s(installed, tmp_path):
    place = run(
        installed / "python", "-c", "import keras_skd; print(keras_skd.__file__)", cwd=tmp_path
    )
    assert Path(place.strip()).is_relative_to(installed.parent)
    assert (Path(place.strip()).parent / "py.typed").exists()


def test_restore_and_convert_run_from_another_folder(installed, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    command = installed / "keras-skd"
    run(command, "restore", "restormer_denoise", "photo.png", "--output", "out", cwd=tmp_path)
    with Image.open(tmp_path / "out" / "photo.png") as restored:
        assert restored.size == (60, 40)
    run(
        *(command, "convert", "restormer_tiny", "--untrained", "--task", "derain"),
        *("--schemes", "fp32", "--tile", "64", "--output", "exported", "--gpu", "none"),
        cwd=tmp_path,
    )
    assert (tmp_path / "exported" / "restormer_tiny_fp32.tflite").exists()


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "restore", "profile", "compare", "convert"]
)
def test_every_command_is_there(installed, tmp_path, command):
    usage = run(installed / "python", "-m", f"keras_skd.{command}", "--help", cwd=tmp_path)
    assert f"keras_skd.{command}" in usage


def test_everything_that_is_imported_is_declared():
    """By the name under which it is imported: a package that others bring may leave with them."""
    import ast

    declared = {
        requirement.split("~")[0].split(">")[0].split("<")[0].split(";")[0].strip().lower()
        for requirement in metadata.requires("keras-skd")
    }
    modules = metadata.packages_distributions()
    for path in (REPOSITORY / "keras_skd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in {name.split(".")[0] for name in names}:
                if name == "keras_skd" or name in sys.stdlib_module_names:
                    continue
                packages = {each.lower() for each in modules[name]}
                assert packages & declared, f"{path}: {name} is of {packages}, not declared"
