import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from keras_skd import evaluate
from keras_skd.data import GaussianNoise, ImagePairs, find_groups, image_names
from keras_skd.models import Restormer, save_model, with_image_size
from keras_skd.tasks import Task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name in ("photos", "pairs/input", "pairs/target"):
        (folder / name).mkdir(parents=True)
        for index, size in enumerate([(32, 40), (24, 17)]):
            image = generator.integers(0, 256, (*size, 3), np.uint8)
            Image.fromarray(image).save(folder / name / f"{index}.png")
    model = Restormer(dim=8, num_blocks=(0, 0, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 1))
    model.get_layer("output").kernel.assign(0 * model.get_layer("output").kernel)
    model.save(folder / "identity.keras")  # a residual of zero: returns its input
    return folder


def test_scores_of_an_identity_are_those_of_the_noise(folder, tmp_path, capsys):
    options = ["--task", "denoise", "--data", str(folder / "photos"), "--output", str(tmp_path)]
    assert evaluate.main([str(folder / "identity.keras"), *options]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == 2
    assert scores["channel"] == "rgb"
    # 8000 samples of noise of sigma 25: 20.17 dB within 0.1; clipping to 0..1 lowers the error.
    assert scores["input_psnr"] == pytest.approx(20.17, abs=0.2)
    assert 20.2 < scores["psnr"] < 21.5
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["0.png", "1.png"]
    assert np.mean([float(row["psnr"]) for row in rows]) == pytest.approx(scores["psnr"])
    assert "mean of 2" in capsys.readouterr().out


def test_pairs_of_deraining_are_measured_on_y(folder, capsys):
    options = ["--task", "derain", "--data", str(folder / "pairs")]
    assert evaluate.main([str(folder / "identity.keras"), *options]) == 0
    assert "(y; input" in capsys.readouterr().out


def test_the_convention_of_the_task_is_stated_and_can_be_chosen(folder, tmp_path, capsys):
    model, options = str(folder / "identity.keras"), ["--data", str(folder / "pairs")]
    assert evaluate.main([model, "--task", "deblur", *options]) == 0
    assert "PSNR and SSIM of 8-bit RGB; SSIM with an 11x11" in capsys.readouterr().out
    options += ["--channel", "y", "--output", str(tmp_path)]
    assert evaluate.main([model, "--task", "deblur", *options]) == 0
    assert "8-bit Y of MATLAB's rgb2ycbcr" in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["convention"] == evaluate.convention("y")
    # The identity's image is its input, measured the same way.
    assert scores["psnr"] == pytest.approx(scores["input_psnr"], abs=1e-3)


def test_images_and_a_contact_sheet_are_written(folder, tmp_path):
    options = ["--task", "derain", "--data", str(folder / "pairs"), "--output", str(tmp_path)]
    assert evaluate.main([str(folder / "identity.keras"), *options, "--save-images"]) == 0
    for name in ("0.png", "1.png"):
        saved, given = (
            np.asarray(Image.open(place / name))
            for place in (tmp_path / "images", folder / "pairs" / "input")
        )
        np.testing.assert_array_equal(saved, given)
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width == 3 * 40  # input, restored and target of the widest image
        assert sheet.height == 18 + 32 + 18 + 24


def test_a_tflite_of_fixed_size_is_tiled(folder, tmp_path):
    fixed = with_image_size(keras.saving.load_model(folder / "identity.keras"), (16, 24))
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    (tmp_path / "identity.tflite").write_bytes(converter.convert())
    scores = []
    for model in (folder / "identity.keras", tmp_path / "identity.tflite"):
        options = ["--task", "denoise", "--data", str(folder / "photos"), "--output", str(tmp_path)]
        assert evaluate.main([str(model), *options]) == 0
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    assert scores[1]["tile"] == [16, 24]
    for name in ("input_psnr", "psnr", "ssim"):
        assert scores[0][name] == pytest.approx(scores[1][name], abs=1e-3)


def test_clean_photos_are_rained_on_and_blurred_by_seed(folder, capsys):
    model = keras.saving.load_model(folder / "identity.keras")
    groups = find_groups(folder / "photos", "derain", report=print)
    assert "2 clean photographs; rain is added" in capsys.readouterr().out
    for task in ("derain", "deblur"):
        degradation = Task.of(task).degradation()
        first, again, other = (
            evaluate.evaluate(model, ImagePairs(groups, degradation, seed)) for seed in (0, 0, 1)
        )
        assert [row["psnr"] for row in first] == [row["psnr"] for row in again]
        assert [row["psnr"] for row in first] != [row["psnr"] for row in other]


def test_names_that_repeat_get_their_folders():
    groups = [(Path("a/scene1/blur/1.png"),), (Path("a/scene2/blur/1.png"),)]
    assert image_names(groups) == ["scene1_blur_1.png", "scene2_blur_1.png"]


def test_images_too_small_for_ssim_are_named(tmp_path, folder):
    Image.new("RGB", (10, 30)).save(tmp_path / "thin.png")
    model = keras.saving.load_model(folder / "identity.keras")
    with pytest.raises(ValueError, match=r"thin\.png: 10x30 pixels; .* at least 11x11"):
        evaluate.evaluate(model, ImagePairs([(tmp_path / "thin.png",)], GaussianNoise(25, 25)))


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("nowhere.keras", "photos", "nowhere.keras: no such model file"),
        ("identity.keras", "nothing", "nothing: no such folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, capsys, model, data, message):
    options = ["--task", "denoise", "--data", str(folder / data)]
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(folder / model), *options])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_model_that_knows_its_task_need_not_be_told(folder, tmp_path, capsys):
    model = keras.saving.load_model(folder / "identity.keras")
    save_model(model, tmp_path / "rain.keras", Task("derain").as_dict())
    options = [str(tmp_path / "rain.keras"), "--data", str(folder / "photos")]
    assert evaluate.main(options) == 0
    assert "(y; input" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        evaluate.main([*options, "--task", "denoise"])
    assert stop.value.code == 2
    assert "was trained for derain, not for --task denoise" in capsys.readouterr().err


def test_flags_that_would_do_nothing_are_refused(folder, capsys):
    options = ["--task", "denoise", "--data", str(folder / "pairs"), "--sigma", "25"]
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(folder / "identity.keras"), *options])
    assert stop.value.code == 2
    assert "holds pairs, which bring their own noise" in capsys.readouterr().err


def test_a_pair_that_differs_in_size_is_found_before_the_first_image(folder, tmp_path, capsys):
    for side, size in (("input", (32, 32)), ("target", (32, 40))):
        (tmp_path / side).mkdir()
        Image.new("RGB", (32, 32), "red").save(tmp_path / side / "a.png")
        Image.new("RGB", size).save(tmp_path / side / "z.png")
    output = tmp_path / "scores"
    options = ["--task", "derain", "--data", str(tmp_path), "--output", str(output)]
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(folder / "identity.keras"), *options])
    assert stop.value.code == 2
    assert "z.png: 32x32 and 40x32" in capsys.readouterr().err.replace("32x40", "40x32")
    assert not output.exists()


def test_equal_images_give_valid_json(folder, tmp_path):
    for side in ("input", "target"):
        (tmp_path / side).mkdir()
        photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(photo).save(tmp_path / side / "a.png")
    options = ["--task", "deblur", "--data", str(tmp_path), "--output", str(tmp_path / "scores")]
    assert evaluate.main([str(folder / "identity.keras"), *options]) == 0

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "scores" / "scores.json").read_text()
    scores = json.loads(text, parse_constant=refuse)
    assert float(scores["psnr"]) == np.inf


def test_a_model_that_gives_nan_is_a_failed_check(folder, tmp_path, capsys):
    image = keras.Input((None, None, 3))
    broken = keras.Model(image, keras.layers.Rescaling(float("nan"))(image))
    broken.save(tmp_path / "broken.keras")
    options = ["--task", "denoise", "--data", str(folder / "photos")]
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(tmp_path / "broken.keras"), *options])
    assert stop.value.code == 1
    assert "not numbers (NaN)" in capsys.readouterr().err


def test_grey_models_are_measured_on_grey_images(folder, tmp_path):
    image = keras.Input((None, None, 1))
    keras.Model(image, keras.layers.Identity()(image)).save(tmp_path / "grey.keras")
    options = ["--task", "denoise", "--data", str(folder / "photos"), "--output", str(tmp_path)]
    assert evaluate.main([str(tmp_path / "grey.keras"), *options]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["input_psnr"] == pytest.approx(20.17, abs=0.3)


def test_a_submission_holds_what_the_model_restores(folder, tmp_path, capsys):
    blocks = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
    name = "BenchmarkNoisyBlocksSrgb"
    scipy.io.savemat(tmp_path / f"{name}.mat", {name: blocks})
    options = [str(folder / "identity.keras"), "--data", str(tmp_path)]
    output = tmp_path / "SubmitSrgb.mat"
    assert evaluate.main([*options, "--submission", str(output)]) == 0
    restored = scipy.io.loadmat(output)["DenoisedBlocksSrgb"]
    np.testing.assert_allclose(restored[1, 2], blocks[1, 2] / 255, atol=1e-6)
    assert "2 x 3 images of SIDD benchmark" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        evaluate.main([*options, "--submission", str(output), "--sigma", "25"])
    assert stop.value.code == 2
    assert "--sigma does nothing with --submission" in capsys.readouterr().err
