import keras
import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from keras_skd import restore
from keras_skd.data.photo_files import read_photo
from keras_skd.errors import FailedCheckError, InputError
from keras_skd.runners import KerasRunner
from keras_skd.tiling import restore_tiled


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
    (photos / "c.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    assert run(models / "negative.tflite", photos, "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("keras_skd.restore: ")]
    assert len(errors) == 2
    assert "c.jpg: is a HEIC; this kind is not read" in errors[0]  # its head says so
    assert "b.png: cannot be decoded, it is corrupt" in errors[1]
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


def test_pictures_of_other_kinds_in_a_folder_are_said(models, photos, tmp_path, capsys):
    for name in ("a.HEIC", "b.dng", ".c.heic", "notes.txt"):
        (photos / name).touch()
    assert run(models / "negative.tflite", photos, "--output", tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "2 files of other kinds are left out (.dng, .heic)" in error
    assert error.count("\n") == 1


def test_folders_with_brackets_in_their_names(photos):
    """The shell's pattern, or a folder's name: what exists is meant."""
    other = photos.parent / "trip[1]"
    photos.rename(other)
    names = [path.name for path in restore.find_images([f"{other}/a*.png"])]
    assert names == ["a.png", "alpha.png"]
    assert len(restore.find_images([f"{other.parent}/trip*/**/*.tif"])) == 1
    assert restore.find_images([f"{other.parent}/trip[[]1]/one.png"]) == [other / "one.png"]
    assert len(restore.find_images([other / "a.png", f"{other.parent}/./trip[1]/a.png"])) == 1


def test_limits_are_found_before_the_first_tile(models, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (16400, 1)).save(folder / "a_long.png")
    Image.new("RGBA", (20, 20)).save(folder / "b_alpha.png")
    Image.new("RGB", (20, 20)).save(folder / "z.png")
    calls = []
    monkeypatch.setattr("keras_skd.tiling.restore_tiled", lambda *_, **__: calls.append(1))
    run(models / "negative.tflite", folder, "--output", tmp_path / "out", "--format", "webp")
    error = capsys.readouterr().err
    assert "a_long.webp: 16400x1 pixels; WEBP holds at most 16383 a side" in error
    assert len(calls) == 2
    calls.clear()
    images = [folder / "b_alpha.png", folder / "z.png"]
    assert run(models / "negative.tflite", *images, "--output", tmp_path, "--format", "jpeg") == 1
    lines = capsys.readouterr().err.splitlines()
    assert "b_alpha.jpg: JPEG has no transparency; choose --format png" in lines[0]
    assert len(calls) == 1
    strange = folder / "z.ppm"
    (folder / "z.png").rename(strange)
    calls.clear()
    assert run(models / "negative.tflite", strange, "--output", tmp_path / "new") == 1
    captured = capsys.readouterr()
    assert "z.ppm: images are written as .png" in captured.err
    assert "0 of 1 restored, 1 failed" in captured.out
    assert not calls
    assert not (tmp_path / "new").exists()


def nan_model(threshold=0.9):
    """The identity, but NaN where red is above the threshold."""
    image = keras.Input((None, None, 3))
    bright = keras.ops.where(image[..., :1] > threshold, np.nan, 0.0)
    return keras.Model(image, image + bright)


def test_nan_is_a_failed_check_and_nothing_is_written(photos, tmp_path):
    with pytest.raises(FailedCheckError, match=r"a\.png: the model's output .* tile at row 0"):
        restore.restore_file(nan_model(), photos / "a.png", tmp_path / "a.png", tile=64)
    assert not (tmp_path / "a.png").exists()
    with pytest.raises(FailedCheckError):
        restore_tiled(nan_model(), np.ones((20, 20, 3), np.float32), 32)
    with pytest.raises(
        InputError, match="the image holds values"
    ):  # of the image, no fault of the model
        restore_tiled(nan_model(), np.full((20, 20, 3), np.nan, np.float32), 32)


def test_one_image_with_nan_does_not_stop_the_others(models, photos, tmp_path, capsys, monkeypatch):
    Image.new("RGB", (20, 20), (20, 20, 20)).save(photos / "dark.png")
    monkeypatch.setattr("keras_skd.runners.load_runner", lambda *_: KerasRunner(nan_model()))
    assert run("nan", photos / "a.png", photos / "dark.png", "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert captured.err.count("keras_skd.restore: ") == 1
    assert "a.png: the model's output holds values that are not numbers" in captured.err
    assert "1 of 2 restored, 1 failed" in captured.out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dark.png"]


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), MemoryError(), KeyError("x")])
def test_an_unexpected_exception_is_shown_and_the_others_go_on(
    models, photos, tmp_path, capsys, monkeypatch, error
):
    from keras_skd import tiling

    original = tiling.restore_tiled

    def failing(model, image, **options):
        if image.shape == (1, 1, 3):
            raise error
        return original(model, image, **options)

    monkeypatch.setattr(tiling, "restore_tiled", failing)
    assert run(models / "negative.tflite", photos, "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert f"one.png: unexpected {type(error).__name__}: " in captured.err
    assert "3 of 4 restored, 1 failed" in captured.out


def test_a_grey_model_restores_grey_images(photos, tmp_path, capsys, monkeypatch):
    layer = keras.layers.Conv2D(1, 1)
    model = keras.Sequential([keras.Input((None, None, 1)), layer])
    layer.set_weights([-np.ones((1, 1, 1, 1), np.float32), np.ones(1, np.float32)])
    monkeypatch.setattr("keras_skd.runners.load_runner", lambda *_: KerasRunner(model))
    assert run("grey", photos / "grey.tif", photos / "a.png", "--output", tmp_path / "out") == 1
    assert "a.png: has colours, and the model restores grey images" in capsys.readouterr().err
    before, after = read_photo(photos / "grey.tif"), read_photo(tmp_path / "out" / "grey.tif")
    np.testing.assert_array_equal(after.pixels, 255 - before.pixels)
    assert after.grey


def test_what_a_result_lacks_is_said(models, photos, tmp_path, capsys):
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    first.save(photos / "mpo.jpg", "MPO", save_all=True, append_images=[second])
    output = tmp_path / "out"
    assert run(models / "negative.tflite", photos / "mpo.jpg", "--output", output) == 0
    assert "mpo.jpg: holds further pictures behind the first" in capsys.readouterr().err
    pixel = read_photo(output / "mpo.jpg").pixels[16, 16]
    assert np.abs(pixel.astype(int) - (0, 255, 255)).max() <= 3  # the negative of red


def test_the_largest_photographs_are_taken(models, tmp_path, capsys):
    """Of a strip of 300 rows: the limit is on the whole, and memory is not what is tested."""
    Image.new("L", (300, 60)).save(tmp_path / "a.png")
    arguments = (models / "negative.tflite", tmp_path / "a.png", "--output", tmp_path / "out")
    assert run(*arguments, "--max-megapixels", "0.01") == 1
    assert "300x60 pixels are more than the 0.01 million" in capsys.readouterr().err
    assert run(*arguments, "--max-megapixels", "0.02") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.tflite", "{photos}"], "nowhere.tflite: no such .tflite file"),
        (["{models}/negative.tflite", "{photos}/nowhere.png"], "nowhere.png: no such image"),
        (["{models}/negative.tflite", "{photos}", "--quality", "0"], "--quality must be 1..100"),
        (["{models}/negative.keras", "{photos}", "--tile", "33"], "multiples of 8 pixels"),
        (["{models}/negative.tflite", "{photos}", "--max-megapixels", "0"], "must be positive"),
        (["{models}/negative.tflite", "x" * 300 + ".png"], "no such image or folder"),
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
