import numpy as np
import pytest
import tensorflow as tf

from keras_skd.data import GaussianNoise


def test_level_is_in_8_bit_units_and_not_clipped():
    clean = tf.ones((2, 128, 128, 3))
    noisy = GaussianNoise(25, 25)(clean, tf.constant([0, 1])).numpy()
    # 49152 samples an image: the standard error of the deviation is 0.08.
    assert (noisy - 1).std(axis=(1, 2, 3)) * 255 == pytest.approx([25, 25], abs=0.4)
    assert noisy.max() > 1.2


def test_same_seed_same_noise():
    clean, noise = tf.zeros((1, 16, 16, 3)), GaussianNoise(25, 25)
    first = noise(clean, tf.constant([3, 4])).numpy()
    assert np.array_equal(first, noise(clean, tf.constant([3, 4])).numpy())
    assert not np.array_equal(first, noise(clean, tf.constant([3, 5])).numpy())


def test_blind_noise_draws_a_level_an_image():
    noisy = GaussianNoise(0, 50)(tf.zeros((64, 32, 32, 3)), tf.constant([0, 0])).numpy()
    levels = noisy.std(axis=(1, 2, 3)) * 255
    assert levels.min() < 6
    assert levels.max() > 44
    assert abs(levels.mean() - 25) < 6  # 64 uniform draws: a standard error of 1.8


@pytest.mark.parametrize(
    ("text", "levels"), [("25", (25, 25)), ("0-50", (0, 50)), ("2.5-7", (2.5, 7))]
)
def test_parse(text, levels):
    noise = GaussianNoise.parse(text)
    assert (noise.sigma_min, noise.sigma_max) == levels


@pytest.mark.parametrize("text", ["", "loud", "5-", "50-0", "-5", "300", "1-2-3"])
def test_parse_refuses(text):
    with pytest.raises(ValueError, match="sigma must be"):
        GaussianNoise.parse(text)
