import keras
import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from keras_skd import restore
from keras_skd.data.photo_files import read_photo


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A negative, ``1 - x``, as ``.keras`` of any size and as ``.tflite`` of 64x64."""
    folder = tmp_path_factory.mktemp("models")
    layer = keras.layers.Conv2D(3, 1)
    model = keras.Sequential([keras.Input((None, None, 3)), layer])
    layer.set_weights([-np.eye(3, dtype=np.float32)[None, None], np.ones(3, np.float32)])
    model.save(folder / "negative.keras")
    fixed = keras.Sequential([keras.Input((64, 64, 3), batch_size=1), layer])
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    (folder / "negative.tflite").write_bytes(converter.convert())
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 100, 4), np.uint8)
    Image.fromarray(pixels[..., :3]).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "alpha.png")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.tif")
    Image.fromarray(pixels[:1, :1, :3]).save(folder / "one.png")
    return folder


def run(*arguments):
    return restore.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("model", ["negative.keras", "negative.tflite"])
def test_a_folder_is_restored_exactly(models, photos, tmp_path, capsys, model):
    output = tmp_path / "new" / "restored"
    assert run(models / model, photos, "--output", output, "--tile", 64) == 0
    assert "4 of 4 restored" in capsys.readouterr().out
    for path in photos.iterdir():
        before, after = read_photo(path), read_photo(output / path.name)
        np.testing.assert_array_equal(after.pixels, 255 - before.pixels)
        assert after.grey == before.grey
        if before.alpha is not None:
            np.testing.assert_array_equal(after.alpha, before.alpha)
    assert len(list(output.iterdir())) == 4


def test_files_folders_and_patterns(photos):
    names = [path.name for path in restore.find_images([photos / "one.png", f"{photos}/a*.png"])]
    assert names == ["one.png", "a.png", "alpha.png"]
    assert len(restore.find_images([photos, photos / "a.png"])) == 4  # each once
    for missing in ("nowhere.png", f"{photos}/*.webp"):
        with pytest.raises(FileNotFoundError, match=r"no such image|matches no image"):
            restore.find_images([missing])


def test_one_bad_file_is_reported_and_the_rest_go_on(models, photos, tmp_path, capsys):
    (photos / "b.png").write_bytes((photos / "a.png").read_bytes()[:500])
    Image.new("CMYK", (32, 32)).save(photos / "c.jpg")
    assert run(models / "negative.tflite", photos, "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("keras_skd.restore: ")]
    assert len(errors) == 2
    assert "b.png: cannot be decoded" in errors[0]
    assert "c.jpg: is CMYK" in errors[1]
    assert "4 of 6 restored, 2 failed" in captured.out
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_nothing_is_overwritten_unless_asked(models, photos, tmp_path, capsys):
    arguments = (models / "negative.tflite", photos / "a.png", "--output", tmp_path / "out")
    (tmp_path / "out").mkdir()
    result = tmp_path / "out" / "a.png"
    result.write_bytes(b"precious")
    assert run(*arguments) == 1
    assert result.read_bytes() == b"precious"
    assert "a.png: exists already; --overwrite replaces it" in capsys.readouterr().err
    assert run(*arguments, "--overwrite") == 0
    assert read_photo(result).pixels.shape == (70, 100, 3)


def test_noisy_blocks_of_mat_files(models, tmp_path):
    blocks = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 3), np.uint8)
    name = "BenchmarkNoisyBlocksSrgb"
    scipy.io.savemat(tmp_path / f"{name}.mat", {name: blocks})
    assert run(models / "negative.tflite", tmp_path, "--output", tmp_path / "out") == 0
    restored = read_photo(tmp_path / "out" / "0001_02.png").pixels
    np.testing.assert_array_equal(restored, 255 - blocks[0, 1])


def test_format_and_quality(models, photos, tmp_path):
    sizes = []
    for quality in (30, 95):
        options = ("--format", "jpeg", "--quality", quality, "--output", tmp_path / str(quality))
        assert run(models / "negative.tflite", photos / "a.png", *options) == 0
        sizes.append((tmp_path / str(quality) / "a.jpg").stat().st_size)
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.tflite", "{photos}"], "nowhere.tflite: no such .tflite file"),
        (["{models}/negative.tflite", "{photos}/nowhere.png"], "nowhere.png: no such image"),
        (["{models}/negative.tflite", "{photos}", "--quality", "0"], "--quality must be 1..100"),
        (["{models}/negative.keras", "{photos}", "--tile", "33"], "multiples of 8 pixels"),
        (
            ["{models}/negative.tflite", "{photos}/a.png", "{photos}/../twin/a.png"],
            "both be written",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    models, photos, tmp_path, capsys, arguments, message
):
    (tmp_path / "twin").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "twin" / "a.png")
    arguments = [argument.format(models=models, photos=photos) for argument in arguments]
    with pytest.raises(SystemExit) as stop:
        run(*arguments, "--output", tmp_path / "out")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
