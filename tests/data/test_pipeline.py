import numpy as np
import pytest
import tensorflow as tf

from keras_skd.data import GaussianNoise, ImageStore, training_batches, validation_batches


@pytest.fixture
def pairs(tmp_path):
    """Pairs whose target is the negative of the input, so that alignment can be checked."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (40, 56, 3), np.uint8) for _ in range(3)]
    return ImageStore([(image, 255 - image) for image in images], 16, tmp_path)


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    return ImageStore([(generator.integers(0, 256, (40, 56, 3), np.uint8),)], 16, tmp_path)


def batches(store, **options):
    options = {"patch_size": 16, "batch_size": 4, "steps": 6, "seed": 5, **options}
    return [(x.numpy(), y.numpy()) for x, y in training_batches(store, **options)]


def test_pairs_stay_aligned_through_crop_flip_and_rotation(pairs):
    for degraded, clean in batches(pairs):
        assert degraded.shape == clean.shape == (4, 16, 16, 3)
        np.testing.assert_allclose(degraded, 1 - clean, atol=1e-6)


def test_a_resumed_run_sees_the_same_batches(photos):
    noise = GaussianNoise(0, 50)
    whole = batches(photos, degradation=noise)
    resumed = batches(photos, degradation=noise, first_step=4)
    assert len(resumed) == 2
    for one, other in zip(whole[4:], resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_differ_by_step_and_seed(photos):
    noise = GaussianNoise(25, 25)
    first, second, *_ = batches(photos, degradation=noise)
    assert not np.array_equal(first[1], second[1])
    assert not np.array_equal(first[1], batches(photos, degradation=noise, seed=6)[0][1])


def test_all_eight_orientations_occur(tmp_path):
    ramp = np.zeros((16, 16, 3), np.uint8)
    ramp[:, :, 0] = np.arange(16)[:, None] * 2 + np.arange(16)[None, :]
    store = ImageStore([(ramp,)], 16, tmp_path)
    drawn = batches(store, steps=40, degradation=GaussianNoise(0, 0))
    seen = {patch.tobytes() for _, clean in drawn for patch in clean}
    assert len(seen) == 8


def test_blurred_patches_know_what_lies_around_them(tmp_path):
    """A patch of the pipeline is the blurred photograph's, not the blur of the patch alone."""

    class Smear:
        margin = 3

        def within_margin(self, clean, seed):
            kernel = tf.ones((7, 7, 3, 1)) / 49
            return tf.nn.depthwise_conv2d(clean, kernel, (1, 1, 1, 1), "VALID")

    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    store = ImageStore([(image,)], 16, tmp_path)
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="reflect") / np.float32(255)
    whole = Smear().within_margin(padded[None], None).numpy()[0]
    clean = image / np.float32(255)
    places = {}
    for turns in range(4):
        for flip in (1, -1):
            for top in range(25):
                for left in range(41):
                    box = np.s_[top : top + 16, left : left + 16]
                    places[np.rot90(clean[box], turns)[:, ::flip].tobytes()] = (box, turns, flip)
    for degraded, patches in batches(store, degradation=Smear()):
        for smeared, patch in zip(degraded, patches, strict=True):
            box, turns, flip = places[patch.tobytes()]
            expected = np.rot90(whole[box], turns)[:, ::flip]
            np.testing.assert_allclose(smeared, expected, atol=1e-5)


def test_clean_images_need_a_degradation_and_pairs_take_none(photos, pairs):
    with pytest.raises(ValueError, match="need a degradation"):
        batches(photos)
    with pytest.raises(ValueError, match="pairs take none"):
        batches(pairs, degradation=GaussianNoise(25, 25))


def test_validation_noise_is_fixed_and_of_the_level_given(photos):
    def read():
        return [(x.numpy(), y.numpy()) for x, y in validation_batches([photos[0]], noise)]

    noise = GaussianNoise(25, 25)
    (degraded, clean), *_ = read()
    assert degraded.shape == (1, 40, 40, 3)
    np.testing.assert_array_equal(degraded, read()[0][0])
    assert (degraded - clean).std() * 255 == pytest.approx(25, abs=1.2)  # 4800 samples
