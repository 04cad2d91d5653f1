import numpy as np

from keras_skd.data import training_photos, validation_photos
from keras_skd.data.photos import dead_leaves_image


def test_photographs_are_colour_and_disjoint():
    training, validation = training_photos(dead_leaves=2), validation_photos()
    assert not training.keys() & validation.keys()
    for image in [*training.values(), *validation.values()]:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert np.ptp(image.astype(int), axis=2).max() > 50  # colour, not grey


def test_dead_leaves_are_seeded_and_use_the_palette():
    palette = np.array([[250, 10, 10], [10, 10, 250]], np.uint8)
    image = dead_leaves_image(64, 3, palette)
    assert np.array_equal(image, dead_leaves_image(64, 3, palette))
    assert not np.array_equal(image, dead_leaves_image(64, 4, palette))
    # Green is in no colour of the palette; shading and grain add a little.
    assert np.median(image[..., 1]) < 60


def test_dead_leaves_are_as_rough_at_half_the_size():
    """Natural images keep the spread of their gradients when scaled; white noise halves it."""
    palette = np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8)
    image = dead_leaves_image(256, 0, palette).astype(float)
    halved = image.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    noise = np.random.default_rng(0).normal(size=(256, 256, 3))
    noise_halved = noise.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))

    def roughness(x):
        return np.abs(np.diff(x, axis=0)).mean()

    assert roughness(halved) > 0.9 * roughness(image)
    assert roughness(noise_halved) < 0.6 * roughness(noise)
