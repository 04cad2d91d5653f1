"""Models by name or file, and what a file remembers."""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_skd.errors import InputError, MissingFileError
from keras_skd.files import replaced
from keras_skd.hints import PathLike
from keras_skd.models.presets import PRESETS

# Members of a .keras file, which Keras does not look at.
_METADATA = "keras_skd.json"
_ORIGIN = "keras_skd.float_student.npz"


def weights_sha256(model: keras.Model) -> str:
    """SHA-256 of a model's weights, in their order, as hexadecimal digits."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def load_model(name_or_file: PathLike, trained: bool = False) -> keras.Model:
    """Loads a model by preset name (see :data:`PRESETS`) or from a ``.keras`` file.

    Args:
        name_or_file: ``"restormer_tiny"`` or a path.
        trained: Whether a preset without bundled weights is refused: it would be built with random
            ones.

    Returns:
        A :class:`keras.Model` that maps ``(batch, height, width, channels)`` images in 0..1 to
        restored images of the same size.

    Raises:
        InputError: It is neither, the file is no Keras model, or the preset was never trained.
        MissingFileError: The file does not exist.
    """
    name = str(name_or_file)
    if name in PRESETS:
        if trained and PRESETS[name].weights is None:
            bundled = ", ".join(key for key, preset in PRESETS.items() if preset.weights)
            raise InputError(
                f"{name} is an architecture without trained weights; train it, give a .keras file, "
                f"or use a trained preset ({bundled})."
            )
        return PRESETS[name].build()
    path = _model_file(name)
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        unknown = re.search(r"Could not locate (?:class|function) '(\w+)'", str(error))
        if unknown:
            raise InputError(
                f"{path}: holds {unknown[1]}, which is not known here; decorate it with "
                "@keras.saving.register_keras_serializable and import its module first."
            ) from error
        first_line = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise InputError(f"{path}: not a Keras model file ({first_line[:200]}).") from error


def _model_file(name):
    path = Path(name)
    if path.suffix != ".keras":
        raise InputError(f"{name!r} is neither a preset ({', '.join(PRESETS)}) nor a .keras file.")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such model file.")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: damaged, or no .keras file; copy it again or train anew.")
    return path


def save_model(
    model: keras.Model,
    path: PathLike,
    metadata: Mapping[str, Any],
    origin: Sequence[np.ndarray] | None = None,
) -> None:
    """Writes a ``.keras`` file that remembers what the model was trained for.

    Args:
        model: A :class:`keras.Model`.
        path: The file.
        metadata: A dict that JSON can hold: ``task``, ``noise``, ``sigma`` of
            :meth:`keras_skd.tasks.Task.as_dict`, and more.
        origin: Of a student that was trained for integers: the weights of the float student that it
            came from, which :func:`read_origin` gives back rounded to float16.
    """
    with replaced(path) as temporary:
        # Keras chooses the format by the suffix, which the temporary name keeps.
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_METADATA, json.dumps(metadata))
            if origin is not None:
                with archive.open(_ORIGIN, "w") as file:
                    np.savez(file, *(np.asarray(weight, np.float16) for weight in origin))


def read_origin(name_or_file: PathLike) -> list[np.ndarray] | None:
    """The weights of the float student that one trained for integers came from.

    Args:
        name_or_file: As for :func:`load_model`.

    Returns:
        float32 arrays, in the order of ``set_weights``; None for a student that was trained in
        float, or a preset.
    """
    if str(name_or_file) in PRESETS:
        return None
    with zipfile.ZipFile(_model_file(str(name_or_file))) as archive:
        if _ORIGIN not in archive.namelist():
            return None
        with np.load(io.BytesIO(archive.read(_ORIGIN))) as arrays:
            return [arrays[name].astype(np.float32) for name in arrays.files]


def read_metadata(name_or_file: PathLike) -> dict[str, Any]:
    """What :func:`save_model` wrote, or what a preset with weights was trained for.

    Args:
        name_or_file: As for :func:`load_model`.

    Returns:
        A dict, empty for a file of another origin and for a preset without weights.

    Raises:
        InputError: It is neither preset nor model file.
        MissingFileError: The file does not exist.
    """
    name = str(name_or_file)
    if name in PRESETS:
        task = PRESETS[name].task
        return {} if task is None else task.as_dict()
    with zipfile.ZipFile(_model_file(name)) as archive:
        return json.loads(archive.read(_METADATA)) if _METADATA in archive.namelist() else {}
