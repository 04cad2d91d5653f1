"""The types that the hints of several modules share. Nothing here is checked at run time."""

import os
from typing import Any, Protocol, TypeAlias

import numpy as np

# A file or a folder by its name, as ``open`` takes it.
PathLike: TypeAlias = str | os.PathLike[str]

# A tensor of TensorFlow, a symbolic one of Keras, or an array: the functions that take one take all
# three, which have no class in common. Docstrings give the shapes.
Tensor: TypeAlias = Any

# Sizes of the axes of a tensor; None for one that is not known yet.
Shape: TypeAlias = tuple[int | None, ...]

# A row of a table or of a CSV file, by column.
Row: TypeAlias = dict[str, Any]


class StoredImage(Protocol):
    """An image that is read when it is needed, such as :class:`keras_skd.data.MatImage`."""

    @property
    def name(self) -> str:
        """What it is called in tables and files."""

    def read(self) -> np.ndarray:
        """Decodes it: uint8 ``(height, width, 3)``."""


# What :func:`keras_skd.data.load_image` takes: a file, an array, or what has ``read()``.
ImageSource: TypeAlias = PathLike | np.ndarray | StoredImage

# What one sample is made of: ``(clean,)`` or ``(input, target)``.
Group: TypeAlias = tuple[ImageSource, ...]


class Degradation(Protocol):
    """What makes a degraded batch from a clean one, see :mod:`keras_skd.data.degradations`.

    One whose ``margin`` is not 0 has ``within_margin(clean, seed)`` too.
    """

    @property
    def margin(self) -> int:
        """The pixels beyond the border that reach into an image."""

    def fixed(self) -> "Degradation":
        """What a model is validated on."""

    def __call__(self, clean: Tensor, seed: Tensor) -> Tensor:
        """Degrades ``(batch, height, width, channels)``; the seed is two integers."""
