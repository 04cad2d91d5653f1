"""Every student runs on the phone's GPU accelerator and computes there what Keras computes."""

import keras
import numpy as np
import pytest

from keras_skd.export.gpu.run import verify_on_gpu
from keras_skd.export.schemes import float32
from keras_skd.models import PRESETS, with_image_size
from keras_skd.runners import KerasRunner

STUDENTS = [name for name in PRESETS if name.endswith(("_tiny", "_small", "_base"))]
# One of each family where textures come near the largest.
CASES = [(name, 256 if name.endswith("_small") else 128) for name in STUDENTS]

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


@pytest.mark.parametrize(("name", "size"), CASES, ids=[f"{n}-{s}" for n, s in CASES])
def test_a_student_is_right_on_the_gpu(driver_named, tmp_path, name, size):
    drivers = [driver_named("SwiftShader"), driver_named("lavapipe")]
    model, image = demanding_student(name, size)
    file = tmp_path / f"{name}.tflite"
    file.write_bytes(float32(model))
    runs = verify_on_gpu(file, image, drivers, reference=KerasRunner(model).batch(image))
    assert [run["precision"] for run in runs] == ["float32", "float16"]
    for run in runs:
        assert run["failure"] is None, run
        assert run["residual_psnr"] >= LEAST_RESIDUAL_PSNR[run["precision"]], run
