import numpy as np
import pytest
import tensorflow as tf

from keras_skd.data import GaussianNoise, ImageStore, training_batches, validation_batches
from keras_skd.errors import InputError


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


class Darken:
    """A degradation that cannot be mistaken for a recorded input."""

    margin = 0

    def __call__(self, clean, seed):
        return clean / 4


class Smear:
    """The mean of 7x7 pixels, of which 3 lie beyond the border."""

    margin = 3

    def within_margin(self, clean, seed):
        kernel = tf.ones((7, 7, 3, 1)) / 49
        return tf.nn.depthwise_conv2d(clean, kernel, (1, 1, 1, 1), "VALID")


def flat_groups(values, pairs):
    """Images of one value each; the input of a pair is brighter by 100."""
    images = [np.full((20, 24, 3), value, np.uint8) for value in values]
    return [(image + np.uint8(100), image) if pairs else (image,) for image in images]


def mixed_store(tmp_path, share=1):
    clean, pairs = flat_groups(range(1, 41), False), flat_groups((101, 102), True)
    return ImageStore.mixed([(clean, 1), (pairs, share)], 16, tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_of_a_mix_clean_patches_are_degraded_and_pairs_taken_as_they_are(tmp_path, channels):
    seen = set()
    store = mixed_store(tmp_path)
    for degraded, clean in batches(store, degradation=Darken(), channels=channels):
        assert degraded.shape == clean.shape == (4, 16, 16, channels)
        for one, other in zip(degraded * 255, clean * 255, strict=True):
            recorded = other[0, 0, 0] > 100.5
            expected = other + 100 if recorded else other / 4
            np.testing.assert_allclose(one, expected, atol=1e-3)
            seen.add(bool(recorded))
    assert seen == {False, True}


def test_pairs_of_a_mix_stay_aligned_and_lose_their_margin(tmp_path):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 120, (40, 56, 3), np.uint8)
    store = ImageStore([(255 - image, image), (image,)], 16, tmp_path)
    kinds = []
    for degraded, clean in batches(store, degradation=Smear()):
        for one, other in zip(degraded, clean, strict=True):
            assert one.shape == other.shape == (16, 16, 3)
            kinds.append(one.mean() > 0.5)
            if kinds[-1]:
                np.testing.assert_allclose(one, 1 - other, atol=1e-6)
            else:
                inner = Smear().within_margin(other[None], None).numpy()[0]
                np.testing.assert_allclose(one[3:-3, 3:-3], inner, atol=1e-5)
    assert 0 < sum(kinds) < len(kinds)


@pytest.mark.parametrize("share", [0.25, 1, 3])
def test_each_folder_has_its_share_however_many_images_it_holds(tmp_path, share):
    drawn = batches(mixed_store(tmp_path, share), steps=250, degradation=Darken())
    values = np.concatenate([clean[:, 0, 0, 0] * 255 for _, clean in drawn]).round()
    expected = share / (1 + share)
    # 1000 draws have a standard error of at most 0.016.
    assert (values > 100).mean() == pytest.approx(expected, abs=0.06)
    assert (values == 101).mean() == pytest.approx(expected / 2, abs=0.05)
    assert len(np.unique(values)) > 35


def test_a_resumed_run_sees_the_same_mixed_batches(tmp_path):
    store, noise = mixed_store(tmp_path), GaussianNoise(0, 50)
    whole = batches(store, degradation=noise)
    resumed = batches(store, degradation=noise, first_step=3)
    for one, other in zip(whole[3:], resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mix_of_one_folder_is_that_folder(tmp_path):
    generator = np.random.default_rng(0)
    groups = [(generator.integers(0, 256, (40, 56, 3), np.uint8),) for _ in range(5)]
    noise = GaussianNoise(0, 50)
    alone = batches(ImageStore(groups, 16, tmp_path), degradation=noise)
    one = batches(ImageStore.mixed([(groups, 0.5)], 16, tmp_path), degradation=noise)
    for first, second in zip(alone, one, strict=True):
        np.testing.assert_array_equal(first, second)


def test_patches_are_those_of_before_there_were_mixes(pairs):
    """A run that is resumed from an older version goes on with the same patches."""
    generator = np.random.default_rng((5, 0))
    index, top, left = generator.integers(3), generator.integers(25), generator.integers(41)
    turns, flip = generator.integers(4), generator.integers(2)
    patch = np.rot90(pairs[index][1][top : top + 16, left : left + 16], turns)
    patch = patch[:, ::-1] if flip else patch
    np.testing.assert_allclose(batches(pairs)[0][1][0] * 255, patch, atol=1e-4)


def test_a_mix_needs_a_degradation(tmp_path):
    with pytest.raises(InputError, match="need a degradation"):
        batches(mixed_store(tmp_path))


def test_validation_of_a_mix_degrades_what_is_clean(tmp_path):
    groups = flat_groups((40,), False) + flat_groups((101,), True)
    values = [(x.numpy() * 255, y.numpy() * 255) for x, y in validation_batches(groups, Darken())]
    for (degraded, clean), expected in zip(values, ((10, 40), (201, 101)), strict=True):
        np.testing.assert_allclose(degraded, expected[0], atol=1e-3)
        np.testing.assert_allclose(clean, expected[1], atol=1e-3)


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
