"""Window attention against the equation, written out window by window."""

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.layers import WindowAttention, window_attention
from keras_skd.layers.window_attention import (
    merge_windows,
    partition_windows,
    relative_position_index,
    roll,
)


def equation(layer, x):
    """Each pixel by itself in float64: it attends to its window's pixels, wherever they came from.

    Instead of rolling and masking, windows are laid over the image with the shift and cut at its
    border.
    """
    _, height, width, channels = x.shape
    size, shift, heads = layer.window_size, layer.shift_size, layer.num_heads
    table = layer.bias_table.numpy().astype("float64")
    modulator = None if layer.modulation is None else layer.modulation.numpy()
    result = np.zeros((height, width, channels))
    starts = [range(-shift % size - size if shift else 0, length, size) for length in x.shape[1:3]]

    def project(values, projection):
        kernel, *bias = projection.get_weights()
        return values.astype("float64") @ kernel[0, 0] + (bias[0] if bias else 0)

    for top in starts[0]:
        for left in starts[1]:
            places = [
                (row, column)
                for row in range(max(top, 0), min(top + size, height))
                for column in range(max(left, 0), min(left + size, width))
            ]
            if not places:
                continue
            values = np.stack([x[0, row, column] for row, column in places])
            if modulator is not None:
                values = values + np.stack(
                    [modulator[(row - top) * size + column - left] for row, column in places]
                )
            q = project(values, layer.to_q)
            k, v = np.split(project(values, layer.to_kv), 2, axis=-1)
            row, column = np.array(places).T
            bias = table[
                (row[:, None] - row + size - 1) * (2 * size - 1)
                + (column[:, None] - column + size - 1)
            ]
            out = []
            for head, part in enumerate(np.split(np.arange(channels), heads)):
                logits = layer._scale() * q[:, part] @ k[:, part].T + bias[..., head]
                weights = np.exp(logits - logits.max(axis=1, keepdims=True))
                out.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, part])
            result[row, column] = project(np.concatenate(out, axis=1), layer.project_out)
    return result[None]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (4, 8), (4, 4)])
@pytest.mark.parametrize(("heads", "modulator"), [(1, False), (2, True)])
def test_both_forms_are_the_equation(size, shift, heads, modulator):
    x = np.random.default_rng(11).normal(size=(1, *size, 6)).astype("float32")
    training, export = (
        WindowAttention(heads, window_size=4, shift_size=shift, modulator=modulator)
        for _ in range(2)
    )
    training.build((None, None, None, 6))
    export.build(x.shape)
    assert export.export_form
    random = np.random.default_rng(12)
    weights = [random.normal(size=w.shape).astype("float32") for w in training.weights]
    for layer in (training, export):
        layer.set_weights(weights)
        np.testing.assert_allclose(layer(x), equation(training, x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shift", [0, 2])
def test_bands_are_the_same_function(monkeypatch, shift):
    """Images whose windows exceed a texture are attended to band by band."""
    x = np.random.default_rng(13).normal(size=(1, 24, 12, 6)).astype("float32")
    layer = WindowAttention(2, window_size=4, shift_size=shift)
    layer.build(x.shape)
    expected = layer(x)
    assert layer._band_rows(x.shape) == 24
    monkeypatch.setattr(window_attention, "TEXTURE_SIZE", 50)
    assert layer._band_rows(x.shape) == 8
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-6)


def test_windows_are_rows_first_and_come_back():
    x = np.arange(2 * 8 * 12 * 3, dtype="float32").reshape(2, 8, 12, 3)
    windows = partition_windows(tf.constant(x), 4)
    assert windows.shape == (1, 2 * 2 * 3, 16, 3)
    np.testing.assert_array_equal(windows[0, 4].numpy().reshape(4, 4, 3), x[0, 4:, 4:8])
    np.testing.assert_array_equal(windows[0, 6].numpy().reshape(4, 4, 3), x[1, :4, :4])
    np.testing.assert_array_equal(merge_windows(windows, 4, x.shape), x)


def test_roll_is_the_same_in_both_forms():
    x = np.random.default_rng(13).normal(size=(1, 6, 4, 2)).astype("float32")
    for shift in (2, -2):
        expected = np.roll(x, (-shift, -shift), (1, 2))
        for export_form in (False, True):
            np.testing.assert_array_equal(roll(tf.constant(x), shift, export_form), expected)


def test_relative_position_index_names_each_distance_once():
    index = relative_position_index(3)
    assert index.shape == (9, 9)
    assert len(np.unique(index)) == 25
    assert (np.diag(index) == 12).all()
    assert index[0, 1] == 11  # the second pixel is one column to the right: dx = -1
    assert index[0, 3] == 7  # one row below: dy = -1, five rows of the table a step


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"10 channels.*num_heads=4"):
        WindowAttention(4).build((None, None, None, 10))
