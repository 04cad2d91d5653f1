"""The tags of TIFF files and of EXIF blocks, which are TIFF files without pixels.

TIFF 6.0 (Adobe, 1992), BigTIFF and EXIF 2.32 (CIPA DC-008): a header names the byte order and where
the first directory lies; a directory is a list of tags, each with a field type, a count and values;
some tags point to directories of their own.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
POINTERS = (EXIF, GPS, INTEROPERABILITY)
ORIENTATION, MAKER_NOTE = 274, 37500
THUMBNAIL, THUMBNAIL_LENGTH = 513, 514

# Field type: bytes of one value. 5 and 10 are rationals, two numbers of four bytes.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BIG_SIZES = {**_SIZES, 16: 8, 17: 8, 18: 8}
_DTYPES = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4"}
_DTYPES |= {16: "u8", 17: "i8", 18: "u8"}
_LONGEST_VALUE = 2**24  # bytes; Photoshop's layers are longer, and no photograph's description
_MOST_BYTES = 2**27  # of all values of a file, so that no forged one takes more memory


class DamagedTagsError(ValueError):
    """The bytes are not a TIFF structure, or its offsets lead nowhere."""


@dataclass(frozen=True)
class Tag:
    """The values of a tag.

    Attributes:
        kind: TIFF's field type, 1..18.
        data: The values' bytes, in the byte order of the file they come from.
    """

    kind: int
    data: bytes

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.data) // _BIG_SIZES[self.kind]

    def numbers(self, order: str) -> tuple[float, ...]:
        """The values as a tuple of ints or floats; of a rational its quotient, 0 over zero."""
        if self.kind in (5, 10):
            parts = np.frombuffer(self.data, order + ("u4" if self.kind == 5 else "i4"))
            pairs = parts.reshape(-1, 2).tolist()
            return tuple(top / bottom if bottom else 0.0 for top, bottom in pairs)
        dtype = np.dtype(_DTYPES.get(self.kind, "u1")).newbyteorder(order)
        return tuple(np.frombuffer(self.data, dtype).tolist())

    @property
    def text(self) -> str:
        """The values as text, up to the first zero byte."""
        return self.data.split(b"\0", 1)[0].decode("utf-8", "replace")


@dataclass
class Tags:
    """The directories of a TIFF structure.

    Attributes:
        order: ``"<"`` or ``">"``, the byte order of all :attr:`Tag.data`.
        directories: A list of dicts from tag number to :class:`Tag`, or to a dict of the same kind
            under the numbers in :data:`POINTERS`.
    """

    order: str = "<"
    directories: list = field(default_factory=list)

    def numbers(self, number: int, default: Any = (), directory: int = 0) -> Any:
        """The values of a tag of a directory, ``default`` where it has none."""
        if directory >= len(self.directories):
            return default
        tag = self.directories[directory].get(number)
        return tag.numbers(self.order) if isinstance(tag, Tag) and tag.data else default

    def number(self, number: int, default: Any = None, directory: int = 0) -> Any:
        """The first value of a tag, ``default`` where there is none."""
        values = self.numbers(number, (), directory)
        return values[0] if values else default

    @property
    def orientation(self) -> int:
        """EXIF's orientation, 1..8; 1 where it is missing or nonsense."""
        value = self.number(ORIENTATION, 1)
        return value if value in range(1, 9) else 1


def parse_tags(file: BinaryIO | bytes, most_directories: int = 2) -> Tags:
    """Reads the directories of a TIFF file or an EXIF block.

    Tags of unknown field types, or whose values lie outside the file, are left out, as other
    readers do. Values of more than 16 MiB are left out too.

    Args:
        file: Binary file, or the block's bytes.
        most_directories: How many directories are followed.

    Returns:
        A :class:`Tags`.

    Raises:
        DamagedTagsError: There is no header, or no directory where it points.
    """
    reader = _Reader(io.BytesIO(file) if isinstance(file, bytes | bytearray) else file)
    tags = Tags(reader.order)
    offset, seen = reader.first, set()
    while offset and offset not in seen and len(tags.directories) < most_directories:
        seen.add(offset)
        try:
            directory, offset = reader.directory(offset, seen)
        except DamagedTagsError:
            if not tags.directories:
                raise
            break  # a thumbnail's directory that leads nowhere loses nothing
        tags.directories.append(directory)
    if not tags.directories:
        raise DamagedTagsError("it holds no directory of tags")
    return tags


class _Reader:
    def __init__(self, file):
        self._file = file
        self._length = file.seek(0, io.SEEK_END)
        self._budget = _MOST_BYTES
        head = self._read(0, min(16, self._length))
        orders = {b"II": "<", b"MM": ">"}
        if len(head) < 8 or head[:2] not in orders:
            raise DamagedTagsError("it does not begin as TIFF does")
        self.order = orders[head[:2]]
        version = struct.unpack(self.order + "H", head[2:4])[0]
        if version not in (42, 43) or (version == 43 and len(head) < 16):
            raise DamagedTagsError("it does not begin as TIFF does")
        self._big = version == 43
        self.first = struct.unpack(self.order + "Q", head[8:16])[0] if self._big else 0
        if not self._big:
            self.first = struct.unpack(self.order + "I", head[4:8])[0]

    def _read(self, offset, count):
        if offset + count > self._length:
            raise DamagedTagsError("its tags point outside it")
        self._file.seek(offset)
        return self._file.read(count)

    def directory(self, offset, seen):
        """The tags of the directory at ``offset``, and where the next one lies."""
        counter, entry, pointer = ("Q", "HHQ8s", "Q") if self._big else ("H", "HHI4s", "I")
        head = struct.calcsize("<" + counter)
        size = struct.calcsize("<" + entry)
        count = struct.unpack(self.order + counter, self._read(offset, head))[0]
        if count > 65535:
            raise DamagedTagsError("it has more tags than a directory can hold")
        content = self._read(offset + head, count * size)
        tags = {}
        for number, kind, values, place in struct.iter_unpack(self.order + entry, content):
            tag = self._tag(kind, values, place)
            if tag is None:
                continue
            if number in POINTERS:
                target = tag.numbers(self.order)
                if len(target) != 1 or target[0] in seen:
                    continue
                seen.add(target[0])
                try:
                    tags[number] = self.directory(target[0], seen)[0]
                except DamagedTagsError:
                    continue
            else:
                tags[number] = tag
        try:
            following = self._read(offset + head + count * size, struct.calcsize("<" + pointer))
        except DamagedTagsError:
            return tags, 0  # some writers leave the last pointer out
        if THUMBNAIL in tags and THUMBNAIL_LENGTH in tags:
            self._thumbnail(tags)
        return tags, struct.unpack(self.order + pointer, following)[0]

    def _tag(self, kind, count, place):
        sizes = _BIG_SIZES if self._big else _SIZES
        if kind not in sizes or not count:
            return None
        size = count * sizes[kind]
        if size > _LONGEST_VALUE:
            return None
        if size <= len(place):
            return Tag(kind, place[:size])
        self._budget -= size
        if self._budget < 0:
            raise DamagedTagsError("its tags are longer than any photograph's")
        try:
            offset = struct.unpack(self.order + ("Q" if self._big else "I"), place)[0]
            return Tag(kind, self._read(offset, size))
        except DamagedTagsError:
            return None

    def _thumbnail(self, tags):
        """Holds the picture itself where its offset was, which says nothing elsewhere."""
        offset = tags.pop(THUMBNAIL).numbers(self.order)
        length = tags.pop(THUMBNAIL_LENGTH).numbers(self.order)
        if offset and length and length[0] <= _LONGEST_VALUE:
            try:
                tags[THUMBNAIL] = Tag(7, self._read(int(offset[0]), int(length[0])))
            except DamagedTagsError:
                return


def tags_block(tags: Tags) -> bytes:
    """An EXIF block, without the ``Exif`` that JPEG puts before it.

    Args:
        tags: A :class:`Tags`; its first directory and, of a thumbnail in JPEG, the second.

    Returns:
        bytes.
    """
    content = bytearray(b"II*\0" if tags.order == "<" else b"MM\0*")
    content += struct.pack(tags.order + "I", 8)
    next_place = append_directory(content, tags.directories[0], tags.order)
    if len(tags.directories) > 1 and THUMBNAIL in tags.directories[1]:
        content += b"\0" * (len(content) % 2)
        content[next_place : next_place + 4] = struct.pack(tags.order + "I", len(content))
        append_directory(content, tags.directories[1], tags.order)
    return bytes(content)


def append_directory(
    content: bytearray, directory: dict[int, Any], order: str, base: int = 0
) -> int:
    """Appends a directory, its values and the directories it points to.

    Args:
        content: bytearray to append to.
        directory: A dict as in :class:`Tags`.
        order: Byte order of its tags.
        base: Where ``content`` will lie in the file.

    Returns:
        Where in ``content`` the offset of the next directory is to be written; it is 0.
    """
    entries = {}
    for number, tag in directory.items():
        if number == THUMBNAIL:
            entries[THUMBNAIL_LENGTH] = Tag(4, struct.pack(order + "I", len(tag.data)))
        entries[number] = tag
    start = len(content)
    content += struct.pack(order + "H", len(entries)) + bytes(12 * len(entries) + 4)
    for index, number in enumerate(sorted(entries)):
        tag = entries[number]
        pointed = isinstance(tag, dict) or number == THUMBNAIL
        if pointed or len(tag.data) > 4:
            content += b"\0" * (len(content) % 2)  # values begin at even offsets
            place = struct.pack(order + "I", base + len(content))
            if isinstance(tag, dict):
                append_directory(content, tag, order, base)
            else:
                content += tag.data
        else:
            place = tag.data.ljust(4, b"\0")
        kind, count = (4, 1) if pointed else (tag.kind, tag.count)
        at = start + 2 + 12 * index
        content[at : at + 12] = struct.pack(order + "HHI", number, kind, count) + place
    return start + 2 + 12 * len(entries)
