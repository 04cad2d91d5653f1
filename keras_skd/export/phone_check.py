"""A student beside a tile and its expected output: what the Android app's self-check compares."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.errors import InputError
from keras_skd.files import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from keras_skd.hints import PathLike


def write_check(path: PathLike, task: str | None, folder: PathLike) -> dict[str, Any]:
    """Copies a student into a folder, with its check, and describes it.

    Args:
        path: The ``.tflite`` file.
        task: What the app calls its task: ``denoise``, ``camera``, ``derain`` or ``deblur``; None
            takes what the file remembers.
        folder: Where to.

    Returns:
        A dict: ``task``, ``name``, ``scheme``, ``tile`` (pixels), ``file``, ``check`` (names in the
        folder), ``sha256`` and ``metadata`` (what the export wrote into the file). The check is
        little-endian float32: the tile ``(tile, tile, 3)`` in 0..1, then what LiteRT's CPU kernels
        make of it.

    Raises:
        MissingFileError: There is no such file.
        InputError: It is no ``.tflite`` model of a square float32 RGB image.
    """
    from keras_skd.runners import TFLiteRunner

    path, folder = Path(path), Path(folder)
    runner = TFLiteRunner(path)
    height, width = runner.size
    dtype = _dtype(path)
    if runner.channels != 3 or height != width or dtype != np.float32:
        raise InputError(
            f"{path}: the app restores square float32 RGB tiles; this takes "
            f"{np.dtype(dtype).name} {width}x{height}x{runner.channels}."
        )
    metadata = runner.metadata
    task = task or app_task(metadata)
    name = f"{task}_{metadata.get('scheme', 'unknown')}"
    shutil.copyfile(path, folder / f"{name}.tflite")
    tile = check_tile(task, height)
    np.concatenate([tile, runner(tile)]).astype("<f4").tofile(folder / f"{name}.check")
    return {
        "task": task,
        "name": metadata.get("name", path.stem),
        "scheme": metadata.get("scheme", ""),
        "tile": height,
        "file": f"{name}.tflite",
        "check": f"{name}.check",
        "sha256": sha256(path),
        "metadata": metadata,
    }


def _dtype(path):
    from ai_edge_litert.interpreter import Interpreter

    from keras_skd.quiet import quiet

    with quiet():
        return Interpreter(str(path)).get_input_details()[0]["dtype"]


def app_task(metadata: Mapping[str, Any]) -> str:
    """The app's name for a student's task: that of its file, or ``camera`` for a sensor's noise."""
    task = metadata.get("task", "denoise")
    if task == "denoise" and metadata.get("noise") in ("camera", "recorded"):
        return "camera"
    return task


def check_tile(task: str, size: int) -> np.ndarray:
    """A degraded tile for the check: a photograph with what the task takes out.

    Args:
        task: As for :func:`write_check`; every other is taken for ``denoise``.
        size: Pixels.

    Returns:
        float32 ``(size, size, 3)``; always the same.
    """
    from keras_skd.data.photos import validation_photos

    photo = next(iter(validation_photos().values()))
    missing = [(0, max(0, size - side)) for side in photo.shape[:2]]
    photo = np.pad(photo, [*missing, (0, 0)], mode="symmetric")
    top, left = ((side - size) // 2 for side in photo.shape[:2])
    return degraded(photo[top : top + size, left : left + size], task)


def degraded(photo: np.ndarray, task: str, seed: int = 0) -> np.ndarray:
    """A photograph with what one of the app's tasks takes out.

    Args:
        photo: uint8 ``(height, width, 3)``.
        task: As for :func:`write_check`; every other is taken for ``denoise``.
        seed: Of the degradation.

    Returns:
        float32 of the same shape.
    """
    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    from keras_skd.data.pairs import ImagePairs
    from keras_skd.tasks import Task

    if task == "camera":
        kind = Task.of("denoise", "camera")
    else:
        kind = Task.of(task if task in ("derain", "deblur") else "denoise")
    pairs = ImagePairs([(photo,)], kind.degradation().fixed(), seed)
    return np.asarray(pairs[0].degraded, np.float32)
