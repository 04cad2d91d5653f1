"""Photographs as files: pixels with everything that belongs to them, read and written back."""

import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from keras_skd.data.images import UnsupportedImageError, opened
from keras_skd.errors import InputError
from keras_skd.files import replaced

FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
_FORMAT_OF_SUFFIX = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
# A TIFF's own description; the rest of its tags say how its pixels lie in the file.
_TIFF_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)


@dataclass(frozen=True)
class Photo:
    """A decoded photograph.

    Attributes:
        pixels: uint8 or uint16 ``(height, width, 3)``, as they lie in the file: the EXIF
            orientation is not applied but kept.
        grey: Whether the file is grey; the three channels are equal then.
        alpha: The opacity, ``(height, width)`` of the same dtype, or None.
        exif: EXIF block, or None.
        icc_profile: Colour profile, or None.
        dpi: Resolution ``(horizontal, vertical)``, or None.
    """

    pixels: np.ndarray
    grey: bool = False
    alpha: np.ndarray | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple | None = None

    def with_pixels(self, pixels):
        """The same photograph with other pixels; of a grey one the mean of the channels counts."""
        if self.grey:
            mean = np.rint(pixels.mean(axis=2, keepdims=True)).astype(pixels.dtype)
            pixels = np.repeat(mean, 3, axis=2)
        return replace(self, pixels=pixels)


def read_photo(path):
    """Reads a photograph with its transparency, orientation, profile and depth.

    JPEG, PNG (8 and 16 bit), WebP, TIFF (8 and 16 bit) and BMP; palettes become RGB.

    Args:
        path: The file.

    Returns:
        A :class:`Photo`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is corrupt, no image, too large, or of a kind that is not handled: CMYK,
            floating point, animated.
    """
    with opened(path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise UnsupportedImageError(
                f"holds {frames} frames or pages; split it, photographs have one."
            )
        if image.mode in ("CMYK", "LAB", "HSV", "F"):
            kind = {"CMYK": "CMYK, for print", "F": "floating point"}.get(image.mode, image.mode)
            raise UnsupportedImageError(f"is {kind}; convert it to RGB of 8 or 16 bits first.")
        deep = _is_deep(image)
        array = _deep_pixels(path, image) if deep else _shallow_pixels(image)
        information = {
            "exif": _exif(image, deep),
            "icc_profile": image.info.get("icc_profile"),
            "dpi": _dpi(image),
        }
    grey, has_alpha = array.shape[2] < 3, array.shape[2] in (2, 4)
    alpha = array[..., -1] if has_alpha else None
    pixels = np.repeat(array[..., :1], 3, axis=2) if grey else np.ascontiguousarray(array[..., :3])
    return Photo(pixels, grey, alpha, **information)


def _is_deep(image):
    """Whether the file has 16 bits a channel, which Pillow tells for grey ones only."""
    if image.mode.startswith("I;16"):
        return True
    if image.mode == "I":
        raise UnsupportedImageError("has 32 bits a channel; convert it to 8 or 16 bits first.")
    if image.format == "PNG":
        position = image.fp.tell()
        image.fp.seek(24)  # in IHDR, always the first chunk
        depth = image.fp.read(1)
        image.fp.seek(position)
        return depth == b"\x10"
    if image.format == "TIFF":
        depths = image.tag_v2.get(258, (1,))
        return max(depths if isinstance(depths, tuple) else (depths,)) == 16
    return False


def _shallow_pixels(image):
    mode = image.mode
    transparent = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if mode in ("1", "L", "LA", "La"):
        target = "LA" if transparent else "L"
    else:
        target = "RGBA" if transparent else "RGB"
    array = np.asarray(image.convert(target))
    return array[..., None] if array.ndim == 2 else array


def _deep_pixels(path, image):
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.format == "PNG":
        import tensorflow as tf

        content = Path(path).read_bytes()
        return tf.io.decode_png(content, channels=0, dtype=tf.uint16).numpy()
    import tifffile

    try:
        array = tifffile.imread(path)
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise UnsupportedImageError(
                "is a 16-bit TIFF of a compression that is not read; save it uncompressed, with "
                "deflate, or as PNG."
            ) from None
        raise
    size = (image.tag_v2[257], image.tag_v2[256])
    if array.ndim == 3 and array.shape[1:] == size:
        array = np.moveaxis(array, 0, 2)  # stored plane by plane
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[:2] != size or array.shape[2] > 4:
        raise UnsupportedImageError(f"is a TIFF of an unusual layout {array.shape}.")
    return array.astype(np.uint16)  # in the machine's byte order


def _exif(image, deep):
    if image.format != "TIFF":
        return image.info.get("exif")
    exif = Image.Exif()
    # Pillow applies a TIFF's orientation when it decodes; tifffile, for 16 bits, does not.
    for tag in (*_TIFF_TAGS, *([ExifTags.Base.Orientation] if deep else [])):
        if tag in image.tag_v2:
            exif[tag] = image.tag_v2[tag]
    return exif.tobytes() if len(exif) else None


def _dpi(image):
    dpi = image.info.get("dpi")
    return tuple(float(value) for value in dpi) if dpi and all(dpi) else None


def write_photo(path, photo, quality=95):
    """Writes a photograph in the format of the name's suffix, under a temporary name until done.

    16 bits are kept in PNG and TIFF, and rounded to 8 in JPEG, WebP and BMP.

    Args:
        path: The file.
        photo: A :class:`Photo`.
        quality: Of JPEG and WebP, 1..100.

    Raises:
        ValueError: The suffix is unknown, or the format has no transparency.
        OSError: The file cannot be written.
    """
    path = Path(path)
    file_format = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if file_format is None:
        raise InputError(f"{path}: images are written as {', '.join(_FORMAT_OF_SUFFIX)}.")
    if photo.alpha is not None and file_format in ("JPEG", "BMP"):
        raise InputError(f"{path}: {file_format} has no transparency; choose --format png.")
    parts = [photo.pixels[..., :1] if photo.grey else photo.pixels]
    if photo.alpha is not None:
        parts.append(photo.alpha[..., None])
    array = np.concatenate(parts, axis=2)
    deep = array.dtype == np.uint16
    with replaced(path) as temporary:
        if deep and file_format == "PNG":
            temporary.write_bytes(_deep_png(array, photo))
        elif deep and file_format == "TIFF":
            _write_deep_tiff(temporary, array, photo)
        else:
            if deep:
                array = np.rint(array / 257.0).astype(np.uint8)
            _write_shallow(temporary, array, photo, file_format, quality)


def _write_shallow(path, array, photo, file_format, quality):
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    options = {"icc_profile": photo.icc_profile, "exif": photo.exif, "dpi": photo.dpi}
    options = {name: value for name, value in options.items() if value is not None}
    if file_format in ("JPEG", "WEBP"):
        options["quality"] = quality
    if file_format == "JPEG":
        # Colour at full resolution where quality is asked for; halved it smears edges.
        options |= {"optimize": True, "subsampling": 0 if quality >= 90 else 2}
    if file_format == "TIFF":
        options["compression"] = "tiff_deflate"
    image.save(path, format=file_format, **options)


def _deep_png(array, photo):
    import tensorflow as tf

    content = tf.io.encode_png(array).numpy()
    # TensorFlow writes pixels alone. The other chunks go right behind IHDR, which is 33 bytes in.
    chunks = []
    if photo.icc_profile is not None:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc_profile)))
    if photo.exif is not None:
        chunks.append(_chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0")))
    if photo.dpi is not None:
        per_metre = [round(value / 0.0254) for value in photo.dpi]
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    return content[:33] + b"".join(chunks) + content[33:]


def _chunk(name, data):
    crc = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def _write_deep_tiff(path, array, photo):
    import tifffile

    if array.shape[2] == 2:  # Pillow, for one, does not open grey with transparency at 16 bits
        array = array[..., [0, 0, 0, 1]]
    channels = array.shape[2]
    tags = {}
    if photo.exif is not None:
        tags = Image.Exif()
        tags.load(photo.exif)
    description = tags.get(ExifTags.Base.ImageDescription)
    extra = [
        (int(tag), "s", 0, str(tags[tag]), True)
        for tag in (*_TIFF_TAGS[1:3], *_TIFF_TAGS[4:])
        if tag in tags
    ]
    if ExifTags.Base.Orientation in tags:
        extra.append((274, "H", 1, int(tags[ExifTags.Base.Orientation]), True))
    with io.BytesIO() as buffer:
        tifffile.imwrite(
            buffer,
            array[..., 0] if channels == 1 else array,
            photometric="rgb" if channels >= 3 else "minisblack",
            extrasamples=["unassalpha"] if channels == 4 else None,
            planarconfig="contig" if channels > 1 else None,
            compression="zlib",
            metadata=None,
            description=description,
            software=tags.get(ExifTags.Base.Software),
            iccprofile=photo.icc_profile,
            resolution=photo.dpi,
            resolutionunit="INCH" if photo.dpi else None,
            extratags=extra,
        )
        path.write_bytes(buffer.getvalue())
