"""Checkpoints into models: every tensor has its variable, or nothing is loaded."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.reading import read_pytorch_checkpoint
from keras_skd.models.presets import PRESETS
from keras_skd.models.restormer import Restormer
from keras_skd.models.uformer import Uformer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras

    from keras_skd.hints import PathLike

_LISTED = 10
# The first convolution, (out, in, row, column), and the arguments that are its size.
_FIRST_CONVOLUTIONS = {
    Restormer: ("patch_embed.proj.weight", "dim", "inp_channels"),
    Uformer: ("input_proj.proj.0.weight", "embed_dim", "dd_in"),
}


def load_pytorch_checkpoint(model: keras.Model, path: PathLike) -> None:
    """Loads the weights of a PyTorch checkpoint into ``model``, in place.

    Args:
        model: A model with a method ``pytorch_names()``, which gives, for each of its variables,
            the PyTorch name and a function from the PyTorch array to ours
            (:class:`keras_skd.Restormer`), and, where the official model has buffers,
            ``pytorch_constants()``, which gives their names and values
            (:class:`keras_skd.Uformer`).
        path: The file, see :func:`read_pytorch_checkpoint`.

    Raises:
        MissingFileError: There is no such file.
        CheckpointError: The file cannot be read or is refused, or tensors are missing, unexpected,
            of another shape or without usable numbers. The message has the count and the first ten
            names of each kind, and the presets that the file fits. The model is left as it was.
    """
    assign_tensors(model, read_pytorch_checkpoint(path), path)


def assign_tensors(model: keras.Model, tensors: Mapping[str, np.ndarray], path: PathLike) -> None:
    """Loads what :func:`read_pytorch_checkpoint` gave; see :func:`load_pytorch_checkpoint`.

    Args:
        model: The model.
        tensors: A dict of name to array.
        path: The file that they come from, for messages.
    """
    tensors = _without_common_prefix(tensors, _expected_names(model))
    arrays, problems = _matched(model, tensors)
    if problems:
        differing = sum(map(len, problems.values()))
        lines = [f"{path}: does not fit {model.name} ({differing} tensors)."]
        lines += [f"{_listing(kind, names)}." for kind, names in problems.items()]
        raise CheckpointError("\n  ".join([*lines, _fitting(tensors)]))
    for variable, array in arrays:
        variable.assign(array)


def _expected_names(model):
    names = {name for _, name, _ in model.pytorch_names()}
    return names | set(getattr(model, "pytorch_constants", dict)())


def _without_common_prefix(tensors, expected):
    """Takes off what all names begin with and no name of the model does, of any wrapper."""
    heads = {name.partition(".")[0] for name in expected}
    while True:
        first = {name.partition(".")[0] for name in tensors}
        if len(first) != 1 or first & heads or not all("." in name for name in tensors):
            return tensors
        tensors = {name.partition(".")[2]: array for name, array in tensors.items()}


def _matched(model, tensors):
    """Pairs of variable and array, and what is wrong: kind to descriptions of tensors."""
    problems = {"missing": [], "of wrong shape": [], "unusable": [], "unexpected": []}
    pairs, left = [], dict(tensors)
    for variable, name, convert in model.pytorch_names():
        array = left.pop(name, None)
        if array is None:
            problems["missing"].append(name)
            continue
        ours = convert(array)
        if tuple(ours.shape) != tuple(variable.shape):
            problems["of wrong shape"].append(
                f"{name} {tuple(array.shape)} for {variable.path} {tuple(variable.shape)}"
            )
            continue
        # Also the types of ml_dtypes, which NumPy counts as "V".
        if array.dtype.kind not in "fV":
            problems["unusable"].append(f"{name} holds {array.dtype} numbers")
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            ours = ours.astype("float32")
        if not np.isfinite(ours).all():
            problems["unusable"].append(f"{name} holds NaN or infinity")
        pairs.append((variable, ours))
    for name, expected in getattr(model, "pytorch_constants", dict)().items():
        array = left.pop(name, None)
        if array is None:
            problems["missing"].append(name)
        elif not np.array_equal(array, expected):
            problems["unusable"].append(
                f"{name} {tuple(array.shape)} is not the table of this architecture"
            )
    problems["unexpected"] = [f"{printable(n)} {tuple(array.shape)}" for n, array in left.items()]
    return pairs, {kind: names for kind, names in problems.items() if names}


def _listing(kind, names):
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {kind} {', '.join(names[:_LISTED])}{more}"


def _fitting(tensors):
    """Which presets the tensors fit, as a sentence: architectures, not models trained here."""
    fitting = []
    for name, preset in PRESETS.items():
        if preset.weights is None and _may_fit(preset, tensors):
            model = preset.build(load_weights=False)
            if not _matched(model, _without_common_prefix(tensors, _expected_names(model)))[1]:
                fitting.append(name)
    if not fitting:
        return "It fits no preset; build the model with the arguments of its training."
    plural = "s" if len(fitting) > 1 else ""
    return f"It fits the preset{plural} {', '.join(fitting)}."


def _may_fit(preset, tensors):
    """Whether a preset is worth building: its first convolution and its norms fit."""
    if preset.family not in _FIRST_CONVOLUTIONS:
        return True
    name, out, in_ = _FIRST_CONVOLUTIONS[preset.family]
    defaults = inspect.signature(preset.family).parameters

    def argument(key):
        return preset.arguments.get(key, defaults[key].default)

    weight = next((array for key, array in tensors.items() if key.endswith(name)), None)
    if weight is None or list(weight.shape[:2]) != [argument(out), argument(in_)]:
        return False
    biased = any(key.endswith("norm1.body.bias") for key in tensors)
    return preset.family is not Restormer or biased == (argument("LayerNorm_type") == "WithBias")
