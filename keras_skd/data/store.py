"""Training images, decoded once and kept on disk."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from keras_skd.data.images import list_images, read_image

_RESERVE = 64 * 2**20  # bytes left free for checkpoints and logs


class ImageStore:
    """Decoded images in one unnamed temporary file, read through the page cache.

    Decoding once is what makes random crops cheap, and every corrupt file is found before training
    starts; a file rather than memory is what lets a data set be larger than memory. The file has no
    name, so it disappears with the process however that ends.

    Args:
        images: A list of groups; a group is what one training sample is cropped from, at the same
            place: ``(clean,)`` or ``(input, target)``. Each image is a path or a uint8 array
            ``(height, width, 3)``.
        minimum_size: Least height and width in pixels (the patch).
        folder: Where the temporary file is made; the system's temporary folder if None.

    Attributes:
        images_per_group: 1 for clean images, 2 for pairs.

    Raises:
        ValueError: An image cannot be decoded, is too small, or differs in size from its pair.
        OSError: The disk is too small for the decoded images.
    """

    def __init__(self, images, minimum_size, folder=None):
        folder = Path(folder or tempfile.gettempdir())
        needed = sum(_decoded_bytes(image) for group in images for image in group)
        free = shutil.disk_usage(folder).free
        if free < needed + _RESERVE:
            raise OSError(
                f"{folder}: the decoded images need {needed / 2**20:.0f} MiB and {_RESERVE >> 20} "
                f"MiB for checkpoints, but {free / 2**20:.0f} MiB are free; choose another disk."
            )
        self._shapes, self._offsets = [], []
        offset = 0
        with tempfile.TemporaryFile(dir=folder) as file:
            for group in images:
                arrays = [_decode(image) for image in group]
                self._check_group(group, arrays, minimum_size)
                self._shapes.append(arrays[0].shape)
                self._offsets.append(offset)
                for array in arrays:
                    file.write(array.tobytes())
                    offset += array.nbytes
            file.flush()
            self._bytes = np.memmap(file, np.uint8, "r", shape=(offset,))
        self.images_per_group = len(images[0])

    @staticmethod
    def _check_group(group, arrays, minimum_size):
        height, width, _ = arrays[0].shape
        if min(height, width) < minimum_size:
            raise ValueError(
                f"{_name(group[0])}: {width}x{height} pixels are smaller than the patch of "
                f"{minimum_size}; remove the image or choose a smaller --patch-size."
            )
        for image, array in zip(group[1:], arrays[1:], strict=True):
            if array.shape != arrays[0].shape:
                raise ValueError(
                    f"{_name(image)} ({array.shape[1]}x{array.shape[0]}) and {_name(group[0])} "
                    f"({width}x{height}) are a pair but differ in size."
                )

    def __len__(self):
        return len(self._shapes)

    def __getitem__(self, index):
        """The group at ``index``: a tuple of uint8 views ``(height, width, 3)``."""
        shape, start = self._shapes[index], self._offsets[index]
        size = int(np.prod(shape))
        return tuple(
            self._bytes[start + place * size : start + (place + 1) * size].reshape(shape)
            for place in range(self.images_per_group)
        )


def _name(image):
    return image if isinstance(image, str | Path) else "an image given as an array"


def _decoded_bytes(image):
    if isinstance(image, np.ndarray):
        return image.nbytes
    try:
        with Image.open(image) as opened:
            return 3 * opened.width * opened.height
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0  # decoding reports it, with its reason


def _decode(image):
    return np.ascontiguousarray(image) if isinstance(image, np.ndarray) else read_image(image)


def find_groups(folder, task):
    """Finds what a user's folder holds: pairs or clean images.

    ``folder/input`` and ``folder/target`` with files of equal names (suffixes may differ) are pairs
    for any task; images directly in ``folder`` are clean photographs for ``denoise``.

    Args:
        folder: The folder.
        task: ``denoise``, ``derain`` or ``deblur``.

    Returns:
        A list of ``(input path, target path)`` or of ``(clean path,)``.

    Raises:
        FileNotFoundError: The folder, or one of the two, does not exist.
        ValueError: No images, pairs that do not match, or no pairs for a task that needs them.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder.")
    input_folder, target_folder = folder / "input", folder / "target"
    if not input_folder.exists() and not target_folder.exists():
        if task != "denoise":
            raise ValueError(
                f"{folder}: {task} trains on pairs; put the degraded images into {input_folder} "
                f"and the clean ones, with the same names, into {target_folder}."
            )
        return [(path,) for path in list_images(folder)]
    sides = [
        {path.stem: path for path in list_images(side)} for side in (input_folder, target_folder)
    ]
    for side, other, missing in (
        (input_folder, target_folder, sides[0].keys() - sides[1].keys()),
        (target_folder, input_folder, sides[1].keys() - sides[0].keys()),
    ):
        if missing:
            names = ", ".join(sorted(missing)[:5])
            raise ValueError(
                f"{side}: {len(missing)} images have no partner of the same name in {other}: "
                f"{names}{' ...' if len(missing) > 5 else ''}."
            )
    return [(sides[0][stem], sides[1][stem]) for stem in sorted(sides[0])]
