import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_skd.data import (
    GaussianNoise,
    ImagePairs,
    ImageStore,
    MotionBlur,
    make_pairs,
    training_batches,
    validation_batches,
)
from keras_skd.errors import InputError

NOISE = GaussianNoise(25, 25)


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_pairs_of_a_data_set_are_scaled_and_nothing_else():
    groups = images(2, 2, 8, 9, 3)
    degraded, clean = make_pairs(groups)
    np.testing.assert_array_equal(degraded, groups[:, 0] / np.float32(255))
    np.testing.assert_array_equal(clean, groups[:, 1] / np.float32(255))


def test_clean_images_are_degraded_by_the_seed():
    groups = images(1, 1, 64, 64, 3)
    degraded, clean = make_pairs(groups, NOISE, (3, 4))
    np.testing.assert_array_equal(degraded, NOISE(clean, tf.constant([3, 4])))
    other, _ = make_pairs(groups, NOISE, (3, 5))
    assert np.abs(other - degraded).max() > 0.1


def test_grey_pairs_have_the_luma_of_the_colours():
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]], np.uint8)
    _, clean = make_pairs(colours.reshape(1, 1, 2, 2, 3), NOISE, channels=1)
    expected = [0.299, 0.587, 0.114, 128 / 255]
    np.testing.assert_allclose(np.ravel(clean), expected, atol=1e-6)


def test_surroundings_blur_into_the_patch_and_are_left_out():
    # What stands still, and noise, depend on the size; the blur of a place does not.
    blur = MotionBlur(extent=(25, 25), still=0, noise=(0, 0))
    photo = images(1, 1, 128, 128, 3)
    margin = blur.margin
    inner = np.s_[:, :, margin:-margin, margin:-margin]
    degraded, clean = make_pairs(photo, blur, (0, 0), margin=margin)
    np.testing.assert_allclose(clean, photo[inner][:, 0] / 255, atol=1e-6)
    alone, _ = make_pairs(photo[inner], blur, (0, 0))  # reflects its border instead
    difference = np.abs(degraded - alone)[0].max(axis=2)
    assert difference[margin:-margin, margin:-margin].max() < 1e-4
    assert difference[:2].max() > 1e-3


def test_an_image_is_degraded_alike_in_every_place(tmp_path):
    """Evaluation, validation and training: the same numbers for the same image and seed."""
    photo = images(32, 32, 3)
    Image.fromarray(photo).save(tmp_path / "a.png")
    pair = ImagePairs([(tmp_path / "a.png",)], NOISE, seed=7)[0]
    assert pair.name == "a.png"
    ((degraded, clean),) = validation_batches([(photo,)], NOISE, seed=7)
    np.testing.assert_array_equal(degraded[0], pair.degraded)
    np.testing.assert_array_equal(clean[0], pair.clean)
    store = ImageStore([(photo,)], 32, tmp_path)
    ((degraded, clean),) = training_batches(
        store, patch_size=32, batch_size=1, steps=1, degradation=NOISE, seed=7
    )
    # The patch is flipped and turned; its noise is that of the seed (7, step 0).
    noise = NOISE(0 * clean, tf.constant([7, 0], tf.int64))
    np.testing.assert_allclose(degraded - clean, noise, atol=1e-6)


def test_pairs_of_two_sizes_and_small_images_are_found_before_they_are_read(tmp_path):
    for name, size in {"a.png": (32, 32), "b.png": (32, 40), "c.png": (10, 40)}.items():
        Image.new("RGB", size).save(tmp_path / name)
    a, b, c = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    with pytest.raises(InputError, match=r"a\.png: 32x32 and 32x40 pixels"):
        ImagePairs([(a, b)]).check_sizes(11)
    with pytest.raises(InputError, match=r"a\.png: 32x32 and 32x40 pixels"):
        ImagePairs([(a, b)])[0]
    with pytest.raises(InputError, match=r"c\.png: 10x40 pixels; .* at least 11x11"):
        ImagePairs([(a,), (c,)], NOISE).check_sizes(11)
    ImagePairs([(a,), (b,)], NOISE).check_sizes(11)


def test_recorded_groups_of_a_batch_are_taken_as_they_are():
    groups = images(3, 2, 8, 9, 3)
    recorded = np.array([True, False, True])
    degraded, clean = make_pairs(groups, NOISE, (3, 4), recorded=recorded)
    np.testing.assert_array_equal(clean, groups[:, 1] / np.float32(255))
    expected = np.where(recorded[:, None, None, None], groups[:, 0] / 255, NOISE(clean, (3, 4)))
    np.testing.assert_allclose(degraded, expected, atol=1e-6)
