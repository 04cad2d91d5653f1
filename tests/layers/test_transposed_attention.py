"""Attention across channels: its two layouts against the paper's equation."""

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.layers import TransposedAttention, transposed_attention


def official(qkv, temperature):
    """Equation 1 of the paper in float64, head by head: ``(height, width, 3c) -> (pixels, c)``."""
    heads = len(temperature)
    q, k, v = np.split(qkv.reshape(-1, qkv.shape[-1]).astype("float64"), 3, axis=-1)
    results = []
    for head, columns in enumerate(np.split(np.arange(q.shape[-1]), heads)):
        unit_q, unit_k = (
            part[:, columns] / np.maximum(np.linalg.norm(part[:, columns], axis=0), 1e-12)
            for part in (q, k)
        )
        weights = np.exp(temperature[head] * unit_q.T @ unit_k)
        attention = weights / weights.sum(axis=-1, keepdims=True)
        results.append(v[:, columns] @ attention.T)
    return np.concatenate(results, axis=-1)


@pytest.mark.parametrize("magnitude", [1.0, 200.0, 0.05])
@pytest.mark.parametrize("size", [(8, 12), (40, 64), (31, 37)])
def test_both_forms_are_the_equation(size, magnitude):
    """40 x 64 pixels are several blocks; 31 x 37 has only small divisors."""
    random = np.random.default_rng(8)
    qkv = random.normal(scale=magnitude, size=(1, *size, 48)).astype("float32")
    temperature = np.array([0.5, 3.0], "float32")
    expected = official(qkv, temperature).reshape(1, *size, 16)
    for shape in ((None, None, None, 16), (1, *size, 16)):
        layer = TransposedAttention(2)
        layer.build(shape)
        layer.temperature.assign(temperature)
        if not layer.export_form:
            ours = layer._batched(qkv)
            np.testing.assert_allclose(ours / magnitude, expected / magnitude, rtol=0, atol=1e-5)
            continue
        layer.project_out.kernel.assign(np.eye(16, dtype="float32")[None, None])
        q, k, v = np.split(qkv, 3, axis=-1)
        qk = np.concatenate([q, k], axis=-1) * np.float32(layer.PRESCALE)
        for ours in (layer._by_rows(qk, v), layer._blocked(q, k, v)):
            np.testing.assert_allclose(ours / magnitude, expected / magnitude, rtol=0, atol=1e-5)


@pytest.mark.parametrize("constant", ["TEXTURE_SIZE", "SPARE_PRODUCTS", "WIDEST_FOR_ROWS"])
@pytest.mark.parametrize("use_bias", [False, True])
def test_layouts_are_the_same_function(monkeypatch, constant, use_bias):
    """Groups of rows, queries without the keys' rows, blocks of several rows."""
    random = np.random.default_rng(9)
    x = random.normal(size=(1, 12, 8, 16)).astype("float32")
    training = TransposedAttention(2, use_bias)
    training.build((None, None, None, 16))
    weights = [random.normal(size=w.shape).astype("float32") for w in training.weights]
    training.set_weights(weights)

    def exported():
        layer = TransposedAttention(2, use_bias)
        layer.build(x.shape)
        layer.set_weights(weights)
        return layer(x)

    expected = training(x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(exported() / scale, expected / scale, rtol=0, atol=1e-5)
    where = TransposedAttention if constant == "WIDEST_FOR_ROWS" else transposed_attention
    monkeypatch.setattr(where, constant, 8 if constant == "TEXTURE_SIZE" else 0)
    np.testing.assert_allclose(exported() / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "magnitude"), [(128, 3.0), (128, 50.0), (256, 50.0)])
def test_float16_holds_the_sum_over_all_pixels(size, magnitude):
    """Products of features of one sign add up to 16384 * 3^2 = 147456 and more, above 65504."""
    random = np.random.default_rng(8)
    qkv = (magnitude * random.uniform(0.5, 1.5, (1, size, size, 24))).astype("float16")
    temperature = np.array([0.5, 3.0], "float32")
    layer = TransposedAttention(2, dtype="mixed_float16")
    layer.build((None, None, None, 8))
    layer.temperature.assign(temperature)
    with tf.GradientTape() as tape:
        inputs = tf.constant(qkv)
        tape.watch(inputs)
        ours = layer._batched(inputs)
        # Scaled as mixed_float16 scales a loss at first.
        loss = tf.reduce_mean(tf.square(tf.cast(ours, "float32") / magnitude)) * 2**15
    expected = official(qkv[0], temperature).reshape(1, size, size, 8)
    # Attention and v are rounded to float16, each to 2^-11, and so is the result.
    np.testing.assert_allclose(ours, expected, rtol=4 * 2**-11)
    gradient = tape.gradient(loss, inputs)
    assert np.isfinite(gradient).all()
    assert np.count_nonzero(gradient[..., :16]) > 0


def test_groups_of_blocks_are_the_same_function(monkeypatch):
    """Images whose transposed keys exceed a texture are summed over in groups."""
    random = np.random.default_rng(9)
    parts = random.normal(size=(3, 1, 40, 64, 16)).astype("float32")
    layer = TransposedAttention(2)
    layer.build((1, 40, 64, 16))
    expected = layer._blocked(*parts)
    monkeypatch.setattr(transposed_attention, "TEXTURE_SIZE", 200)  # 4 groups of one block each
    np.testing.assert_allclose(layer._blocked(*parts), expected, rtol=0, atol=1e-6)


def test_a_dark_image_has_no_division_by_zero():
    for shape in ((None, None, None, 8), (1, 8, 8, 8)):
        layer = TransposedAttention(2)
        layer.build(shape)
        assert np.isfinite(layer(np.zeros((1, 8, 8, 8), "float32"))).all()


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"10 channels.*num_heads=4"):
        TransposedAttention(4).build((None, None, None, 10))
