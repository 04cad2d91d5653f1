import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.errors import InputError
from keras_skd.quantisation import quantisers
from keras_skd.quantisation.quantisers import Quantisers


def test_nothing_is_left_behind_in_tensorflow_or_the_environment():
    """tensorflow-model-optimization would make tf_keras the tf.keras of the whole process."""
    code = """
import os
from keras_skd.quantisation.quantisers import Quantisers
Quantisers().activation(-1.0, 1.0)
assert "TF_USE_LEGACY_KERAS" not in os.environ
import keras, tensorflow as tf
assert tf.keras.__version__ == keras.__version__, tf.keras.__version__
assert tf.keras.layers.Dense is keras.layers.Dense
"""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "0"}
    del environment["TF_USE_LEGACY_KERAS"]
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    for name in list(sys.modules):
        if name.startswith("tensorflow_model_optimization"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    with pytest.raises(InputError, match=r"pip install keras-skd\[quantise\]"):
        quantisers.import_quantizers()


def test_an_activation_has_256_steps_of_its_range_and_a_gradient_within():
    scale, zero = 0.01, 20
    round_ = Quantisers().activation(scale * (-128 - zero), scale * (127 - zero))
    values = tf.linspace(-3.0, 3.0, 1001)
    with tf.GradientTape() as tape:
        tape.watch(values)
        rounded = round_(values)
    steps = np.clip(np.round(values / scale) + zero, -128, 127)
    np.testing.assert_allclose(rounded, scale * (steps - zero), atol=1.01 * scale)
    assert np.mean(np.abs(rounded - scale * (steps - zero)) < 1e-5) > 0.98  # but for ties
    inside = (values > scale * (-128 - zero)) & (values < scale * (127 - zero))
    np.testing.assert_array_equal(tape.gradient(rounded, values), np.float32(inside))


def test_ranges_move_only_where_they_are_asked_to():
    for moving in (False, True):
        layer = Quantisers(moving)
        round_ = layer.activation(-1.0, 1.0)
        round_(tf.constant([-5.0, 5.0]))
        moved = [abs(float(variable.numpy())) != 1 for variable in layer.weights]
        assert moved == [moving, moving]
        assert layer.trainable_variables == []


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 3, 4, 6), 3), ((3, 3, 6, 1), 2), ((3, 3, 6, 4), 2)]
)
def test_a_kernel_is_symmetric_with_a_scale_an_output_channel(bits, shape, axis):
    kernel = np.random.default_rng(0).normal(size=shape).astype("float32")
    rounded = Quantisers().kernel(shape, axis, bits)(tf.constant(kernel)).numpy()
    others = tuple(each for each in range(4) if each != axis)
    scale = np.abs(kernel).max(others, keepdims=True) / (2 ** (bits - 1) - 1)
    np.testing.assert_allclose(rounded, np.round(kernel / scale) * scale, atol=1e-5)
