"""Images inside MATLAB files: the blocks of SIDD and the crops of DND."""

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
    """

    path: Path
    variable: str
    index: tuple
    name: str

    def __str__(self):
        return f"{self.path}:{self.name}"

    def read(self):
        """Decodes the image.

        Returns:
            uint8 array ``(height, width, 3)``.

        Raises:
            ValueError: The file is damaged, or has no such array.
        """
        array = _array(self.path, self.variable)
        if len(self.index) == 2:
            image = array[self.index]
        else:
            top, bottom, left, right = self.index
            image = np.rint(np.clip(array[top:bottom, left:right], 0, 1) * 255).astype(np.uint8)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"{self}: not an 8-bit RGB image ({image.dtype}, {image.shape}).")
        return np.ascontiguousarray(image)


def sidd_blocks(folder):
    """SIDD's validation blocks, or its benchmark's, which have no ground truth.

    Returns:
        ``(name, kind, groups)``, or None where the folder does not hold them.
    """
    noisy = folder / "ValidationNoisyBlocksSrgb.mat"
    clean = folder / "ValidationGtBlocksSrgb.mat"
    benchmark = folder / "BenchmarkNoisyBlocksSrgb.mat"
    if noisy.is_file() != clean.is_file():
        raise MissingFileError(
            f"{clean if noisy.is_file() else noisy}: missing; SIDD's validation is two files."
        )
    if noisy.is_file():
        groups = list(zip(_blocks(noisy), _blocks(clean), strict=True))
        return "SIDD validation", "pairs", groups
    if benchmark.is_file():
        return "SIDD benchmark", "noisy", [(block,) for block in _blocks(benchmark)]
    return None


def _blocks(path):
    """Every block of an array ``(scenes, blocks, height, width, 3)``."""
    shape = _array(path, path.stem).shape
    if len(shape) != 5 or shape[-1] != 3:
        raise InputError(
            f"{path}: blocks (scenes, blocks, height, width, 3) expected; got {shape}."
        )
    return [
        MatImage(path, path.stem, (scene, block), f"{scene + 1:04d}_{block + 1:02d}")
        for scene in range(shape[0])
        for block in range(shape[1])
    ]


def dnd_crops(folder):
    """DND's 20 crops of each sRGB image, without ground truth.

    Returns:
        ``(name, kind, groups)``, or None where the folder does not hold them.
    """
    information, images = folder / "info.mat", folder / "images_srgb"
    if not information.is_file() or not images.is_dir():
        return None
    groups = []
    with _opened_hdf5(information) as file:
        references = file["info"]["boundingboxes"][()].ravel()
        # One (4, 20) array an image: top, left, bottom, right, from 1, both ends included.
        boxes = [np.asarray(file[reference]).T.astype(int) for reference in references]
    paths = sorted(path for path in images.iterdir() if re.fullmatch(r"\d{4}\.mat", path.name))
    if not paths:
        raise InputError(f"{images}: no 0001.mat, 0002.mat ... in it.")
    for path in paths:
        number = int(path.stem)
        if number > len(boxes):
            raise InputError(f"{information}: has no crops for {path.name}.")
        for crop, (top, left, bottom, right) in enumerate(boxes[number - 1], 1):
            index = (top - 1, bottom, left - 1, right)
            groups.append((MatImage(path, "InoisySRGB", index, f"{path.stem}_{crop:02d}"),))
    return "DND", "noisy", groups


@lru_cache(maxsize=2)  # blocks and crops come file by file; SIDD has a noisy and a clean one
def _array(path, variable):
    import scipy.io

    if _is_hdf5(path):
        with _opened_hdf5(path) as file:
            if variable in file:
                return np.asarray(file[variable]).T  # MATLAB stores columns first
    else:
        try:
            content = scipy.io.loadmat(path, variable_names=[variable])
        except Exception as error:  # SciPy meets damage with whatever exception comes of it
            raise InputError(f"{path}: not a readable MATLAB file ({error}).") from None
        if variable in content:
            return content[variable]
    raise InputError(f"{path}: no array {variable} in it.")


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
        if kind is not None and issubclass(kind, KeyError | OSError | RuntimeError | IndexError):
            raise InputError(f"{self.path}: not a readable MATLAB file ({error}).") from None
