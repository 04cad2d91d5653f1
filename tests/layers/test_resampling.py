"""Convolution with pixel (un)shuffle in PyTorch's order of channels."""

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.layers import Downsample, Upsample


def unshuffle(x):
    """PyTorch's ``PixelUnshuffle(2)``: output channel ``4 c + 2 row + column``."""
    batch, height, width, channels = x.shape
    cells = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return cells.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels)


def shuffle(x):
    """PyTorch's ``PixelShuffle(2)``, the inverse of :func:`unshuffle`."""
    batch, height, width, channels = x.shape
    cells = x.reshape(batch, height, width, channels // 4, 2, 2)
    return cells.transpose(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, channels // 4)


@pytest.mark.parametrize(
    ("layer_class", "rearrange"), [(Downsample, unshuffle), (Upsample, shuffle)]
)
@pytest.mark.parametrize("size", [(4, 6), (2, 2)])
def test_both_forms_are_convolution_and_shuffle(layer_class, rearrange, size):
    x = np.random.default_rng(9).normal(size=(1, *size, 8)).astype("float32")
    training, export = layer_class(), layer_class()
    training.build((None, None, None, 8))
    export.build(x.shape)
    assert export.export_form
    export.set_weights(training.get_weights())
    expected = rearrange(tf.nn.conv2d(x, training.kernel.numpy(), 1, "SAME").numpy())
    for layer in (training, export):
        assert layer.compute_output_shape(x.shape) == expected.shape
        np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-5)
