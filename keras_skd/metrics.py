"""PSNR and SSIM as the papers compute them.

Images are rounded to 8 bits first, as the papers measure saved images. Two conventions are in use:
``rgb`` (denoising, deblurring: all three channels) and ``y`` (deraining: the luma of MATLAB's
``rgb2ycbcr`` on 8-bit images). The functions are exact (float64); the metrics for ``compile`` and
``fit`` compute the same in float32.
"""

from typing import Any

import keras
import numpy as np
from skimage.metrics import structural_similarity

from keras_skd.data.images import to_uint8
from keras_skd.errors import InputError
from keras_skd.tasks import CHANNELS

# How far floats may lie outside 0..1, where they are clipped: models overshoot by hundredths. What
# lies further out is on another scale, whose decibels would be wrong.
TOLERANCE = 0.1

# MATLAB's rgb2ycbcr: luma = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 for 8-bit R, G and B.
_LUMA = np.array([65.481, 128.553, 24.966])
_WINDOW, _SIGMA = 11, 1.5


def psnr(restored: np.ndarray, target: np.ndarray, channel: str = "rgb") -> float:
    """Peak signal-to-noise ratio ``10 log10(255^2 / MSE)``.

    Args:
        restored: ``(height, width, 3)`` or ``(batch, height, width, 3)``: uint8, or float in 0..1.
            What lies outside by up to :data:`TOLERANCE` is clipped, as saving does; clip noisy
            images yourself.
        target: The same shape; uint8 or float, also where ``restored`` is the other one.
        channel: ``"rgb"`` or ``"y"``.

    Returns:
        dB, infinite for equal images; the mean over the batch.

    Raises:
        InputError: Shapes differ, the channel is unknown, an image is of another type than uint8
            and float, on another scale than 0..1, or holds NaN.
    """
    return _mean_over_batch(_psnr, restored, target, channel)


def ssim(restored: np.ndarray, target: np.ndarray, channel: str = "rgb") -> float:
    """Structural similarity (Wang et al., "Image quality assessment", TIP 2004).

    Gaussian window of 11x11, sigma 1.5, only where it lies inside the image; K1 = 0.01, K2 = 0.03,
    dynamic range 255; mean over the channels.

    Args:
        restored: As in :func:`psnr`; height and width at least 11.
        target: The same shape.
        channel: ``"rgb"`` or ``"y"``.

    Returns:
        -1..1, 1 for equal images; the mean over the batch.

    Raises:
        InputError: As :func:`psnr`, or images are smaller than the window.
    """
    return _mean_over_batch(_ssim, restored, target, channel)


def _mean_over_batch(metric, restored, target, channel):
    restored, target = np.asarray(restored), np.asarray(target)
    if restored.shape != target.shape or restored.ndim not in (3, 4) or restored.shape[-1] != 3:
        raise InputError(
            "metrics compare RGB images of one shape, (height, width, 3) or (batch, height, width, "
            f"3); got {restored.shape} and {target.shape}."
        )
    _check_channel(channel)
    for name, image in (("restored", restored), ("target", target)):
        _check_values(name, image)
    if restored.ndim == 3:
        restored, target = restored[None], target[None]
    pairs = zip(restored, target, strict=True)
    return float(np.mean([metric(_plane(a, channel), _plane(b, channel)) for a, b in pairs]))


def _check_channel(channel):
    if channel not in CHANNELS:
        raise InputError(f"channel must be one of {CHANNELS}; got {channel!r}.")


def _check_values(name, image):
    """Refuses what is not on the scale of uint8, or of floats in 0..1."""
    if image.size == 0:
        raise InputError(f"metrics compare images of at least one pixel; {name} has none.")
    if image.dtype == np.uint8:
        return
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(
            f"metrics take uint8, or float in 0..1; {name} is {image.dtype}. Divide by the value "
            "of white."
        )
    low, high = image.min(), image.max()
    if not np.isfinite(low + high):
        raise InputError(f"{name} holds values that are NaN or infinite.")
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise InputError(
            f"metrics take floats in 0..1 (within {TOLERANCE}); {name} reaches from {low:.4g} to "
            f"{high:.4g}. Bring it to that scale, or clip what is noise beyond it."
        )


def _plane(image, channel):
    """The compared values, float64 on the 8-bit scale: ``(height, width, 3)`` or ``(..., 1)``."""
    image = image if image.dtype == np.uint8 else to_uint8(image)
    image = image.astype(np.float64)
    if channel == "rgb":
        return image
    # MATLAB's rgb2ycbcr, which rounds half up to 8 bits again.
    luma = 16.0 + image @ _LUMA / 255.0
    return np.floor(luma + 0.5)[..., None]


def _psnr(restored, target):
    error = np.mean((restored - target) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255.0**2 / error)


def _ssim(restored, target):
    if min(restored.shape[:2]) < _WINDOW:
        raise InputError(f"SSIM needs at least 11x11 pixels; got {restored.shape[:2]}.")
    return structural_similarity(
        restored,
        target,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=_SIGMA,
        use_sample_covariance=False,
    )


class _ImageMetric(keras.metrics.MeanMetricWrapper):
    """The mean of a value of each image, over all images since the last reset."""

    def __init__(self, channel="rgb", name=None, dtype=None):
        _check_channel(channel)
        super().__init__(self._of_images, name=name, dtype=dtype)
        self.channel = channel
        self._direction = "up"  # more is better, for ModelCheckpoint and EarlyStopping

    def _of_images(self, target, restored):
        target, restored = (_planes(images, self.channel) for images in (target, restored))
        return self._compare(restored, target)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"channel": self.channel, "name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("keras_skd")
class PSNR(_ImageMetric):
    """:func:`psnr` as a metric of ``compile``: the mean of the images' dB.

    ``update_state(target, restored)`` takes ``(batch, height, width, 3)`` in 0..1 and rounds both
    to 8 bits. Equal images count as 100 dB, so that one of them does not make the mean infinite.

    Args:
        channel: ``"rgb"`` or ``"y"``, see :attr:`keras_skd.tasks.Task.channel`.
        name: Name in the logs.
        dtype: Of the accumulated mean.
    """

    def __init__(self, channel: str = "rgb", name: str = "psnr", dtype: str | None = None):
        super().__init__(channel, name, dtype)

    @staticmethod
    def _compare(restored, target):
        error = keras.ops.mean(keras.ops.square(restored - target), axis=(1, 2, 3))
        return 10 * keras.ops.log10(255.0**2 / keras.ops.maximum(error, 255.0**2 * 1e-10))


@keras.saving.register_keras_serializable("keras_skd")
class SSIM(_ImageMetric):
    """:func:`ssim` as a metric of ``compile``: the mean over the images.

    ``update_state(target, restored)`` takes ``(batch, height, width, 3)`` in 0..1, at least 11x11
    pixels, and rounds both to 8 bits.

    Args:
        channel: ``"rgb"`` or ``"y"``, see :attr:`keras_skd.tasks.Task.channel`.
        name: Name in the logs.
        dtype: Of the accumulated mean.
    """

    def __init__(self, channel: str = "rgb", name: str = "ssim", dtype: str | None = None):
        super().__init__(channel, name, dtype)

    @staticmethod
    def _compare(restored, target):
        # Around 128, which leaves variances as they are and keeps their digits in float32.
        x, y = restored - 128.0, target - 128.0
        mean_x, mean_y = _smooth(x), _smooth(y)
        variance_x = _smooth(x * x) - mean_x**2
        variance_y = _smooth(y * y) - mean_y**2
        covariance = _smooth(x * y) - mean_x * mean_y
        mean_x, mean_y = mean_x + 128.0, mean_y + 128.0
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        similarity = (
            (2 * mean_x * mean_y + c1)
            * (2 * covariance + c2)
            / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
        )
        return keras.ops.mean(similarity, axis=(1, 2, 3))


def _planes(images, channel):
    """As :func:`_plane`, for a batch of tensors in float32."""
    images = keras.ops.cast(images, "float32")
    images = keras.ops.round(keras.ops.clip(images, 0.0, 1.0) * 255.0)
    if channel == "rgb":
        return images
    luma = keras.ops.sum(images * (_LUMA / 255).astype(np.float32), axis=-1, keepdims=True)
    return keras.ops.floor(16.5 + luma)


def _smooth(images):
    """The mean under SSIM's window, where it lies inside the image."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    window = (window / window.sum()).astype(np.float32)
    channels = images.shape[-1]
    for shape in ((_WINDOW, 1, 1, 1), (1, _WINDOW, 1, 1)):
        kernel = np.tile(window.reshape(shape), (1, 1, channels, 1))
        images = keras.ops.depthwise_conv(images, kernel, padding="valid")
    return images
