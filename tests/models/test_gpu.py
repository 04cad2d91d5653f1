"""Every student runs on both of the phone's GPU accelerators and computes what Keras computes."""

import keras
import numpy as np
import pytest

from keras_skd.data.photos import validation_photos
from keras_skd.export.flatbuffer import read_graph
from keras_skd.export.gpu.rules import check_rules
from keras_skd.export.gpu.run import ClassicDriver, verify_on_gpu
from keras_skd.export.schemes import Source, float16, float32
from keras_skd.models import PRESETS, with_image_size
from keras_skd.runners import KerasRunner, TFLiteRunner

STUDENTS = [name for name in PRESETS if name.endswith(("_tiny", "_small", "_base"))]
# And one of each family where textures come near the largest.
CASES = [(name, 128) for name in STUDENTS] + [("restormer_small", 256), ("uformer_small", 256)]
# One of each architecture that comes trained, as a phone gets it and at the size of its files. What
# is verified of the others is in the reports beside those (tests/test_students.py).
TRAINED = list(
    {
        name.rpartition("_")[0]: name
        for name, preset in reversed(PRESETS.items())
        if preset.weights and name.startswith(tuple(f"{student}_" for student in STUDENTS))
    }.values()
)
CASES += [(name, 256) for name in TRAINED]

# Real features of trained restorers reach this; their squares do not fit float16 (65504).
LARGEST_FEATURE = 200.0
# SwiftShader computes in float32, to about 1e-6 of the peak; float16 has 11 bits, of which some
# hundred operations in a row leave 7.
LEAST_RESIDUAL_PSNR = {"float32": 90.0, "float16": 40.0}


def demanding_student(name, size):
    """A student of random weights whose features reach LARGEST_FEATURE, and an image for it."""
    keras.utils.set_random_seed(0)
    model = PRESETS[name].build(load_weights=False)
    generator = np.random.default_rng(1)
    for variable in model.weights:
        spread = 0.3 if len(variable.shape) < 2 else 0.05
        noise = generator.normal(0, spread * (np.std(variable) + 0.1), variable.shape)
        variable.assign(variable + noise)
    image = generator.uniform(size=(1, size, size, 3)).astype("float32")
    probe = keras.Model(model.input, list(model.taps.values()))

    def largest():
        return max(float(np.abs(tap).max()) for tap in probe(image))

    # The first convolution feeds the residual stream, which no norm brings down again.
    first, *_, last = (each for each in model.layers if type(each) is keras.layers.Conv2D)
    for _ in range(4):
        factor = LARGEST_FEATURE / largest()
        for variable in first.weights:
            variable.assign(variable * factor)
    assert LARGEST_FEATURE / 1.5 < largest() < LARGEST_FEATURE * 1.5
    residual = float(np.abs(model(image) - image).max())
    for variable in last.weights:
        variable.assign(variable / residual)
    return with_image_size(model, (size, size)), image


def trained_student(name, size):
    """A bundled student, and a photograph with noise."""
    photo = next(iter(validation_photos().values()))[None, :size, :size] / np.float32(255)
    noise = np.random.default_rng(1).normal(0, 25 / 255, photo.shape)
    model = with_image_size(PRESETS[name].build(), (size, size))
    return model, np.clip(photo + noise, 0, 1).astype("float32")


@pytest.fixture(scope="module", params=CASES, ids=[f"{n}-{s}" for n, s in CASES])
def student(request, tmp_path_factory):
    """A file, an image and what Keras makes of it."""
    name, size = request.param
    model, image = (trained_student if name in TRAINED else demanding_student)(name, size)
    file = tmp_path_factory.mktemp(name) / f"{name}.tflite"
    file.write_bytes(float32(model))
    return file, image, KerasRunner(model).batch(image)


def judge(runs, precisions):
    assert [run["precision"] for run in runs] == precisions
    for run in runs:
        assert run["failure"] is None, run
        assert run["residual_psnr"] >= LEAST_RESIDUAL_PSNR[run["precision"]], run


def test_a_student_is_right_on_ml_drift(student, driver_named):
    file, image, restored = student
    drivers = [driver_named("SwiftShader"), driver_named("lavapipe")]
    judge(verify_on_gpu(file, image, drivers, reference=restored), ["float32", "float16"])


def test_a_student_is_right_on_the_classic_delegate(student, classic_delegate):
    """Its kernels have no texture limit: 128 shows what 256 would, in a quarter of the time."""
    file, image, restored = student
    if image.shape[1] > 128 and file.stem not in TRAINED:
        pytest.skip("ML Drift's case")
    runs = verify_on_gpu(file, image, [ClassicDriver()], reference=restored)
    judge(runs, ["float32", "float16"])


def test_no_rule_is_broken(student):
    """Position biases of windows are repeated along the height, which newer runtimes bear."""
    found = check_rules(read_graph(student[0].read_bytes()))
    assert {item.rule for item in found} <= {"height broadcast", "large texture"}
    assert not [item for item in found if item.fatal]


@pytest.mark.parametrize("name", ["restormer_tiny", "uformer_tiny"])
@pytest.mark.parametrize("black", ["a corner", "all"])
def test_black_is_a_number(name, black, tmp_path, driver_named, classic_delegate):
    """Features of 0 have the variance 0, and float16 loses the norm's epsilon."""
    keras.utils.set_random_seed(0)
    model = with_image_size(PRESETS[name].build(load_weights=False), (128, 128))
    file = tmp_path / f"{name}.tflite"
    file.write_bytes(float16(Source(model, None)))
    image = np.random.default_rng(1).uniform(size=(1, 128, 128, 3)).astype("float32")
    image[:, : 64 if black == "a corner" else 128, : 64 if black == "a corner" else 128] = 0
    restored = TFLiteRunner(file)(image[0])[None]
    assert np.isfinite(restored).all()
    np.testing.assert_allclose(restored, model(image), rtol=0, atol=0.01)
    if black == "all" and not restored.any():
        return  # a network without biases: nothing to compare
    drivers = [driver_named("SwiftShader"), driver_named("lavapipe"), ClassicDriver()]
    # Norms blow up the rounding of features that are nothing but biases.
    least = {"float32": 80.0, "float16": 10.0 if black == "all" else 40.0}
    for run in verify_on_gpu(file, image, drivers, reference=restored, least_residual_psnr=least):
        assert run["failure"] is None, run
