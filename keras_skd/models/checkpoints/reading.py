"""A checkpoint's tensors as NumPy arrays."""

import os
from pathlib import Path

import numpy as np

from keras_skd.errors import MissingFileError
from keras_skd.hints import PathLike
from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.file_kinds import read_file
from keras_skd.models.checkpoints.state_dict import find_tensors

# Tied weights are saved once and read twice; more than this is made to exhaust the memory.
_LARGEST_RATIO = 4


def read_pytorch_checkpoint(path: PathLike) -> dict[str, np.ndarray]:
    """Reads the weights of a PyTorch checkpoint as NumPy arrays, without running anything from it.

    Takes what ``torch.save`` writes, since PyTorch 1.6 and before, and safetensors files: a
    ``state_dict``, a dict around it (``params_ema``, ``state_dict``, ``model`` and others, nested
    too; averaged weights are preferred), or a whole module. Prefixes that wrappers put before the
    names (``module.``, ``_orig_mod.``, ``net_g.`` and others) are taken off. Other objects beside
    the tensors are skipped.

    Args:
        path: The file.

    Returns:
        A dict of tensor name to array, in the file's order and number types.

    Raises:
        MissingFileError: There is no such file.
        CheckpointError: The file is of another kind, truncated, damaged, asks for code to be run,
            or has weights that are no plain arrays (quantised, sparse, complex).
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise CheckpointError("a folder, not a checkpoint file.")
        if not path.is_file():
            raise MissingFileError(f"{path}: no such checkpoint.")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return _arrays(find_tensors(read_file(file, size)), size)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        if isinstance(error, MissingFileError):
            raise
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(f"{path}: cannot be read ({reason}).") from None


def _arrays(tensors, file_size):
    total = sum(_named(name, tensor, "nbytes") for name, tensor in tensors.items())
    if total > _LARGEST_RATIO * file_size:
        raise CheckpointError(
            f"its tensors take {total:,} bytes, but the file has {file_size:,}; it is damaged."
        )
    return {name: _named(name, tensor, "read") for name, tensor in tensors.items()}


def _named(name, tensor, method):
    """Calls a method of a tensor's description; errors begin with the tensor's name."""
    refusal = getattr(tensor, "refusal", None)
    if refusal:
        raise CheckpointError(f"the tensor {printable(name)} {refusal}.")
    try:
        return getattr(tensor, method)()
    except CheckpointError as error:
        raise CheckpointError(f"the tensor {printable(name)}: {error}") from None
