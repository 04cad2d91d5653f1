"""Reading of image files, with errors that name the file and the remedy."""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_skd.data.decoding import MAX_PIXELS, eight_bits, opened, upright
from keras_skd.errors import InputError, MissingFileError
from keras_skd.hints import ImageSource, PathLike

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "image_name",
    "image_size",
    "is_image",
    "list_images",
    "load_image",
    "read_image",
    "to_uint8",
    "write_png",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def list_images(folder: PathLike) -> list[Path]:
    """The image files directly in ``folder``, sorted by name; hidden files are left out.

    Raises:
        MissingFileError: There is no such folder.
        InputError: It is no folder, or it holds no image file.
    """
    folder = Path(folder)
    if not folder.exists():
        raise MissingFileError(f"{folder}: no such folder.")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the images.")
    try:
        files = sorted(path for path in folder.iterdir() if is_image(path))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{folder}: cannot be read ({reason}).") from None
    if not files:
        raise InputError(f"{folder}: no images in it (looked for {', '.join(IMAGE_SUFFIXES)}).")
    return files


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file, and not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: PathLike) -> np.ndarray:
    """Decodes an image file to RGB of 8 bits.

    Grey, palette and CMYK images become RGB, 16 bits are rounded to 8 (``v / 257``), transparency
    is dropped, the EXIF orientation is applied. The decoder is that of
    :func:`~keras_skd.data.photo_files.read_photo`; ``docs/data.md`` lists what it reads.

    Args:
        path: The file.

    Returns:
        uint8 array ``(height, width, 3)``.

    Raises:
        MissingFileError: There is no such file.
        InputError: The file is no image, is corrupt or truncated, of a kind that is not read, or
            has more than :data:`MAX_PIXELS`.
    """
    with opened(path) as picture:
        array = eight_bits(picture.samples())
        array = np.repeat(array[..., :1], 3, axis=2) if array.shape[2] < 3 else array[..., :3]
        return np.ascontiguousarray(upright(array, picture.orientation))


def load_image(source: ImageSource) -> np.ndarray:
    """The RGB image that ``source`` stands for.

    Args:
        source: A file (:func:`read_image`), a uint8 array, or an object with ``read()``, such as a
            :class:`~keras_skd.data.mat_files.MatImage`.

    Returns:
        uint8 array ``(height, width, 3)``.

    Raises:
        MissingFileError: There is no such file.
        InputError: It cannot be decoded.
    """
    if isinstance(source, np.ndarray):
        return np.ascontiguousarray(source)
    return source.read() if hasattr(source, "read") else read_image(source)


def image_name(source: ImageSource) -> str:
    """What the source of :func:`load_image` is called in tables and files, without a folder."""
    if isinstance(source, np.ndarray):
        return "array"
    return source.name if hasattr(source, "read") else Path(source).name


def image_size(path: PathLike) -> tuple[int, int]:
    """``(height, width)`` in pixels as :func:`read_image` returns them, without decoding.

    Raises:
        MissingFileError: There is no such file.
        InputError: As :func:`read_image`, as far as the file's head shows it.
    """
    with opened(path) as picture:
        size = (picture.height, picture.width)
        return size[::-1] if picture.orientation in (5, 6, 7, 8) else size


def write_png(path: PathLike, image: np.ndarray) -> None:
    """Writes ``(height, width, 3)`` in 0..1 as an 8-bit PNG, under a temporary name until done."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    Image.fromarray(to_uint8(image)).save(temporary, format="PNG")
    temporary.replace(path)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds an image of range 0..1 to 8 bits, clipping what lies outside.

    Raises:
        InputError: A value is not finite, which no grey level stands for.
    """
    image = np.asarray(image, np.float32)
    if not np.isfinite(image).all():
        raise InputError("the image holds values that are NaN or infinite.")
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
