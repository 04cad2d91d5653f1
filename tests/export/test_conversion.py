"""The command from student to files: errors, checks, report, and nothing left behind."""

import json
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from keras_skd.convert import main
from keras_skd.export import conversion
from keras_skd.export.calibration import CALIBRATION_TILES, load_tiles
from keras_skd.export.conversion import convert
from keras_skd.export.gpu import run as gpu_run
from keras_skd.export.integer import sensitivity as sensitivity_module
from keras_skd.export.schemes import SCHEMES as SCHEMES_BY_NAME
from keras_skd.export.schemes import Source
from keras_skd.models import Restormer, load_model, save_model, with_image_size
from keras_skd.runners import TFLiteRunner
from keras_skd.tasks import Task

SCHEMES = ("fp32", "fp16", "int8", "static_wi8_ai8")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A small student whose residual is a tenth of the range, as that of a trained one."""
    keras.utils.set_random_seed(0)
    model = Restormer(dim=8, num_blocks=(0, 1, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 2))
    image = np.random.default_rng(0).uniform(size=(1, 64, 64, 3)).astype("float32")
    output = model.get_layer("output")
    output.kernel.assign(output.kernel * (0.1 / np.abs(model(image) - image).max()))
    path = tmp_path_factory.mktemp("student") / "student.keras"
    save_model(model, path, Task.of("denoise").as_dict())
    return path


@pytest.fixture
def no_gpu(monkeypatch):
    """The checks on the GPU have tests of their own."""
    monkeypatch.setattr(gpu_run, "find_drivers", lambda accelerators: [])


@pytest.fixture(scope="module")
def converted(student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_run, "find_drivers", lambda accelerators: [])
        report = convert(student, output=folder, schemes=SCHEMES, tile=64)
    return folder, report


def test_every_file_passes_and_is_labelled(converted, student):
    folder, report = converted
    assert report.failures == []
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        (
            *(f"student_{scheme}.tflite" for scheme in SCHEMES),
            "report.json",
            "report.md",
            "report.png",
        )
    )
    for scheme, result in report.results.items():
        runner = TFLiteRunner(result.file)
        assert runner.size == (64, 64)
        assert runner.metadata == {
            "name": "student",
            "task": "denoise",
            "noise": "gaussian",
            "sigma": "25",
            "tile": 64,
            "value_range": [0.0, 1.0],
            "scheme": scheme,
            "student_sha256": report.student_sha256,
        }
        assert result.latencies[0].threads == 1
    sizes = {scheme: result.bytes for scheme, result in report.results.items()}
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]
    assert report.results["fp32"].residual_psnr > report.results["fp16"].residual_psnr > 60


def test_report_is_json_markdown_and_a_picture(converted):
    folder, report = converted
    read = json.loads((folder / "report.json").read_text())
    assert read == report.as_dict()
    assert read["gpu"]["ml-drift"].startswith("not verified: no Vulkan driver")
    assert "make classic-gpu" in read["gpu"]["classic"]
    text = (folder / "report.md").read_text()
    assert "GPU" in text
    assert "not verified on ml-drift: no Vulkan driver; install" in text
    assert "not verified on classic: run `make classic-gpu`" in text
    assert all(f"| {scheme} |" in text for scheme in SCHEMES)
    with Image.open(folder / "report.png") as picture:
        assert picture.width > 1000


def test_the_mix_follows_from_the_sensitivity(converted):
    _, report = converted
    sensitivity = report.sensitivity
    layers = [cost for cost in sensitivity.costs if cost.group == "layer"]
    assert {"patch_embed", "latent_0/attention", "output"} <= {cost.name for cost in layers}
    dearest = sorted(layers, key=lambda cost: cost.residual_psnr)[: len(sensitivity.float_layers)]
    assert sensitivity.float_layers == [cost.name for cost in dearest]
    assert sensitivity.psnr_loss <= sensitivity.convolutions_loss


def test_layers_return_to_float_while_that_is_needed_and_helps(student, monkeypatch):
    tiles = load_tiles(64, Task.of("denoise"))
    source = Source(with_image_size(load_model(student), (64, 64)), tiles.calibration)
    images = tiles.calibration[:4], tiles.calibration_clean[:4]
    monkeypatch.setattr(sensitivity_module, "BUDGET", -10.0)
    monkeypatch.setattr(sensitivity_module, "LEAST_GAIN", 10.0)
    assert sensitivity_module.measure(source, *images).float_layers == []
    monkeypatch.setattr(sensitivity_module, "LEAST_GAIN", -10.0)
    everything = sensitivity_module.measure(source, *images)
    assert len(everything.float_layers) == sum(c.group == "layer" for c in everything.costs)
    assert not [each for each in everything.mix(source) if each.kind == "CONV_2D"]


def test_a_missing_driver_fails_only_where_it_is_required(student, tmp_path, no_gpu, capsys):
    arguments = [str(student), "--schemes", "fp32", "--tile", "64", "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert "GPU: not verified" in capsys.readouterr().out
    assert main([*arguments, "--require-gpu"]) == 1
    error = capsys.readouterr().err
    assert "no Vulkan driver; install" in error
    assert "make classic-gpu" in error


def test_each_accelerator_that_is_named_can_be_required(student, tmp_path, monkeypatch, capsys):
    vulkan = gpu_run.find_vulkan_drivers()
    if not vulkan:
        pytest.skip("no Vulkan driver; .ci/run installs it")
    monkeypatch.setattr(
        gpu_run, "find_drivers", lambda names: vulkan[:1] if "ml-drift" in names else []
    )
    arguments = [str(student), "--schemes", "fp32", "--tile", "64", "--output", str(tmp_path)]
    assert main([*arguments, "--require-gpu"]) == 0
    output = capsys.readouterr().out
    assert "GPU: not verified on classic: run `make classic-gpu`" in output
    assert f"GPU: fp32, ml-drift ({vulkan[0].name})" in output
    assert main([*arguments, "--require-gpu", "--gpu", "ml-drift,classic"]) == 1
    assert "failed check: GPU, classic: not verified" in capsys.readouterr().err
    assert main([*arguments, "--require-gpu", "--gpu", "ml-drift"]) == 0
    assert "classic" not in capsys.readouterr().out
    assert main([*arguments, "--gpu", "none"]) == 0
    output = capsys.readouterr().out
    assert "GPU: not verified on ml-drift: left out by --gpu none" in output
    assert "GPU: fp32" not in output


def test_both_accelerators_are_in_the_report(
    student, tmp_path, driver_named, classic_delegate, capsys
):
    driver_named("SwiftShader")
    arguments = [str(student), "--schemes", "fp16", "--tile", "64", "--output", str(tmp_path)]
    assert main([*arguments, "--require-gpu", "--gpu", "ml-drift,classic"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["gpu"] == {"ml-drift": "verified", "classic": "verified"}
    runs = report["results"]["fp16"]["gpu"]
    classic = {run["precision"]: run for run in runs if run["accelerator"] == "classic"}
    assert classic["float32"]["residual_psnr"] > 80
    assert classic["float16"]["residual_psnr"] > 40
    count = classic["float32"]["launches"]
    assert "classic (PoCL) float16: " in capsys.readouterr().out
    assert f"{count} launches" in (tmp_path / "report.md").read_text()


def test_a_failed_check_leaves_no_file(student, tmp_path, no_gpu, monkeypatch):
    import dataclasses

    impossible = dataclasses.replace(SCHEMES_BY_NAME["fp32"], least_residual_psnr=1000.0)
    monkeypatch.setitem(SCHEMES_BY_NAME, "fp32", impossible)
    file = tmp_path / "student_fp32.tflite"
    file.write_text("of an earlier conversion")
    report = convert(student, output=tmp_path, schemes=["fp32"], tile=64)
    assert len(report.failures) == 1
    assert "is of an earlier conversion and stays as it was" in report.failures[0]
    assert report.results["fp32"].file is None
    assert file.read_text() == "of an earlier conversion"
    convert(student, output=tmp_path, schemes=["fp32"], tile=64, keep_failed=True)
    assert TFLiteRunner(file).size == (64, 64)


def images(folder, count, size, constant=False):
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (*size, 3), "uint8")
        Image.fromarray(pixels * (not constant)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schemes": ["int4"]}, "schemes must be among fp32, .*got int4"),
        ({"schemes": []}, "got none"),
        ({"tile": 60}, "multiple of 8 from 64 to 512.*got 60"),
        ({"tile": 520}, "got 520"),
        ({"task": "dehaze"}, "was trained for denoise .*, not for --task dehaze"),
        ({"task": "derain"}, "was trained for denoise .*, not for --task derain"),
        ({"sigma": "50"}, "was trained for denoise .*, not for --sigma 50"),
        ({"image_type": "int8"}, "float32 or uint8.*'int8'"),
        ({"gpu": ["metal"]}, "ml-drift, classic, or none alone; got metal"),
        ({"gpu": ["none"], "require_gpu": True}, "--require-gpu and --gpu none contradict"),
    ],
)
def test_options_out_of_range(student, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        convert(student, output=tmp_path / "exported", **options)
    assert not (tmp_path / "exported").exists()


def test_too_few_or_constant_calibration_images(student, tmp_path):
    folder = images(tmp_path, 2, (64, 96))
    with pytest.raises(ValueError, match=rf"needs at least {CALIBRATION_TILES}"):
        convert(student, output=tmp_path / "exported", tile=64, calibration=folder)
    images(tmp_path, 20, (64, 96))
    images(tmp_path, 1, (64, 96), constant=True)
    with pytest.raises(ValueError, match=r"0\.png: an image of a single colour"):
        convert(student, output=tmp_path / "exported", tile=64, calibration=folder)


def no_students():
    image = keras.Input((None, None, 3))
    plain = keras.layers.Conv2D(3, 3, padding="same")(image)
    return {
        "two inputs": (keras.Model([image, keras.Input((4,))], plain), "2 inputs"),
        "a vector": (keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)]), "to images"),
        "no task": (keras.Model(image, plain), "does not say what it was trained for"),
    }


@pytest.mark.parametrize("case", ["two inputs", "a vector", "no task"])
def test_a_model_that_is_no_student(tmp_path, case):
    model, message = no_students()[case]
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "model.keras", output=tmp_path / "exported")


def test_an_unknown_layer_says_what_to_do(tmp_path):
    class Strange(keras.layers.Layer):
        def call(self, x):
            return x

    image = keras.Input((None, None, 3))
    keras.Model(image, Strange()(image)).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"Strange.*register_keras_serializable"):
        convert(tmp_path / "model.keras", output=tmp_path / "exported")


def test_the_command_is_there_before_tensorflow():
    """So that --help and wrong flags answer at once, and TensorFlow's log lines are held back."""
    code = "import keras_skd.convert, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_error_is_one_line_and_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["missing.keras", "--output", str(tmp_path / "exported")])
    assert exit_.value.code == 2
    assert (
        capsys.readouterr().err == "keras_skd.convert: error: missing.keras: no such model file.\n"
    )


def test_an_accelerator_whose_check_failed_is_not_verified():
    def result(**failures):
        return SimpleNamespace(
            gpu=[{"accelerator": name, "failure": text} for name, text in failures.items()]
        )

    results = {"fp16": result(classic=None, drift=None), "int8": result(classic="is wrong")}
    assert conversion._verdict("drift", results) == "verified"
    assert conversion._verdict("classic", results) == "failed: int8"
