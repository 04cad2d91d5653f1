"""Corrupted and truncated files: an image or a named error, never a crash or a hang."""

import io
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_skd.data.images import MAX_PIXELS, read_image
from keras_skd.data.photo_files import Photo, read_photo, write_photo

FORMATS = {
    "png": {"format": "PNG"},
    "palette.png": {"format": "PNG", "mode": "P"},
    "alpha.png": {"format": "PNG", "mode": "RGBA"},
    "grey.png": {"format": "PNG", "mode": "L"},
    "jpg": {"format": "JPEG"},
    "progressive.jpg": {"format": "JPEG", "progressive": True},
    "webp": {"format": "WEBP"},
    "lossless.webp": {"format": "WEBP", "lossless": True},
    "tif": {"format": "TIFF"},
    "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "deflate.tif": {"format": "TIFF", "compression": "tiff_deflate"},
    "bmp": {"format": "BMP"},
}
CASES = 100  # of each format
SLOWEST = 5.0  # seconds for a 32x32 image; milliseconds are usual, the machine may be busy


def intact(mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, exif=exif, **options)
    return buffer.getvalue()


def corrupted(content, generator):
    """The content cut short, with bytes changed, with a piece removed, repeated or made noise."""
    content = bytearray(content)
    kind = generator.integers(5)
    place, length = generator.integers(len(content)), generator.integers(1, 64)
    if kind == 0:
        return bytes(content[:place])
    if kind == 1:
        # Half of the changes in the head, where sizes and tags are.
        for _ in range(generator.integers(1, 9)):
            limit = len(content) if generator.integers(2) else min(64, len(content))
            content[generator.integers(limit)] = generator.integers(256)
    elif kind == 2:
        del content[place : place + length]
    elif kind == 3:
        content[place:place] = content[place : place + length]
    else:
        content[place : place + length] = generator.bytes(length)
    return bytes(content)


# Layouts of 16 bits that are resolved here and not by Pillow.
LAYOUTS = {
    "planes.tif": {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 5},
    "tiles.tif": {"photometric": "rgb", "tile": (16, 16), "compression": "zlib"},
    "big.tif": {"photometric": "rgb", "bigtiff": True, "byteorder": ">"},
    "predictor.tif": {"photometric": "rgb", "compression": "zlib", "predictor": True},
}


@pytest.mark.parametrize("suffix", [*FORMATS, *LAYOUTS, "deep.png", "deep.tif"])
def test_damage_is_an_image_or_a_named_error(tmp_path, suffix):
    generator = np.random.default_rng(len(suffix))
    path = tmp_path / f"damaged.{suffix}"
    if suffix in FORMATS:
        content = intact(**FORMATS[suffix])
    elif suffix in LAYOUTS:
        deep = generator.integers(0, 65536, (32, 32, 3), np.uint16)
        planes = "planarconfig" in LAYOUTS[suffix]
        tifffile.imwrite(path, np.moveaxis(deep, 2, 0) if planes else deep, **LAYOUTS[suffix])
        content = path.read_bytes()
    else:
        write_photo(path, Photo(generator.integers(0, 65536, (32, 32, 3), np.uint16)))
        content = path.read_bytes()
    errors = 0
    for _ in range(CASES):
        path.write_bytes(corrupted(content, generator))
        for read in (read_image, lambda path: read_photo(path).pixels):
            start = time.monotonic()
            try:
                image = read(path)
            except ValueError as error:
                errors += read is read_image
                message = str(error)
                assert message.startswith(f"{path}: "), message
                assert "\n" not in message
            else:
                assert image.dtype in (np.uint8, np.uint16)
                assert image.ndim == 3
                assert image.shape[2] == 3
                assert image.shape[0] * image.shape[1] <= MAX_PIXELS
            assert time.monotonic() - start < SLOWEST
    # The damage is real, and not all of it fatal: a flipped pixel in a BMP is still an image.
    assert errors >= CASES // 10


def test_the_intact_files_are_read(tmp_path):
    for suffix, options in FORMATS.items():
        path = tmp_path / f"intact.{suffix}"
        path.write_bytes(intact(**options))
        assert read_image(path).shape == (32, 32, 3)


def test_files_of_noise_are_named_errors(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(100):
        path = tmp_path / f"noise.{list(FORMATS)[index % len(FORMATS)]}"
        path.write_bytes(generator.bytes(int(generator.integers(0, 2000))))
        with pytest.raises(ValueError, match="cannot be decoded"):
            read_image(path)


def test_a_decompression_bomb_is_refused_by_its_head(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20000, 20000)).save(path)  # 50 kB that claim 400 million pixels
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"bomb\.png: refused, .*pixels"):
        read_image(path)
    Image.new("1", (16001, 16000)).save(path)  # below Pillow's own limit
    with pytest.raises(ValueError, match="16001x16000 pixels are more than the 256 million"):
        read_image(path)
