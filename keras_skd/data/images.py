"""Reading of image files, with errors that name the file and the remedy."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def list_images(folder):
    """The image files directly in ``folder``, sorted by name.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is no folder, or it holds no image file.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder.")
    if not folder.is_dir():
        raise ValueError(f"{folder}: not a folder; give the folder that holds the images.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: no images in it (looked for {', '.join(IMAGE_SUFFIXES)}).")
    return files


def read_image(path):
    """Decodes an image file to RGB.

    Grey and palette images become RGB, transparency is dropped, the EXIF orientation is applied.

    Args:
        path: The file.

    Returns:
        uint8 array ``(height, width, 3)``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no image, is corrupt or truncated, or decodes to more pixels than
            Pillow's limit for decompression bombs.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such image.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: cannot be decoded, it is corrupt, truncated or no image ({error}); "
            "replace or remove it."
        ) from None


def write_png(path, image):
    """Writes ``(height, width, 3)`` in 0..1 as an 8-bit PNG, under a temporary name until done."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    Image.fromarray(to_uint8(image)).save(temporary, format="PNG")
    temporary.replace(path)


def to_uint8(image):
    """Rounds an image of range 0..1 to 8 bits, clipping what lies outside."""
    return np.rint(np.clip(np.asarray(image, np.float32), 0.0, 1.0) * 255.0).astype(np.uint8)
