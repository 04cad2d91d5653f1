"""Pixels of TIFF files: read whatever their depth, layout and byte order, and written.

TIFF 6.0 (Adobe, 1992), its Supplement 2 (deflate) and Technical Note 3 (floating point predictor).
Bytes are decompressed here or by Pillow, bit depths, predictors, planes, palettes and extra samples
are resolved here: general readers reduce 16 bits to 8, or take any fourth sample for opacity.
"""

import io
import lzma
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from keras_skd.data.tags import ORIENTATION, DamagedTagsError, Tag, Tags, append_directory
from keras_skd.errors import OutputError
from keras_skd.hints import PathLike

# Numbers of the tags that say how pixels lie in the file.
SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 266, 273, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, PREDICTOR = 282, 283, 284, 296, 317
COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 320, 322, 323, 324, 325
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, YCBCR_SAMPLING = 332, 338, 339, 530
ICC_PROFILE, DNG_VERSION = 34675, 50706

_RAW, _DEFLATE = (1,), (8, 32946)
_BYTEWISE = {5: "LZW", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard"}
# Coders of whole pictures, which Pillow decodes; up to 8 bits a sample.
_OF_PICTURES = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "JPEG", 7: "JPEG"}
_UNREAD = {8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32844: "LogL", 32845: "LogLuv", 4: "a mask"}
# One zero byte in the coders that not every libtiff is built with.
_PROBES = {34925: lzma.compress(b"\0"), 50000: bytes.fromhex("28b52ffd200109000000")}
_RAW_PHOTOGRAPHS = (32803, 34892)
_GREY, _RGB, _PALETTE, _CMYK, _YCBCR = (0, 1), 2, 3, 5, 6

_LARGEST_TILE = 2**26  # pixels
_STRIP = 2**20  # bytes of a strip that is written, before compression
_LONGEST_FILE = 2**32 - 2**24  # bytes, with room for the tags
_PIECE = 2**24  # bytes that are decoded at once of a strip that is read
_REVERSED = np.array([int(f"{value:08b}"[::-1], 2) for value in range(256)], np.uint8)


class UnreadTiffError(ValueError):
    """An intact TIFF of a kind that is not read; the message says which."""


@dataclass(frozen=True)
class Layout:
    """How the pixels of a directory lie in the file, checked.

    Attributes:
        height: Pixels.
        width: Pixels.
        channels: ``"grey"``, ``"rgb"``, ``"palette"``, ``"ycbcr"`` or ``"cmyk"``.
        alpha: Index of the sample that is the opacity, or None.
        premultiplied: Whether colours are multiplied by the opacity.
        dropped: How many samples say nothing that is known.
        by_pillow: Whether Pillow decodes it whole.
        bits: Of a sample.
        floating: Whether samples are floating point.
    """

    height: int
    width: int
    channels: str
    alpha: int | None
    premultiplied: bool
    dropped: int
    by_pillow: bool
    bits: int
    floating: bool
    samples: int = field(repr=False)
    planar: bool = field(repr=False)
    compression: int = field(repr=False)
    predictor: int = field(repr=False)
    white_is_zero: bool = field(repr=False)

    @property
    def deep(self) -> bool:
        """Whether samples become 16 bits."""
        return self.floating or (self.bits > 8 and self.channels != "palette")


def tiff_layout(tags: Tags) -> Layout:
    """The :class:`Layout` of the first directory of ``tags``.

    Raises:
        UnreadTiffError: The kind is not read.
        DamagedTagsError: It contradicts itself.
    """
    number = tags.number
    width, height = number(WIDTH, 0), number(HEIGHT, 0)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise DamagedTagsError("it has no width and height")
    samples = number(SAMPLES, 1)
    bits = set(tags.numbers(BITS, (1,)))
    formats = set(tags.numbers(SAMPLE_FORMAT, (1,)))
    photometric = number(PHOTOMETRIC)
    compression = number(COMPRESSION, 1)
    if photometric in _RAW_PHOTOGRAPHS or DNG_VERSION in tags.directories[0]:
        raise UnreadTiffError("a raw photograph (DNG or the like)")
    if photometric is None:
        photometric = _RGB if samples >= 3 else 1
    if photometric in _UNREAD:
        raise UnreadTiffError(f"a TIFF of {_UNREAD[photometric]}")
    if len(bits) > 1 or len(formats) > 1:
        raise UnreadTiffError("a TIFF whose samples differ in kind")
    bits, sample_format = bits.pop(), formats.pop()
    if not 1 <= samples <= 64:
        raise DamagedTagsError(f"it has {samples} samples a pixel")
    by_pillow = compression in _OF_PICTURES
    floating = sample_format == 3
    _check_samples(bits, sample_format, by_pillow)
    if not by_pillow and compression not in (*_RAW, *_DEFLATE, *_BYTEWISE):
        raise UnreadTiffError(f"a TIFF of compression {compression}")
    if photometric == _YCBCR and not by_pillow and not _full_colour(tags, width * height * samples):
        raise UnreadTiffError("a TIFF of YCbCr with fewer colours than pixels")
    if photometric == _YCBCR and bits != 8:
        raise UnreadTiffError(f"a TIFF of YCbCr of {bits} bits")
    channels, colours = _channels(photometric, samples, number(INK_SET, 1))
    alpha, premultiplied = _alpha(tags.numbers(EXTRA_SAMPLES, ()), colours, samples)
    planar = number(PLANAR, 1) == 2 and samples > 1
    if planar and channels == "palette":
        raise UnreadTiffError("a TIFF of a palette and planes")
    predictor = number(PREDICTOR, 1)
    if predictor not in (1, 2, 3) or (predictor == 3 and not floating):
        raise UnreadTiffError(f"a TIFF of predictor {predictor}")
    if predictor == 2 and (bits not in (8, 16, 32, 64) or floating):
        raise UnreadTiffError(f"a TIFF of {bits} bits with a predictor")
    return Layout(
        height,
        width,
        channels,
        alpha,
        premultiplied,
        samples - colours - (alpha is not None),
        by_pillow,
        bits,
        floating,
        samples,
        planar,
        compression,
        predictor,
        photometric == 0,
    )


def _check_samples(bits, sample_format, by_pillow):
    if sample_format in (2, 5, 6):
        kind = {2: "signed", 5: "complex", 6: "complex"}[sample_format]
        raise UnreadTiffError(f"a TIFF of {kind} numbers, whose black and white are not defined")
    if sample_format == 3 and bits not in (32, 64):
        raise UnreadTiffError(f"a TIFF of {bits}-bit floating point (float{bits})")
    if sample_format != 3 and bits not in range(1, 17):
        raise UnreadTiffError(f"a TIFF of {bits} bits a sample")
    if by_pillow and (bits > 8 or sample_format == 3):
        raise UnreadTiffError(f"a TIFF of {bits} bits in a compression of 8")


def _full_colour(tags, size):
    """Whether every pixel of YCbCr has its own colour; where no tag says so, by the file's size."""
    sampling = tags.numbers(YCBCR_SAMPLING)
    raw = tags.number(COMPRESSION, 1) in _RAW
    return sampling == (1, 1) or (not sampling and raw and sum(tags.numbers(STRIP_BYTES)) >= size)


def _channels(photometric, samples, ink_set):
    """The kind of the first samples, and how many they are."""
    if photometric in _GREY:
        kind, colours = "grey", 1
    elif photometric in (_RGB, _YCBCR):
        kind, colours = "ycbcr" if photometric == _YCBCR else "rgb", 3
    elif photometric == _PALETTE:
        kind, colours = "palette", 1
    elif photometric == _CMYK and ink_set == 1:
        kind, colours = "cmyk", 4
    else:
        raise UnreadTiffError(f"a TIFF of photometric interpretation {photometric}")
    if samples < colours:
        raise DamagedTagsError(f"it has {samples} samples a pixel where its kind has {colours}")
    if kind in ("grey", "palette") and samples > colours + 2:
        raise UnreadTiffError(f"a TIFF of {samples} grey samples a pixel")
    return kind, colours


def _alpha(extra, colours, samples):
    """Index of the sample that is the opacity, and whether colours are multiplied by it."""
    if not extra and samples == colours + 1:
        return colours, False  # undeclared: other readers take it for the opacity too
    for index, meaning in enumerate(extra[: samples - colours]):
        if meaning in (1, 2):
            return colours + index, meaning == 1
    return None, False


def read_tiff(file: BinaryIO, tags: Tags, layout: Layout) -> np.ndarray:
    """Decodes the first directory of a TIFF file.

    Bits below 8 are scaled to 8 and those between to 16; floating point of 0..1 becomes 16 bits;
    MINISWHITE becomes grey as it looks; palettes become RGB.

    Args:
        file: Binary file.
        tags: Its :class:`~keras_skd.data.tags.Tags`.
        layout: :func:`tiff_layout` of them, not ``by_pillow``.

    Returns:
        uint8 or uint16 ``(height, width, samples)``: grey, RGB, YCbCr or CMYK, and then the
        opacity where there is one, as it is stored (premultiplied or not).

    Raises:
        UnreadTiffError: Floating point beyond 0..1.
        DamagedTagsError: Pixels are missing or damaged.
    """
    colours = {"grey": 1, "palette": 1, "rgb": 3, "ycbcr": 3, "cmyk": 4}[layout.channels]
    kept = [*range(colours), *([] if layout.alpha is None else [layout.alpha])]
    table = _palette(tags, layout.bits) if layout.channels == "palette" else None
    depth = len(kept) + (2 if table is not None else 0)
    dtype = np.uint16 if layout.deep else np.uint8
    result = np.empty((layout.height, layout.width, depth), dtype)
    for plane, top, left, block in _blocks(file, tags, layout, kept):
        if plane is None:
            channels, block = range(depth), block[..., kept] if table is None else block
        else:
            channels = [kept.index(plane)]
        if table is not None:
            if block.max(initial=0) >= len(table):
                raise DamagedTagsError("its palette is shorter than its colours")
            colour = table[block[..., 0]]
            rest = _scaled(block[..., 1:][..., [k - 1 for k in kept[1:]]], layout, dtype)
            block = np.concatenate([colour, rest], axis=2)
        else:
            block = _scaled(block, layout, dtype)
            if layout.white_is_zero and plane in (None, 0):
                block[..., 0] = np.iinfo(dtype).max - block[..., 0]
        rows = slice(top, min(top + block.shape[0], layout.height))
        columns = slice(left, min(left + block.shape[1], layout.width))
        block = block[: rows.stop - rows.start, : columns.stop - columns.start]
        result[rows, columns, channels[0] : channels[-1] + 1] = block
    return result


def _palette(tags, bits):
    values = np.array(tags.numbers(COLOUR_MAP), np.uint16)
    if bits > 8 or len(values) != 3 * 2**bits:
        raise DamagedTagsError("its palette has the wrong length")
    # 16 bits, but some writers put 8 there.
    return (values if values.max() < 256 else values >> 8).astype(np.uint8).reshape(3, -1).T


def _scaled(block, layout, dtype):
    """Samples on the whole range of ``dtype``."""
    top = np.iinfo(dtype).max
    if layout.floating:
        if not (block.min(initial=0) >= 0 and block.max(initial=0) <= 1):  # also where it is NaN
            low, high = block.min(), block.max()
            raise UnreadTiffError(
                f"a TIFF of floating point from {low:.4g} to {high:.4g}, of which only 0 to 1 is "
                "understood"
            )
        return np.rint(block * float(top)).astype(dtype)
    highest = 2**layout.bits - 1
    if highest == top:
        return np.ascontiguousarray(block, dtype)
    return ((block.astype(np.uint32) * top + highest // 2) // highest).astype(dtype)


def _blocks(file, tags, layout, kept):
    """Yields ``(plane or None, top, left, (rows, columns, samples))`` of the wanted planes."""
    tiled = TILE_OFFSETS in tags.directories[0]
    if tiled:
        wide, high = tags.number(TILE_WIDTH, 0), tags.number(TILE_HEIGHT, 0)
        offsets, lengths = tags.numbers(TILE_OFFSETS), tags.numbers(TILE_BYTES)
    else:
        wide, high = layout.width, min(tags.number(ROWS_PER_STRIP, layout.height), layout.height)
        offsets, lengths = tags.numbers(STRIP_OFFSETS), tags.numbers(STRIP_BYTES)
    if not (wide > 0 and high > 0 and (not tiled or wide * high <= _LARGEST_TILE)):
        raise DamagedTagsError("its strips or tiles have no size")
    across, down = -(-layout.width // wide), -(-layout.height // high)
    planes = range(layout.samples) if layout.planar else (None,)
    if len(offsets) < across * down * len(planes):
        raise DamagedTagsError("some of its strips or tiles are missing")
    reversed_bits = tags.number(FILL_ORDER, 1) == 2
    per_pixel = 1 if layout.planar else layout.samples
    row_bytes = -(-wide * per_pixel * layout.bits // 8)
    for index in range(across * down * len(planes)):
        plane = planes[index // (across * down)]
        if plane is not None and plane not in kept:
            continue
        top = index // across % down * high
        left = index % across * wide
        rows = high if tiled else min(high, layout.height - top)
        length = lengths[index] if index < len(lengths) else 0
        place = (offsets[index], length, rows, row_bytes)
        for first, content in _contents(file, place, layout.compression, reversed_bits):
            shape = (len(content) // row_bytes, wide, per_pixel)
            yield plane, top + first, left, _samples(content, shape, layout, tags.order)


def _contents(file, place, compression, reversed_bits):
    """Yields the first row and the bytes of a few rows after another of a strip or tile."""
    offset, length, rows, row_bytes = place
    if compression in _RAW:
        length = rows * row_bytes  # what is stated may be wrong, what is needed is not
    if not length or offset + length > file.seek(0, io.SEEK_END):
        raise DamagedTagsError("it ends before its pixels do")
    step = max(1, _PIECE // row_bytes)
    if compression in _RAW:
        pieces = _raw_pieces(file, offset, rows, row_bytes, step)
    else:
        file.seek(offset)
        content = file.read(length)
        if reversed_bits:
            content = _bits_reversed(content)
            reversed_bits = False
        if compression in _DEFLATE:
            pieces = _inflated_pieces(content, rows, row_bytes, step)
        else:
            pieces = iter([_by_libtiff(content, compression, rows, row_bytes)])
    first = 0
    while first < rows:
        content = next(pieces)
        count = min(len(content) // row_bytes, rows - first)
        if not count:
            raise DamagedTagsError("it ends before its pixels do")
        yield first, _bits_reversed(content) if reversed_bits else content[: count * row_bytes]
        first += count


def _bits_reversed(content):
    return _REVERSED[np.frombuffer(content, np.uint8)].tobytes()


def _raw_pieces(file, offset, rows, row_bytes, step):
    for first in range(0, rows, step):
        file.seek(offset + first * row_bytes)
        yield file.read(min(step, rows - first) * row_bytes)


def _inflated_pieces(content, rows, row_bytes, step):
    inflater = zlib.decompressobj()
    for first in range(0, rows, step):
        wanted = min(step, rows - first) * row_bytes
        piece = inflater.decompress(content, wanted)
        content = inflater.unconsumed_tail
        if len(piece) < wanted:
            raise DamagedTagsError("it ends before its pixels do")
        yield piece


def _by_libtiff(content, compression, rows, row_bytes):
    """Decompresses bytes as the rows of a grey TIFF of 8 bits, whatever they stand for."""
    from PIL.TiffImagePlugin import TiffImageFile

    values = {WIDTH: row_bytes, HEIGHT: rows, BITS: 8, COMPRESSION: compression, PHOTOMETRIC: 1}
    values |= {STRIP_OFFSETS: 8, SAMPLES: 1, ROWS_PER_STRIP: rows, STRIP_BYTES: len(content)}
    directory = {number: Tag(4, struct.pack("<I", value)) for number, value in values.items()}
    start = 8 + len(content) + len(content) % 2
    file = bytearray(b"II*\0" + struct.pack("<I", start) + content).ljust(start, b"\0")
    append_directory(file, directory, "<")
    try:
        with TiffImageFile(io.BytesIO(file)) as image:
            return image.tobytes()
    except OSError:
        probe = _PROBES.get(compression)
        if probe is None or content == probe:
            raise
    try:
        _by_libtiff(probe, compression, 1, 1)
    except OSError:
        name = _BYTEWISE[compression]
        raise UnreadTiffError(f"a TIFF of {name}, which this Pillow is built without") from None
    raise DamagedTagsError("its compressed pixels are damaged")


def _samples(content, shape, layout, order):
    """Bytes of a strip or tile to an array of its samples, native byte order."""
    rows, width, per_pixel = shape
    if layout.bits < 8 or layout.bits in range(9, 16):
        bits = np.frombuffer(content, np.uint8).reshape(rows, -1)
        values = np.empty((rows, width * per_pixel), np.uint16)
        weights = 2 ** np.arange(layout.bits - 1, -1, -1, dtype=np.uint16)
        step = max(1, _STRIP // max(1, bits.shape[1]))
        for top in range(0, rows, step):
            unpacked = np.unpackbits(bits[top : top + step], axis=1)
            unpacked = unpacked[:, : width * per_pixel * layout.bits]
            values[top : top + step] = unpacked.reshape(len(unpacked), -1, layout.bits) @ weights
        return values.reshape(shape)
    size = layout.bits // 8
    if layout.predictor == 3:
        # Rows of all first bytes, all second ones, ..., each the difference to its neighbour.
        parts = np.frombuffer(content, np.uint8).reshape(rows, -1, per_pixel)
        parts = np.add.accumulate(parts, axis=1, dtype=np.uint8).reshape(rows, size, -1)
        values = np.ascontiguousarray(parts.transpose(0, 2, 1)).view(f">f{size}")
        return values.reshape(shape).astype(f"f{size}")
    kind = "f" if layout.floating else "u"
    values = np.frombuffer(content, np.dtype(f"{kind}{size}").newbyteorder(order))
    values = values.reshape(shape).astype(f"{kind}{size}", copy=False)
    if layout.predictor == 2:
        values = np.add.accumulate(values, axis=1, dtype=values.dtype)
    return values


# --- writing ---


def write_tiff(
    path: PathLike,
    array: np.ndarray,
    tags: Tags,
    resolution: tuple[float, float] | None = None,
    icc_profile: bytes | None = None,
) -> None:
    """Writes a TIFF of deflated strips.

    Args:
        path: The file.
        array: uint8 or uint16 ``(height, width, samples)``: grey, RGB or RGBA, or grey with
            opacity.
        tags: :class:`~keras_skd.data.tags.Tags` that describe the picture; their byte order
            becomes the file's.
        resolution: ``(horizontal, vertical)`` in dots an inch, or None.
        icc_profile: Colour profile, or None.

    Raises:
        OutputError: It would be longer than the 4 GiB that offsets of 32 bits reach.
    """
    height, width, samples = array.shape
    order = tags.order
    bits = 8 * array.dtype.itemsize

    def shorts(*values):
        return Tag(3, struct.pack(f"{order}{len(values)}H", *values))

    def longs(*values):
        return Tag(4, struct.pack(f"{order}{len(values)}I", *values))

    rows = min(height, max(1, _STRIP // (width * samples * array.dtype.itemsize)))
    offsets, lengths = [], []
    with open(path, "wb") as file:
        file.write((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
        for top in range(0, height, rows):
            strip = np.array(array[top : top + rows])
            strip[:, 1:] -= array[top : top + rows, :-1]  # the predictor, which wraps around
            strip = zlib.compress(strip.astype(strip.dtype.newbyteorder(order)).tobytes())
            offsets.append(file.tell())
            lengths.append(len(strip))
            file.write(strip)
            file.write(b"\0" * (len(strip) % 2))
            if file.tell() >= _LONGEST_FILE:
                raise OutputError(f"{path}: the picture is larger than the 4 GiB of a TIFF.")
        directory = dict(tags.directories[0]) if tags.directories else {}
        directory |= {
            WIDTH: longs(width),
            HEIGHT: longs(height),
            BITS: shorts(*[bits] * samples),
            COMPRESSION: shorts(8),
            PHOTOMETRIC: shorts(2 if samples >= 3 else 1),
            STRIP_OFFSETS: longs(*offsets),
            SAMPLES: shorts(samples),
            ROWS_PER_STRIP: longs(rows),
            STRIP_BYTES: longs(*lengths),
            PLANAR: shorts(1),
            PREDICTOR: shorts(2),
        }
        if samples in (2, 4):
            directory[EXTRA_SAMPLES] = shorts(2)
        if resolution is not None:
            for number, value in zip((X_RESOLUTION, Y_RESOLUTION), resolution, strict=True):
                pair = struct.pack(order + "II", round(value * 1000), 1000)
                directory[number] = Tag(5, pair)
            directory[RESOLUTION_UNIT] = shorts(2)
        if icc_profile is not None:
            directory[ICC_PROFILE] = Tag(7, icc_profile)
        start = file.tell()
        content = bytearray()
        append_directory(content, directory, order, start)
        file.write(content)
        file.seek(4)
        file.write(struct.pack(order + "I", start))


# Tags that describe the picture whatever file it lies in; all others say how its pixels lie in
# this one, or point into it.
_DESCRIPTIVE = {
    *(269, 270, 271, 272, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, 285, RESOLUTION_UNIT, 297),
    *(305, 306, 315, 316, 318, 319, 18246, 18249, 33432),
    *(33723, 40091, 40092, 40093, 40094, 40095),  # IPTC; Windows' title, comment, author, ...
    *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113),  # GeoTIFF, GDAL
    *(34665, 34853),  # EXIF, GPS
}


def descriptive(directory: dict[int, Any]) -> dict[int, Any]:
    """The tags of a directory that are true of the picture in any other file too."""
    kept = {number: tag for number, tag in directory.items() if number in _DESCRIPTIVE}
    description = kept.get(270)
    # tifffile writes there how the array lies in this file, and believes it when it reads.
    if isinstance(description, Tag) and description.text.startswith(('{"shape"', "shape=")):
        del kept[270]
    return {number: tag for number, tag in kept.items() if isinstance(tag, dict) or tag.kind <= 13}
