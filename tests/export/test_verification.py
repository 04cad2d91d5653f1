import numpy as np
import pytest

from keras_skd.export.verification import INVISIBLE_PSNR, task_psnr, tile_psnrs


def test_a_tile_counts_at_most_an_error_of_one_step():
    generator = np.random.default_rng(0)
    clean = (generator.integers(20, 235, size=(3, 32, 32, 3)) / 255).astype(np.float32)
    restored = clean.copy()
    restored[1, ::8, ::8] += 1 / 255  # a 64th of the pixels is one step off: 66 dB
    restored[2] += 2 / 255  # everywhere two steps
    expected = [INVISIBLE_PSNR, INVISIBLE_PSNR, INVISIBLE_PSNR - 20 * np.log10(2)]
    np.testing.assert_allclose(tile_psnrs(restored, clean), expected, atol=1e-6)
    # The mean stays a number where a tile is restored exactly.
    assert task_psnr(restored, clean) == pytest.approx(np.mean(expected))
