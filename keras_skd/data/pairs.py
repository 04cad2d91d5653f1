"""The one way from images to pairs: training, validation, evaluation, calibration and the demo."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_skd.data.images import image_name, image_size, load_image
from keras_skd.data.mat_files import MatImage
from keras_skd.errors import InputError
from keras_skd.hints import Degradation, Group, ImageSource, Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def make_pairs(
    images: Tensor,
    degradation: Degradation | None = None,
    seed: Tensor = (0, 0),
    *,
    channels: int = 3,
    margin: int = 0,
    recorded: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Degraded and clean images of a batch. Works in eager mode and in ``tf.data`` graphs.

    Args:
        images: uint8 ``(batch, images of a group, height, width, 3)``: one image of a group is
            clean, two are input and target.
        degradation: Of :mod:`keras_skd.data.degradations`; None for groups of two alone.
        seed: Two integers; the same seed gives the same degradation.
        channels: 3, or 1 for grey images (luma of BT.601).
        margin: Pixels of surroundings on every side of the images, which blur into them; 0 or
            ``degradation.margin``. The result is without them.
        recorded: For a batch of both, with a degradation: bool ``(batch,)``, which of its groups
            are input and target, taken as they are. All groups are then of two images; that of a
            clean image holds it twice, and the second is degraded.

    Returns:
        ``(degraded, clean)``, float32 ``(batch, height, width, channels)``; clean is in 0..1.
    """
    images = tf.cast(images, tf.float32) / 255.0
    if channels == 1:
        images = tf.reduce_sum(images * _LUMA, axis=-1, keepdims=True)
    inputs, clean = images[:, 0], images[:, -1]
    if degradation is None:
        return inputs, images[:, 1]
    if margin:
        degraded = degradation.within_margin(clean, seed)
        inputs, clean = (side[:, margin:-margin, margin:-margin] for side in (inputs, clean))
        degraded = tf.ensure_shape(degraded, clean.shape)
    else:
        degraded = degradation(clean, seed)
    if recorded is not None:
        degraded = tf.where(tf.reshape(recorded, (-1, 1, 1, 1)), inputs, degraded)
    return degraded, clean


@dataclass(frozen=True)
class Pair:
    """One image of a data set.

    Attributes:
        name: What it is called in tables.
        degraded: float32 ``(height, width, channels)``.
        clean: The same shape, in 0..1.
    """

    name: str
    degraded: np.ndarray
    clean: np.ndarray


class ImagePairs:
    """Images as pairs, read when asked for, each degraded alike whenever that is.

    Args:
        groups: ``(clean,)`` or ``(input, target)``, see :func:`keras_skd.data.find_groups`; each is
            what :func:`~keras_skd.data.images.load_image` takes.
        degradation: For clean images; pairs are taken as they are, so None will do for them alone.
            Image ``i`` is degraded with the seed ``(seed, i)``.
        seed: Of the degradation.
        channels: 3, or 1 for grey images.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        degradation: Degradation | None = None,
        seed: int = 0,
        channels: int = 3,
    ):
        self.groups, self.channels = list(groups), channels
        self._degradation, self._seed = degradation, seed
        self.names = image_names(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Pair:
        """The :class:`Pair` at ``index``.

        Raises:
            InputError: An image cannot be read, or the two of a pair differ in size.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        group = self.groups[index]
        images = [load_image(source) for source in group]
        if images[0].shape != images[-1].shape:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in images)
            raise InputError(f"{group[0]}: {sizes} pixels; images of a pair are of one size.")
        degradation = self._degradation if len(group) == 1 else None
        degraded, clean = make_pairs(
            np.stack(images)[None], degradation, (self._seed, index), channels=self.channels
        )
        return Pair(self.names[index], degraded[0].numpy(), clean[0].numpy())

    def check_sizes(self, smallest: int) -> None:
        """Checks every image's size by the head of its file, so that nothing is found late.

        Args:
            smallest: Least height and width in pixels.

        Raises:
            InputError: An image is smaller, cannot be read, or differs from its pair.
        """
        for group in self.groups:
            sizes = [size_of(source) for source in group]
            if sizes[0] != sizes[-1] or min(sizes[0]) < smallest:
                listed = " and ".join(f"{width}x{height}" for height, width in sizes)
                raise InputError(
                    f"{group[0]}: {listed} pixels; images of a pair are of one size, at least "
                    f"{smallest}x{smallest}."
                )

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))


def size_of(source: ImageSource) -> tuple[int, int]:
    """``(height, width)`` of what :func:`~keras_skd.data.images.load_image` takes.

    By the head of a file, without decoding.
    """
    if isinstance(source, np.ndarray):
        return source.shape[:2]
    return source.size if isinstance(source, MatImage) else image_size(source)


def image_names(groups: Sequence[Group]) -> list[str]:
    """What the images are called in tables: file names, with their folders where those repeat."""
    names = [image_name(group[0]) for group in groups]
    if len(set(names)) < len(names) and all(hasattr(group[0], "parts") for group in groups):
        names = ["_".join(group[0].parts[-3:]) for group in groups]
    return names
