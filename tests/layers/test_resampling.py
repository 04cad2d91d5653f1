"""Convolution with pixel (un)shuffle in PyTorch's order of channels."""

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.layers import Downsample, SkipReduction, Unpool, Upsample


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


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_skip_reduction_is_upsampling_concatenation_and_convolution(use_bias):
    random = np.random.default_rng(6)
    x = random.normal(size=(1, 4, 6, 8)).astype("float32")
    skip = random.normal(size=(1, 8, 12, 4)).astype("float32")
    upsample = Upsample(deferred=True)
    reduction = SkipReduction(5, use_bias)
    assert upsample(x) is not None
    folded = reduction(upsample(x), skip, upsample=upsample)
    if use_bias:
        reduction.bias.assign(random.normal(size=5).astype("float32"))
        folded = reduction(upsample(x), skip, upsample=upsample)
    plain = Upsample()
    plain.build(x.shape)
    plain.set_weights(upsample.get_weights())
    both = np.concatenate([plain(x), skip], axis=-1)
    expected = both @ reduction.kernel.numpy()[0, 0] + (reduction.bias if use_bias else 0)
    np.testing.assert_allclose(folded, expected, rtol=0, atol=1e-5)


def test_unpooling_is_a_transposed_convolution_in_both_forms():
    random = np.random.default_rng(7)
    x = random.normal(size=(1, 4, 6, 8)).astype("float32")
    layers = [Unpool(5), Unpool(5)]
    layers[0].build((None, None, None, 8))
    layers[1].build(x.shape)
    assert [layer.export_form for layer in layers] == [False, True]
    weights = [random.normal(size=w.shape).astype("float32") for w in layers[0].weights]
    kernel, bias = weights
    expected = np.einsum("bhwi,rcoi->bhrwco", x, kernel).reshape(1, 8, 12, 5) + bias
    for layer in layers:
        layer.set_weights(weights)
        np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-5)
