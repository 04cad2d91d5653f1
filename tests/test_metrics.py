import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_skd.data.images import read_image
from keras_skd.errors import InputError
from keras_skd.metrics import PSNR, SSIM, psnr, ssim
from keras_skd.tasks import CHANNELS

GOLDEN = Path(__file__).parent / "golden" / "metrics"


@pytest.fixture
def pair():
    generator = np.random.default_rng(0)
    clean = generator.uniform(size=(24, 32, 3)).astype(np.float32)
    return np.clip(clean + generator.normal(0, 0.1, clean.shape), 0, 1).astype(np.float32), clean


def test_agrees_with_the_official_evaluations():
    for name, expected in json.loads((GOLDEN / "expected.json").read_text()).items():
        images = [read_image(GOLDEN / f"{name}_{side}.png") for side in ("restored", "target")]
        for channel in ("rgb", "y"):
            # The recorded MATLAB values have six decimals; 1e-3 dB and 1e-4 are what we promise.
            assert psnr(*images, channel) == pytest.approx(expected[f"{channel}_psnr"], abs=1e-3)
            assert ssim(*images, channel) == pytest.approx(expected[f"{channel}_ssim"], abs=1e-4)


def test_known_value():
    """An error of one grey level in every pixel: 20 log10(255) dB."""
    image = np.full((16, 16, 3), 100, np.uint8)
    assert psnr(image, image + 1) == pytest.approx(48.1308, abs=1e-4)


def test_equal_images_and_noise_order(pair):
    noisy, clean = pair
    assert psnr(clean, clean) == np.inf
    assert ssim(clean, clean) == pytest.approx(1.0)
    worse = np.clip(clean + 3 * (noisy - clean), 0, 1)
    assert psnr(worse, clean) < psnr(noisy, clean)
    assert ssim(worse, clean) < ssim(noisy, clean) < 1


def test_float_images_are_measured_as_saved(pair):
    noisy, clean = pair
    saved = [np.rint(255 * image).astype(np.uint8) for image in pair]
    assert psnr(noisy, clean) == psnr(*saved)
    assert psnr(noisy + 0.09 * (noisy == 1), clean) == psnr(noisy, clean)  # clipped


def test_a_batch_is_the_mean_of_its_images(pair):
    noisy, clean = pair
    batch = np.stack([noisy, clean * 0.5]), np.stack([clean, clean])
    for metric in (psnr, ssim):
        assert metric(*batch) == pytest.approx(
            np.mean([metric(noisy, clean), metric(clean * 0.5, clean)])
        )


def test_errors_say_what_is_expected(pair):
    noisy, clean = pair
    with pytest.raises(ValueError, match="of one shape"):
        psnr(noisy[:-1], clean)
    with pytest.raises(ValueError, match="channel must be one of"):
        psnr(noisy, clean, "luma")
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(noisy[:10], clean[:10])
    with pytest.raises(InputError, match="at least one pixel"):
        psnr(noisy[:0], clean[:0])


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_uint8_and_float_compare_on_one_scale(pair, metric):
    noisy, clean = pair
    saved = np.rint(255 * noisy).astype(np.uint8)
    assert metric(saved, clean) == metric(noisy, clean)
    assert metric(clean, saved) == metric(clean, noisy)


WRONG = {
    "float of 0..255": (lambda image: 255 * image, "reaches from .* to 25"),
    "float of -1..1": (lambda image: 2 * image - 1, "reaches from -"),
    "float beyond the tolerance": (lambda image: image + 0.11, "within 0.1"),
    "float16 of 0..255": (lambda image: (255 * image).astype(np.float16), "reaches"),
    "int64": (lambda image: np.rint(255 * image).astype(np.int64), "is int64"),
    "uint16": (lambda image: np.rint(65535 * image).astype(np.uint16), "is uint16"),
    "int8": (lambda image: np.rint(100 * image).astype(np.int8), "is int8"),
    "bool": (lambda image: image > 0.5, "is bool"),
    "complex": (lambda image: image + 0j, "is complex"),
    "NaN": (lambda image: np.where(image > 0.9, np.nan, image), "NaN or infinite"),
    "infinite": (lambda image: np.where(image > 0.9, np.inf, image), "NaN or infinite"),
}


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("kind", WRONG)
def test_other_scales_and_types_are_errors(pair, metric, kind):
    noisy, clean = pair
    make, message = WRONG[kind]
    saved = np.rint(255 * clean).astype(np.uint8)
    for arguments in ((make(noisy), clean), (clean, make(noisy)), (make(noisy), saved)):
        with pytest.raises(InputError, match=message):
            metric(*arguments)
    with pytest.raises(InputError, match="target"):
        metric(clean, make(noisy))


def test_keras_metrics_agree_with_the_official_evaluations():
    for name, expected in json.loads((GOLDEN / "expected.json").read_text()).items():
        restored, target = (
            read_image(GOLDEN / f"{name}_{side}.png")[None] / np.float32(255)
            for side in ("restored", "target")
        )
        for channel in CHANNELS:
            for metric, tolerance in ((PSNR(channel), 1e-3), (SSIM(channel), 1e-4)):
                metric.update_state(target, restored)
                known = expected[f"{channel}_{metric.name}"]
                assert float(metric.result()) == pytest.approx(known, abs=tolerance)


@pytest.mark.parametrize("channel", CHANNELS)
def test_keras_metrics_average_images_not_batches(pair, channel):
    noisy, clean = pair
    images = [noisy, clean * 0.5, 0.9 * noisy]
    for function, metric in ((psnr, PSNR(channel)), (ssim, SSIM(channel))):
        metric.update_state(np.stack([clean, clean]), np.stack(images[:2]))
        metric.update_state(clean[None], images[2][None])
        expected = np.mean([function(image, clean, channel) for image in images])
        assert float(metric.result()) == pytest.approx(expected, abs=1e-4)
        metric.reset_state()
        metric.update_state(clean[None], clean[None])
        assert float(metric.result()) == pytest.approx({"psnr": 100, "ssim": 1}[metric.name])


def test_keras_metrics_serialise_and_serve_compile(pair):
    noisy, clean = pair
    for metric in (PSNR("y"), SSIM("y", name="luma")):
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
        assert copy.get_config() == metric.get_config()
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Identity()])
    model.compile(loss="mae", metrics=[PSNR(), SSIM()])
    scores = model.evaluate(noisy[None], clean[None], verbose=0, return_dict=True)
    assert scores["psnr"] == pytest.approx(psnr(noisy, clean), abs=1e-3)
    assert scores["ssim"] == pytest.approx(ssim(noisy, clean), abs=1e-4)
    with pytest.raises(ValueError, match="channel must be one of"):
        PSNR("luma")
