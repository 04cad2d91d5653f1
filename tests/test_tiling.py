import itertools
import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_skd.tiling import fade_in_weights, reflected, restore_tiled, spans, tile_runner


class Tiles:
    """A model of one size: a function of the patch, and the number of calls."""

    channels, metadata = 3, {}

    def __init__(self, size, function=lambda patch: patch):
        self.size, self.function, self.calls = size, function, 0

    def __call__(self, patch):
        assert patch.shape == (*self.size, 3)
        assert patch.dtype == np.float32
        self.calls += 1
        return self.function(patch)


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).uniform(size=(height, width, 3)).astype(np.float32)


def transcription(function, image, tile):
    """docs/tiling.md in the plainest form: every tile times its weights, summed."""
    length = image.shape[:2]
    overlap, fade, margin = tile // 8, tile // 16, tile // 32
    axes = []
    for n in length:
        if n <= tile:
            axes.append([(-((tile - n) // 2), np.ones(n))])
            continue
        total = n + 2 * margin
        count = int(np.ceil((total - overlap) / (tile - overlap)))
        starts = [i * (total - tile) // (count - 1) - margin for i in range(count)]
        weights = []
        for before, after in zip([None, *starts], [*starts, None], strict=True):
            if before is None or after is None:
                continue
            begin = (after + before + tile - fade) // 2
            t = np.clip((np.arange(n) - begin + 0.5) / fade, 0, 1)
            weights.append(3 * t**2 - 2 * t**3)
        rising = [np.ones(n), *weights]
        falling = [*(1 - w for w in weights), np.ones(n)]
        axes.append([(s, u * d) for s, u, d in zip(starts, rising, falling, strict=True)])
    result = np.zeros(image.shape)
    for top, down in axes[0]:
        for start, across in axes[1]:
            above, before = max(0, -top), max(0, -start)
            below = max(0, top + tile - length[0])
            after = max(0, start + tile - length[1])
            padded = np.pad(image, ((above, below), (before, after), (0, 0)), mode="reflect")
            patch = padded[top + above :, start + before :][:tile, :tile]
            restored = np.zeros(image.shape)
            inside = np.s_[max(0, top) : top + tile, max(0, start) : start + tile]
            place = np.s_[above : tile - below, before : tile - after]
            restored[inside] = function(patch)[place]
            result += down[:, None, None] * across[None, :, None] * restored
    return result


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (70, 200), (201, 131), (40, 300)])
def test_agrees_with_the_plain_weighted_sum(size):
    """Of a model whose output depends on the place in the tile, as borders make it."""
    y, x = np.mgrid[0:64, 0:64] / 64
    image = random_image(*size)

    def model(patch):
        return patch * (1 + 0.2 * y + 0.1 * x**2)[..., None]

    tiled = restore_tiled(Tiles((64, 64), model), image)
    # float32 sums of at most four terms of order one.
    np.testing.assert_allclose(tiled, transcription(model, image, 64), atol=1e-6)


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([16, 24, 64, 128]))
@settings(max_examples=60, deadline=None)
def test_an_identity_returns_every_image_as_it_was(height, width, tile):
    image = (random_image(height, width) * 255).astype(np.uint8)
    restored = restore_tiled(Tiles((tile, tile)), image)
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, image)


@given(st.integers(1, 20000), st.integers(2, 128).map(lambda n: 8 * n))
def test_spans_cover_the_axis_and_use_nothing_of_a_tiles_edge(length, tile):
    placed = spans(length, tile)
    assert placed[0].first == 0
    assert placed[-1].last == length
    stride = tile - tile // 8
    assert len(placed) <= 1 + max(0, -(-(length + 2 * (tile // 32) - tile) // stride))
    for span in placed:
        assert span.start <= span.first
        assert span.last <= span.start + tile
        assert span.fade_in + span.fade_out <= span.last - span.first
    for one, other in itertools.pairwise(placed):
        assert one.start + tile - other.start >= tile // 8
        assert one.last - one.fade_out == other.first
        assert one.fade_out == other.fade_in == tile // 16
        # What lies nearest to a tile's inner edge is not used.
        unused = (tile // 8 - tile // 16) // 2
        assert other.first - other.start >= unused
        assert one.start + tile - one.last >= unused


def test_fades_sum_to_one():
    for length in (1, 2, 16):
        weights = fade_in_weights(length)
        np.testing.assert_allclose(weights + weights[::-1], 1, atol=1e-6)
        assert np.all(np.diff(weights) > 0)


@given(st.integers(1, 50), st.integers(0, 200), st.integers(0, 200))
def test_reflection_is_that_of_numpy(length, before, after):
    expected = np.pad(np.arange(length), (before, after), mode="reflect")
    actual = reflected(np.arange(-before, length + after), length)
    np.testing.assert_array_equal(actual, expected)


def test_at_most_35_percent_of_a_photo_is_computed_twice_at_256():
    for height, width in ((1500, 2000), (3000, 4000), (5774, 8660)):
        counts = []
        for length in (height, width):
            count = np.zeros(length, int)
            for span in spans(length, 256):
                count[max(0, span.start) : span.start + 256] += 1
            counts.append(count)
        twice = np.mean(counts[0][:, None] * counts[1][None, :] > 1)
        assert 0.2 < twice <= 0.35


def test_steps_across_tile_borders_are_not_above_those_inside():
    """Tiles that differ by a constant each: hard borders would step by it, fades do not."""
    offsets = iter(np.tile([0.2, -0.2, 0.1], 99))
    image = np.full((300, 300, 3), 0.5, np.float32)
    restored = restore_tiled(Tiles((128, 128), lambda patch: patch + next(offsets)), image)
    steps = np.abs(np.diff(restored, axis=1)).max()
    assert np.ptp(restored) >= 0.3
    # The steepest slope of the fade is 1.5 / 8 a pixel, times the largest difference of 0.4.
    assert steps <= 0.4 * 1.5 / 8 + 1e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_range_and_dtype_are_kept(dtype):
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    image = (random_image(50, 90) * scale).astype(dtype)
    restored = restore_tiled(Tiles((64, 64), lambda patch: 2 * patch), image)
    assert restored.dtype == (np.float32 if scale == 1 else dtype)
    expected = 2 * image.astype(np.float64)
    if scale > 1:
        expected = np.clip(expected, 0, scale)
    np.testing.assert_allclose(restored, expected, atol=1e-3 * scale / 255)


def test_memory_beside_image_and_result_does_not_grow_with_the_image():
    peaks = []
    for height in (512, 4096):
        image = np.zeros((height, 512, 3), np.uint8)
        tracemalloc.start()
        restore_tiled(Tiles((128, 128)), image)
        peaks.append(tracemalloc.get_traced_memory()[1] - image.nbytes)
        tracemalloc.stop()
    assert peaks[1] == pytest.approx(peaks[0], rel=0.05)


def test_progress_counts_tiles_and_keras_models_serve():
    keras.utils.set_random_seed(0)
    image = random_image(70, 150)
    layer = keras.layers.Conv2D(3, 3, padding="same")
    free = keras.Sequential([keras.Input((None, None, 3)), layer])
    fixed = keras.Sequential([keras.Input((64, 96, 3)), layer])
    seen = []
    restored = restore_tiled(free, image, tile=64, on_tile=lambda *counts: seen.append(counts))
    assert seen == [(i, len(seen)) for i in range(1, len(seen) + 1)]
    whole = free(image[None]).numpy()[0]
    # A convolution of 3x3 knows all it needs inside the margin: only the image's border differs.
    np.testing.assert_allclose(restored[1:-1, 1:-1], whole[1:-1, 1:-1], atol=1e-5)
    assert tile_runner(fixed).size == (64, 96)
    np.testing.assert_allclose(
        restore_tiled(fixed, image)[1:-1, 1:-1], whole[1:-1, 1:-1], atol=1e-5
    )


def test_errors_say_what_is_expected():
    with pytest.raises(ValueError, match=r"\(height, width, 3\) is needed; got \(5, 5\)"):
        restore_tiled(Tiles((64, 64)), np.zeros((5, 5)))
    with pytest.raises(ValueError, match="uint8, uint16 or float"):
        restore_tiled(Tiles((64, 64)), np.zeros((5, 5, 3), np.int32))
    with pytest.raises(ValueError, match="multiples of 8 pixels, at least 16; got 60x64"):
        restore_tiled(Tiles((64, 60)), np.zeros((5, 5, 3)))
