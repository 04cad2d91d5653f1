import csv
import json

import numpy as np
import pytest
from PIL import Image

from keras_skd import evaluate
from keras_skd.models import Restormer


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
