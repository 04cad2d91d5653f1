"""``make students``: stages that are not repeated, half the bytes, commands that parse.

And what is bundled: the scores and reports are those of the weights and files that are there.
"""

import hashlib
import itertools
import json

import keras
import numpy as np
import pytest

from keras_skd.errors import FailedCheckError
from keras_skd.models import PRESETS, load_model, presets
from keras_skd.train import parser as train_parser
from results import students
from results.students import RECIPES, Recipe

GPU_RUNS = tuple(itertools.product(("ml-drift", "classic"), ("float32", "float16")))
BUNDLED = [name for name, preset in PRESETS.items() if preset.weights]
STAGE = "--task denoise --method none --batch-size 1 --patch-size 16 --steps 2 --warmup-steps 0"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A project of one model of two stages, the second of which is wrong."""
    monkeypatch.setattr(students, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(students, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(presets, "WEIGHTS_FOLDER", tmp_path / "weights")
    wrong = Recipe("restormer_tiny", (STAGE, f"{STAGE} --patch-size 17"), "denoise")
    monkeypatch.setattr(students, "RECIPES", {"mine": wrong})
    return tmp_path


def test_a_stage_is_trained_once(folders, monkeypatch, capfd):
    with pytest.raises(FailedCheckError, match="train failed"):
        students.train("mine", "data")
    assert "--patch-size must be a multiple of 8" in capfd.readouterr().err
    first = folders / "results" / "mine" / "stage_1.weights.h5"
    before = first.stat()
    assert not (folders / "weights").exists()

    right = Recipe("restormer_tiny", (STAGE, f"{STAGE} --learning-rate 1e-30"), "denoise")
    monkeypatch.setattr(students, "RECIPES", {"mine": right})
    expected = load_model("restormer_tiny")
    expected.load_weights(first)
    assert first.stat() == before
    students.train("mine", "data")
    assert sorted(path.name for path in (folders / "results" / "mine").iterdir()) == [
        "log_1.csv",
        "log_2.csv",
    ]
    assert capfd.readouterr().out.count("python -m keras_skd.train") == 1
    # The second stage started from the first's weights: with such a rate they do not move.
    trained = load_model("restormer_tiny")
    trained.load_weights(folders / "weights" / "mine.weights.h5")
    for one, other in zip(trained.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    students.train("mine", "data")
    assert "keras_skd.train" not in capfd.readouterr().out


def test_weights_in_float16_are_the_rounded_ones(tmp_path):
    keras.utils.set_random_seed(0)
    model, again = load_model("restormer_tiny"), load_model("restormer_tiny")
    model.save_weights(tmp_path / "whole.weights.h5")
    students.save_in_float16(model, tmp_path / "half.weights.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "half.weights.h5",
        "whole.weights.h5",
    ]
    sizes = [(tmp_path / f"{name}.weights.h5").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.65 * sizes[1]
    again.load_weights(tmp_path / "half.weights.h5")
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other.astype(np.float16).astype(np.float32))


def test_every_bundled_model_has_its_commands():
    """Options that train knows, tests that exist, and a start that comes before."""
    assert set(BUNDLED) <= RECIPES.keys()
    known = {name for name, preset in PRESETS.items() if preset.weights is None}
    for name, recipe in RECIPES.items():
        assert recipe.start in known
        for stage in recipe.stages:
            options = stage.format(data="data", runs="runs").split()
            train_parser().parse_args([*options, "--run", "run", "--student", recipe.start])
        assert recipe.tests in students._TESTS
        known.add(name)


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        students.main(["restormer_tiny_snow"])
    assert "restormer_tiny_snow is none of restormer_denoise" in capsys.readouterr().err


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", BUNDLED)
def test_scores_are_those_of_the_bundled_weights(name):
    scores = json.loads((students.RESULTS / name / "scores.json").read_text())
    assert scores["weights_sha256"] == sha256(presets.WEIGHTS_FOLDER / f"{name}.weights.h5")
    readme = (students.ROOT / "README.md").read_text()
    (row,) = (line for line in readme.splitlines() if line.startswith(f"| `{name}`, a "))
    card = (students.RESULTS / name / "README.md").read_text()
    for label, summary in scores["sets"].items():
        assert f"{summary['psnr']:.2f} dB" in card, label
        if label != "clean":
            assert f"{summary['psnr']:.2f}" in row, label


@pytest.mark.parametrize("name", [name for name in BUNDLED if RECIPES[name].exported])
def test_bundled_files_are_the_verified_ones(name):
    """On both GPU accelerators, which takes too long to repeat for each here."""
    folder = students.RESULTS / name
    report = json.loads((folder / "report.json").read_text())
    assert list(report["results"]) == students.SCHEMES.split(",")
    for scheme, result in report["results"].items():
        assert result["sha256"] == sha256(folder / f"{name}_{scheme}.tflite")
        runs = {(run["accelerator"], run["precision"]): run["failure"] for run in result["gpu"]}
        assert runs == dict.fromkeys(GPU_RUNS), scheme
    assert report["gpu"] == {"ml-drift": "verified", "classic": "verified"}
    assert report["failures"] == []
