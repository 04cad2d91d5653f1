"""Images inside MATLAB files: the blocks of SIDD and the crops of DND.

Both kinds of file are read, version 5 to 7 (of either byte order) and 7.3 (HDF5). Sizes are read
without the images; of a 7.3 file an image is read by itself, of an older one the whole array is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from keras_skd.errors import InputError, MissingFileError


@dataclass(frozen=True)
class MatImage:
    """An image inside a ``.mat`` file, read when it is needed.

    Attributes:
        path: The file.
        variable: Name of the array.
        index: Where in the array the image lies: ``(scene, block)`` for SIDD, ``(top, bottom, left,
            right)`` for DND.
        name: What the image is called in tables and files.
        size: ``(height, width)`` in pixels, as the file's head has it.
    """

    path: Path
    variable: str
    index: tuple
    name: str
    size: tuple = ()

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    @property
    def number(self) -> tuple[int, ...]:
        """``(scene, block)`` or ``(image, crop)``, from 0."""
        return tuple(int(part) - 1 for part in self.name.split("_"))

    def read(self) -> np.ndarray:
        """Decodes the image.

        Returns:
            uint8 array ``(height, width, 3)``.

        Raises:
            InputError: The file is damaged, or has no such array.
        """
        image = self._read()
        if image.dtype != np.uint8:
            image = np.rint(image * 255).astype(np.uint8)
        return image

    def read_float(self) -> np.ndarray:
        """Decodes the image without rounding DND's to 8 bits.

        Returns:
            float32 array ``(height, width, 3)`` in 0..1.

        Raises:
            InputError: As :meth:`read`.
        """
        image = self._read()
        return image / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)

    def _read(self):
        """uint8, or floating point in 0..1 (DND)."""
        image = np.asarray(self._stored())
        if image.dtype.kind == "f" and len(self.index) == 4:
            # A value that is not a number would become black without a word.
            if not np.isfinite(image).all():
                raise InputError(f"{self}: holds values that are not finite.")
            image = np.clip(image, 0, 1)
        elif image.dtype != np.uint8:
            raise InputError(f"{self}: values of 8 bits expected; got {image.dtype}.")
        if image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"{self}: an RGB image expected; got {image.shape}.")
        return np.ascontiguousarray(image)

    def _stored(self):
        if len(self.index) == 2:
            where = self.index
        else:
            top, bottom, left, right = self.index
            where = (slice(top, bottom), slice(left, right))
        if not _is_hdf5(self.path):
            return _array(self.path, self.variable)[where]
        with _opened_hdf5(self.path) as file:
            # MATLAB stores columns first, so the axes lie in reverse.
            return _variable(file, self.path, self.variable)[(..., *reversed(where))].T


def sidd_blocks(
    folder: Path, benchmark: bool = False
) -> tuple[str, str, list[tuple[MatImage, ...]]] | None:
    """SIDD's validation blocks, or its benchmark's, which have no ground truth.

    Args:
        folder: Where the files are.
        benchmark: The benchmark even where the validation lies beside it.

    Returns:
        ``(name, kind, groups)``, or None where the folder does not hold them.

    Raises:
        MissingFileError: One of the two files of the validation is missing.
        InputError: A file is damaged, or holds no such blocks.
    """
    noisy = folder / "ValidationNoisyBlocksSrgb.mat"
    clean = folder / "ValidationGtBlocksSrgb.mat"
    blocks = folder / "BenchmarkNoisyBlocksSrgb.mat"
    if benchmark or not (noisy.is_file() or clean.is_file()):
        if not blocks.is_file():
            return None
        return "SIDD benchmark", "noisy", [(block,) for block in _blocks(blocks)]
    if noisy.is_file() != clean.is_file():
        raise MissingFileError(
            f"{clean if noisy.is_file() else noisy}: missing; SIDD's validation is two files."
        )
    sides = _blocks(noisy), _blocks(clean)
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{noisy.name} holds {len(sides[0])} blocks and {clean} {len(sides[1])}; both are one "
            "set."
        )
    return "SIDD validation", "pairs", list(zip(*sides, strict=True))


def _blocks(path):
    """Every block of an array ``(scenes, blocks, height, width, 3)``."""
    shape = _shape(path, path.stem)
    if len(shape) != 5 or shape[-1] != 3:
        raise InputError(
            f"{path}: blocks (scenes, blocks, height, width, 3) expected; got {shape}."
        )
    return [
        MatImage(path, path.stem, (scene, block), f"{scene + 1:04d}_{block + 1:02d}", shape[2:4])
        for scene in range(shape[0])
        for block in range(shape[1])
    ]


def dnd_crops(folder: Path) -> tuple[str, str, list[tuple[MatImage, ...]]] | None:
    """DND's 20 crops of each sRGB image, without ground truth.

    Returns:
        ``(name, kind, groups)``, or None where the folder does not hold them.

    Raises:
        InputError: A file is damaged, or the crops do not lie in the images.
    """
    information, images = folder / "info.mat", folder / "images_srgb"
    if not information.is_file() or not images.is_dir():
        return None
    boxes = _bounding_boxes(information)
    paths = sorted(path for path in images.iterdir() if re.fullmatch(r"\d{4}\.mat", path.name))
    if not paths:
        raise InputError(f"{images}: no 0001.mat, 0002.mat ... in it.")
    groups = []
    for path in paths:
        number = int(path.stem)
        if not 1 <= number <= len(boxes):
            raise InputError(f"{information}: has no crops for {path.name}.")
        height, width, *_ = _shape(path, "InoisySRGB")
        for crop, (top, left, bottom, right) in enumerate(boxes[number - 1], 1):
            if not (1 <= top <= bottom <= height and 1 <= left <= right <= width):
                raise InputError(
                    f"{information}: crop {crop} of {path.name} does not lie in its {width}x"
                    f"{height} pixels; both files are of one release."
                )
            index = (top - 1, bottom, left - 1, right)
            name, size = f"{path.stem}_{crop:02d}", (bottom - top + 1, right - left + 1)
            groups.append((MatImage(path, "InoisySRGB", index, name, size),))
    return "DND", "noisy", groups


def _bounding_boxes(path):
    """One list an image of ``(top, left, bottom, right)``, from 1, both ends included."""
    if _is_hdf5(path):
        with _opened_hdf5(path) as file:
            references = file["info"]["boundingboxes"][()].ravel()
            boxes = [np.asarray(file[reference]).T for reference in references]
    else:
        try:
            cells = _loaded(path, "info")["boundingboxes"].ravel()[0].ravel()
        except (IndexError, ValueError, AttributeError):
            raise InputError(f"{path}: holds no bounding boxes of DND.") from None
        boxes = list(cells)
    if any(box.ndim != 2 or box.shape[1] != 4 for box in boxes):
        raise InputError(f"{path}: holds no bounding boxes of DND.")
    return [box.astype(int).tolist() for box in boxes]


def _shape(path, variable):
    """The shape of an array, without reading it."""
    if _is_hdf5(path):
        with _opened_hdf5(path) as file:
            return tuple(reversed(_variable(file, path, variable).shape))
    import scipy.io

    with _damage_named(path):
        found = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
    if variable not in found:
        raise _missing(path, variable)
    return found[variable]


def _array(path, variable):
    status = path.stat()
    return _cached(path, variable, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)  # blocks and crops come file by file; SIDD has a noisy and a clean one
def _cached(path, variable, *_):
    return _loaded(path, variable)


def _loaded(path, variable):
    import scipy.io

    with _damage_named(path):
        content = scipy.io.loadmat(path, variable_names=[variable])
    if variable not in content:
        raise _missing(path, variable)
    return content[variable]


class _damage_named:
    """SciPy meets damage with whatever exception comes of it; all mean the same here."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None and issubclass(kind, Exception):
            raise InputError(f"{self.path}: not a readable MATLAB file ({error}).") from None


def _missing(path, variable):
    return InputError(f"{path}: no array {variable} in it.")


def _variable(file, path, variable):
    if variable not in file:
        raise _missing(path, variable)
    return file[variable]


def _is_hdf5(path):
    # A MATLAB 7.3 file is HDF5 behind a text head of 512 bytes.
    with open(path, "rb") as file:
        head = file.read(520)
    return b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:])


class _opened_hdf5:
    """An HDF5 file whose damage is an error that names it."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        import h5py

        try:
            self.file = h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(f"{self.path}: not a readable MATLAB file ({error}).") from None
        return self.file

    def __exit__(self, kind, error, trace):
        self.file.close()
        # AttributeError: a group where an array is expected.
        damage = KeyError | OSError | RuntimeError | IndexError | AttributeError | TypeError
        if kind is not None and issubclass(kind, damage):
            raise InputError(f"{self.path}: not a readable MATLAB file ({error}).") from None
