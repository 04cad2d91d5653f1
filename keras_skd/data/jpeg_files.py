"""The segments of a JPEG file: what it says beside its pixels, read and inserted.

ITU-T T.81 (JPEG), T.871 (JFIF), EXIF 2.32, Adobe's XMP part 3 and ICC.1 annex B.
"""

import os
import struct
from collections.abc import Sequence
from typing import BinaryIO

SOI = b"\xff\xd8"
APP1, APP2, APP13, COMMENT = 0xE1, 0xE2, 0xED, 0xFE
EXIF_HEAD = b"Exif\0\0"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
ICC_HEAD = b"ICC_PROFILE\0"
PHOTOSHOP_HEAD = b"Photoshop 3.0\0"
MULTIPLE_HEAD = b"MPF\0"
LONGEST = 65533  # bytes of a segment's content
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without content


def read_segments(file: BinaryIO) -> list[tuple[int, bytes]]:
    """The segments before the first scan.

    Args:
        file: Binary file.

    Returns:
        A list of ``(marker, content)``: the marker's second byte and bytes. Ends where the file
        is damaged.
    """
    segments = []
    end = file.seek(0, os.SEEK_END)
    position = 2
    while position + 4 <= end:
        file.seek(position)
        start, marker, length = struct.unpack(">BBH", file.read(4))
        if start != 0xFF or marker in (0xD9, 0xDA):
            break
        if marker == 0xFF:
            position += 1  # a fill byte
        elif marker in _ALONE:
            position += 2
        elif length < 2 or position + 2 + length > end:
            break
        else:
            segments.append((marker, file.read(length - 2)))
            position += 2 + length
    return segments


def unread_kind(segments: Sequence[tuple[int, bytes]]) -> str | None:
    """What kind of JPEG this is, if none that general decoders read; None otherwise."""
    for marker, content in segments:
        if marker in _FRAMES and content:
            if marker in (0xC3, 0xC7, 0xCB, 0xCF):
                return "a lossless JPEG (of the kind within raw photographs)"
            if content[0] != 8:
                return f"a JPEG of {content[0]} bits"
            if marker in (0xC5, 0xC6, 0xCD, 0xCE):
                return "a hierarchical JPEG"
            if len(content) > 5 and content[5] not in (1, 3, 4):
                return f"a JPEG of {content[5]} components"
    return None


def payload(segments: Sequence[tuple[int, bytes]], marker: int, head: bytes) -> bytes | None:
    """The content of the first segment of a kind behind its head, or None."""
    for number, content in segments:
        if number == marker and content.startswith(head):
            return content[len(head) :]
    return None


def with_segments(content: bytes, segments: Sequence[tuple[int, bytes]]) -> list[bytes]:
    """Inserts segments into a JPEG file, behind its JFIF segment.

    Args:
        content: The file's bytes.
        segments: A list of ``(marker, content)``, each at most :data:`LONGEST` bytes.

    Returns:
        The new file as a list of bytes.
    """
    place = len(SOI)
    if content[2:4] == b"\xff\xe0":
        place += 2 + struct.unpack(">H", content[4:6])[0]
    inserted = [
        struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data for marker, data in segments
    ]
    return [content[:place], *inserted, content[place:]]


def icc_segments(profile: bytes) -> list[tuple[int, bytes]]:
    """A colour profile as APP2 segments, as many as it needs.

    Returns:
        A list of ``(marker, content)``; empty where 255 segments do not hold it.
    """
    size = LONGEST - len(ICC_HEAD) - 2
    pieces = [profile[start : start + size] for start in range(0, len(profile), size)]
    if len(pieces) > 255:
        return []
    return [
        (APP2, ICC_HEAD + bytes((number, len(pieces))) + piece)
        for number, piece in enumerate(pieces, 1)
    ]
