"""What the authors' servers take for SIDD's benchmark and DND, which have no public ground truth.

The formats are those that the authors' own scripts write:

* SIDD, ``NAME.mat``: ``DenoisedBlocksSrgb``, a cell array of 40 scenes by 32 blocks, each single
  ``(height, width, 3)`` in 0..1; ``TimeMPSrgb``, seconds a megapixel (2^20 pixels);
  ``OptionalData``, a struct of texts;
* SIDD, ``NAME.csv``: columns ``ID``, from 0, scene by scene, and ``BLOCK``, the block's uint8
  values ``(height, width, 3)`` as base64: what the page of the benchmark's competition takes;
* DND, a folder of ``0001.mat`` to ``0050.mat``: ``Idenoised``, a cell array of 1 by 20 crops, each
  single ``(height, width, 3)`` in 0..1; ``israw``, false; ``eval_version``, ``1.0``.

MATLAB files are of version 5, which MATLAB and SciPy read.
"""

import base64
import csv
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_skd.data.datasets import DataSet
from keras_skd.data.folder_tree import find_folders
from keras_skd.data.images import to_uint8
from keras_skd.data.mat_files import dnd_crops, sidd_blocks
from keras_skd.errors import FailedCheckError, InputError
from keras_skd.files import output_folder, replaced
from keras_skd.hints import PathLike

SIDD_SHAPE = (40, 32)  # scenes and blocks that SIDD's server expects
DND_SHAPE = (50, 20)  # images and crops that DND's server expects


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        path: The file, or DND's folder.
        name: ``"SIDD benchmark"`` or ``"DND"``.
        shape: ``(scenes, blocks)`` or ``(images, crops)``.
        seconds_per_megapixel: Time of the model for 2^20 pixels, without its first call.
    """

    path: Path
    name: str
    shape: tuple
    seconds_per_megapixel: float

    def __str__(self) -> str:
        count = " x ".join(map(str, self.shape))
        expected = SIDD_SHAPE if self.name == "SIDD benchmark" else DND_SHAPE
        text = (
            f"{self.path}: {count} images of {self.name}, "
            f"{self.seconds_per_megapixel:.2f} s a megapixel"
        )
        if self.shape != expected:
            text += f"; incomplete, the server expects {' x '.join(map(str, expected))}"
        return text


def find_submission(folder: PathLike) -> DataSet:
    """The images without ground truth of SIDD's benchmark or of DND.

    Args:
        folder: Where ``BenchmarkNoisyBlocksSrgb.mat``, or ``info.mat`` and ``images_srgb/``, lie,
            or a folder above it. SIDD's validation may lie beside its benchmark.

    Returns:
        A :class:`~keras_skd.data.DataSet` of kind ``"noisy"``.

    Raises:
        MissingFileError: There is no such folder.
        InputError: It holds neither, or both, or a file is damaged.
    """
    found = []
    for place in find_folders(folder):
        for name, kind, groups in filter(
            None, (sidd_blocks(place, benchmark=True), dnd_crops(place))
        ):
            found.append(DataSet(name, place, kind, groups, "denoise"))
    if len(found) > 1:
        names = ", ".join(f"{data.folder} ({data.name})" for data in found)
        raise InputError(f"{folder}: holds several benchmarks; give one of them: {names}.")
    if not found:
        raise InputError(
            f"{folder}: neither SIDD's benchmark (BenchmarkNoisyBlocksSrgb.mat) nor DND (info.mat "
            "and images_srgb/) is in it; other data sets have no server to submit to."
        )
    return found[0]


def check_submission(path: PathLike, data: DataSet) -> None:
    """Checks that a submission can be written, before any image is restored.

    Args:
        path: As for :func:`write_submission`.
        data: As for :func:`write_submission`.

    Raises:
        InputError: The data set has no server, or the path does not fit its format.
    """
    path = Path(path)
    if data.kind != "noisy" or data.name not in ("SIDD benchmark", "DND"):
        raise InputError(
            f"{data.folder}: {data.name} is measured here; a submission is of SIDD's benchmark or "
            "of DND."
        )
    if data.name == "DND":
        if path.suffix.lower() in (".mat", ".csv") or path.is_file():
            raise InputError(
                f"{path}: DND's server takes a file for each image, 0001.mat and so on; give a "
                f"folder for them, such as {path.with_suffix('')}."
            )
    elif path.suffix.lower() not in (".mat", ".csv") or path.is_dir():
        raise InputError(f"{path}: SIDD's server takes a file; give NAME.mat or NAME.csv.")


def write_submission(
    path: PathLike, data: DataSet, restore: Callable[[np.ndarray], np.ndarray], method: str = ""
) -> Submission:
    """Restores a benchmark and writes what its server takes.

    Images are restored one at a time and kept on disk until the file is written, so memory holds
    one of them (of DND, the crops of one image). Nothing is left at ``path`` where it fails, and
    what was there stays as it was.

    Args:
        path: ``NAME.mat`` or ``NAME.csv`` for SIDD; a folder for DND.
        data: What :func:`find_submission` found.
        restore: A function of one image, float32 ``(height, width, 3)`` in 0..1, to the restored
            one of the same shape.
        method: Name of the method, for the authors' list.

    Returns:
        A :class:`Submission`.

    Raises:
        InputError: As :func:`check_submission`, or an image cannot be decoded.
        FailedCheckError: The model returns another shape, or values that are not finite.
        OutputError: The result cannot be written.
    """
    path = Path(path)
    check_submission(path, data)
    images = [group[0] for group in data.groups]
    restored = _Restored(restore)
    restored(images[0])  # traces the model's graph, whose time does not count
    restored.seconds = restored.pixels = 0
    if data.name == "DND":
        shape = _write_dnd(path, images, restored)
    else:
        shape = tuple(np.max([image.number for image in images], axis=0) + 1)
        shape = (int(shape[0]), int(shape[1]))
        write = _write_sidd_csv if path.suffix.lower() == ".csv" else _write_sidd_mat
        with output_folder(path.parent):
            write(path, images, shape, restored, method)
    return Submission(path, data.name, shape, restored.seconds_per_megapixel)


class _Restored:
    """Restores images, checks them and adds up the time."""

    def __init__(self, restore):
        self.restore = restore
        self.seconds = self.pixels = 0

    @property
    def seconds_per_megapixel(self):
        return self.seconds * 2**20 / self.pixels

    def __call__(self, source):
        noisy = source.read_float()
        start = time.perf_counter()
        image = np.asarray(self.restore(noisy))
        self.seconds += time.perf_counter() - start
        self.pixels += noisy.shape[0] * noisy.shape[1]
        if image.shape != noisy.shape:
            raise FailedCheckError(f"{source}: {image.shape} was restored of {noisy.shape}.")
        if not np.isfinite(image).all():
            raise FailedCheckError(f"{source}: the model returned values that are not finite.")
        return np.clip(image, 0, 1).astype(np.float32)


def _write_sidd_mat(path, images, shape, restored, method):
    import scipy.io

    height, width = images[0].size
    size = len(images) * height * width * 3 * 4
    # The blocks are kept on disk and mapped: 1 GB of the whole benchmark.
    with (
        output_folder(path.parent, needed_bytes=2 * size),
        tempfile.TemporaryFile(dir=path.parent) as file,
    ):
        blocks = np.memmap(file, np.float32, "w+", shape=(len(images), height, width, 3))
        cells = np.empty(shape, object)
        for place, image in enumerate(_shown(images)):
            blocks[place] = restored(image)
            cells[image.number] = blocks[place]
        content = {
            "DenoisedBlocksSrgb": cells,
            "TimeMPSrgb": restored.seconds_per_megapixel,
            "OptionalData": {"MethodName": method, "Authors": "", "PaperTitle": "", "Venue": ""},
        }
        with replaced(path) as temporary, open(temporary, "wb") as output:
            scipy.io.savemat(output, content)


def _write_sidd_csv(path, images, shape, restored, method):
    del shape, method  # the format has no place for them
    with replaced(path) as temporary, open(temporary, "w", newline="", encoding="ascii") as output:
        rows = csv.writer(output, lineterminator="\n")
        rows.writerow(["ID", "BLOCK"])
        for number, image in enumerate(_shown(images)):
            block = np.ascontiguousarray(to_uint8(restored(image)))
            rows.writerow([number, base64.b64encode(block.tobytes()).decode("ascii")])


def _write_dnd(path, images, restored):
    import scipy.io

    counts = []
    with output_folder(path):
        # Complete before any of it is in its place, so that two models' results do not mix.
        temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=path))
        try:
            for file, crops in groupby(_shown(images), key=lambda image: image.path):
                restored_crops = [restored(crop) for crop in crops]
                cells = np.empty((1, len(restored_crops)), object)
                cells[0, :] = restored_crops
                counts.append(len(restored_crops))
                content = {"Idenoised": cells, "israw": False, "eval_version": "1.0"}
                with open(temporary / file.name, "wb") as output:
                    scipy.io.savemat(output, content)
            for file in sorted(temporary.iterdir()):
                with replaced(path / file.name) as complete:
                    file.replace(complete)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return len(counts), max(counts)


def _shown(images):
    return tqdm(images, desc="restoring", unit="image", disable=None, leave=False)
