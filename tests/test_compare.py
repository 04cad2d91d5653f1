import csv
import json
import statistics
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_skd import compare
from keras_skd.files import locked
from keras_skd.models import Restormer
from keras_skd.training import Training, TrainingConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    generator = np.random.default_rng(0)
    for name in ("train", "test"):
        (folder / name).mkdir()
        for index in range(3):
            image = generator.integers(0, 256, (32, 40, 3), np.uint8)
            Image.fromarray(image).save(folder / name / f"{index}.png")
    for name, dim in (("student", 8), ("teacher", 16)):
        options = {"num_blocks": (0, 0, 0, 1), "num_refinement_blocks": 0, "heads": (1, 1, 1, 1)}
        Restormer(dim=dim, **options).save(folder / f"{name}.keras")
    return folder


def arguments(folder, run, **options):
    options = {
        "run": [run],
        "data": [folder / "train"],
        "test": [folder / "test"],
        "teacher": [folder / "teacher.keras"],
        "students": [folder / "student.keras"],
        "methods": ["none", "skd"],
        "ablations": ["skd_without_channel"],
        "seeds": [3, 5],
        "steps": [2],
        "batch_size": [2],
        "patch_size": [16],
        **options,
    }
    return [
        str(part)
        for name, values in options.items()
        for part in (f"--{name.replace('_', '-')}", *values)
    ]


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_trains_measures_resumes_and_writes_tables_and_plots(
    folder, tmp_path, capsys, monkeypatch
):
    run, trained = tmp_path / "run", []
    fit = Training.fit

    def interrupted(self):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append((self.config.method, self.config.seed))
        return fit(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "fit", interrupted)
        with pytest.raises(SystemExit) as stop:
            compare.main(arguments(folder, run))
    assert stop.value.code == 130
    assert trained == [("none", 3), ("skd", 3)]
    assert len(read(run / "runs.csv")) == 2

    def counted(self):
        trained.append((self.config.method, self.config.seed))
        return fit(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "fit", counted)
        assert compare.main(arguments(folder, run)) == 0
    assert trained[2:] == [("skd_without_channel", 3), ("none", 5), ("skd", 5)]
    rows = read(run / "runs.csv")
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, str(seed)) for method, seed in trained
    ]
    # The scores are those of the students in the folder.
    from keras_skd.data import GaussianNoise, ImagePairs, find_groups
    from keras_skd.evaluate import evaluate

    student = keras.saving.load_model(run / "student" / "skd_5" / "student.keras")
    pairs = ImagePairs(find_groups(folder / "test", "denoise"), GaussianNoise(25, 25))
    scores = evaluate(student, pairs)
    expected = statistics.mean(score["psnr"] for score in scores)
    assert float(rows[-1]["psnr"]) == pytest.approx(expected, abs=1e-4)
    table = (run / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert len(table.splitlines()) == 2 + 3
    for plot in ("psnr_by_method.png", "psnr_against_macs.png", "crops.png"):
        assert np.asarray(Image.open(run / plot)).std() > 5  # something is drawn
    assert json.loads((run / "teacher.json").read_text())["macs"] > 0

    with pytest.raises(SystemExit) as stop:
        compare.main(arguments(folder, run, steps=[4]))
    assert stop.value.code == 2
    assert "steps 2, now 4" in capsys.readouterr().err


def row(method, seed, psnr):
    return {"student": "tiny", "method": method, "seed": seed, "psnr": psnr, "ssim": 0.5}


def test_summary_is_mean_spread_and_gain_of_the_same_seed():
    rows = [row("none", 0, 30.0), row("skd", 0, 30.2), row("kl", 0, 29.9)]
    rows += [row("none", 1, 31.0), row("skd", 1, 31.1)]
    none, skd, kl = compare.summarise(rows)
    assert (none["method"], none["seeds"], none["gain"]) == ("none", 2, None)
    assert none["psnr"] == pytest.approx(30.5)
    assert none["psnr_spread"] == pytest.approx(np.std([30.0, 31.0], ddof=1))
    assert skd["gain"] == pytest.approx(0.15)
    assert skd["gain_spread"] == pytest.approx(np.std([0.2, 0.1], ddof=1))
    assert kl["gain"] == pytest.approx(-0.1)
    assert kl["psnr_spread"] is None
    lines = compare.markdown([none, skd, kl]).splitlines()
    assert lines[2] == "| tiny | none | 2 | 30.500 ± 0.707 | 0.5000 ± 0.0000 | - |"
    assert lines[3] == "| tiny | skd | 2 | 30.650 ± 0.636 | 0.5000 ± 0.0000 | +0.150 ± 0.071 |"
    assert lines[4] == "| tiny | kl | 1 | 29.900 | 0.5000 | -0.100 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": ["nowhere"]}, "nowhere: no such folder"),
        ({"students": ["restormer_huge"]}, "neither a preset"),
        ({"teacher": ["nowhere.keras"]}, "nowhere.keras: no such model file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, tmp_path, capsys, options, message):
    options = {"methods": ["skd"], **options}
    with pytest.raises(SystemExit) as stop:
        compare.main(arguments(folder, tmp_path / "run", **options))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("keras_skd.compare: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_students_of_one_name_are_told_apart():
    comparison = compare.Comparison(
        TrainingConfig(run="run"),
        "test",
        students=("a/x/student.keras", "b/x/student.keras", "restormer_tiny"),
    )
    assert list(comparison.labels().values()) == ["a_x_student", "b_x_student", "restormer_tiny"]
    folders = {str(Path(run.run).parent) for run in comparison.runs()}
    assert folders == {"run/a_x_student", "run/b_x_student", "run/restormer_tiny"}
    with pytest.raises(ValueError, match=r"--students names s\.keras twice"):
        compare.Comparison(TrainingConfig(run="run"), "test", students=("s.keras", "s.keras"))


def test_everything_wrong_is_found_before_the_first_run(folder, tmp_path, capsys):
    """A mistyped teacher came up after ``none`` had trained, and then the right one was refused."""
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        compare.main(arguments(folder, run, teacher=["nowhere.keras"]))
    assert stop.value.code == 2
    assert "nowhere.keras: no such model file" in capsys.readouterr().err
    assert not run.exists()


def test_two_processes_do_not_share_a_folder(folder, tmp_path, capsys):
    run = tmp_path / "run"
    with locked(run, "compares"), pytest.raises(SystemExit) as stop:
        compare.main(arguments(folder, run))
    assert stop.value.code == 2
    assert "another process compares in it" in capsys.readouterr().err
