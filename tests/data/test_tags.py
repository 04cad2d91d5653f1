"""TIFF's and EXIF's directories: read, written, and damaged."""

import struct

import numpy as np
import pytest
from PIL import Image

from keras_skd.data.tags import EXIF, GPS, DamagedTagsError, Tag, Tags, parse_tags, tags_block


def exif_block(order="<", thumbnail=True):
    """A phone's EXIF: two directories, sub-directories, every length of value."""

    def shorts(*values):
        return Tag(3, struct.pack(f"{order}{len(values)}H", *values))

    def rationals(*values):
        return Tag(5, struct.pack(f"{order}{len(values)}I", *values))

    interoperability = {1: Tag(2, b"R98\0")}
    exif = {33434: rationals(1, 125), 37500: Tag(7, bytes(range(200))), 40962: shorts(56)}
    exif[40965] = interoperability
    gps = {1: Tag(2, b"N\0"), 2: rationals(52, 1, 30, 1, 0, 1), 5: Tag(1, b"\1")}
    first = {271: Tag(2, b"Acme\0"), 274: shorts(6), 306: Tag(2, b"2024:01:01 00:00:00\0")}
    directories = [first | {EXIF: exif, GPS: gps}]
    if thumbnail:
        directories.append({259: shorts(6), 513: Tag(7, b"\xff\xd8thumbnail\xff\xd9")})
    return Tags(order, directories)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("thumbnail", [False, True])
def test_what_is_written_is_read(order, thumbnail):
    tags = exif_block(order, thumbnail)
    block = tags_block(tags)
    read = parse_tags(block)
    assert read == tags
    assert read.orientation == 6
    assert read.directories[0][271].text == "Acme"
    assert tags_block(read) == block


@pytest.mark.parametrize("order", ["<", ">"])
def test_pillow_reads_the_same(order):
    exif = Image.Exif()
    exif.load(tags_block(exif_block(order)))
    assert exif[271] == "Acme"
    assert exif[274] == 6
    assert exif.get_ifd(EXIF)[33434] == pytest.approx(1 / 125)
    assert exif.get_ifd(EXIF)[37500] == bytes(range(200))
    assert exif.get_ifd(GPS)[2] == (52, 30, 0)
    assert exif.get_ifd(40965) == {1: "R98"}


def test_pillows_block_is_read():
    exif = Image.Exif()
    exif[270], exif[274], exif[282] = "a description", 8, 72.5
    exif[EXIF] = {36867: "2024:01:01 00:00:00"}
    tags = parse_tags(exif.tobytes()[6:])
    assert tags.orientation == 8
    assert tags.number(282) == 72.5
    assert tags.directories[0][EXIF][36867].text == "2024:01:01 00:00:00"


def test_missing_and_nonsense_values_have_defaults():
    tags = Tags("<", [{274: Tag(3, struct.pack("<H", 99)), 282: Tag(5, struct.pack("<2I", 1, 0))}])
    assert tags.orientation == 1
    assert tags.number(282) == 0
    assert tags.number(999, 7) == 7
    assert tags.numbers(274, directory=3) == ()
    assert Tags().orientation == 1


def test_directories_that_lead_in_circles_end():
    block = bytearray(tags_block(exif_block(thumbnail=False)))
    count = struct.unpack_from("<H", block, 8)[0]
    struct.pack_into("<I", block, 10 + 12 * count, 8)  # the next directory is the first
    assert len(parse_tags(bytes(block), most_directories=64).directories) == 1
    for index in range(count):  # and so is that of EXIF
        place = 10 + 12 * index
        if struct.unpack_from("<H", block, place)[0] == EXIF:
            struct.pack_into("<I", block, place + 8, 8)
    assert EXIF not in parse_tags(bytes(block)).directories[0]


def test_values_outside_the_file_are_left_out():
    block = bytearray(tags_block(exif_block(thumbnail=False)))
    place = 10 + 12 * 2  # of the date
    assert struct.unpack_from("<H", block, place)[0] == 306
    struct.pack_into("<I", block, place + 8, 2**31)
    tags = parse_tags(bytes(block))
    assert 306 not in tags.directories[0]
    assert tags.orientation == 6


@pytest.mark.parametrize(
    "content",
    [b"", b"II*\0", b"hello, world", b"II*\0\xff\0\0\0", b"II+\0\x08\0\0\0", b"II*\0\0\0\0\0" * 2],
)
def test_what_is_no_structure_is_an_error(content):
    with pytest.raises(DamagedTagsError):
        parse_tags(content)


def test_damage_is_tags_or_the_error():
    generator = np.random.default_rng(0)
    block = tags_block(exif_block())
    errors = 0
    for _ in range(2000):
        damaged = bytearray(block)
        for _ in range(generator.integers(1, 9)):
            damaged[generator.integers(len(damaged))] = generator.integers(256)
        damaged = bytes(damaged[: generator.integers(len(damaged))])
        try:
            tags = parse_tags(damaged)
            assert tags.orientation in range(1, 9)
            parse_tags(tags_block(tags))
        except DamagedTagsError:
            errors += 1
    assert 0 < errors < 2000


def test_values_that_overlap_take_no_more_memory_than_the_limit():
    """Thousands of tags that all claim the same megabytes."""
    count, size = 1000, 2**20
    head = b"II*\0" + struct.pack("<IH", 8, count)
    entries = b"".join(struct.pack("<HHII", number, 7, size, 0) for number in range(1, count + 1))
    with pytest.raises(DamagedTagsError, match="longer than any photograph"):
        parse_tags(head + entries + bytes(size))
