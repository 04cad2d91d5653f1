"""Reading of image files, with errors that name the file and the remedy."""

import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from keras_skd.errors import InputError, MissingFileError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000  # what a phone's largest photos stay below; more is taken for a bomb


def list_images(folder):
    """The image files directly in ``folder``, sorted by name; hidden files are left out.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is no folder, or it holds no image file.
    """
    folder = Path(folder)
    if not folder.exists():
        raise MissingFileError(f"{folder}: no such folder.")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the images.")
    files = sorted(path for path in folder.iterdir() if is_image(path))
    if not files:
        raise InputError(f"{folder}: no images in it (looked for {', '.join(IMAGE_SUFFIXES)}).")
    return files


def is_image(path):
    """Whether the name is that of an image file, and not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path):
    """Decodes an image file to RGB.

    Grey and palette images become RGB, transparency is dropped, the EXIF orientation is applied.

    Args:
        path: The file.

    Returns:
        uint8 array ``(height, width, 3)``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no image, is corrupt or truncated, or decodes to more than
            :data:`MAX_PIXELS`.
    """
    with opened(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def load_image(source):
    """The RGB image that ``source`` stands for.

    Args:
        source: A file (:func:`read_image`), a uint8 array, or an object with ``read()``, such as a
            :class:`~keras_skd.data.mat_files.MatImage`.

    Returns:
        uint8 array ``(height, width, 3)``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be decoded.
    """
    if isinstance(source, np.ndarray):
        return np.ascontiguousarray(source)
    return source.read() if hasattr(source, "read") else read_image(source)


def image_name(source):
    """What the source of :func:`load_image` is called in tables and files, without a folder."""
    if isinstance(source, np.ndarray):
        return "array"
    return source.name if hasattr(source, "read") else Path(source).name


def image_size(path):
    """``(height, width)`` in pixels as :func:`read_image` returns them, without decoding.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As :func:`read_image`, as far as the file's head shows it.
    """
    with opened(path) as image:
        sideways = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return image.size if sideways else image.size[::-1]


@contextmanager
def opened(path):
    """Opens an image file; whatever goes wrong while the block decodes it names the file.

    Yields:
        A :class:`PIL.Image.Image`, not decoded yet.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As :func:`read_image`.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata; the size is checked below
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(
                        f"{image.width}x{image.height} pixels are more than the "
                        f"{MAX_PIXELS // 10**6} million that are allowed"
                    )
                yield image
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such image.") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: refused, {_first_line(error)}.") from None
    except UnsupportedImageError as error:
        raise InputError(f"{path}: {error}") from None
    # Pillow's decoders meet damage with whatever exception comes of it, struct.error and
    # AttributeError among them; all mean the same here.
    except Exception as error:
        reason = _first_line(error) or type(error).__name__
        raise InputError(
            f"{path}: cannot be decoded, it is corrupt, truncated or no image ({reason}); "
            "replace or remove it."
        ) from None


class UnsupportedImageError(InputError):
    """An intact image of a kind that is not handled; the message says which and what to do."""


def _first_line(error):
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")[:200]


def write_png(path, image):
    """Writes ``(height, width, 3)`` in 0..1 as an 8-bit PNG, under a temporary name until done."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    Image.fromarray(to_uint8(image)).save(temporary, format="PNG")
    temporary.replace(path)


def to_uint8(image):
    """Rounds an image of range 0..1 to 8 bits, clipping what lies outside."""
    return np.rint(np.clip(np.asarray(image, np.float32), 0.0, 1.0) * 255.0).astype(np.uint8)
