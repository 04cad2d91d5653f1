"""How close a ``.tflite`` file is to the Keras student."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.errors import FailedCheckError

if TYPE_CHECKING:
    from typing import Any

    from keras_skd.export.calibration import Tiles
    from keras_skd.export.report import Latency
    from keras_skd.hints import PathLike

INVISIBLE_PSNR = 20 * np.log10(255)  # dB, of an error of one step of 8 bits everywhere


def residual_psnr(restored: np.ndarray, reference: np.ndarray, image: np.ndarray) -> float:
    """PSNR of the residual ``restored - image``, whose peak is the reference residual's own.

    ``20 log10(max |reference - image| / rms(restored - reference))``. A restorer's output is
    nearly its input, so the PSNR of the image says little: a model that returns its input scores 20
    dB there and 0..15 dB here.

    Args:
        restored: ``(..., height, width, channels)``, range 0..1.
        reference: The same from the model taken as right.
        image: The input.

    Returns:
        dB; infinite where both are equal, minus infinite where ``restored`` is not finite.
    """
    restored, reference, image = (np.asarray(x, np.float64) for x in (restored, reference, image))
    if not np.isfinite(restored).all():
        return -np.inf
    error = np.sqrt(np.mean((restored - reference) ** 2))
    if error == 0:
        return np.inf
    return float(20 * np.log10(max(np.abs(reference - image).max(), 1e-12) / error))


def tile_psnrs(restored: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """PSNR of each tile to the clean one in dB, on 8 bits as the papers measure it.

    At most :data:`INVISIBLE_PSNR`. A blind student gets tiles that are nearly clean: between 50 and
    60 dB lies nothing to be seen, and infinity has no mean.
    """
    from keras_skd.metrics import psnr

    restored = np.clip(restored, 0, 1)
    psnrs = [psnr(*pair) for pair in zip(restored, clean, strict=True)]
    return np.minimum(psnrs, INVISIBLE_PSNR)


def task_psnr(restored: np.ndarray, clean: np.ndarray) -> float:
    """Mean of :func:`tile_psnrs`."""
    return float(tile_psnrs(restored, clean).mean())


def task_ssim(restored: np.ndarray, clean: np.ndarray) -> float:
    """Mean SSIM to the clean tiles, on 8 bits as the papers measure it."""
    from keras_skd.metrics import ssim

    restored = np.clip(restored, 0, 1)
    return float(np.mean([ssim(*pair) for pair in zip(restored, clean, strict=True)]))


def verify_on_cpu(
    path: PathLike, reference: np.ndarray, tiles: Tiles
) -> tuple[dict[str, Any], np.ndarray]:
    """Measures a ``.tflite`` file on LiteRT's CPU kernels.

    Args:
        path: The file.
        reference: The Keras student's output for ``tiles.degraded``.
        tiles: See :class:`keras_skd.export.calibration.Tiles`.

    Returns:
        A dict of ``residual_psnr`` against Keras, ``image_psnr`` of the whole image against Keras,
        ``task_psnr`` and ``task_ssim`` to the clean tiles, ``task_psnr_change`` to that of Keras
        (PSNR in dB), and ``latencies``, a list of :class:`keras_skd.export.report.Latency`; and the
        restored tiles.
    """
    from keras_skd.runners import TFLiteRunner

    runner = TFLiteRunner(path)
    restored = np.stack([runner(image) for image in tiles.degraded])
    if not np.isfinite(restored).all():
        raise FailedCheckError(f"{path}: the restored tiles hold values that are not numbers.")
    score = task_psnr(restored, tiles.clean)
    error = np.mean((np.float64(restored) - reference) ** 2)
    return {
        "residual_psnr": residual_psnr(restored, reference, tiles.degraded),
        "image_psnr": float(-10 * np.log10(error)) if error else np.inf,
        "task_psnr": score,
        "task_ssim": task_ssim(restored, tiles.clean),
        "task_psnr_change": score - task_psnr(reference, tiles.clean),
        "latencies": [
            measure_latency(path, tiles.degraded[0], threads)
            for threads in sorted({1, os.cpu_count()})
        ],
    }, restored


def measure_latency(path: PathLike, image: np.ndarray, threads: int, runs: int = 7) -> Latency:
    """The time of one tile on the CPU.

    Args:
        path: The ``.tflite`` file.
        image: float32 ``(height, width, channels)``.
        threads: CPU threads.
        runs: Calls to time, after one to warm up.

    Returns:
        A :class:`keras_skd.export.report.Latency`.
    """
    from keras_skd.export.report import Latency
    from keras_skd.runners import TFLiteRunner, latencies_ms

    runner = TFLiteRunner(path, threads=threads)
    times = latencies_ms(lambda: runner(image), runs)
    quartiles = np.percentile(times, (25, 50, 75))
    return Latency(threads, float(quartiles[1]), float(quartiles[2] - quartiles[0]), runs)
