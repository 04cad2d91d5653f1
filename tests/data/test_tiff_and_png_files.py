"""The writers of TIFF and PNG, as other programs read what they write."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image

from keras_skd.data import png_files, tiff_files
from keras_skd.data.png_files import read_chunks, write_png_file
from keras_skd.data.tags import Tag, Tags, parse_tags
from keras_skd.data.tiff_files import read_tiff, tiff_layout, write_tiff
from keras_skd.errors import OutputError


def array_of(channels, dtype, height=33, width=47):
    """Smooth, with noise, so that every filter has rows that it suits."""
    y, x = np.mgrid[0:height, 0:width, 0:channels][:2]
    top = np.iinfo(dtype).max
    smooth = (np.sin(x / 9) + np.cos(y / 7) + 2) / 4 * top
    noise = np.random.default_rng(0).integers(0, max(2, top // 50), smooth.shape)
    noise[height // 2 :] = 0
    return np.clip(smooth + noise, 0, top).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_is_what_others_read(tmp_path, monkeypatch, channels, dtype, order):
    monkeypatch.setattr(tiff_files, "_STRIP", 1000)  # several strips
    array, path = array_of(channels, dtype), tmp_path / "a.tif"
    write_tiff(path, array, Tags(order), (300, 299.5), b"a profile")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray().reshape(array.shape), array)
        assert len(page.dataoffsets) > 1
        assert page.tags[282].value == (300000, 1000)
        assert page.tags[34675].value == b"a profile"
        assert file.byteorder == order
    if dtype == np.uint8:  # Pillow reduces more to this
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)
    with open(path, "rb") as file:
        tags = parse_tags(file)
        np.testing.assert_array_equal(read_tiff(file, tags, tiff_layout(tags)), array)


def test_a_tiff_of_one_pixel(tmp_path):
    write_tiff(tmp_path / "a.tif", np.full((1, 1, 3), 7, np.uint8), Tags())
    assert tifffile.imread(tmp_path / "a.tif").tolist() == [[[7, 7, 7]]]


def test_a_tiff_beyond_32_bits_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_files, "_LONGEST_FILE", 1000)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    with pytest.raises(OutputError, match="larger than the 4 GiB"):
        write_tiff(tmp_path / "a.tif", noise, Tags())


def test_only_what_describes_the_picture_is_taken_over():
    shaped = Tag(2, b'{"shape": [3, 40, 56]}\0')
    tags = {256: Tag(4, bytes(4)), 271: Tag(2, b"Acme\0"), 330: Tag(4, bytes(4)), 270: shaped}
    assert tiff_files.descriptive(tags) == {271: tags[271]}
    words = Tag(2, b"words\0")
    assert tiff_files.descriptive({270: words}) == {270: words}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_is_what_others_read(tmp_path, monkeypatch, channels, dtype):
    monkeypatch.setattr(png_files, "_PIECE", 1000)  # several pieces
    array, path = array_of(channels, dtype), tmp_path / "a.png"
    write_png_file(path, array, [(b"gAMA", struct.pack(">I", 45455))])
    decoded = tf.io.decode_png(path.read_bytes(), channels=0, dtype=dtype).numpy()
    np.testing.assert_array_equal(decoded, array)
    with Image.open(path) as image:
        image.verify()
        assert image.info["gamma"] == pytest.approx(0.45455)
    if dtype == np.uint8:
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)


def test_png_filters_are_chosen_row_by_row(tmp_path):
    array = array_of(3, np.uint8, 64, 64)
    write_png_file(tmp_path / "a.png", array)
    content = (tmp_path / "a.png").read_bytes()
    place, pixels = 8, b""
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        pixels += content[place + 8 : place + 8 + length] if name == b"IDAT" else b""
        place += 12 + length
    used = set(zlib.decompress(pixels)[:: 1 + 64 * 3])
    assert len(used) > 1
    assert used <= {0, 1, 2, 3, 4}
    unfiltered = len(zlib.compress(array.tobytes(), 6))
    assert len(content) < unfiltered  # what filters are for


def test_chunks_are_read_in_order_and_damaged_ones_left_out(tmp_path):
    chunks = [(b"gAMA", struct.pack(">I", 100000)), (b"tEXt", b"Title\0words"), (b"tIME", bytes(7))]
    write_png_file(tmp_path / "a.png", array_of(1, np.uint8), chunks)
    with open(tmp_path / "a.png", "rb") as file:
        assert read_chunks(file)[1:] == chunks
    content = (tmp_path / "a.png").read_bytes().replace(b"words", b"w0rds")
    (tmp_path / "a.png").write_bytes(content)
    with open(tmp_path / "a.png", "rb") as file:
        assert read_chunks(file)[1:] == [chunks[0], chunks[2]]
