"""Proves that a ``.tflite`` file's numbers are right on both GPU accelerators of the phones.

``ml-drift`` is that of today's LiteRT, on the Vulkan drivers of the machine; ``classic`` the
delegate of the Android library, on OpenCL in software.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.errors import InputError
from keras_skd.export.gpu import classic, ml_drift
from keras_skd.export.gpu.ml_drift import HARDWARE, find_vulkan_drivers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from keras_skd.export.gpu.ml_drift import Driver
    from keras_skd.hints import PathLike

ACCELERATORS = (ml_drift.NAME, classic.NAME)
NO_ACCELERATOR = "none"
HOW_TO_INSTALL = {
    ml_drift.NAME: ml_drift.HOW_TO_INSTALL,
    classic.NAME: classic.HOW_TO_INSTALL,
}

# Least PSNR of the residual against the CPU, in dB of its own peak. float16 has 11 bits, of which
# a network of some hundred operations leaves 7 to 8.
LEAST_RESIDUAL_PSNR = {"float32": 80.0, "float16": 40.0}


@dataclass(frozen=True)
class ClassicDriver:
    """The classic delegate's OpenCL, with the attributes of a :class:`Driver`."""

    name = "PoCL"
    precisions = classic.PRECISIONS
    accelerator = classic.NAME


def checked_accelerators(names: Collection[str] | None) -> tuple[str, ...]:
    """The accelerators to verify on.

    Args:
        names: Names among :data:`ACCELERATORS`, or :data:`NO_ACCELERATOR` alone; all if None.

    Returns:
        A tuple of names, each once; empty for :data:`NO_ACCELERATOR`.

    Raises:
        InputError: There is no such accelerator, or nothing is named.
    """
    names = ACCELERATORS if names is None else tuple(dict.fromkeys(names))
    if names == (NO_ACCELERATOR,):
        return ()
    unknown = [name for name in names if name not in ACCELERATORS]
    if unknown or not names:
        raise InputError(
            f"gpu must be among {', '.join(ACCELERATORS)}, or {NO_ACCELERATOR} alone; got "
            f"{', '.join(unknown) or 'nothing'}."
        )
    return names


def find_drivers(accelerators: Collection[str] = ACCELERATORS) -> list[Driver | ClassicDriver]:
    """What accelerators can run on here.

    Args:
        accelerators: Names among :data:`ACCELERATORS`.

    Returns:
        A list of :class:`Driver` and :class:`ClassicDriver`, which may be empty.
    """
    found = find_vulkan_drivers() if ml_drift.NAME in accelerators else []
    if classic.NAME in accelerators and classic.is_installed():
        found.append(ClassicDriver())
    return found


def verify_on_gpu(
    path: PathLike,
    images: np.ndarray,
    drivers: Sequence[Driver | ClassicDriver] | None = None,
    timeout: float = 600,
    reference: np.ndarray | None = None,
    least_residual_psnr: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Runs a file on every driver, strictly on the GPU, and compares with the CPU.

    Args:
        path: The ``.tflite`` file.
        images: float32 ``(n, height, width, channels)``, range 0..1.
        drivers: As :func:`find_drivers` gives them; those of the machine if None.
        timeout: Seconds a run may take; compiling the kernels in software takes up to a minute.
        reference: What the images are to be restored to; the file's output on the CPU if None.
        least_residual_psnr: Bound by precision, in dB; :data:`LEAST_RESIDUAL_PSNR` if None.

    Returns:
        A list of dicts, one a driver and precision: ``accelerator``, ``driver``, ``precision``,
        ``residual_psnr`` against the reference (dB, None if nothing ran), ``latency_ms`` (None
        for a driver in software, whose time says nothing), ``launches`` (kernels for one image;
        None for ML Drift, which does not say) and ``failure``, a line of text or None.
    """
    from keras_skd.runners import TFLiteRunner

    drivers = find_drivers() if drivers is None else drivers
    if reference is None:
        runner = TFLiteRunner(path)
        reference = np.stack([runner(image) for image in images])
    bounds = least_residual_psnr or LEAST_RESIDUAL_PSNR
    runs = [(driver, precision) for driver in drivers for precision in driver.precisions]

    def verified(driver, precision):
        result = {
            "accelerator": driver.accelerator,
            "driver": driver.name,
            "precision": precision,
            "residual_psnr": None,
            "latency_ms": None,
            "launches": None,
        }
        try:
            if driver.accelerator == classic.NAME:
                run = classic.run(path, images, precision, timeout)
                restored, result["launches"] = run.restored, run.launches
            else:
                restored, result["latency_ms"] = ml_drift.run(
                    path, images, driver, precision, timeout
                )
        except (classic.ClassicError, ml_drift.MLDriftError) as error:
            return {**result, "failure": str(error)}
        return {**result, **_judged(restored, reference, images, bounds[precision])}

    # Drivers in software at once: they use little more than a core. Hardware alone: it is timed.
    timed = any(driver.name == HARDWARE for driver in drivers)
    with ThreadPoolExecutor(max_workers=1 if timed else 2) as pool:
        return list(pool.map(lambda run: verified(*run), runs))


def _judged(restored, reference, images, least):
    from keras_skd.export.verification import residual_psnr

    residual = residual_psnr(restored, reference, images)
    failure = None
    if not restored.any():
        failure = "returns zeros"
    elif not residual >= least:
        failure = (
            f"computes a residual {residual:.1f} dB from the reference; at least {least:g} dB are "
            "needed"
        )
    return {"residual_psnr": residual, "failure": failure}
