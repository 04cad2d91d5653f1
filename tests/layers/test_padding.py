"""Reflection of borders to a multiple, and the crop back."""

import keras
import numpy as np
import pytest

from keras_skd.layers import CropLike, PadToMultiple


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (8, 16), (5, 130)])
@pytest.mark.parametrize("multiple", [8, 128])
@pytest.mark.parametrize("static", [True, False])
def test_padding_is_numpy_reflection(size, multiple, static):
    x = np.random.default_rng(10).uniform(size=(2, *size, 3)).astype("float32")
    inputs = keras.Input((*size, 3) if static else (None, None, 3))
    padded = PadToMultiple(multiple)(inputs)
    model = keras.Model(inputs, [padded, CropLike()(padded, inputs)])
    expected = np.pad(x, ((0, 0), *[(0, -side % multiple) for side in size], (0, 0)), "reflect")
    ours, cropped = model(x)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(cropped, x)
    if static:
        assert padded.shape == (None, *expected.shape[1:])
