import numpy as np
import pytest
from PIL import Image

from keras_skd.data.images import list_images, read_image, to_uint8, write_png
from keras_skd.errors import InputError


def gradient(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y % 256, x % 256, (x + y) % 256], axis=-1).astype(np.uint8)


def test_png_round_trip_is_exact(tmp_path):
    image = gradient(40, 24)
    write_png(tmp_path / "a.png", image / np.float32(255))
    assert np.array_equal(read_image(tmp_path / "a.png"), image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]  # no temporary file is left


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    Image.fromarray(gradient(20, 30)).convert("RGBA").convert(mode).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8


def test_exif_orientation_is_applied(tmp_path):
    photo = Image.fromarray(gradient(20, 30))
    exif = photo.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    photo.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (30, 20, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6])
def test_truncated_file_is_a_named_error(tmp_path, suffix, kept):
    generator = np.random.default_rng(0)
    path = tmp_path / f"broken{suffix}"
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"broken\{suffix}.*cannot be decoded"):
        read_image(path)


def test_missing_folder_empty_folder_and_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no images in it"):
        list_images(tmp_path)
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match="not a folder"):
        list_images(tmp_path / "a.png")
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


def test_to_uint8_clips_and_rounds():
    values = np.array([-0.5, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 7.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_grey_level_stands_for_nan(tmp_path, value):
    with pytest.raises(InputError, match="NaN or infinite"):
        to_uint8(np.array([0.5, value]))
    with pytest.raises(InputError, match="NaN or infinite"):
        write_png(tmp_path / "a.png", np.full((4, 4, 3), value))
    assert list(tmp_path.iterdir()) == []
