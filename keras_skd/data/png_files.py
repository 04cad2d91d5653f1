"""What general readers and writers of PNG leave out: 16 bits a channel, and the other chunks.

Portable Network Graphics, third edition (W3C, 2025).
"""

import os
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from keras_skd.hints import PathLike

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Chunks that are true of a picture whatever its pixels are: its colours, resolution and words.
COLOUR_CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI")
OTHER_CHUNKS = (b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME")
_NEEDED = (b"IHDR", b"tRNS", b"acTL")
_LONGEST_CHUNK = 2**24  # bytes; longer ones are not kept
_MOST_BYTES = 2**26  # of all kept chunks
_PIECE = 2**22  # bytes of rows that are filtered at once

# Colour type of the number of samples: grey, grey and opacity, RGB, RGBA.
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def read_chunks(file: BinaryIO) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file that say something beside its pixels.

    Args:
        file: Binary file.

    Returns:
        A list of ``(name, data)``, both bytes, in the file's order; those that are damaged or
        longer than 16 MiB are left out.
    """
    chunks, budget = [], _MOST_BYTES
    end = file.seek(0, os.SEEK_END)
    position = len(SIGNATURE)
    while position + 12 <= end:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IEND":
            break
        wanted = name in COLOUR_CHUNKS or name in OTHER_CHUNKS or name in _NEEDED
        if wanted and length <= min(_LONGEST_CHUNK, budget):
            data, crc = file.read(length), file.read(4)
            if crc == struct.pack(">I", zlib.crc32(name + data)):
                chunks.append((name, data))
                budget -= length
        position += 12 + length
    return chunks


def write_png_file(
    path: PathLike, array: np.ndarray, chunks: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Writes a PNG of 8 or 16 bits, row by row.

    Args:
        path: The file.
        array: uint8 or uint16 ``(height, width, samples)``: grey, grey and opacity, RGB or RGBA.
        chunks: ``(name, data)`` to write before the pixels.
    """
    height, width, samples = array.shape
    size = array.dtype.itemsize
    with open(path, "wb") as file:

        def write(name, data):
            crc = zlib.crc32(data, zlib.crc32(name))
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc))

        file.write(SIGNATURE)
        head = struct.pack(">IIBBBBB", width, height, 8 * size, _COLOUR_TYPE[samples], 0, 0, 0)
        write(b"IHDR", head)
        # The colour space must come before the pixels; so may all the others.
        for name, data in chunks:
            write(name, data)
        deflater = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
        step = max(1, _PIECE // (width * samples * size))
        above = np.zeros((1, width * samples * size), np.uint8)
        for top in range(0, height, step):
            rows = np.ascontiguousarray(array[top : top + step], f">u{size}").view(np.uint8)
            rows = rows.reshape(len(rows), -1)
            filtered = _filtered(rows, above, samples * size)
            above = rows[-1:]
            data = deflater.compress(filtered.tobytes())
            if data:
                write(b"IDAT", data)
        write(b"IDAT", deflater.flush())
        write(b"IEND", b"")


def _filtered(rows, above, pixel):
    """Each row by the filter that leaves the least, with the filter's number before it.

    Args:
        rows: uint8 ``(rows, bytes)``.
        above: The row before the first one, ``(1, bytes)``.
        pixel: Bytes of a pixel.

    Returns:
        uint8 ``(rows, 1 + bytes)``.
    """
    up = np.concatenate([above, rows[:-1]])
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, pixel:], corner[:, pixel:] = rows[:, :-pixel], up[:, :-pixel]
    best = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    least = np.full(len(rows), np.iinfo(np.int64).max)
    for number, predicted in enumerate(_predictions(left, up, corner)):
        rest = rows - predicted
        # The usual heuristic: the sum of the differences taken as signed bytes.
        cost = np.abs(rest.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)
        better = cost < least
        best[better, 0], best[better, 1:] = number, rest[better]
        least = np.where(better, cost, least)
    return best


def _predictions(left, up, corner):
    yield np.zeros_like(left)
    yield left
    yield up
    yield ((left.astype(np.uint16) + up) // 2).astype(np.uint8)
    a, b, c = (x.astype(np.int16) for x in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearer = np.where(to_up <= to_corner, up, corner)  # Paeth's
    yield np.where((to_left <= to_up) & (to_left <= to_corner), left, nearer)
