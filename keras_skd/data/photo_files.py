"""Photographs as files: pixels with everything that belongs to them, read and written back."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from keras_skd.data.decoding import eight_bits, opened, parsed_block, upright
from keras_skd.data.jpeg_files import (
    APP1,
    APP13,
    COMMENT,
    EXIF_HEAD,
    LONGEST,
    PHOTOSHOP_HEAD,
    XMP_HEAD,
    icc_segments,
    with_segments,
)
from keras_skd.data.png_files import COLOUR_CHUNKS, write_png_file
from keras_skd.data.tags import MAKER_NOTE, THUMBNAIL, Tag, Tags, tags_block
from keras_skd.data.tiff_files import descriptive, write_tiff
from keras_skd.errors import InputError, OutputError
from keras_skd.files import replaced
from keras_skd.hints import PathLike

FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
QUALITY = 95
_FORMAT_OF_SUFFIX = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
# WebP has 14 bits for a side; JPEG 16, of which libjpeg takes no more than this.
_LONGEST_SIDE = {"WEBP": 16383, "JPEG": 65500}
_MOST_BYTES = {"TIFF": 2**32, "BMP": 2**32}  # of pixels, before compression
_OPTIMISED = 2**25  # pixels; libjpeg optimises with 6 bytes a pixel in memory
_XMP, _PHOTOSHOP = 700, 34377  # TIFF's tags
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class Photo:
    """A decoded photograph.

    Attributes:
        pixels: uint8 or uint16 ``(height, width, 3)``, as they lie in the file: the EXIF
            orientation is not applied but kept. Of a grey file a view that cannot be written to.
        grey: Whether the file is grey; the three channels are equal then.
        alpha: The opacity, ``(height, width)`` of the same dtype, or None.
        exif: EXIF block, with or without JPEG's ``Exif`` before it, or None.
        icc_profile: Colour profile, or None.
        dpi: Resolution ``(horizontal, vertical)``, or None.
        xmp: XMP packet, or None.
        photoshop: Photoshop's resources, IPTC's captions among them, or None.
        comment: JPEG's comment, or None.
        chunks: PNG's ``(name, data)`` of colours and words that the others do not hold.
        lossless: Whether it comes from a WebP without loss, and is to be one again.
        notes: What of the file these do not hold, as sentences whose subject is the file.
    """

    pixels: np.ndarray
    grey: bool = False
    alpha: np.ndarray | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None
    comment: bytes | None = None
    chunks: tuple = ()
    lossless: bool = False
    notes: tuple = ()

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The same photograph with other pixels, ``(height, width, 3)``.

        Of a grey one the mean of the channels counts; there may be one channel.
        """
        if self.grey:
            mean = np.empty((*pixels.shape[:2], 1), pixels.dtype)
            step = max(1, 2**20 // pixels.shape[1])
            for top in range(0, len(pixels), step):
                band = pixels[top : top + step].mean(axis=2, keepdims=True)
                mean[top : top + step] = np.rint(band)
            pixels = np.broadcast_to(mean, (*pixels.shape[:2], 3))
        return replace(self, pixels=pixels)


def read_photo(path: PathLike, max_pixels: int | None = None) -> Photo:
    """Reads a photograph with its transparency, orientation, profile and depth.

    PNG, JPEG, WebP, TIFF and BMP, see ``docs/data.md``. Palettes and CMYK become RGB, depths below
    8 bits become 8, those between 8 and 16 and floating point of 0..1 become 16. Of a file of
    several pictures such as MPO the first is read.

    Args:
        path: The file.
        max_pixels: More are refused; None for
            :data:`~keras_skd.data.decoding.MAX_PIXELS`.

    Returns:
        A :class:`Photo`.

    Raises:
        MissingFileError: There is no such photograph.
        InputError: It is corrupt, no image, too large, or of a kind that is not read.
    """
    with opened(path, max_pixels) as picture:
        array = picture.samples()
        grey, has_alpha = array.shape[2] < 3, array.shape[2] in (2, 4)
        colours = array[..., :1] if grey else array[..., :3]
        if has_alpha:
            colours = np.ascontiguousarray(colours)
        return Photo(
            np.broadcast_to(colours, (*array.shape[:2], 3)) if grey else colours,
            grey,
            np.ascontiguousarray(array[..., -1]) if has_alpha else None,
            exif=picture.exif,
            icc_profile=picture.icc_profile,
            dpi=picture.dpi,
            xmp=picture.xmp,
            photoshop=picture.photoshop,
            comment=picture.comment,
            chunks=picture.chunks,
            lossless=picture.kind == "WEBP" and picture.lossless,
            notes=tuple(picture.notes),
        )


def check_output(path: PathLike, height: int, width: int, transparent: bool = False) -> None:
    """Finds what makes a photograph impossible to write, before it is restored.

    Args:
        path: The file to write.
        height: Pixels.
        width: Pixels.
        transparent: Whether it has an opacity.

    Raises:
        InputError: The suffix has no writer, or its format holds no such picture.
        OutputError: The file system takes no such name.
    """
    path = Path(path)
    file_format = _format(path)
    if transparent and file_format in ("JPEG", "BMP"):
        raise InputError(f"{path}: {file_format} has no transparency; choose --format png.")
    longest = _LONGEST_SIDE.get(file_format)
    if longest is not None and max(height, width) > longest:
        raise InputError(
            f"{path}: {width}x{height} pixels; {file_format} holds at most {longest} a side; "
            "choose --format png or tiff."
        )
    if height * width * 8 >= _MOST_BYTES.get(file_format, np.inf):
        raise InputError(
            f"{path}: {width}x{height} pixels are too many for {file_format}; choose --format png."
        )
    _check_name(path)


def _check_name(path):
    folder = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    try:
        longest = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        longest = 255
    length = len(os.fsencode(path.name))
    if length > longest:
        raise OutputError(
            f"{path}: the name has {length} bytes, the file system takes {longest}; rename the "
            "image."
        )


def _format(path):
    file_format = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if file_format is None:
        suffix = f"not as {path.suffix}" if path.suffix else "this name has no suffix"
        raise InputError(
            f"{path}: images are written as {', '.join(_FORMAT_OF_SUFFIX)}, {suffix}; choose "
            "--format png."
        )
    return file_format


def write_photo(path: PathLike, photo: Photo, quality: int | None = None) -> list[str]:
    """Writes a photograph in the format of the name's suffix, under a temporary name until done.

    16 bits are kept in PNG and TIFF, and rounded to 8 in JPEG, WebP and BMP. BMP holds no
    orientation, so the pixels are turned.

    Args:
        path: The file.
        photo: A :class:`Photo`.
        quality: Of JPEG and WebP, 1..100. None for 95, and for WebP without loss where
            ``photo.lossless``.

    Returns:
        What the format does not hold, as sentences whose subject is the written file.

    Raises:
        InputError: The suffix is unknown, or the format holds no such picture.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    check_output(path, *photo.pixels.shape[:2], photo.alpha is not None)
    file_format = _format(path)
    lacks = []
    if photo.exif is not None:
        photo = replace(photo, exif=photo.exif.removeprefix(EXIF_HEAD))
    array = _samples(photo, file_format)
    if array.dtype == np.uint16 and file_format in ("JPEG", "WEBP", "BMP"):
        array = eight_bits(array)
        lacks.append(f"has 8 of 16 bits, {file_format} has no more")
    photo = _fitting_profile(photo, array.shape[2], file_format, lacks)
    with replaced(path) as temporary:
        {
            "PNG": _write_png,
            "TIFF": _write_tiff,
            "JPEG": _write_jpeg,
            "WEBP": _write_webp,
            "BMP": _write_bmp,
        }[file_format](temporary, array, photo, lacks, quality)
    return lacks


def _samples(photo, file_format):
    """The pixels with their opacity as one array ``(height, width, 1 to 4)``."""
    array = photo.pixels[..., :1] if photo.grey else photo.pixels
    if photo.alpha is None:
        return array
    if photo.grey and array.dtype == np.uint16 and file_format == "TIFF":
        array = photo.pixels  # Pillow, for one, opens no 16-bit grey with transparency
    return np.concatenate([array, photo.alpha[..., None]], axis=2)


def _fitting_profile(photo, samples, file_format, lacks):
    """Without a colour profile that is of other channels than the file that is written."""
    profile = photo.icc_profile
    if profile is None:
        return photo
    space = profile[16:20]
    colours = 3 if samples >= 3 or file_format == "WEBP" else 1
    if space == b"CMYK" or (space == b"GRAY" and colours == 3):
        lacks.append(f"lacks the colour profile, which is for {space.decode().strip()} pixels")
        return replace(photo, icc_profile=None)
    return photo


def _lacking(photo, lacks, **held):
    """Says what of a photograph a format does not hold."""
    names = {"photoshop": "Photoshop's and IPTC's data", "comment": "the comment"}
    names |= {"exif": "EXIF", "icc_profile": "the colour profile", "xmp": "XMP"}
    for name, words in names.items():
        if not held.get(name, True) and getattr(photo, name):
            lacks.append(f"lacks {words}")
    if held.get("chunks", True):
        return
    colours = {name: data for name, data in photo.chunks if name in COLOUR_CHUNKS}
    gamma = struct.unpack(">I", colours[b"gAMA"][:4])[0] / 1e5 if b"gAMA" in colours else 1 / 2.2
    if b"sRGB" not in colours and photo.icc_profile is None:
        if abs(gamma - 1 / 2.2) > 0.01:
            lacks.append(f"lacks PNG's gamma of {gamma:g}, so that viewers show other tones")
        if b"cICP" in colours:
            lacks.append("lacks PNG's colour space (cICP), so that viewers show other colours")
    words = [data.split(b"\0", 1)[0] for name, data in photo.chunks if name in _TEXT_CHUNKS]
    if words:
        keywords = ", ".join(sorted({word.decode("latin-1") for word in words}))
        lacks.append(f"lacks PNG's text ({keywords})")


def _write_png(path, array, photo, lacks, quality):
    _lacking(photo, lacks, photoshop=False)
    chunks = [(name, data) for name, data in photo.chunks if name in COLOUR_CHUNKS]
    words = [(name, data) for name, data in photo.chunks if name not in COLOUR_CHUNKS]
    if photo.icc_profile is not None:
        chunks = [(name, data) for name, data in chunks if name != b"sRGB"]  # one or the other
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc_profile)))
    if photo.dpi is not None:
        per_metre = [min(2**31 - 1, round(value / 0.0254)) for value in photo.dpi]
        chunks.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if photo.exif is not None:
        chunks.append((b"eXIf", photo.exif))
    if photo.xmp is not None:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + photo.xmp))
    if photo.comment is not None:
        words.append((b"tEXt", b"Comment\0" + photo.comment.replace(b"\0", b"")))
    write_png_file(path, array, chunks + words)


def _write_tiff(path, array, photo, lacks, quality):
    _lacking(photo, lacks, comment=False, chunks=False)
    tags = parsed_block(photo.exif)
    if not tags.directories:
        if photo.exif is not None:
            lacks.append("lacks EXIF, which is damaged")
        tags = Tags()
    directory = descriptive(tags.directories[0]) if tags.directories else {}
    if photo.xmp is not None:
        directory[_XMP] = Tag(1, photo.xmp)
    if photo.photoshop is not None:
        directory[_PHOTOSHOP] = Tag(7, photo.photoshop)
    write_tiff(path, array, Tags(tags.order, [directory]), photo.dpi, photo.icc_profile)


def _write_jpeg(path, array, photo, lacks, quality):
    _lacking(photo, lacks, chunks=False)
    quality = quality or QUALITY
    buffer = io.BytesIO()
    # Colour at full resolution where quality is asked for; halved it smears edges.
    options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    if photo.dpi is not None:
        options["dpi"] = tuple(min(65535, value) for value in photo.dpi)
    small = array.shape[0] * array.shape[1] <= _OPTIMISED
    _image(array).save(buffer, format="JPEG", optimize=small, **options)
    segments = []
    exif = _shortened_exif(photo.exif, LONGEST - len(EXIF_HEAD), lacks) if photo.exif else None
    if exif:
        segments.append((APP1, EXIF_HEAD + exif))
    for words, marker, head, data in (
        ("XMP", APP1, XMP_HEAD, photo.xmp),
        ("Photoshop's and IPTC's data", APP13, PHOTOSHOP_HEAD, photo.photoshop),
    ):
        if data and len(head + data) > LONGEST:
            lacks.append(f"lacks {words} of {len(data)} bytes, JPEG holds {LONGEST - len(head)}")
        elif data:
            segments.append((marker, head + data))
    if photo.icc_profile is not None:
        profile = icc_segments(photo.icc_profile)
        segments += profile
        if not profile:
            lacks.append(f"lacks the colour profile of {len(photo.icc_profile)} bytes")
    if photo.comment is not None:
        segments.append((COMMENT, photo.comment[:LONGEST]))
    with open(path, "wb") as file:
        file.writelines(with_segments(buffer.getbuffer(), segments))


def _write_webp(path, array, photo, lacks, quality):
    _lacking(photo, lacks, photoshop=False, comment=False, chunks=False)
    options = {"icc_profile": photo.icc_profile, "exif": photo.exif, "xmp": photo.xmp}
    options = {name: value for name, value in options.items() if value}
    if photo.lossless and quality is None:
        options |= {"lossless": True, "exact": True}  # also the colours that cannot be seen
    else:
        options["quality"] = quality or QUALITY
    _image(array).save(path, format="WEBP", **options)


def _write_bmp(path, array, photo, lacks, quality):
    _lacking(photo, lacks, exif=False, icc_profile=False, xmp=False)
    _lacking(photo, lacks, photoshop=False, comment=False, chunks=False)
    options = {} if photo.dpi is None else {"dpi": photo.dpi}
    tags = parsed_block(photo.exif)
    orientation = tags.orientation if tags.directories else 1
    _image(upright(array, orientation)).save(path, format="BMP", **options)


def _image(array):
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))


def _shortened_exif(block, longest, lacks):
    """An EXIF block of at most ``longest`` bytes: without what says least first.

    The thumbnail, the maker's own data, and then the longest values.
    """
    if len(block) <= longest:
        return block
    tags = parsed_block(block)
    if not tags.directories:
        lacks.append(f"lacks EXIF of {len(block)} bytes, which is damaged")
        return None
    removed = []
    if len(tags.directories) > 1:
        removed.append(
            "the thumbnail" if THUMBNAIL in tags.directories[1] else "a second directory"
        )
        tags.directories = tags.directories[:1]
    while len(block := tags_block(tags)) > longest:
        where, number, tag = max(_leaves(tags.directories[0]), key=_weight)
        del where[number]
        removed.append("the maker's data" if number == MAKER_NOTE else _tag_name(number, tag))
    lacks.append(f"lacks {', '.join(removed)} of EXIF, of which JPEG holds {longest} bytes")
    return block


def _leaves(directory):
    for number, tag in directory.items():
        if isinstance(tag, dict):
            yield from _leaves(tag)
        else:
            yield directory, number, tag


def _weight(leaf):
    _, number, tag = leaf
    return (number == MAKER_NOTE and len(tag.data) > 64, len(tag.data))


def _tag_name(number, tag):
    from PIL import ExifTags

    name = ExifTags.TAGS.get(number, f"tag {number}")
    return f"{name} ({len(tag.data)} bytes)"
