from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image, ImageCms

from keras_skd.data.photo_files import Photo, read_photo, write_photo

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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: Image.new("CMYK", (9, 9)).save(path, "JPEG"), "is CMYK, for print; convert"),
        (lambda path: Image.new("F", (9, 9)).save(path, "TIFF"), "is floating point; convert"),
        (lambda path: Image.new("I", (9, 9)).save(path, "TIFF"), "has 32 bits a channel"),
        (
            lambda path: Image.new("L", (9, 9)).save(
                path, "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))]
            ),
            "holds 2 frames or pages",
        ),
    ],
)
def test_what_is_not_handled_is_refused_clearly(tmp_path, make, message):
    path = tmp_path / "photo"
    make(path)
    with pytest.raises(ValueError, match=rf"photo: {message}"):
        read_photo(path)


def test_a_format_without_transparency_is_refused(tmp_path):
    photo = Photo(pixels(9, 9, 3), alpha=pixels(9, 9))
    with pytest.raises(ValueError, match=r"JPEG has no transparency; choose --format png"):
        write_photo(tmp_path / "a.jpg", photo)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="images are written as"):
        write_photo(tmp_path / "a.gif", Photo(pixels(9, 9, 3)))
