"""Training images, decoded once and kept on disk."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from tqdm import tqdm

from keras_skd.data.images import image_size, load_image
from keras_skd.errors import InputError, OutputError
from keras_skd.hints import Group, PathLike

_RESERVE = 64 * 2**20  # bytes left free for checkpoints and logs
_AT_ONCE = 8  # groups that are decoded ahead of the one that is written


class ImageStore:
    """Decoded images in one unnamed temporary file.

    Decoding once is what makes random crops cheap, and every corrupt file is found before training
    starts; a file rather than memory is what lets a data set be larger than memory: a crop reads
    the rows it needs, and nothing else is held. The file has no name, so it disappears with
    :meth:`close`, with the store or with the process, however that ends.

    Args:
        images: A list of groups; a group is what one training sample is cropped from, at the same
            place: ``(clean,)`` or ``(input, target)``, also both in one list. Each image is what
            :func:`~keras_skd.data.images.load_image` takes. Each group is drawn equally often;
            :meth:`mixed` gives shares to folders.
        minimum_size: Least height and width in pixels (the patch).
        folder: Where the temporary file is made; the system's temporary folder if None.

    Attributes:
        kinds: The set of the numbers of images in a group: 1 for clean images, 2 for pairs.

    Raises:
        InputError: An image cannot be decoded, is too small, or differs in size from its pair.
        OutputError: The disk is too small for the decoded images.
    """

    def __init__(self, images: Sequence[Group], minimum_size: int, folder: PathLike | None = None):
        folder = Path(folder or tempfile.gettempdir())
        needed = sum(_decoded_bytes(image) for group in images for image in group)
        free = shutil.disk_usage(folder).free
        if free < needed + _RESERVE:
            raise OutputError(
                f"{folder}: the decoded images need {needed / 2**20:.0f} MiB and {_RESERVE >> 20} "
                f"MiB for checkpoints, but {free / 2**20:.0f} MiB are free; choose another disk."
            )
        self._shapes, self._offsets, self._counts = [], [], []
        offset = 0
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed with the store
        weakref.finalize(self, self._file.close)
        for group, arrays in zip(images, _decoded(images), strict=True):
            self._check_group(group, arrays, minimum_size)
            self._shapes.append(arrays[0].shape)
            self._offsets.append(offset)
            self._counts.append(len(arrays))
            for array in arrays:
                self._file.write(array.data)
                offset += array.nbytes
        self._file.flush()
        self.kinds = frozenset(self._counts)
        self._stops, self._thresholds = [len(self)], None

    @classmethod
    def mixed(
        cls,
        parts: Sequence[tuple[Sequence[Group], float]],
        minimum_size: int,
        folder: PathLike | None = None,
    ) -> ImageStore:
        """A store of several folders, each with its share of the samples.

        Args:
            parts: A list of ``(groups, share)``: the groups of a folder, and how many samples come
                from it, in proportion to the other shares. Within a part each group is drawn
                equally often, so a small folder of pairs may make up half of what is seen.
            minimum_size: As for the class.
            folder: As for the class.

        Returns:
            A store of all groups, in the order of the parts.

        Raises:
            InputError: There is no part, a part is empty, a share is not a number above 0, or what
                the class raises.
        """
        parts = [(list(groups), share) for groups, share in parts]
        if not parts or not all(groups for groups, _ in parts):
            raise InputError("a mix needs at least one folder, and images in each.")
        shares = np.array([share for _, share in parts], np.float64)
        if not (np.isfinite(shares) & (shares > 0)).all():
            raise InputError(
                f"shares must be numbers above 0; got {[share for _, share in parts]}."
            )
        store = cls([group for groups, _ in parts for group in groups], minimum_size, folder)
        if len(parts) > 1:
            store._stops = np.cumsum([len(groups) for groups, _ in parts]).tolist()
            store._thresholds = np.cumsum(shares / shares.sum())[:-1]
        return store

    def draw(self, generator: np.random.Generator) -> np.integer:
        """The index of a random group, by the shares of the parts.

        Args:
            generator: A ``numpy.random.Generator``; what it gives decides alone. A store without
                shares takes one number of it, one with shares two.

        Returns:
            An integer.
        """
        if self._thresholds is None:
            return generator.integers(len(self))
        part = int(np.searchsorted(self._thresholds, generator.random(), side="right"))
        return generator.integers(self._stops[part - 1] if part else 0, self._stops[part])

    @staticmethod
    def _check_group(group, arrays, minimum_size):
        height, width, _ = arrays[0].shape
        if min(height, width) < minimum_size:
            raise InputError(
                f"{_name(group[0])}: {width}x{height} pixels are smaller than the patch of "
                f"{minimum_size}; remove the image or choose a smaller --patch-size."
            )
        for image, array in zip(group[1:], arrays[1:], strict=True):
            if array.shape != arrays[0].shape:
                raise InputError(
                    f"{_name(image)} ({array.shape[1]}x{array.shape[0]}) and {_name(group[0])} "
                    f"({width}x{height}) are a pair but differ in size."
                )

    def digest(self) -> str:
        """SHA-256 of all images, their sizes and their shares, in hexadecimal."""
        digest = hashlib.sha256(repr((self._shapes, self._counts, self._stops)).encode())
        digest.update(repr(self._thresholds).encode())
        position = 0
        while block := os.pread(self._file.fileno(), 1 << 22, position):
            digest.update(block)
            position += len(block)
        return digest.hexdigest()

    def close(self) -> None:
        """Gives the disk back; no image can be read afterwards."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._shapes)

    def shape(self, index: SupportsIndex) -> tuple[int, int, int]:
        """``(height, width, 3)`` of the images of the group at ``index``."""
        return self._shapes[index]

    def __getitem__(self, index: SupportsIndex) -> tuple[np.ndarray, ...]:
        """The group at ``index``: a tuple of uint8 arrays ``(height, width, 3)``."""
        return self.rows(index, 0, self._shapes[index][0])

    def rows(self, index: SupportsIndex, first: int, last: int) -> tuple[np.ndarray, ...]:
        """Rows ``first`` to ``last - 1`` of each image of a group, read from disk.

        Returns:
            A tuple of uint8 arrays ``(last - first, width, 3)``.
        """
        height, width, channels = self._shapes[index]
        row = width * channels
        start = self._offsets[index] + first * row
        return tuple(
            # pread needs no file position, so threads do not get in each other's way.
            np.frombuffer(
                os.pread(self._file.fileno(), (last - first) * row, start + place * height * row),
                np.uint8,
            ).reshape(last - first, width, channels)
            for place in range(self._counts[index])
        )


def _decoded(images):
    """Decodes group by group, in order, a few ahead on the other cores."""
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(images), desc="decoding", unit="image", disable=None, leave=False) as bar,
    ):
        groups, waiting = iter(images), []
        while True:
            for group in itertools.islice(groups, _AT_ONCE - len(waiting)):
                waiting.append([pool.submit(load_image, image) for image in group])
            if not waiting:
                return
            yield [future.result() for future in waiting.pop(0)]
            bar.update()


def _name(image):
    return "an image given as an array" if isinstance(image, np.ndarray) else image


def _decoded_bytes(image):
    if isinstance(image, np.ndarray):
        return image.nbytes
    if hasattr(image, "read"):
        return 0  # it lies in its own file; to decode it for its size would cost too much
    try:
        height, width = image_size(image)
    except (OSError, ValueError):
        return 0  # decoding reports it, with its reason
    return 3 * height * width
