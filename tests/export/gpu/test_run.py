"""The proof on the accelerator: what passes, and that it can fail."""

import keras
import numpy as np
import pytest

from keras_skd.errors import InputError
from keras_skd.export.gpu import classic
from keras_skd.export.gpu.ml_drift import Driver
from keras_skd.export.gpu.run import (
    ClassicDriver,
    checked_accelerators,
    find_drivers,
    verify_on_gpu,
)
from keras_skd.export.schemes import Source
from keras_skd.models import Restormer, with_image_size
from keras_skd.runners import TFLiteRunner

DRIVERS = ("SwiftShader", "lavapipe")


@pytest.fixture(scope="module")
def source():
    keras.utils.set_random_seed(0)
    student = Restormer(dim=8, num_blocks=(0, 1, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 2))
    tiles = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype("float32")
    return Source(with_image_size(student, (64, 64)), tiles)


@pytest.fixture(scope="module")
def path(source, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "model.tflite"
    file.write_bytes(source.float32)
    return file


@pytest.fixture(params=DRIVERS)
def driver(request, driver_named):
    return driver_named(request.param)


def test_a_student_runs_on_the_gpu(path, source, driver):
    (run,) = verify_on_gpu(path, source.calibration[:1], [driver])
    assert run["failure"] is None
    assert run["precision"] == driver.precisions[0]


def test_int8_convolutions_run_on_the_gpu(source, driver, tmp_path):
    file = tmp_path / "int8.tflite"
    file.write_bytes(source.quantized(source.of_kinds("CONV_2D", "DEPTHWISE_CONV_2D")))
    bounds = {"float32": 30.0, "float16": 30.0}
    (run,) = verify_on_gpu(file, source.calibration[:1], [driver], least_residual_psnr=bounds)
    assert run["failure"] is None


def test_other_numbers_fail(path, source, driver):
    """A hundredth of the residual's peak is 40 dB, and float32 has to reach 80."""
    image = source.calibration[:1]
    restored = TFLiteRunner(path)(image[0])[None]
    wrong = restored + 0.02 * np.abs(restored - image).max()
    (run,) = verify_on_gpu(path, image, [driver], reference=wrong)
    assert "computes a residual" in run["failure"]


def test_a_driver_that_is_not_there_fails(path, source):
    driver = Driver("GPU", "/nowhere/icd.json", ("float32",))
    (run,) = verify_on_gpu(path, source.calibration[:1], [driver])
    assert run["failure"] is not None
    assert run["residual_psnr"] is None


def test_the_environment_chooses_the_driver(monkeypatch):
    monkeypatch.setenv("VK_DRIVER_FILES", "/some/vk_swiftshader_icd.json")
    assert [driver.name for driver in find_drivers(("ml-drift",))] == ["SwiftShader"]
    monkeypatch.setenv("VK_DRIVER_FILES", "/some/nvidia_icd.json")
    (driver,) = find_drivers(("ml-drift",))
    assert (driver.name, driver.precisions) == ("GPU", ("float32", "float16"))


def test_the_classic_delegate_is_one_of_the_drivers(path, source, classic_delegate):
    (driver,) = find_drivers(("classic",))
    runs = verify_on_gpu(path, source.calibration[:1], [driver])
    assert [run["precision"] for run in runs] == ["float32", "float16"]
    for run in runs:
        assert run["failure"] is None
        assert run["accelerator"] == "classic"
        assert run["launches"] > 50


def test_other_numbers_fail_on_the_classic_delegate(path, source, classic_delegate):
    image = source.calibration[:1]
    restored = TFLiteRunner(path)(image[0])[None]
    wrong = restored + 0.02 * np.abs(restored - image).max()
    runs = verify_on_gpu(path, image, [ClassicDriver()], reference=wrong)
    assert all("computes a residual" in run["failure"] for run in runs)


def test_a_delegate_that_is_not_installed_is_no_driver(monkeypatch, tmp_path, path, source):
    monkeypatch.setenv("KERAS_SKD_CLASSIC_GPU", str(tmp_path))
    assert find_drivers(("classic",)) == []
    run, _ = verify_on_gpu(path, source.calibration[:1], [ClassicDriver()])
    assert classic.HOW_TO_INSTALL in run["failure"]


@pytest.mark.parametrize("names", [(), ("metal",), ("classic", "nnapi"), ("none", "classic")])
def test_unknown_accelerators_are_an_input_error(names):
    with pytest.raises(InputError, match="ml-drift, classic"):
        checked_accelerators(names)


def test_accelerators_default_to_both():
    assert checked_accelerators(None) == ("ml-drift", "classic")
    assert checked_accelerators(["classic", "classic"]) == ("classic",)
    assert checked_accelerators(["none"]) == ()
