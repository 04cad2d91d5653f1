"""Models by name or file, and the same model at another image size."""

import re
from pathlib import Path

import keras

from keras_skd.errors import InputError, MissingFileError
from keras_skd.models.presets import PRESETS


def load_model(name_or_file):
    """Loads a model by preset name (see :data:`PRESETS`) or from a ``.keras`` file.

    Args:
        name_or_file: ``"restormer_tiny"`` or a path.

    Returns:
        A :class:`keras.Model` that maps ``(batch, height, width, channels)`` images in 0..1 to
        restored images of the same size.

    Raises:
        ValueError: It is neither, or the file is no Keras model.
        FileNotFoundError: The file does not exist.
    """
    if str(name_or_file) in PRESETS:
        return PRESETS[str(name_or_file)].build()
    path = Path(name_or_file)
    if path.suffix != ".keras":
        raise InputError(
            f"{str(name_or_file)!r} is neither a preset ({', '.join(PRESETS)}) nor a .keras file."
        )
    if not path.is_file():
        raise MissingFileError(f"{path}: no such model file.")
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


def with_image_size(model, image_size):
    """The same function as a graph of fixed size and batch 1, for export.

    Args:
        model: A model whose configuration has ``image_size`` (:class:`keras_skd.Restormer`).
        image_size: ``(height, width)`` in pixels, or None for any size.

    Returns:
        A new float32 model with a copy of the weights.

    Raises:
        ValueError: The model's class has no ``image_size``.
    """
    config = model.get_config()
    if "image_size" not in config:
        raise InputError(
            f"{model.name} ({type(model).__name__}) has no image_size in its configuration; export "
            "needs a student of a keras_skd family, such as keras_skd.Restormer."
        )
    sized = type(model).from_config({**config, "image_size": image_size})
    sized.set_weights(model.get_weights())
    return sized
