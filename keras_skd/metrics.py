"""PSNR and SSIM as the papers compute them.

Images are rounded to 8 bits first, as the papers measure saved images. Two conventions are in use:
``rgb`` (denoising, deblurring: all three channels) and ``y`` (deraining: the luma of MATLAB's
``rgb2ycbcr`` on 8-bit images).
"""

import numpy as np
from skimage.metrics import structural_similarity

from keras_skd.data.images import to_uint8

CHANNELS = ("rgb", "y")


def psnr(restored, target, channel="rgb"):
    """Peak signal-to-noise ratio ``10 log10(255^2 / MSE)``.

    Args:
        restored: ``(height, width, 3)`` or ``(batch, height, width, 3)``; float in 0..1 (what lies
            outside is clipped) or uint8.
        target: The same shape.
        channel: ``"rgb"`` or ``"y"``.

    Returns:
        dB, infinite for equal images; the mean over the batch.

    Raises:
        ValueError: Shapes differ, or the channel is unknown.
    """
    return _mean_over_batch(_psnr, restored, target, channel)


def ssim(restored, target, channel="rgb"):
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
        ValueError: Shapes differ, images are smaller than the window, or the channel is unknown.
    """
    return _mean_over_batch(_ssim, restored, target, channel)


def _mean_over_batch(metric, restored, target, channel):
    restored, target = np.asarray(restored), np.asarray(target)
    if restored.shape != target.shape or restored.ndim not in (3, 4) or restored.shape[-1] != 3:
        raise ValueError(
            "metrics compare RGB images of one shape, (height, width, 3) or (batch, height, width, "
            f"3); got {restored.shape} and {target.shape}."
        )
    if channel not in CHANNELS:
        raise ValueError(f"channel must be one of {CHANNELS}; got {channel!r}.")
    if restored.ndim == 3:
        restored, target = restored[None], target[None]
    pairs = zip(restored, target, strict=True)
    return float(np.mean([metric(_plane(a, channel), _plane(b, channel)) for a, b in pairs]))


def _plane(image, channel):
    """The compared values, float64 on the 8-bit scale: ``(height, width, 3)`` or ``(..., 1)``."""
    image = image if image.dtype == np.uint8 else to_uint8(image)
    image = image.astype(np.float64)
    if channel == "rgb":
        return image
    # MATLAB's rgb2ycbcr, which rounds half up to 8 bits again.
    luma = 16.0 + image @ np.array([65.481, 128.553, 24.966]) / 255.0
    return np.floor(luma + 0.5)[..., None]


def _psnr(restored, target):
    error = np.mean((restored - target) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255.0**2 / error)


def _ssim(restored, target):
    if min(restored.shape[:2]) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels; got {restored.shape[:2]}.")
    return structural_similarity(
        restored,
        target,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
