"""``make students``: stages that are not repeated, half the bytes, commands that parse."""

import keras
import numpy as np
import pytest

from keras_skd.errors import FailedCheckError
from keras_skd.models import PRESETS, load_model, presets
from keras_skd.train import parser as train_parser
from results import students
from results.students import RECIPES, Recipe

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
    assert {name for name, preset in PRESETS.items() if preset.weights} <= RECIPES.keys()
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
