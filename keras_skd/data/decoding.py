"""One decoder for every image file: what kind it is, its head, its pixels and what belongs to them.

:func:`opened` gives a :class:`Picture` whose pixels are not decoded yet. What is not read is an
:class:`UnsupportedImageError` that says what the file is; what is damaged says that.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from keras_skd.data.file_kinds import other_kind
from keras_skd.data.jpeg_files import (
    APP1,
    APP13,
    EXIF_HEAD,
    MULTIPLE_HEAD,
    PHOTOSHOP_HEAD,
    XMP_HEAD,
    payload,
    read_segments,
    unread_kind,
)
from keras_skd.data.png_files import COLOUR_CHUNKS, OTHER_CHUNKS, SIGNATURE, read_chunks
from keras_skd.data.tags import DamagedTagsError, Tags, parse_tags, tags_block
from keras_skd.data.tiff_files import (
    ICC_PROFILE,
    RESOLUTION_UNIT,
    SUBFILE,
    X_RESOLUTION,
    Y_RESOLUTION,
    UnreadTiffError,
    descriptive,
    read_tiff,
    tiff_layout,
)
from keras_skd.errors import InputError, MissingFileError
from keras_skd.hints import PathLike

# Above the largest photographs, of 200 megapixels; what claims more is taken for a bomb.
MAX_PIXELS = 256_000_000
READ = "PNG, JPEG, WebP, TIFF and BMP"

_GREY_MODES = ("1", "L", "LA", "La")  # of Pillow
_BAND = 2**24  # bytes that Pillow hands over at once
_XMP, _PHOTOSHOP = 700, 34377  # TIFF's tags
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_RAW_EXIF = (b"Raw profile type exif\0", b"Raw profile type APP1\0")
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])""")


class UnsupportedImageError(InputError):
    """An intact image of a kind that is not handled; the message says which and what to do."""


def unread(what: object) -> UnsupportedImageError:
    """The error for an intact file that is ``what``."""
    return UnsupportedImageError(f"is {what}; this kind is not read; convert it to PNG or JPEG.")


@contextmanager
def opened(path: PathLike, max_pixels: int | None = None) -> Iterator[Picture]:
    """Opens an image file; whatever goes wrong while the block decodes it names the file.

    Args:
        path: The file.
        max_pixels: More are refused; :data:`MAX_PIXELS` if None.

    Yields:
        A :class:`Picture`, not decoded yet.

    Raises:
        MissingFileError: There is no such file.
        InputError: It is of a kind that is not read, damaged, or has too many pixels.
    """
    path = Path(path)
    try:
        with (
            warnings.catch_warnings(),
            open(path, "rb") as file,
        ):
            warnings.simplefilter("ignore")  # of damaged metadata
            picture = _picture(file)
            pixels, most = picture.height * picture.width, max_pixels or MAX_PIXELS
            if pixels > most:
                raise UnsupportedImageError(
                    f"refused, {picture.width}x{picture.height} pixels are more than the "
                    f"{most / 10**6:g} million that are allowed."
                )
            if not pixels:
                raise UnsupportedImageError("has no pixels.")
            yield picture
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such image.") from None
    except UnsupportedImageError as error:
        raise InputError(f"{path}: {error}") from None
    except UnreadTiffError as error:
        raise InputError(f"{path}: {unread(error)}") from None
    except MemoryError:
        raise InputError(f"{path}: memory does not hold its pixels.") from None
    # Pillow's decoders meet damage with whatever exception comes of it, struct.error and
    # AttributeError among them; all mean the same here.
    except Exception as error:
        if isinstance(error, OSError) and error.errno and error.strerror:
            raise InputError(f"{path}: cannot be read ({error.strerror.lower()}).") from None
        reason = _first_line(error) or type(error).__name__
        raise InputError(
            f"{path}: cannot be decoded, it is corrupt, truncated or no image ({reason}); "
            "replace or remove it."
        ) from None


def _first_line(error):
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")[:200]


def _picture(file):
    """The :class:`Picture` for what the file begins with."""
    head = file.read(512)
    if not head:
        raise DamagedTagsError("the file is empty")
    if head.startswith(SIGNATURE):
        return _Png(file)
    if head.startswith(b"\xff\xd8\xff"):
        return _Jpeg(file)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _WebP(file)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        if head[8:10] == b"CR":
            raise unread("a raw photograph of Canon")
        return _Tiff(file)
    if head[:2] == b"BM":
        return _Bmp(file)
    raise (
        unread(other_kind(head))
        if other_kind(head)
        else DamagedTagsError(f"it begins as none of {READ} do")
    )


class Picture:
    """An image file whose head is read.

    Attributes:
        kind: ``"PNG"``, ``"JPEG"``, ``"WEBP"``, ``"TIFF"`` or ``"BMP"``.
        height: Pixels, as they lie in the file.
        width: Pixels, likewise.
        grey: Whether it has no colours.
        transparent: Whether it has an opacity.
        notes: What the file holds that the decoded pixels do not, as sentences without a subject.
        lossless: Whether the file holds its pixels exactly.
        exif: EXIF block, without JPEG's ``Exif``, or None.
        icc_profile: Colour profile of the decoded pixels, or None.
        xmp: XMP packet, or None.
        photoshop: Photoshop's resources, among them IPTC's captions; or None.
        comment: JPEG's comment, or None.
        dpi: Resolution ``(horizontal, vertical)`` in dots an inch, or None.
        chunks: PNG's ``(name, data)`` of colours and words, without those of the attributes above.
    """

    kind: str | None = None
    height: int
    width: int
    grey = transparent = False
    lossless = True
    exif = icc_profile = xmp = photoshop = comment = dpi = None
    chunks = ()

    def __init__(self):
        self.notes = []

    @cached_property
    def exif_tags(self) -> Tags:
        """:class:`~keras_skd.data.tags.Tags` of the EXIF block; empty ones of none or a damaged."""
        return parsed_block(self.exif)

    @property
    def orientation(self) -> int:
        """1..8, how a viewer turns the pixels; see :func:`upright`."""
        if self.exif_tags.directories and self.exif_tags.number(274) is not None:
            return self.exif_tags.orientation
        found = _XMP_ORIENTATION.search(self.xmp or b"")
        return int(found[1]) if found else 1

    def samples(self) -> np.ndarray:
        """Decodes the pixels.

        Returns:
            uint8 or uint16 ``(height, width, 1 to 4)``: grey, grey and opacity, RGB or RGBA, as
            they lie in the file, which :attr:`orientation` says how to turn.
        """
        raise NotImplementedError


def parsed_block(block: bytes | None) -> Tags:
    """:class:`~keras_skd.data.tags.Tags` of an EXIF block; without directories if it is damaged."""
    try:
        return parse_tags(block) if block else Tags()
    except DamagedTagsError:
        return Tags()


class _ByPillow(Picture):
    """A picture whose file Pillow decodes."""

    def __init__(self, image):
        super().__init__()
        self._image = image
        self.width, self.height = image.size
        self.grey = image.mode in (*_GREY_MODES, "I;16")
        self.icc_profile = image.info.get("icc_profile") or None
        self.xmp = image.info.get("xmp") or None
        dpi = image.info.get("dpi")
        if dpi and all(np.isfinite(float(x)) and 0 < float(x) < 1e6 for x in dpi):
            self.dpi = tuple(float(x) for x in dpi)
        exif = image.info.get("exif")
        self.exif = exif.removeprefix(EXIF_HEAD) or None if isinstance(exif, bytes) else None

    def samples(self):
        image = self._image
        mode = image.mode
        if mode == "CMYK":
            samples = _converted(image, lambda part: np.asarray(part), 4)
            return self._from_cmyk(samples)
        target = "L" if mode in _GREY_MODES else "RGB"
        target += "A" if self.transparent else ""
        return _converted(image, lambda part: np.asarray(part.convert(target)), len(target))

    def _from_cmyk(self, inks):
        """RGB of ink amounts, uint8 ``(height, width, 4)`` of 0 for none, by the file's profile."""
        turned, managed = rgb_of_cmyk(inks, self.icc_profile)
        how = "by its colour profile" if managed else "without a colour profile"
        self.notes.append(f"is CMYK, for print, and was converted to sRGB {how}")
        self.icc_profile = None
        return turned


def _converted(image, convert, channels):
    """An image band by band, so that it is never held twice."""
    result = np.empty((image.height, image.width, channels), np.uint8)
    step = max(1, _BAND // (image.width * channels))
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        band = convert(image.crop((0, top, image.width, bottom)))
        result[top:bottom] = band.reshape(bottom - top, image.width, channels)
    return result


def rgb_of_cmyk(inks: np.ndarray, icc_profile: bytes | None) -> tuple[np.ndarray, bool]:
    """sRGB of amounts of ink.

    Args:
        inks: uint8 ``(height, width, 4)``: cyan, magenta, yellow and black, 0 for no ink.
        icc_profile: Their colour profile, or None.

    Returns:
        uint8 ``(height, width, 3)``, and whether the profile was used.
    """
    from PIL import ImageCms

    transform = None
    if icc_profile is not None:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
            srgb = ImageCms.createProfile("sRGB")
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            transform = ImageCms.buildTransform(profile, srgb, "CMYK", "RGB", intent)
        except (ImageCms.PyCMSError, OSError, ValueError):
            transform = None

    result = np.empty((*inks.shape[:2], 3), np.uint8)
    step = max(1, _BAND // (4 * inks.shape[1]))
    for top in range(0, len(inks), step):
        band = np.ascontiguousarray(inks[top : top + step])
        if transform is not None:
            size = band.shape[1::-1]
            image = Image.frombuffer("CMYK", size, band, "raw", "CMYK", 0, 1)
            result[top : top + step] = np.asarray(ImageCms.applyTransform(image, transform))
        else:
            paper = 255 - band.astype(np.uint32)
            result[top : top + step] = (paper[..., :3] * paper[..., 3:] + 127) // 255
    return result, transform is not None


class _Jpeg(_ByPillow):
    kind = "JPEG"
    lossless = False

    def __init__(self, file):
        from PIL.JpegImagePlugin import JpegImageFile

        segments = read_segments(file)
        if kind := unread_kind(segments):
            raise unread(kind)
        file.seek(0)
        # Not MPO's reader, which a second picture that is damaged stops: the first is read.
        super().__init__(JpegImageFile(file))
        if payload(segments, APP1, XMP_HEAD) is not None:
            self.xmp = payload(segments, APP1, XMP_HEAD)
        self.photoshop = payload(segments, APP13, PHOTOSHOP_HEAD)
        self.comment = self._image.info.get("comment") or None
        if payload(segments, 0xE2, MULTIPLE_HEAD) is not None:
            self.notes.append("holds further pictures behind the first, which are left out")


class _WebP(_ByPillow):
    kind = "WEBP"

    def __init__(self, file):
        from PIL.WebPImagePlugin import WebPImageFile

        self.lossless = _webp_is_lossless(file)
        file.seek(0)
        super().__init__(WebPImageFile(file))
        if getattr(self._image, "n_frames", 1) > 1:
            raise UnsupportedImageError(
                f"is an animation of {self._image.n_frames} frames; photographs have one: save one "
                "frame."
            )
        self.transparent = self._image.mode in ("RGBA", "RGBa", "LA")


def _webp_is_lossless(file):
    end = file.seek(0, io.SEEK_END)
    position = 12
    while position + 8 <= end:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        position += 8 + length + length % 2
    return False


class _Bmp(_ByPillow):
    kind = "BMP"

    def __init__(self, file):
        from PIL.BmpImagePlugin import BmpImageFile

        file.seek(0)
        try:
            image = BmpImageFile(file)
        except (OSError, SyntaxError) as error:
            if "nsupported BMP" in str(error):
                raise unread(f"a BMP of another kind ({_first_line(error)})") from None
            raise
        super().__init__(image)
        self.transparent = image.mode in ("RGBA", "LA")

    def samples(self):
        samples = super().samples()
        # Many programs leave the fourth byte 0; no one means a picture that cannot be seen.
        if samples.shape[2] == 4 and not samples[..., 3].any():
            return np.ascontiguousarray(samples[..., :3])
        return samples


class _Png(_ByPillow):
    kind = "PNG"

    def __init__(self, file):
        from PIL.PngImagePlugin import PngImageFile

        self._file = file
        chunks = read_chunks(file)
        head = dict(chunks).get(b"IHDR", b"")
        if len(head) != 13:
            raise DamagedTagsError("its head is damaged")
        self._depth, self._colour = head[8], head[9]
        self._key = dict(chunks).get(b"tRNS")
        frames = struct.unpack(">I", dict(chunks).get(b"acTL", bytes(4))[:4])[0]
        if frames > 1:
            raise UnsupportedImageError(
                f"is an animation of {frames} frames; photographs have one: save one frame."
            )
        file.seek(0)
        super().__init__(PngImageFile(file))
        self.grey = self._colour in (0, 4)
        self.transparent = self._colour in (4, 6) or self._key is not None
        self.chunks = tuple(
            (name, data)
            for name, data in chunks
            if name in COLOUR_CHUNKS + OTHER_CHUNKS
            and name not in (b"iCCP", b"eXIf", b"pHYs")
            and not data.startswith((_XMP_KEYWORD, *_RAW_EXIF))
        )
        for name, data in chunks:
            if name == b"eXIf":
                self.exif = data.removeprefix(EXIF_HEAD)
            elif name == b"iTXt" and data.startswith(_XMP_KEYWORD):
                self.xmp = _international_text(data)
            elif name == b"zTXt" and data.startswith(_RAW_EXIF) and not self.exif:
                self.exif = _raw_profile(data)

    def samples(self):
        if self._depth == 16:
            samples = self._deep()
            top = 65535
        else:
            samples = self._shallow()
            top = 255
        if self._key is None or self._colour not in (0, 2):
            return samples
        # The one colour that is transparent, in the file's own depth.
        count = 1 if self._colour == 0 else 3
        key = np.array(struct.unpack(f">{count}H", self._key[: 2 * count]), np.uint32)
        highest = 2**self._depth - 1
        key = (key & highest) * top // highest
        same = np.ones(samples.shape[:2], bool)
        for channel in range(count):
            same &= samples[..., channel] == key[channel]
        alpha = np.where(same, 0, top).astype(samples.dtype)
        return np.concatenate([samples, alpha[..., None]], axis=2)

    def _shallow(self):
        mode = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}.get(self._colour)
        if mode is None:
            return super().samples()  # a palette

        def convert(part):
            part.info.pop("transparency", None)
            return np.asarray(part.convert(mode))

        return _converted(self._image, convert, len(mode))

    def _deep(self):
        if self._colour == 0:
            return np.asarray(self._image).astype(np.uint16)[..., None]
        import tensorflow as tf

        # Pillow reads 16 bits of grey alone.
        self._file.seek(0)
        channels = {2: 3, 4: 0, 6: 4}[self._colour]  # 0 for as many as there are
        tensor = tf.io.decode_png(self._file.read(), channels=channels, dtype=tf.uint16)
        return np.asarray(memoryview(tensor))  # shares the tensor's memory


def _international_text(data):
    """The text of an iTXt chunk, bytes, or None where it is damaged."""
    try:
        compressed = data[data.index(b"\0") + 1]
        text = data.split(b"\0", 1)[1][2:].split(b"\0", 2)[2]
        return zlib.decompressobj().decompress(text, 2**24) if compressed else text
    except (ValueError, IndexError, zlib.error):
        return None


def _raw_profile(data):
    """The EXIF block that ImageMagick once wrote as hexadecimal text, or None."""
    try:
        text = zlib.decompressobj().decompress(data.split(b"\0", 1)[1][1:], 2**24)
        lines = text.split(b"\n", 3)
        block = bytes.fromhex(lines[3].decode("ascii"))
    except (ValueError, IndexError, zlib.error):
        return None
    return block.removeprefix(EXIF_HEAD) if block.startswith((EXIF_HEAD, b"II", b"MM")) else None


class _Tiff(Picture):
    kind = "TIFF"

    def __init__(self, file):
        super().__init__()
        self._file = file
        every = parse_tags(file, most_directories=64)
        # Thumbnails (1) and masks (4) may come first or last.
        pages = [d for d in every.directories if not _numbered(d, SUBFILE, every.order) & 5]
        if len(pages) > 1:
            raise UnsupportedImageError(
                f"holds {len(pages)} frames or pages; split it, photographs have one."
            )
        self._tags = Tags(every.order, pages or every.directories[:1])
        self._layout = layout = tiff_layout(self._tags)
        self.height, self.width = layout.height, layout.width
        self.grey = layout.channels == "grey"
        self.transparent = layout.alpha is not None
        self.lossless = not layout.by_pillow
        if layout.dropped and not layout.by_pillow:
            self.notes.append("has further samples a pixel of an unstated meaning, left out")
        directory = self._tags.directories[0]
        profile = directory.get(ICC_PROFILE)
        self.icc_profile = profile.data if profile is not None else None
        for name, number in (("xmp", _XMP), ("photoshop", _PHOTOSHOP)):
            if number in directory:
                setattr(self, name, directory[number].data)
        kept = descriptive(directory)
        if kept:
            self.exif = tags_block(Tags(every.order, [kept]))
        x, y = (self._tags.number(number, 0) for number in (X_RESOLUTION, Y_RESOLUTION))
        unit = {2: 1.0, 3: 2.54}.get(self._tags.number(RESOLUTION_UNIT, 2))
        if unit and 0 < x < 1e6 and 0 < y < 1e6:
            self.dpi = (x * unit, y * unit)

    def samples(self):
        if self._layout.by_pillow:
            return self._by_pillow()
        layout = self._layout
        samples = read_tiff(self._file, self._tags, layout)
        if layout.alpha is not None and layout.premultiplied:
            _divide_by_alpha(samples)
        if layout.floating:
            self.notes.append("is floating point, of which 16 bits are kept")
        if layout.channels == "ycbcr":
            _rgb_of_ycbcr(samples)
        if layout.channels == "cmyk":
            alpha = samples[..., 4:]
            inks = eight_bits(samples[..., :4])
            rgb, managed = rgb_of_cmyk(inks, self.icc_profile)
            how = "by its colour profile" if managed else "without a colour profile"
            self.notes.append(f"is CMYK, for print, and was converted to sRGB {how}")
            self.icc_profile = None
            return np.concatenate([rgb, eight_bits(alpha)], axis=2) if alpha.shape[2] else rgb
        return samples

    def _by_pillow(self):
        from PIL.TiffImagePlugin import TiffImageFile

        self._file.seek(0)
        try:
            image = TiffImageFile(self._file)
        except SyntaxError as error:
            raise UnreadTiffError(f"a TIFF of a rare kind ({_first_line(error)})") from None
        image.load()
        picture = _ByPillow(image)
        picture.transparent = self.transparent
        picture.icc_profile = self.icc_profile
        samples = picture.samples()
        self.notes += picture.notes
        self.icc_profile = picture.icc_profile
        # Pillow has turned the picture; here it lies as in the file.
        back = {6: 8, 8: 6}.get(self.orientation, self.orientation)
        samples = np.ascontiguousarray(upright(samples, back))
        if samples.shape[:2] != (self.height, self.width):
            raise DamagedTagsError("its sizes contradict each other")
        return samples


def _numbered(directory, number, order):
    tag = directory.get(number)
    values = tag.numbers(order) if tag is not None and not isinstance(tag, dict) else ()
    return int(values[0]) if values else 0


def _rgb_of_ycbcr(samples):
    """Replaces the first three of the samples, uint8, by RGB."""
    step = max(1, _BAND // (samples.shape[1] * 3))
    for top in range(0, len(samples), step):
        band = np.ascontiguousarray(samples[top : top + step, :, :3])
        image = Image.frombytes("YCbCr", band.shape[1::-1], band.tobytes())
        samples[top : top + step, :, :3] = np.asarray(image.convert("RGB"))


def _divide_by_alpha(samples):
    """Undoes the multiplication of the colours by the opacity, the last sample, in place."""
    top = np.iinfo(samples.dtype).max
    step = max(1, _BAND // (samples.shape[1] * samples.shape[2] * 4))
    for start in range(0, len(samples), step):
        band = samples[start : start + step].astype(np.uint32)
        alpha = np.maximum(band[..., -1:], 1)
        colours = np.minimum((band[..., :-1] * top + alpha // 2) // alpha, top)
        samples[start : start + step, :, :-1] = colours


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """An image as EXIF's orientation says that it is viewed; a view of the same memory.

    Args:
        array: ``(height, width, ...)``, as it lies in the file.
        orientation: 1..8.

    Returns:
        ``(height, width, ...)``, or ``(width, height, ...)`` for 5..8.
    """
    if orientation in (2, 3, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7):
        array = array[::-1]
    if orientation in (5, 7):
        return array.swapaxes(0, 1)
    if orientation in (6, 8):
        return np.rot90(array, -1 if orientation == 6 else 1)
    return array


def eight_bits(array: np.ndarray) -> np.ndarray:
    """uint16 rounded to uint8, ``v / 257``; uint8 as it is."""
    if array.dtype == np.uint8:
        return array
    result = np.empty(array.shape, np.uint8)
    step = max(1, _BAND // max(1, array[0].size * 4))
    for top in range(0, len(array), step):
        result[top : top + step] = (array[top : top + step].astype(np.uint32) + 128) // 257
    return result
