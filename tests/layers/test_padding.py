"""Reflection of borders to a multiple, and the crop back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.layers import CropLike, PadToMultiple
from keras_skd.layers.padding import reflected_indices
from keras_skd.tiling import reflected


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (8, 16), (5, 130)])
@pytest.mark.parametrize("multiple", [8, 128])
@pytest.mark.parametrize("form", ["dynamic", "static", "export"])
def test_padding_is_numpy_reflection(size, multiple, form):
    batch = 1 if form == "export" else 2
    x = np.random.default_rng(10).uniform(size=(batch, *size, 3)).astype("float32")
    shape = (None, None, 3) if form == "dynamic" else (*size, 3)
    batch_shape = (batch if form == "export" else None, *shape)
    inputs = keras.Input(batch_shape=batch_shape)
    padded = PadToMultiple(multiple)(inputs)
    model = keras.Model(inputs, [padded, CropLike()(padded, inputs)])
    expected = np.pad(x, ((0, 0), *[(0, -side % multiple) for side in size], (0, 0)), "reflect")
    ours, cropped = model(x)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(cropped, x)
    if form != "dynamic":
        assert padded.shape == (batch_shape[0], *expected.shape[1:])
    if form == "export":
        run = tf.function(lambda image: PadToMultiple(multiple)(image))
        graph = run.get_concrete_function(tf.TensorSpec(x.shape)).graph
        assert not {"GatherV2", "Cond", "If"} & {each.type for each in graph.get_operations()}


@pytest.mark.parametrize("size", [1, 2, 7])
def test_graphs_and_arrays_are_reflected_to_the_same_pixels(size):
    np.testing.assert_array_equal(reflected_indices(size, 30), reflected(np.arange(30), size))
