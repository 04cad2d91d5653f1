"""LayerNorm over channels: values, written-out gradients, and float16's range."""

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.layers import ChannelNormalization, channel_normalization
from keras_skd.layers.channel_normalization import normalise_channels

EPSILON = 1e-5


def plain(x, scale, bias):
    """The formula as the paper's code has it, differentiated automatically."""
    mean = tf.reduce_mean(x, axis=-1, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(x - mean), axis=-1, keepdims=True) + EPSILON)
    return x / deviation * scale if bias is None else (x - mean) / deviation * scale + bias


@pytest.fixture
def values():
    random = np.random.default_rng(3)
    return [
        tf.constant(random.normal(size=shape).astype("float32"))
        for shape in ((2, 4, 3, 6), (6,), (6,), (2, 4, 3, 6))
    ]


@pytest.mark.parametrize("with_bias", [True, False])
def test_gradient_is_that_of_the_plain_form(values, with_bias):
    x, scale, bias, upstream = values
    inputs = [x, scale, bias] if with_bias else [x, scale]
    results = []
    for function in (
        lambda x, scale, bias=None: normalise_channels(x, scale, bias, EPSILON),
        lambda x, scale, bias=None: plain(x, scale, bias),
    ):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = function(*inputs)
        results.append([y, *tape.gradient(y, inputs, output_gradients=upstream)])
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("magnitude", [1.0, 200.0, 1e-3])
def test_training_and_export_form_are_equal(values, with_bias, magnitude):
    x = values[0][:1] * magnitude
    training, export = (ChannelNormalization(with_bias) for _ in range(2))
    training.build((None, None, None, 6))
    export.build(x.shape)
    assert export.export_form
    assert not training.export_form
    for layer in (training, export):
        layer.set_weights([value.numpy() for value in values[1 : 3 if with_bias else 2]])
    np.testing.assert_allclose(export(x), training(x), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        export(x), plain(x, values[1], values[2] if with_bias else None), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("channels", [16, 48])
def test_reductions_and_convolutions_are_equal(monkeypatch, with_bias, channels):
    x = np.random.default_rng(5).normal(size=(1, 4, 4, channels)).astype("float32")
    layer = ChannelNormalization(with_bias)
    layer.build(x.shape)
    assert layer._is_convolved()
    expected = layer(x)
    monkeypatch.setattr(channel_normalization, "SPARE_PRODUCTS", 0)
    monkeypatch.setattr(ChannelNormalization, "ALWAYS_CONVOLVED", 0)
    assert not layer._is_convolved()
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("convolved", [True, False])
def test_export_form_stays_inside_float16_at_200(monkeypatch, convolved):
    """A phone computes the graph in float16; its squares must not overflow (65504)."""
    x = np.random.default_rng(4).normal(scale=200, size=(1, 4, 4, 384)).astype("float32")
    layer = ChannelNormalization(dtype="float32")
    layer.build(x.shape)
    monkeypatch.setattr(layer, "_is_convolved", lambda: convolved)
    scaled = (x * layer.prescale).astype("float16")
    squares = np.square(scaled - scaled.mean(-1, keepdims=True))
    # A convolution adds weighted squares; a reduction may add them first.
    squares = squares * np.float16(1 / 384) if convolved else squares
    assert np.isfinite(np.sum(squares, -1, dtype="float16")).all()
    with np.errstate(over="ignore"):  # the negative control
        assert np.isinf(np.sum(np.square(x.astype("float16")), -1, dtype="float16")).all()


@pytest.mark.parametrize("convolved", [True, False])
@pytest.mark.parametrize("epsilon_is_lost", [True, False])
def test_a_black_pixel_gives_zero_where_float16_loses_epsilon(
    monkeypatch, convolved, epsilon_is_lost
):
    """Stored in float16, or added to it, the scaled epsilon may be 0: 0 / 0 is not a number."""
    x = np.zeros((1, 2, 2, 8), "float32")
    layer = ChannelNormalization(dtype="float32")
    layer.build(x.shape)
    monkeypatch.setattr(layer, "_is_convolved", lambda: convolved)
    if epsilon_is_lost:
        rsqrt = tf.math.rsqrt
        lost = np.float32(layer.epsilon * layer.prescale**2)
        monkeypatch.setattr(channel_normalization.ops, "rsqrt", lambda v: rsqrt(v - lost))
    np.testing.assert_array_equal(layer(x), np.zeros_like(x))
