import io
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image, ImageCms

from keras_skd.data.jpeg_files import read_segments
from keras_skd.data.photo_files import Photo, check_output, read_photo, write_photo
from keras_skd.data.png_files import write_png_file
from keras_skd.data.tags import (
    EXIF,
    GPS,
    MAKER_NOTE,
    Tag,
    Tags,
    append_directory,
    parse_tags,
    tags_block,
)
from keras_skd.errors import InputError, OutputError

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">words</x:xmpmeta>'
SUFFIXES = (".jpg", ".png", ".webp", ".tif")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(*shape, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top + 1, shape, dtype)


def same(one, other):
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.pixels.dtype == other.pixels.dtype
    assert one.grey == other.grey
    assert (one.alpha is None) == (other.alpha is None)
    if one.alpha is not None:
        np.testing.assert_array_equal(one.alpha, other.alpha)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_files_come_back_as_they_were(tmp_path, suffix, mode, dtype):
    if suffix == ".bmp" and (dtype == np.uint16 or "A" in mode):
        pytest.skip("BMP has neither 16 bits nor transparency here")
    channels = pixels(20, 30, len(mode), dtype=dtype)
    grey = mode.startswith("L")
    photo = Photo(
        np.repeat(channels[..., :1], 3, axis=2) if grey else channels[..., :3],
        grey,
        channels[..., -1] if "A" in mode else None,
        icc_profile=None if suffix == ".bmp" else SRGB,
    )
    write_photo(tmp_path / f"a{suffix}", photo)
    read = read_photo(tmp_path / f"a{suffix}")
    if (suffix, mode, dtype) == (".tif", "LA", np.uint16):
        assert not read.grey  # written as RGBA, which more programs open
        photo = replace(photo, grey=False)
    same(read, photo)
    assert read.icc_profile == photo.icc_profile
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_files_of_other_programs_keep_16_bits(tmp_path):
    deep = pixels(20, 30, 3, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(deep).numpy())
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "big.tif", deep.astype(">u2"), photometric="rgb", byteorder=">")
    planes = np.moveaxis(deep, 2, 0)
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_photo(path).pixels, deep, err_msg=path.name)
    Image.fromarray(deep[..., 0]).save(tmp_path / "grey.png")
    grey = read_photo(tmp_path / "grey.png")
    assert grey.grey
    np.testing.assert_array_equal(grey.pixels[..., 1], deep[..., 0])


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_orientation_profile_and_resolution_are_kept(tmp_path, suffix):
    image = Image.fromarray(pixels(20, 30, 3))
    exif = image.getexif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    image.save(tmp_path / f"a{suffix}", exif=exif, icc_profile=SRGB)
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.pixels.shape == (20, 30, 3)  # as stored: a viewer turns it
    write_photo(tmp_path / f"b{suffix}", photo)
    with Image.open(tmp_path / f"b{suffix}") as written:
        assert written.size == (30, 20)
        assert written.getexif()[0x0112] == 6
        assert written.getexif()[0x010F] == "Maker"
        assert written.info["icc_profile"] == SRGB


def test_16_bit_files_keep_orientation_profile_and_resolution(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 8, "a description"
    deep = pixels(20, 30, 3, dtype=np.uint16)
    photo = Photo(deep, exif=exif.tobytes(), icc_profile=SRGB, dpi=(300.0, 300.0))
    for suffix in (".png", ".tif"):
        write_photo(tmp_path / f"a{suffix}", photo)
        read = read_photo(tmp_path / f"a{suffix}")
        same(read, photo)
        assert read.icc_profile == SRGB
        assert read.dpi == pytest.approx((300, 300), abs=0.02)
        kept = Image.Exif()
        kept.load(read.exif)
        assert (kept[0x0112], kept[0x010E]) == (8, "a description")


def test_a_tiff_that_lies_on_its_side_comes_back_upright(tmp_path):
    image = Image.fromarray(pixels(20, 30, 3))
    image.save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    photo = read_photo(tmp_path / "a.tif")
    write_photo(tmp_path / "b.tif", photo)
    with Image.open(tmp_path / "a.tif") as one, Image.open(tmp_path / "b.tif") as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_palettes_become_rgb_and_keep_their_transparency(tmp_path):
    image = Image.fromarray(pixels(20, 30, 3)).quantize(16)
    image.save(tmp_path / "a.png")
    assert not read_photo(tmp_path / "a.png").grey
    image.save(tmp_path / "b.png", transparency=3)
    photo = read_photo(tmp_path / "b.png")
    np.testing.assert_array_equal(photo.alpha == 0, np.asarray(image) == 3)


def test_quality_changes_the_size(tmp_path):
    photo = Photo(pixels(64, 64, 3))
    for suffix in (".jpg", ".webp"):
        sizes = []
        for quality in (50, 95):
            write_photo(tmp_path / f"a{suffix}", photo, quality)
            sizes.append((tmp_path / f"a{suffix}").stat().st_size)
        assert sizes[0] < 0.7 * sizes[1]


def test_16_bits_are_rounded_for_8_bit_formats(tmp_path):
    deep = np.full((16, 16, 3), 257 * 100 + 128, np.uint16)
    write_photo(tmp_path / "a.bmp", Photo(deep))
    assert (read_photo(tmp_path / "a.bmp").pixels == 100).all()


def test_grey_stays_grey():
    photo = Photo(pixels(4, 4, 3), grey=True)
    restored = photo.with_pixels(np.full((4, 4, 3), (10, 20, 31), np.uint8))
    assert (restored.pixels == 20).all()


def test_a_format_without_transparency_is_refused(tmp_path):
    photo = Photo(pixels(9, 9, 3), alpha=pixels(9, 9))
    with pytest.raises(ValueError, match=r"JPEG has no transparency; choose --format png"):
        write_photo(tmp_path / "a.jpg", photo)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="images are written as"):
        write_photo(tmp_path / "a.gif", Photo(pixels(9, 9, 3)))


# --- metadata ---


def phone_exif(order=">", orientation=6, maker=50, words=b"words"):
    """An EXIF block as phones write it."""

    def short(value):
        return Tag(3, struct.pack(order + "H", value))

    exif = {
        33434: Tag(5, struct.pack(order + "2I", 1, 125)),
        36867: Tag(2, b"2024:01:01 00:00:00\0"),
        MAKER_NOTE: Tag(7, b"Apple iOS\0\0\1MM" + bytes(maker)),
        40962: short(56),
    }
    gps = {1: Tag(2, b"N\0"), 2: Tag(5, struct.pack(order + "6I", 52, 1, 30, 1, 0, 1))}
    first = {270: Tag(2, words + b"\0"), 271: Tag(2, b"Acme\0"), 274: short(orientation)}
    first |= {EXIF: exif, GPS: gps, 306: Tag(2, b"2024:01:01 00:00:00\0")}
    thumbnail = {259: short(6), 513: Tag(7, b"\xff\xd8 small \xff\xd9")}
    return tags_block(Tags(order, [first, thumbnail]))


def has_phone_exif(path, orientation=6):
    """Whether another reader finds exposure, date, place and orientation."""
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif[271] == "Acme"
        assert exif[274] == orientation
        assert exif[306] == "2024:01:01 00:00:00"
        assert exif.get_ifd(EXIF)[33434] == pytest.approx(1 / 125)
        assert exif.get_ifd(EXIF)[36867] == "2024:01:01 00:00:00"
        assert exif.get_ifd(EXIF)[MAKER_NOTE].startswith(b"Apple iOS")
        assert exif.get_ifd(GPS)[2] == (52, 30, 0)
        return image.size


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
def test_metadata_goes_from_every_format_to_every_other(tmp_path, source, target, deep):
    photo = Photo(
        pixels(40, 56, 3, dtype=np.uint16 if deep else np.uint8),
        exif=phone_exif(),
        icc_profile=SRGB,
        dpi=(300.0, 300.0),
        xmp=XMP,
    )
    write_photo(tmp_path / f"a{source}", photo)
    assert has_phone_exif(tmp_path / f"a{source}") == (56, 40) or source == ".tif"
    read = read_photo(tmp_path / f"a{source}")
    lacks = write_photo(tmp_path / f"b{target}", read)
    assert not [words for words in lacks if "of 16 bits" not in words]
    has_phone_exif(tmp_path / f"b{target}")
    again = read_photo(tmp_path / f"b{target}")
    assert again.pixels.shape == (40, 56, 3)
    assert again.icc_profile == SRGB
    assert again.xmp == XMP
    if ".webp" not in (source, target):  # which has no place for it but EXIF
        assert again.dpi == pytest.approx((300, 300), abs=0.02)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_exif_block_is_kept_byte_by_byte(tmp_path, suffix):
    """What the maker wrote into it holds offsets that a new block would break."""
    exif = phone_exif()
    write_photo(tmp_path / f"a{suffix}", Photo(pixels(9, 9, 3), exif=exif))
    assert read_photo(tmp_path / f"a{suffix}").exif == exif


def test_files_of_pillow_keep_their_exif(tmp_path):
    exif = Image.Exif()
    exif.load(phone_exif())
    for source in SUFFIXES:
        Image.fromarray(pixels(40, 56, 3)).save(tmp_path / f"a{source}", exif=exif.tobytes())
        for target in SUFFIXES:
            write_photo(tmp_path / f"b{target}", read_photo(tmp_path / f"a{source}"))
            with Image.open(tmp_path / f"b{target}") as image:
                kept = image.getexif()
                assert kept[271] == "Acme", (source, target)
                assert kept.get_ifd(EXIF)[33434] == pytest.approx(1 / 125), (source, target)
                assert kept.get_ifd(GPS)[2] == (52, 30, 0), (source, target)


def test_a_tiff_with_its_own_tags(tmp_path):
    """Date, exposure, place and orientation of a TIFF that no EXIF block was made from."""
    block = parse_tags(phone_exif("<"))
    with open(tmp_path / "a.tif", "wb") as file:
        content = io.BytesIO()
        tifffile.imwrite(content, pixels(40, 56, 3), photometric="rgb", metadata=None)
        content = bytearray(content.getvalue())
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            page = tiff.pages[0]
            own = {t.code: Tag(t.dtype, t_bytes(content, t)) for t in page.tags.values()}
        content += b"\0" * (len(content) % 2)
        start = len(content)
        append_directory(content, {**block.directories[0], **own}, "<")
        struct.pack_into("<I", content, 4, start)
        file.write(content)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, pixels(40, 56, 3))
    for suffix in SUFFIXES:
        write_photo(tmp_path / f"b{suffix}", read_photo(tmp_path / "a.tif"))
        has_phone_exif(tmp_path / f"b{suffix}")


def t_bytes(content, tag):
    """The bytes of a tag's values as they lie in the file."""
    size = tag.valuebytecount
    return bytes(content[tag.valueoffset : tag.valueoffset + size])


def test_exif_that_is_too_long_for_jpeg_loses_the_least_and_says_so(tmp_path):
    pixel = pixels(9, 9, 3)
    for maker, words, lost in (
        (70000, b"words", "lacks the thumbnail, the maker's data of EXIF"),
        (50, b"w" * 70000, r"lacks the thumbnail, ImageDescription \(70001 bytes\) of EXIF"),
        (40000, b"w" * 40000, "lacks the thumbnail, the maker's data of EXIF"),
    ):
        photo = Photo(pixel, exif=phone_exif(maker=maker, words=words))
        notes = write_photo(tmp_path / "a.jpg", photo)
        assert len(notes) == 1
        assert re.search(lost, notes[0]), notes
        with Image.open(tmp_path / "a.jpg") as image:
            assert image.getexif()[274] == 6
            assert image.getexif().get_ifd(EXIF)[33434] == pytest.approx(1 / 125)
        assert write_photo(tmp_path / "a.png", photo) == []
        assert read_photo(tmp_path / "a.png").exif == photo.exif


def test_what_jpeg_cannot_hold_is_said(tmp_path):
    photo = Photo(pixels(9, 9, 3), exif=b"damaged" * 10000, xmp=b"x" * 70000)
    notes = write_photo(tmp_path / "a.jpg", photo)
    assert "lacks EXIF of 70000 bytes, which is damaged" in notes
    assert any("lacks XMP of 70000 bytes" in note for note in notes)
    assert read_photo(tmp_path / "a.jpg").xmp is None


def test_long_profiles_take_several_segments(tmp_path):
    profile = SRGB[:16] + b"RGB " + bytes(150000)
    write_photo(tmp_path / "a.jpg", Photo(pixels(9, 9, 3), icc_profile=profile))
    assert read_photo(tmp_path / "a.jpg").icc_profile == profile
    with open(tmp_path / "a.jpg", "rb") as file:
        assert [marker for marker, _ in read_segments(file)].count(0xE2) == 3


def test_captions_and_comments_are_kept(tmp_path):
    photo = Photo(pixels(9, 9, 3), photoshop=b"8BIM\x04\x04\0\0\0\0\0\x04abcd", comment=b"hello")
    assert write_photo(tmp_path / "a.jpg", photo) == []
    read = read_photo(tmp_path / "a.jpg")
    assert read.photoshop == photo.photoshop
    assert read.comment == b"hello"
    assert write_photo(tmp_path / "a.tif", photo) == ["lacks the comment"]
    assert read_photo(tmp_path / "a.tif").photoshop == photo.photoshop
    assert write_photo(tmp_path / "a.webp", photo) == [
        "lacks Photoshop's and IPTC's data",
        "lacks the comment",
    ]


def test_a_gamma_and_words_of_a_png_are_kept(tmp_path):
    gamma, words = (b"gAMA", struct.pack(">I", 100000)), (b"tEXt", b"Title\0hello")
    for dtype in (np.uint8, np.uint16):
        write_png_file(tmp_path / "a.png", pixels(9, 9, 3, dtype=dtype), [gamma, words])
        photo = read_photo(tmp_path / "a.png")
        assert write_photo(tmp_path / "b.png", photo) == []
        with Image.open(tmp_path / "b.png") as image:
            assert image.info["gamma"] == 1.0
            assert image.info["Title"] == "hello"
        notes = write_photo(tmp_path / "b.tif", photo)
        assert "lacks PNG's gamma of 1, so that viewers show other tones" in notes
        assert "lacks PNG's text (Title)" in notes
    usual = Photo(pixels(9, 9, 3), chunks=((b"gAMA", struct.pack(">I", 45455)),))
    assert write_photo(tmp_path / "c.jpg", usual) == []


def test_exif_that_old_programs_wrote_as_text_is_found(tmp_path):
    text = b"\nexif\n%8d\n" % (6 + len(phone_exif())) + (b"Exif\0\0" + phone_exif()).hex().encode()
    chunk = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    write_png_file(tmp_path / "a.png", pixels(40, 56, 3), [chunk])
    write_photo(tmp_path / "b.jpg", read_photo(tmp_path / "a.png"))
    assert has_phone_exif(tmp_path / "b.jpg") == (56, 40)


def test_a_lossless_webp_stays_lossless(tmp_path):
    photo = Photo(pixels(40, 56, 3), alpha=pixels(40, 56))
    write_photo(tmp_path / "a.webp", replace(photo, lossless=True))
    read = read_photo(tmp_path / "a.webp")
    same(read, photo)  # also the colours under full transparency
    assert read.lossless
    write_photo(tmp_path / "b.webp", read)
    same(read_photo(tmp_path / "b.webp"), photo)
    write_photo(tmp_path / "c.webp", read, quality=80)
    assert not read_photo(tmp_path / "c.webp").lossless
    for other in (".png", ".tif"):  # nor does any other file make a WebP lossless
        write_photo(tmp_path / f"a{other}", photo)
        assert not read_photo(tmp_path / f"a{other}").lossless


def test_a_profile_of_grey_is_not_given_to_colours(tmp_path):
    grey = SRGB[:16] + b"GRAY" + SRGB[20:]
    photo = Photo(np.repeat(pixels(9, 9, 1), 3, axis=2), grey=True, icc_profile=grey)
    assert write_photo(tmp_path / "a.png", photo) == []
    assert read_photo(tmp_path / "a.png").icc_profile == grey
    notes = write_photo(tmp_path / "a.webp", photo)
    assert notes == ["lacks the colour profile, which is for GRAY pixels"]
    assert read_photo(tmp_path / "a.webp").icc_profile is None


def test_bmp_has_no_orientation_so_the_pixels_are_turned(tmp_path):
    photo = Photo(pixels(20, 30, 3), exif=phone_exif())
    assert write_photo(tmp_path / "a.bmp", photo) == ["lacks EXIF"]
    np.testing.assert_array_equal(read_photo(tmp_path / "a.bmp").pixels, np.rot90(photo.pixels, -1))


# --- limits ---


@pytest.mark.parametrize(
    ("name", "height", "width", "transparent", "message"),
    [
        ("a.webp", 16384, 20, False, "WEBP holds at most 16383 a side"),
        ("a.jpg", 20, 65501, False, "JPEG holds at most 65500 a side"),
        ("a.tif", 40000, 40000, False, "too many for TIFF"),
        ("a.jpg", 9, 9, True, "JPEG has no transparency; choose --format png"),
        ("a.bmp", 9, 9, True, "BMP has no transparency"),
        ("a.gif", 9, 9, False, "not as .gif; choose --format png"),
        ("a", 9, 9, False, "has no suffix"),
        ("x" * 252 + ".png", 9, 9, False, "the name has 256 bytes, the file system takes 255"),
        ("\u20ac" * 84 + ".png", 9, 9, False, "the name has 256 bytes"),
    ],
)
def test_limits_of_formats_are_found_by_the_size(
    tmp_path, name, height, width, transparent, message
):
    with pytest.raises(InputError, match=message):
        check_output(tmp_path / "not" / "there" / name, height, width, transparent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".png", "\u20ac" * 83 + "xx.png"], ids=["ascii", "other"]
)
def test_names_of_the_greatest_length_are_written(tmp_path, name):
    check_output(tmp_path / name, 9, 9)
    write_photo(tmp_path / name, Photo(pixels(9, 9, 3)))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_sides_that_formats_hold_are_written(tmp_path):
    write_photo(tmp_path / "a.webp", Photo(pixels(1, 16383, 3)))
    write_photo(tmp_path / "a.jpg", Photo(pixels(1, 65500, 3)))
    with pytest.raises(OutputError):
        check_output(tmp_path / ("x" * 300 + ".png"), 9, 9)
