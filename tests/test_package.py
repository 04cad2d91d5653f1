import statistics
import subprocess
import sys
import time

import pytest

import keras_skd
from keras_skd.__main__ import COMMANDS, main


def seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def test_import_has_no_side_effects():
    code = """
import sys
before = set(sys.modules)
import keras_skd
from keras_skd.__main__ import COMMANDS, main
loaded = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(",".join(sorted(loaded)))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "keras_skd"
    assert run.stderr == ""


def test_import_takes_no_longer_than_that_of_keras():
    ours = statistics.median(seconds("import keras_skd") for _ in range(3))
    assert ours < seconds("import keras") + 0.3


@pytest.mark.parametrize("name", sorted(set(keras_skd.__all__) - {"__version__"}))
def test_every_public_name_resolves(name):
    assert name in dir(keras_skd)
    assert getattr(keras_skd, name) is not None


def test_the_fixed_names_are_there():
    for path in (
        "Restormer",
        "Uformer",
        "presets",
        "load_pytorch_checkpoint",
        "Distiller",
        "losses.gaussian_kernel_distance",
        "losses.channel_cross_attention",
        "losses.spatial_cross_attention",
        "metrics.psnr",
        "metrics.ssim",
    ):
        value = keras_skd
        for part in path.split("."):
            value = getattr(value, part)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Restormr'"):
        keras_skd.Restormr  # noqa: B018


@pytest.mark.parametrize("module", ["layers", "models", "distillation", "export", "data.pipeline"])
def test_every_part_can_be_imported_first(module):
    code = f"import keras_skd.{module}, keras_skd.models"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_students_load_by_keras_alone_once_the_package_is_imported(tmp_path):
    keras_skd.load_model("restormer_tiny").save(tmp_path / "student.keras")
    for imports in ("import keras_skd, keras", "import keras, keras_skd"):
        code = f"{imports}; keras.saving.load_model({str(tmp_path / 'student.keras')!r})"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", [*COMMANDS, "models.convert_checkpoint"])
def test_help_answers_before_tensorflow_is_imported(command):
    code = f"""
import sys
from importlib import import_module
try:
    import_module("keras_skd.{command}").main(["--help"])
except SystemExit as stop:
    assert stop.code == 0
sys.exit(bool({{"tensorflow", "keras"}} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("usage:")
    assert run.stderr == ""


def test_one_console_script_has_all_commands(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(command in listed for command in COMMANDS)
    assert main(["--version"]) == 0
    assert keras_skd.__version__ in capsys.readouterr().out
    assert main(["distill"]) == 2
    assert "no command 'distill'" in capsys.readouterr().err
