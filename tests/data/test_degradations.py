import math

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_skd.data import CameraNoise, GaussianNoise, MotionBlur, Rain, validation_photos
from keras_skd.data.degradations import reflect_pad, to_linear, to_srgb


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


DEGRADATIONS = [GaussianNoise(0, 50), CameraNoise(), Rain(dry=0), MotionBlur()]
SIZES = [(1, 1), (1, 40), (23, 17), (64, 64)]


def by_name(degradation):
    return type(degradation).__name__


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=by_name)
def test_every_degradation_is_seeded_keeps_its_shape_and_is_finite(degradation):
    signature = [tf.TensorSpec((2, None, None, 3)), tf.TensorSpec((2,), tf.int32)]
    run = tf.function(degradation, input_signature=signature)  # as in tf.data
    for size in SIZES:
        clean = tf.constant(np.random.default_rng(0).uniform(size=(2, *size, 3)), tf.float32)
        first = run(clean, tf.constant([3, 4])).numpy()
        assert first.shape == clean.shape
        assert first.dtype == np.float32
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(first, run(clean, tf.constant([3, 4])).numpy())
        if size == (64, 64):
            assert not np.array_equal(first, run(clean, tf.constant([3, 5])).numpy())
            # The images of a batch are degraded differently.
            same = run(tf.repeat(clean[:1], 2, axis=0), tf.constant([3, 4])).numpy()
            assert not np.array_equal(same[0], same[1])


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=by_name)
def test_grey_images_stay_grey_images(degradation):
    for size in ((1, 1), (40, 33)):
        clean = tf.constant(np.random.default_rng(0).uniform(size=(2, *size, 1)), tf.float32)
        degraded = degradation(clean, tf.constant([3, 4])).numpy()
        assert degraded.shape == clean.shape
        assert np.isfinite(degraded).all()
        assert size == (1, 1) or np.abs(degraded - clean).max() > 1e-3


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=by_name)
def test_what_is_fixed_is_a_degradation(degradation):
    fixed = degradation.fixed()
    assert fixed.margin == degradation.margin
    assert fixed.fixed() == fixed
    assert fixed(tf.zeros((1, 16, 16, 3)), tf.constant([0, 0])).shape == (1, 16, 16, 3)


def test_srgb_and_light():
    values = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-6)
    # IEC 61966-2-1: the middle grey of 8 bits is 21.6 % of the light.
    assert float(to_linear(tf.constant(128 / 255))) == pytest.approx(0.21586, abs=1e-5)


# A camera that does nothing but demosaic.
PLAIN = {
    "gain": (1, 1),
    "saturation": (1, 1),
    "luma_blur": (0, 0),
    "chroma_blur": (0, 0),
    "contrast": (0, 0),
}


@pytest.mark.parametrize("grey", [0.2, 0.5, 0.7])
def test_camera_noise_has_the_variance_of_its_model_in_linear_light(grey):
    noise = CameraNoise(1e-3, 1e-3, **PLAIN)
    light = float(to_linear(tf.constant(grey)))
    clean = tf.fill((8, 64, 64, 3), grey)
    linear = to_linear(noise(clean, tf.constant([0, 1]))).numpy()
    # Read noise is drawn an image: its logarithm has a deviation of 0.26 about the fit, of which
    # three are allowed here.
    log_read = 2.18 * math.log(1e-3) + 1.20
    low, high = (1e-3 * light + math.exp(log_read + 0.26 * 3 * side) for side in (-1, 1))
    # At its own pixels a colour keeps its sample; 8192 of them give the variance within 6 %, and
    # 16384 of green within 4 %, at four standard errors.
    for rows, columns, channel in ((0, 0, 0), (1, 1, 2), (0, 1, 1), (1, 0, 1)):
        variance = linear[:, rows::2, columns::2, channel].var()
        assert 0.93 * low < variance < 1.07 * high
    # Between them it is the mean of two samples, or of four: green's of four neighbours.
    assert linear[:, ::2, ::2, 1].var() == pytest.approx(linear[:, ::2, 1::2, 1].var() / 4, rel=0.1)
    assert linear[:, ::2, 1::2, 0].var() == pytest.approx(linear[:, ::2, ::2, 0].var() / 2, rel=0.1)


def test_white_balance_multiplies_its_channels_noise():
    clean = tf.fill((8, 64, 64, 3), 0.5)
    noise = CameraNoise(1e-3, 1e-3, **{**PLAIN, "gain": (4, 4)})
    red, green, blue = to_linear(noise(clean, tf.constant([0, 1]))).numpy().std(axis=(0, 1, 2))
    plain = CameraNoise(1e-3, 1e-3, **PLAIN)(clean, tf.constant([0, 1]))
    before = to_linear(plain).numpy().std(axis=(0, 1, 2))
    # The sensor has a quarter of the light, half the noise of it, and four times the amplification.
    assert red == pytest.approx(2 * before[0], rel=0.05)
    assert green == pytest.approx(before[1], rel=0.05)
    assert blue == pytest.approx(2 * before[2], rel=0.05)


def test_camera_noise_is_strongest_in_the_dark_after_gamma():
    noise = CameraNoise(5e-3, 5e-3, **PLAIN)
    deviations = [
        noise(tf.fill((1, 64, 64, 3), grey), tf.constant([0, 1])).numpy().std()
        for grey in (0.3, 0.5, 0.8)
    ]
    assert deviations[0] > deviations[1] > deviations[2]


def test_contrast_makes_noise_in_black_and_white_weaker_and_no_other_photograph():
    def deviation(grey, strength):
        noise = CameraNoise(1e-3, 1e-3, **{**PLAIN, "contrast": (strength, strength)})
        degraded = noise(tf.fill((1, 64, 64, 3), grey), tf.constant([0, 1])).numpy()
        assert degraded.mean() == pytest.approx(grey, abs=3e-3)
        return degraded.std()

    for grey in (0.08, 0.92):
        assert deviation(grey, 1) < 0.8 * deviation(grey, 0)
    assert deviation(0.5, 1) > 1.2 * deviation(0.5, 0)


def autocorrelation(noise, lag):
    """Mean of both axes, of ``(batch, height, width)``."""
    noise = noise - noise.mean()
    products = [noise[:, lag:] * noise[:, :-lag], noise[:, :, lag:] * noise[:, :, :-lag]]
    return np.mean([product.mean() for product in products]) / np.square(noise).mean()


def test_camera_noise_is_correlated_in_space_and_between_channels_as_a_cameras_is():
    clean = tf.fill((16, 96, 96, 3), 0.5)
    noise = CameraNoise().fixed()(clean, tf.constant([0, 1])).numpy() - 0.5
    luma = noise @ np.array([0.299, 0.587, 0.114])
    chroma = noise[..., 2] - luma
    # PolyU's medians are 0.61 and 0.22, and for chroma 0.92 and 0.56 at a lag of 4.
    assert 0.4 < autocorrelation(luma, 1) < 0.75
    assert autocorrelation(luma, 2) < 0.35
    assert abs(autocorrelation(luma, 4)) < 0.1
    assert autocorrelation(chroma, 1) > 0.8
    assert 0.3 < autocorrelation(chroma, 4) < 0.8
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert 0.4 < channels[0, 1] < 0.95  # PolyU: 0.71
    # White noise, the control, has none of it.
    white = GaussianNoise(10, 10)(clean, tf.constant([0, 1])).numpy()[..., 0] - 0.5
    assert abs(autocorrelation(white, 1)) < 0.02


def test_luma_filter_smooths_above_zero_and_sharpens_below():
    def correlation(scale):
        noise = CameraNoise(1e-3, 1e-3, **{**PLAIN, "luma_blur": (scale, scale)})
        degraded = noise(tf.fill((4, 64, 64, 3), 0.5), tf.constant([0, 1])).numpy()
        return autocorrelation(degraded @ np.array([0.299, 0.587, 0.114]), 1)

    assert correlation(-0.2) < correlation(0) - 0.1
    assert correlation(0.8) > correlation(0) + 0.1


def test_camera_noise_ranges_from_weak_to_high_sensitivity():
    """PolyU has 33 to 40 dB: within the range, to either side of its middle."""
    photo = next(iter(validation_photos().values()))[:96, :96] / np.float32(255)
    clean = np.repeat(photo[None], 96, axis=0)
    degraded = CameraNoise()(clean, tf.constant([0, 0])).numpy()
    scores = np.sort(-10 * np.log10(np.square(degraded - clean).mean(axis=(1, 2, 3))))
    assert scores[5] < 28
    assert 33 < scores[48] < 40
    assert scores[-5] > 42


def direction(image):
    """Angle of the streaks to the vertical in degrees, from the structure tensor."""
    dy, dx = np.gradient(image)
    angle = 0.5 * np.arctan2(2 * (dx * dy).sum(), (dx**2).sum() - (dy**2).sum())
    return -np.degrees(angle)


def rain_alone(seed=0, **options):
    """Rain on black, without veil: the streaks themselves."""
    rain = Rain(veil=(0, 0), dry=0, **options)
    return rain(tf.zeros((1, 192, 192, 3)), tf.constant([seed, 0])).numpy()[0, ..., 0]


def test_rain_falls_along_one_direction_an_image_that_varies_between_images():
    found = [direction(rain_alone(seed, angle=40, spread=0)) for seed in range(24)]
    assert min(found) < -12
    assert max(found) > 12
    assert max(abs(angle) for angle in found) < 42
    assert max(abs(direction(rain_alone(seed, angle=0, spread=0))) for seed in range(6)) < 2


def test_layers_of_rain_cross_where_a_spread_is_asked_for():
    def coherence(image):
        dy, dx = np.gradient(image)
        yy, xx, yx = (dy**2).sum(), (dx**2).sum(), (dx * dy).sum()
        return np.hypot(xx - yy, 2 * yx) / (xx + yy)  # 1 where all edges are parallel

    options = {"angle": 0, "amount": (0.3, 0.3)}
    parallel = [coherence(rain_alone(seed, spread=0, **options)) for seed in range(12)]
    crossing = [coherence(rain_alone(seed, spread=60, **options)) for seed in range(12)]
    assert min(parallel) > 0.7
    assert min(crossing) < 0.5
    assert np.mean(crossing) < np.mean(parallel) - 0.1


@pytest.mark.parametrize("added", [0, 1])
def test_rain_covers_more_and_longer_as_asked(added):
    options = {"added": added, "opacity": (0.8, 0.8)}
    cover = [(rain_alone(amount=(a, a), **options) > 0.1).mean() for a in (0.05, 0.2, 0.6, 2)]
    assert cover == sorted(cover)
    assert cover[0] < 0.12
    assert cover[2] > 0.3
    assert cover[3] > 0.7

    def autocorrelation(image, shift):
        image = image - image.mean()
        return (image[shift:] * image[:-shift]).mean() / (image**2).mean()

    options = {"angle": 0, "spread": 0, "amount": (0.1, 0.1), **options}
    short, long = (rain_alone(length=(n, n), **options) for n in (12, 48))
    assert autocorrelation(long, 12) > autocorrelation(short, 12) + 0.2
    # A streak is long along the fall and thin across it.
    assert autocorrelation(long, 8) > autocorrelation(long.T, 8) + 0.4


@pytest.mark.parametrize("added", [0, 1])
def test_rain_brightens_the_dark_and_the_veil_lowers_contrast(added):
    rain = rain_alone(added=added, opacity=(0.9, 0.9), amount=(0.5, 0.5))
    assert rain.min() == 0
    assert 0.5 < rain.max() <= 1
    ramp = tf.tile(tf.linspace(0.0, 1.0, 64)[None, None, :, None], (1, 64, 1, 3))
    seed = tf.constant([0, 0])
    options = {"amount": (0, 0), "added": added, "dry": 0}
    veil = Rain(veil=(0.3, 0.3), veiled=1, **options)(ramp, seed).numpy()
    assert np.ptp(veil) == pytest.approx(0.7, abs=1e-5)
    assert np.array_equal(Rain(veil=(0, 0), **options)(ramp, seed), ramp)


def test_added_rain_clips_bright_parts_and_covering_rain_can_darken_them():
    clean, seed = tf.ones((4, 64, 64, 3)), tf.constant([0, 0])
    options = {"amount": (0.5, 0.5), "veil": (0, 0), "dry": 0}
    assert np.array_equal(Rain(added=1, **options)(clean, seed), clean)
    assert Rain(added=0, **options)(clean, seed).numpy().min() < 0.99
    middle = 0 * clean + 0.5
    assert Rain(added=1, **options)(middle, seed).numpy().min() == 0.5


def test_streaks_are_grey():
    """The same light falls into every channel, so that no colour is learnt as rain."""
    rain = Rain(veil=(0, 0), dry=0)(tf.zeros((4, 64, 64, 3)), tf.constant([0, 0])).numpy()
    np.testing.assert_array_equal(rain[..., 0], rain[..., 2])


def test_rain_ranges_from_drizzle_to_heavier_than_rain100h():
    """Rain100H has 8 to 22 dB, 13.8 on average; Rain100L about 27."""
    photo = next(iter(validation_photos().values()))[:128, :128] / np.float32(255)
    clean = np.repeat(photo[None], 128, axis=0)
    degraded = Rain().fixed()(clean, tf.constant([0, 0])).numpy()
    # Y of MATLAB's rgb2ycbcr, as deraining is measured
    weights = np.array([65.481, 128.553, 24.966]) / 255
    errors = np.square((degraded - clean) @ weights).mean(axis=(1, 2))
    scores = np.sort(-10 * np.log10(errors))
    assert scores[6] < 13  # 5 % of the images
    assert 15 < scores[64] < 22
    assert scores[-6] > 27


def test_a_share_of_images_stays_dry_in_training_only():
    """To the last bit, and the rain of the others is what it would be."""
    clean = tf.constant(np.random.default_rng(0).uniform(size=(400, 16, 16, 3)), tf.float32)
    seed = tf.constant([0, 0])
    rain = Rain(veil=(0.1, 0.3), veiled=1, dry=0.25)
    some, every = rain(clean, seed).numpy(), rain.fixed()(clean, seed).numpy()
    dry = (some == clean.numpy()).all(axis=(1, 2, 3))
    assert dry.mean() == pytest.approx(0.25, abs=0.07)  # three standard errors
    assert not (every == clean.numpy()).all(axis=(1, 2, 3)).any()
    np.testing.assert_array_equal(some[~dry], every[~dry])
    assert 0 < Rain().dry < 0.2


def test_a_share_of_images_has_a_veil():
    """Without streaks the others are as they were, to the last bit."""
    clean = tf.constant(np.random.default_rng(0).uniform(size=(400, 16, 16, 3)), tf.float32)
    rain = Rain(amount=(0, 0), veil=(0.1, 0.3), veiled=0.4)
    degraded = rain.fixed()(clean, tf.constant([0, 0])).numpy()
    clear = (degraded == clean.numpy()).all(axis=(1, 2, 3))
    assert clear.mean() == pytest.approx(0.6, abs=0.08)  # three standard errors
    assert 0.2 < Rain().veiled < 0.6


def test_no_border_shows_in_rain():
    """As much rain falls in the outermost rows and columns as inside, over many images."""
    images = np.stack([rain_alone(seed, amount=(0.3, 0.3)) for seed in range(24)])
    for axis in (1, 2):
        profile = images.mean(axis=(0, 3 - axis))
        spread = profile[20:-20].std()
        for edge in (profile[:4].mean(), profile[-4:].mean()):
            assert abs(edge - profile[20:-20].mean()) < 4 * spread


def test_blur_kernels_are_motions():
    blur = MotionBlur()
    kernels = blur.kernels(64, tf.constant([0, 0])).numpy()
    assert kernels.shape == (64, 29, 29)
    assert kernels.min() >= 0
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1, atol=1e-5)
    offsets = np.arange(29) - 14
    for axis in (1, 2):  # centred, so that nothing shifts
        np.testing.assert_allclose(kernels.sum(axis=axis) @ offsets, 0, atol=1e-3)
    area = (kernels > 1e-4).sum(axis=(1, 2))
    assert area.min() < 20
    assert area.max() > 60
    assert len({kernel.round(4).tobytes() for kernel in kernels}) == 64


def test_straight_lines_are_straight_and_of_their_extent():
    kernels = (
        MotionBlur(extent=(21, 21), linear=1, sampled=0).kernels(32, tf.constant([0, 0])).numpy()
    )
    y, x = np.mgrid[-14:15, -14:15]
    for kernel in kernels:
        moments = np.array(
            [[(kernel * y * y).sum(), (kernel * x * y).sum()], [0, (kernel * x * x).sum()]]
        )
        moments[1, 0] = moments[0, 1]
        across, along = np.linalg.eigvalsh(moments)
        # 128 points, ends included, on a line of length L have the variance L^2 / 12 * 129 / 127;
        # bilinear drawing adds up to 1/4.
        assert along == pytest.approx(21**2 / 12 * 129 / 127, abs=0.3)
        assert across < 0.3
    shakes = (
        MotionBlur(extent=(21, 21), linear=0, sampled=0).kernels(32, tf.constant([0, 0])).numpy()
    )
    bent = [
        np.linalg.eigvalsh(
            [[(k * y * y).sum(), (k * x * y).sum()], [(k * x * y).sum(), (k * x * x).sum()]]
        )[0]
        for k in shakes
    ]
    assert np.median(bent) > 1


def test_blur_is_the_convolution_of_light():
    blur = MotionBlur(still=0, noise=(0, 0))
    clean = np.random.default_rng(0).uniform(size=(1, 40, 50, 3)).astype(np.float32)
    blurred = blur(clean, tf.constant([5, 6])).numpy()
    kernel = blur.kernels(1, tf.constant([5, 6])).numpy()[0]
    light = np.pad(to_linear(clean)[0], ((14, 14), (14, 14), (0, 0)), mode="reflect")
    expected = np.stack(
        [scipy.signal.convolve2d(light[..., c], kernel, mode="valid") for c in range(3)], axis=-1
    )
    # FFT in float32 of values of order one, then the slope of gamma, at most 12.92.
    np.testing.assert_allclose(blurred[0], to_srgb(expected), atol=1e-5)
    # A light among darkness stays brighter than an average of sRGB values would be.
    dot = np.zeros((1, 41, 41, 3), np.float32)
    dot[:, 20, 20] = 1
    wide = MotionBlur(extent=(12, 12), still=0, noise=(0, 0))
    assert wide(dot, tf.constant([5, 6])).numpy().sum() > 2 * dot.sum()


def test_a_flat_image_stays_flat_to_its_border():
    for size in ((3, 50), (64, 64)):
        clean = np.full((1, *size, 3), 0.4, np.float32)
        blur = MotionBlur(noise=(0, 0))
        np.testing.assert_allclose(blur(clean, tf.constant([0, 1])), clean, atol=1e-5)


def test_small_extents_are_the_most_frequent():
    def share_in_the_middle(extent):
        kernels = MotionBlur(extent=extent).kernels(400, tf.constant([0, 0])).numpy()
        return (kernels[:, 12:17, 12:17].sum(axis=(1, 2)) > 0.999).mean()

    # Extents below 4 pixels lie within the middle 5x5: half the draws are below 1 + 24 / 8.
    assert 0.4 < share_in_the_middle((1, 25)) < 0.75
    assert share_in_the_middle((8, 25)) < 0.1


def test_sampled_trajectories_are_at_most_21_places():
    options = {"extent": (25, 25), "linear": 1}
    full, sampled = (
        MotionBlur(sampled=share, **options).kernels(64, tf.constant([0, 0])).numpy()
        for share in (0, 1)
    )
    # The largest share of a place in a line of 128 steps over 25 pixels is small, that of 7 is not.
    assert sampled.max(axis=(1, 2)).max() > 0.1
    assert full.max(axis=(1, 2)).max() < 0.06
    np.testing.assert_allclose(sampled.sum(axis=(1, 2)), 1, atol=1e-5)


def test_a_part_of_the_scene_may_stand_still():
    clean = np.random.default_rng(0).uniform(size=(16, 64, 64, 3)).astype(np.float32)
    options = {"extent": (20, 20), "noise": (0, 0)}
    moving, still = (
        np.abs(MotionBlur(still=share, **options)(clean, tf.constant([0, 1])) - clean).max(axis=3)
        for share in (0, 1)
    )
    # Random pixels change everywhere under blur; where the scene stands still they do not.
    assert (moving < 0.02).mean() < 0.02
    untouched = (still < 0.02).mean(axis=(1, 2))
    assert untouched.min() > 0.1
    assert untouched.max() < 0.8


def test_noise_lies_above_blur():
    clean = tf.fill((8, 64, 64, 3), 0.5)
    noisy = MotionBlur(noise=(2, 2))(clean, tf.constant([0, 0])).numpy()
    # 98304 samples: the standard error of the deviation is 0.005.
    assert noisy.std() * 255 == pytest.approx(2, abs=0.03)
    levels = MotionBlur()(clean, tf.constant([0, 0])).numpy().std(axis=(1, 2, 3)) * 255
    assert levels.min() < 1
    assert 1.5 < levels.max() < 3.1


def test_blur_ranges_from_slight_to_strong():
    """REDS has 21 to 33 dB, 26 on average."""
    photo = next(iter(validation_photos().values()))[:128, :128] / np.float32(255)
    clean = np.repeat(photo[None], 96, axis=0)
    degraded = MotionBlur()(clean, tf.constant([0, 0])).numpy()
    scores = np.sort(-10 * np.log10(np.square(degraded - clean).mean(axis=(1, 2, 3))))
    assert scores[5] < scores[48] - 4
    assert 22 < scores[48] < 36
    assert scores[-5] > 36


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_reflection_is_that_of_numpy(height, width, margin):
    images = np.arange(height * width, dtype=np.float32).reshape(1, height, width, 1)
    expected = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(reflect_pad(tf.constant(images), margin), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CameraNoise(0.1, 0.01), "shot noise must be a range"),
        (lambda: CameraNoise(gain=(0.5, 2)), "camera's gain must be a range within 1..10"),
        (lambda: CameraNoise(luma_blur=(-0.3, 0)), "luma_blur must be a range within -0.2"),
        (lambda: Rain(amount=(0.5, 0.2)), "amount must be a range within 0..10"),
        (lambda: Rain(opacity=(0.5, 1)), "opacity must be a range within 0..0.99"),
        (lambda: Rain(angle=120), "angle and a spread of 0..90"),
        (lambda: Rain(added=1.5), "share of added rain must be 0..1"),
        (lambda: Rain(dry=-1), "share of dry images must be 0..1"),
        (lambda: Rain(veiled=2), "share of veiled images must be 0..1"),
        (lambda: MotionBlur(extent=(3, 60)), "extent must be a range within 0..27"),
        (lambda: MotionBlur(linear=2), "share of straight lines"),
        (lambda: MotionBlur(still=-1), "share of still images"),
        (lambda: MotionBlur(noise=(3, 1)), "noise above blur"),
    ],
)
def test_ranges_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
