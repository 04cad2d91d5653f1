"""Files of every kind that photographs come as: what is read, what is refused, and how."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image, ImageCms

from keras_skd.data import tiff_files
from keras_skd.data.decoding import eight_bits, opened, upright
from keras_skd.data.images import image_size, read_image
from keras_skd.data.photo_files import read_photo
from keras_skd.data.png_files import write_png_file
from keras_skd.data.tags import Tag, append_directory
from keras_skd.errors import InputError, MissingFileError

HEIGHT, WIDTH = 40, 56


def ramp(top, dtype):
    """Grey from 0 to ``top`` in equal steps, mean a half of it."""
    values = np.linspace(0, top, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    return (values if np.issubdtype(dtype, np.floating) else np.rint(values)).astype(dtype)


def colours(dtype=np.uint8, channels=3):
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, (HEIGHT, WIDTH, channels), dtype, True)


def tiff(path, content, **tags):
    """A TIFF of one strip with exactly these tags: name to value or values."""
    numbers = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262}
    numbers |= {"samples": 277, "extra": 338, "format": 339, "fill": 266, "map": 320}
    numbers |= {"predictor": 317, "inks": 332, "subfile": 254, "dng": 50706}
    values = {256: WIDTH, 257: HEIGHT, 259: 1, 277: 1, 278: HEIGHT}
    values |= {numbers[name]: value for name, value in tags.items()}
    values |= {273: 8, 279: len(content)}
    directory = {}
    for number, value in values.items():
        value = value if isinstance(value, tuple) else (value,)
        kind, code = (4, "I") if number in (273, 279) else (3, "H")
        directory[number] = Tag(kind, struct.pack(f"<{len(value)}{code}", *value))
    start = 8 + len(content) + len(content) % 2
    file = bytearray(b"II*\0" + struct.pack("<I", start) + content).ljust(start, b"\0")
    append_directory(file, directory, "<")
    path.write_bytes(file)
    return path


def has_encoder(compression):
    """Whether Pillow's libtiff, which builds differ in, writes this."""
    try:
        Image.new("L", (9, 9)).save(io.BytesIO(), "TIFF", compression=compression)
    except OSError:
        return False
    return True


def packed(values, bits):
    """Rows of values of a few bits each, padded to bytes."""
    rows = values.reshape(len(values), -1)
    digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def png(path, depth, colour, rows, *chunks):
    """A PNG of rows of bytes without filters, with chunks before the pixels."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    head = struct.pack(">IIBBBBB", WIDTH, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [("IHDR", head), *chunks, ("IDAT", pixels), ("IEND", b"")]
    content = b"".join(chunk(name.encode(), data) for name, data in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def split(content, length):
    return [content[i : i + length] for i in range(0, len(content), length)]


def predicted(values):
    """TIFF's predictor of floats: all first bytes of a row, all second ones, then differences."""
    planes = values.astype(">f4").view(np.uint8).reshape(len(values), -1, 4).transpose(0, 2, 1)
    rows = planes.reshape(len(values), -1)
    rows[:, 1:] -= rows[:, :-1].copy()
    return rows.tobytes()


# --- grey of every depth has the same mean in both readers ---

GREYS = {
    "png 16": lambda p: Image.fromarray(ramp(65535, np.uint16)).save(p, "PNG"),
    "png 8": lambda p: Image.fromarray(ramp(255, np.uint8)).save(p, "PNG"),
    "png 4": lambda p: png(p, 4, 0, split(packed(ramp(15, np.uint8), 4), WIDTH // 2)),
    "png 2": lambda p: png(p, 2, 0, split(packed(ramp(3, np.uint8), 2), WIDTH // 4)),
    "png 1": lambda p: png(p, 1, 0, split(packed(ramp(1, np.uint8), 1), WIDTH // 8)),
    "tiff 16 little": lambda p: tifffile.imwrite(p, ramp(65535, np.uint16), byteorder="<"),
    "tiff 16 big": lambda p: tifffile.imwrite(p, ramp(65535, np.uint16), byteorder=">"),
    "tiff 8": lambda p: tifffile.imwrite(p, ramp(255, np.uint8)),
    "tiff 8 white is zero": lambda p: tifffile.imwrite(
        p, ramp(255, np.uint8), photometric="miniswhite"
    ),
    "tiff 16 white is zero": lambda p: tifffile.imwrite(
        p, ramp(65535, np.uint16), photometric="miniswhite"
    ),
    "tiff float32": lambda p: tifffile.imwrite(p, ramp(1, np.float32)),
    "tiff float64 big": lambda p: tifffile.imwrite(p, ramp(1, np.float64), byteorder=">"),
    "tiff float predictor": lambda p: tiff(
        p, predicted(ramp(1, np.float32)), bits=32, format=3, photometric=1, predictor=3
    ),
    "bigtiff": lambda p: tifffile.imwrite(p, ramp(65535, np.uint16), bigtiff=True),
    "tiff tiles": lambda p: tifffile.imwrite(p, ramp(65535, np.uint16), tile=(16, 32)),
    "tiff tiles deflate": lambda p: tifffile.imwrite(
        p, ramp(65535, np.uint16), tile=(16, 32), compression="zlib", predictor=True
    ),
    "tiff lzw": lambda p: Image.fromarray(ramp(65535, np.uint16)).save(
        p, "TIFF", compression="tiff_lzw"
    ),
    "tiff packbits": lambda p: Image.fromarray(ramp(65535, np.uint16)).save(
        p, "TIFF", compression="packbits"
    ),
    "tiff zstd": lambda p: Image.fromarray(ramp(65535, np.uint16)).save(
        p, "TIFF", compression="zstd"
    ),
    "tiff lzma": lambda p: Image.fromarray(ramp(65535, np.uint16)).save(
        p, "TIFF", compression="lzma"
    ),
    "tiff group 4": lambda p: (
        Image.fromarray(ramp(255, np.uint8)).convert("1").save(p, "TIFF", compression="group4")
    ),
    "tiff jpeg": lambda p: Image.fromarray(ramp(255, np.uint8)).save(p, "TIFF", compression="jpeg"),
    "jpeg": lambda p: Image.fromarray(ramp(255, np.uint8)).save(p, "JPEG", quality=95),
    "bmp": lambda p: Image.fromarray(ramp(255, np.uint8)).save(p, "BMP"),
    **{
        f"tiff {bits} bits": lambda p, bits=bits: tiff(
            p, packed(ramp(2**bits - 1, np.uint16), bits), bits=bits, photometric=1
        )
        for bits in (1, 2, 4, 6, 9, 10, 12, 14, 15)
    },
    "tiff bits reversed": lambda p: tiff(
        p,
        bytes(int(f"{b:08b}"[::-1], 2) for b in packed(ramp(4095, np.uint16), 12)),
        bits=12,
        photometric=1,
        fill=2,
    ),
}


@pytest.mark.parametrize("kind", GREYS)
def test_grey_of_every_depth_has_its_brightness(tmp_path, kind):
    path = tmp_path / "grey"
    if kind in ("tiff zstd", "tiff lzma") and not has_encoder(kind.removeprefix("tiff ")):
        pytest.skip("this Pillow is built without it")
    GREYS[kind](path)
    image = read_image(path)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    assert image_size(path) == (HEIGHT, WIDTH)
    coarse = kind in ("png 1", "png 2", "tiff 1 bits", "tiff 2 bits", "tiff group 4")
    # A ramp of 2 or 4 greys is uneven by rounding; all others are within a rounded level.
    assert image.mean() == pytest.approx(127.5, abs=4 if coarse else 0.6)
    assert image.min() <= 2  # JPEG's are lossy
    assert image.max() >= 253
    photo = read_photo(path)
    assert photo.grey
    assert photo.alpha is None
    np.testing.assert_array_equal(eight_bits(photo.pixels), image)
    if "white" not in kind:
        assert image[0, 0, 0] < 3


RGBS = {
    "png": lambda p, a: write_png_file(p, a),
    "tiff": lambda p, a: tifffile.imwrite(p, a, photometric="rgb"),
    "tiff big": lambda p, a: tifffile.imwrite(p, a, photometric="rgb", byteorder=">"),
    "tiff planes": lambda p, a: tifffile.imwrite(
        p, np.moveaxis(a, 2, 0), photometric="rgb", planarconfig="separate"
    ),
    "tiff planes deflate": lambda p, a: tifffile.imwrite(
        p,
        np.moveaxis(a, 2, 0),
        photometric="rgb",
        planarconfig="separate",
        compression="zlib",
        predictor=True,
        rowsperstrip=7,
    ),
    "tiff tiles": lambda p, a: tifffile.imwrite(p, a, photometric="rgb", tile=(32, 16)),
    "tiff tiles of planes": lambda p, a: tifffile.imwrite(
        p, np.moveaxis(a, 2, 0), photometric="rgb", planarconfig="separate", tile=(32, 16)
    ),
    "tiff predictor big": lambda p, a: tifffile.imwrite(
        p, a, photometric="rgb", compression="zlib", predictor=True, byteorder=">"
    ),
    "bigtiff": lambda p, a: tifffile.imwrite(p, a, photometric="rgb", bigtiff=True),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", RGBS)
def test_rgb_of_every_layout_is_read_exactly(tmp_path, kind, dtype):
    array = colours(dtype)
    RGBS[kind](tmp_path / "rgb", array)
    photo = read_photo(tmp_path / "rgb")
    np.testing.assert_array_equal(photo.pixels, array)
    assert photo.pixels.dtype == dtype
    assert not photo.grey
    expected = array if dtype == np.uint8 else np.rint(array / 257).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "rgb"), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "zstd", "lzma", "tiff_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "1"])
def test_compressed_tiffs_of_8_bits_are_read_exactly(tmp_path, compression, mode):
    if not has_encoder(compression):
        pytest.skip("this Pillow is built without it")
    image = Image.fromarray(colours(channels=4)).convert(mode)
    image.save(tmp_path / "a.tif", compression=compression)
    photo = read_photo(tmp_path / "a.tif")
    expected = np.asarray(image.convert("L" if mode == "1" else mode))
    grey = mode in ("1", "L", "LA")
    plain = expected if expected.ndim == 3 else expected[..., None]
    channels = 1 if grey else 3
    np.testing.assert_array_equal(photo.pixels[..., :channels], plain[..., :channels])
    assert (photo.alpha is not None) == ("A" in mode)


def test_16_bit_lzw_with_a_predictor(tmp_path):
    """As Photoshop writes them. LZW codes bytes, so an 8-bit picture of them gives the strip."""
    array = colours(np.uint16)
    differences = array.copy()
    differences[:, 1:] -= array[:, :-1]
    rows = np.frombuffer(differences.astype("<u2").tobytes(), np.uint8).reshape(HEIGHT, -1)
    buffer = io.BytesIO()
    Image.fromarray(rows).save(buffer, "TIFF", compression="tiff_lzw", tiffinfo={278: HEIGHT})
    with Image.open(buffer) as image:
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    strip = buffer.getvalue()[start : start + length]
    kind = {"bits": (16, 16, 16), "samples": 3, "photometric": 2, "compression": 5, "predictor": 2}
    path = tiff(tmp_path / "a.tif", strip, **kind)
    np.testing.assert_array_equal(read_photo(path).pixels, array)


# --- opacity ---


def test_an_unspecified_sample_is_no_opacity(tmp_path):
    array = colours(np.uint16, 4)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unspecified"])
    photo = read_photo(tmp_path / "a.tif")
    assert photo.alpha is None
    np.testing.assert_array_equal(photo.pixels, array[..., :3])
    assert "left out" in photo.notes[0]


def test_the_opacity_may_be_behind_another_sample(tmp_path):
    array = colours(np.uint8, 5)
    extra = ["unspecified", "unassalpha"]
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="rgb", extrasamples=extra, planarconfig="contig"
    )
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").alpha, array[..., 4])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_premultiplied_colours_become_what_they_were(tmp_path, dtype):
    top = np.iinfo(dtype).max
    array = colours(dtype)
    alpha = np.full((HEIGHT, WIDTH, 1), top // 4 * 3, dtype)
    alpha[0] = 0
    multiplied = np.rint(array * (alpha / top)).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.concatenate([multiplied, alpha], 2),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.alpha, alpha[..., 0])
    # The product was rounded to a level, which 4/3 of it spreads to less than one.
    assert np.abs(photo.pixels[1:].astype(int) - array[1:]).max() <= 1
    assert not photo.pixels[0].any()
    assert np.abs(photo.pixels.astype(int) - multiplied)[1:].max() > top // 5  # it did something


@pytest.mark.parametrize(("depth", "key"), [(1, 1), (2, 2), (4, 10), (8, 77), (16, 20000)])
def test_the_transparent_grey_of_a_png_is_in_its_own_depth(tmp_path, depth, key):
    values = ramp(2**depth - 1, np.uint16)
    values[5, 7] = key
    rows = values.astype(">u2").tobytes() if depth == 16 else packed(values, depth)
    chunk = ("tRNS", struct.pack(">H", key))
    path = png(tmp_path / "a.png", depth, 0, split(rows, -(-WIDTH * depth // 8)), chunk)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.alpha == 0, values == key)
    assert photo.alpha[values != key].min() == np.iinfo(photo.alpha.dtype).max
    with opened(path) as picture:
        assert picture.transparent


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_transparent_colour_of_a_png(tmp_path, dtype):
    array = colours(dtype)
    chunk = (b"tRNS", struct.pack(">3H", *array[3, 4].tolist()))
    write_png_file(tmp_path / "a.png", array, [chunk])
    photo = read_photo(tmp_path / "a.png")
    assert photo.alpha[3, 4] == 0
    assert (photo.alpha == 0).sum() == 1
    np.testing.assert_array_equal(photo.pixels, array)
    assert photo.pixels.dtype == photo.alpha.dtype == dtype


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_with_opacity(tmp_path, channels, dtype):
    array = colours(dtype, channels)
    write_png_file(tmp_path / "a.png", array)
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.alpha, array[..., -1])
    np.testing.assert_array_equal(photo.pixels[..., 0], array[..., 0])
    assert photo.grey == (channels == 2)


def test_a_palette_of_a_tiff(tmp_path):
    image = Image.fromarray(colours()).quantize(16)
    image.save(tmp_path / "pillow.tif")
    photo = read_photo(tmp_path / "pillow.tif")
    np.testing.assert_array_equal(photo.pixels, np.asarray(image.convert("RGB")))
    table = np.arange(48, dtype=np.uint16).reshape(3, 16) * 5  # 8 bits where 16 belong
    indices = np.random.default_rng(0).integers(0, 16, (HEIGHT, WIDTH))
    content = packed(indices, 4)
    path = tiff(tmp_path / "a.tif", content, bits=4, photometric=3, map=tuple(table.ravel()))
    np.testing.assert_array_equal(read_photo(path).pixels, table.T[indices])


# --- CMYK ---


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "TIFF 16"])
def test_cmyk_becomes_rgb_and_says_so(tmp_path, kind):
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:, :28], rgb[:20, 28:], rgb[20:, 28:] = (255, 255, 255), (250, 20, 30), (10, 10, 10)
    inks = np.asarray(Image.fromarray(rgb).convert("CMYK"))
    path = tmp_path / "a"
    if kind == "JPEG":
        Image.fromarray(inks, "CMYK").save(path, "JPEG", quality=100, subsampling=0)
    elif kind == "TIFF":
        Image.fromarray(inks, "CMYK").save(path, "TIFF")
    else:
        tifffile.imwrite(path, inks.astype(np.uint16) * 257, photometric="separated")
    photo = read_photo(path)
    assert "CMYK" in photo.notes[0]
    assert photo.icc_profile is None
    inside = np.s_[4:16, 32:52]  # away from edges, which JPEG smears
    assert np.abs(photo.pixels[inside].astype(int) - (250, 20, 30)).max() <= 4
    assert photo.pixels[:, :24].mean() == pytest.approx(255, abs=2)
    np.testing.assert_array_equal(read_image(path), eight_bits(photo.pixels))


# --- pictures of several frames ---


def test_the_first_picture_of_a_camera_jpeg_is_read(tmp_path):
    first, second = (Image.fromarray(colours()), Image.fromarray(255 - colours()))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
        expected = np.asarray(image.convert("RGB"))
    photo = read_photo(tmp_path / "a.jpg")
    np.testing.assert_array_equal(photo.pixels, expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)
    assert "further pictures" in photo.notes[0]


def test_a_thumbnail_of_a_tiff_is_not_the_picture(tmp_path):
    array = colours(np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(array[::4, ::4], photometric="rgb", subfiletype=1)
        file.write(array, photometric="rgb")
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, array)


FRAMES = {
    "TIFF": "holds 2 frames or pages",
    "PNG": "is an animation of 2 frames",
    "WEBP": "is an animation of 2 frames",
}


@pytest.mark.parametrize("kind", FRAMES)
def test_animations_and_documents_are_refused(tmp_path, kind):
    frames = [Image.fromarray(colours()), Image.fromarray(255 - colours())]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:])
    for read in (read_image, read_photo, image_size):
        with pytest.raises(InputError, match=rf"a: {FRAMES[kind]}"):
            read(tmp_path / "a")
    frames[0].save(tmp_path / "b", kind, save_all=True)  # one frame is a photograph
    assert read_image(tmp_path / "b").shape == (HEIGHT, WIDTH, 3)


# --- orientation ---


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_every_format(tmp_path, suffix, orientation):
    image = Image.fromarray(np.kron(colours()[::8, ::8], np.ones((8, 8, 1), np.uint8)))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a{suffix}", exif=exif, quality=100)
    shown = read_image(tmp_path / f"a{suffix}")
    methods = [None, 0, 3, 1, 5, 4, 6, 2]  # of Pillow's Transpose, by orientation
    method = methods[orientation - 1]
    expected = np.asarray(image if method is None else image.transpose(method))
    assert shown.shape == expected.shape
    assert image_size(tmp_path / f"a{suffix}") == expected.shape[:2]
    # Of blocks of 8x8 pixels, which lossy formats keep up to a few levels in the mean.
    assert np.abs(shown.astype(int) - expected).mean() < 20
    stored = read_photo(tmp_path / f"a{suffix}").pixels
    assert stored.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(upright(stored, orientation), shown)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_tiff_that_pillow_decodes(tmp_path, orientation):
    image = Image.fromarray(np.kron(colours()[::8, ::8], np.ones((8, 8, 1), np.uint8)))
    image.save(tmp_path / "a.tif", compression="jpeg", tiffinfo={274: orientation})
    with Image.open(tmp_path / "a.tif") as opened_image:
        expected = np.asarray(opened_image.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)
    assert read_photo(tmp_path / "a.tif").pixels.shape == (HEIGHT, WIDTH, 3)


def test_nonsense_orientation_is_none(tmp_path):
    image = Image.fromarray(colours())
    image.save(tmp_path / "a.tif", tiffinfo={274: 77})
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), colours())


# --- other kinds of the readable formats ---


def test_kinds_that_pillow_decodes(tmp_path):
    image = Image.fromarray(colours())
    cases = {
        "progressive": lambda p: image.save(p, "JPEG", progressive=True, quality=95),
        "subsampled": lambda p: image.save(p, "JPEG", subsampling=2, quality=95),
        "lossy": lambda p: image.save(p, "WEBP", quality=95),
        "jpeg in tiff": lambda p: image.save(p, "TIFF", compression="jpeg", quality=95),
        "lossless": lambda p: image.save(p, "WEBP", lossless=True),
        "bmp": lambda p: image.save(p, "BMP"),
        "palette bmp": lambda p: image.quantize(256).save(p, "BMP"),
        "grey bmp": lambda p: image.convert("L").save(p, "BMP"),
        "two colours bmp": lambda p: image.convert("1").save(p, "BMP"),
        "palette png": lambda p: image.quantize(200).save(p, "PNG"),
        "palette png of 2 bits": lambda p: image.quantize(4).save(p, "PNG", bits=2),
    }
    for name, save in cases.items():
        save(tmp_path / name)
        with Image.open(tmp_path / name) as other:
            expected = np.asarray(other.convert("RGB"))
        np.testing.assert_array_equal(read_image(tmp_path / name), expected, err_msg=name)


def test_an_interlaced_png_of_16_bits(tmp_path):
    """Seven passes over a picture of 1x1 pixels are one pass: the smallest that is interlaced."""
    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 1)
    pixels = zlib.compress(b"\0" + struct.pack(">3H", 1000, 2000, 60000))
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(name + data))
        content += struct.pack(">I", len(data)) + name + data + crc
    (tmp_path / "a.png").write_bytes(content)
    assert read_photo(tmp_path / "a.png").pixels.tolist() == [[[1000, 2000, 60000]]]


def test_a_bmp_whose_fourth_byte_is_zero_can_be_seen(tmp_path):
    array = colours()
    head = struct.pack(
        "<IiiHHIIIIII4I",
        56,
        WIDTH,
        -HEIGHT,
        1,
        32,
        3,
        0,
        0,
        0,
        0,
        0,
        0xFF0000,
        0xFF00,
        0xFF,
        0xFF000000,
    )
    pixels = np.concatenate([array[..., ::-1], np.zeros_like(array[..., :1])], axis=2).tobytes()
    start = 14 + len(head)
    content = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + pixels
    (tmp_path / "a.bmp").write_bytes(content)
    photo = read_photo(tmp_path / "a.bmp")
    np.testing.assert_array_equal(photo.pixels, array)
    assert photo.alpha is None


# --- what is not read says what it is ---

NOT_READ = {
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(200), "is a HEIC"),
    "HEIC by its second brand": (b"\0\0\0\x18ftypmiaf\0\0\0\0mif1heic" + bytes(99), "is a HEIC"),
    "AVIF": (b"\0\0\0\x18ftypavif" + bytes(200), "is an AVIF"),
    "CR3": (b"\0\0\0\x18ftypcrx " + bytes(200), "is a raw photograph"),
    "MP4": (b"\0\0\0\x18ftypisom" + bytes(200), "is a video"),
    "JPEG XL": (b"\xff\x0a" + bytes(99), "is a JPEG XL"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "is a JPEG 2000"),
    "GIF": (b"GIF89a" + bytes(99), "is a GIF"),
    "PSD": (b"8BPS\0\1" + bytes(99), "is a Photoshop document"),
    "PPM": (b"P6\n2 2\n255\n" + bytes(12), "is a portable anymap"),
    "PFM": (b"PF\n2 2\n-1\n" + bytes(48), "is a portable floatmap"),
    "EXR": (b"v/1\x01" + bytes(99), "is an OpenEXR"),
    "raw of Fujifilm": (b"FUJIFILMCCD-RAW " + bytes(99), "is a raw photograph"),
    "CR2": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(99), "is a raw photograph"),
    "web page": (b"\n<!DOCTYPE html><html>", "is a web page"),
    "SVG": (b"<?xml version='1.0'?><svg/>", "is an SVG"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    "PDF": (b"%PDF-1.7", "is a PDF"),
    "AVI": (b"RIFF\0\0\0\0AVI ", "is a RIFF"),
}


@pytest.mark.parametrize("kind", NOT_READ)
def test_other_files_are_named(tmp_path, kind):
    content, what = NOT_READ[kind]
    path = tmp_path / "photo.jpg"  # whatever the name says
    path.write_bytes(content)
    for read in (read_image, read_photo, image_size):
        with pytest.raises(InputError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: {what}")
        assert "this kind is not read; convert it to PNG or JPEG" in str(error.value)
        assert "corrupt" not in str(error.value)


UNREAD_TIFFS = {
    "float16": {"bits": 16, "format": 3, "photometric": 1},
    "signed": {"bits": 16, "format": 2, "photometric": 1},
    "signed 8": {"bits": 8, "format": 2, "photometric": 1},
    "32 bits": {"bits": 32, "photometric": 1},
    "complex": {"bits": 64, "format": 6, "photometric": 1},
    "CIELAB": {"bits": (8, 8, 8), "samples": 3, "photometric": 8},
    "raw photograph": {"bits": 16, "photometric": 32803},
    "raw photograph (DNG": {"bits": 8, "photometric": 1, "dng": 1},
    "a mask": {"bits": 1, "photometric": 4},
    "differ in kind": {"bits": (5, 6, 5), "samples": 3, "photometric": 2},
    "grey samples": {"bits": (8,) * 5, "samples": 5, "photometric": 1},
    "compression 34887": {"bits": 8, "photometric": 1, "compression": 34887},
    "photometric interpretation": {"bits": (8,) * 4, "samples": 4, "photometric": 5, "inks": 2},
}


@pytest.mark.parametrize("what", UNREAD_TIFFS)
def test_tiffs_that_are_not_read_say_why(tmp_path, what):
    path = tiff(tmp_path / "a.tif", bytes(HEIGHT * WIDTH * 16), **UNREAD_TIFFS[what])
    for read in (read_image, read_photo, image_size):
        with pytest.raises(InputError, match="this kind is not read") as error:
            read(path)
        assert "corrupt" not in str(error.value)
        words = what.replace("float16", "16-bit floating point").replace("signed 8", "signed")
        assert words in str(error.value)


def test_float_beyond_0_to_1_is_refused_with_its_range(tmp_path):
    for values in (ramp(255, np.float32), ramp(1, np.float32) - 0.5):
        tifffile.imwrite(tmp_path / "a.tif", values)
        for read in (read_image, read_photo):
            with pytest.raises(InputError, match=r"floating point from .* only 0 to 1"):
                read(tmp_path / "a.tif")
    values = ramp(1, np.float32)
    values[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(InputError, match="floating point from nan"):
        read_image(tmp_path / "a.tif")


def test_jpegs_of_other_depths_say_so(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(colours()).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    place = content.index(b"\xff\xc0")
    content[place + 4] = 12
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match="is a JPEG of 12 bits; this kind is not read"):
        read_image(tmp_path / "a.jpg")
    content[place + 1], content[place + 4] = 0xC3, 8
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match="is a lossless JPEG"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("compression", [34925, 50000])
def test_a_coder_that_libtiff_lacks_is_said(tmp_path, monkeypatch, compression):
    path = tiff(tmp_path / "a.tif", b"damaged" * 9, bits=8, photometric=1, compression=compression)
    name = {34925: "lzma", 50000: "zstd"}[compression]
    expected = "compressed pixels are damaged" if has_encoder(name) else "built without"
    with pytest.raises(InputError, match=expected):
        read_photo(path)
    monkeypatch.setitem(tiff_files._PROBES, compression, b"what this libtiff does not decode")
    with pytest.raises(InputError, match=r"which this Pillow is built without; this kind is not"):
        read_photo(path)


def test_ycbcr_of_a_tiff(tmp_path):
    smooth = np.kron(colours()[::8, ::8], np.ones((8, 8, 1), np.uint8))
    image = Image.fromarray(smooth).convert("YCbCr")
    for compression in (None, "tiff_lzw", "tiff_deflate"):
        image.save(tmp_path / "a.tif", compression=compression)
        photo = read_photo(tmp_path / "a.tif")
        # Each way through YCbCr rounds three values, and is clipped for colours it lacks.
        assert np.abs(photo.pixels.astype(int) - smooth).mean() < 2
    content = np.asarray(image).tobytes()[: HEIGHT * WIDTH * 3 // 2]
    tags = {"bits": (8, 8, 8), "samples": 3, "photometric": 6}
    with pytest.raises(InputError, match=r"fewer colours than pixels; this kind is not read"):
        read_photo(tiff(tmp_path / "b.tif", content, **tags))


# --- what is damaged says that ---


def test_damage_and_emptiness_are_told_apart_from_other_kinds(tmp_path):
    path = tmp_path / "a"
    for content, reason in (
        (b"", "the file is empty"),
        (b"hello", "begins as none of PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n", "its head is damaged"),
        (b"II*\0\xff\xff\0\0" + bytes(9), "its tags point outside it"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"it is corrupt, truncated or no image .*{reason}"):
            read_image(path)
    with pytest.raises(MissingFileError, match="nowhere: no such image"):
        read_image(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot be read .is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw"])
def test_a_truncated_tiff_of_16_bits_is_damaged(tmp_path, compression):
    path = tmp_path / "a.tif"
    if compression == "tiff_lzw":
        Image.fromarray(colours(np.uint16)[..., 0]).save(path, compression=compression)
    else:
        tifffile.imwrite(path, colours(np.uint16), photometric="rgb", compression=compression)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="corrupt"):
        read_photo(path)


def test_pixels_beyond_the_limit_are_refused_by_the_head(tmp_path):
    write_png_file(tmp_path / "a.png", colours())
    with pytest.raises(InputError, match=r"56x40 pixels are more than the 0\.002 million"):
        read_photo(tmp_path / "a.png", 2000)
    assert read_photo(tmp_path / "a.png", HEIGHT * WIDTH).pixels.shape == (HEIGHT, WIDTH, 3)


def test_photographs_of_200_megapixels_are_opened(tmp_path):
    Image.new("1", (16384, 12288)).save(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (12288, 16384)
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="20000x20000 pixels are more than the 256 million"):
        image_size(tmp_path / "bomb.png")


def test_pillows_limit_for_other_callers_is_left_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    write_png_file(tmp_path / "a.png", colours())
    read_image(tmp_path / "a.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_eight_bits_rounds():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(eight_bits(values), np.rint(values / 257))


def test_tensorflow_agrees_on_16_bits(tmp_path):
    array = colours(np.uint16)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(array).numpy())
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, array)


def test_a_profile_of_other_channels_does_not_stop_cmyk(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(colours()).convert("CMYK")
    image.save(tmp_path / "a.jpg", icc_profile=srgb)
    photo = read_photo(tmp_path / "a.jpg")
    assert "without a colour profile" in photo.notes[0]
    assert photo.icc_profile is None
