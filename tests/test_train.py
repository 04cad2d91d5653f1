import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_skd import train
from keras_skd.distillation import losses
from keras_skd.models import Restormer, Uformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, pairs, and the files of a small student and teacher."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name in ("photos", "pairs/input", "pairs/target"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            image = generator.integers(0, 256, (32, 40, 3), np.uint8)
            Image.fromarray(image).save(folder / name / f"{index}.png")
    keras.utils.set_random_seed(0)
    for name, dim in (("student", 8), ("teacher", 16)):
        options = {"num_blocks": (0, 0, 0, 1), "num_refinement_blocks": 0, "heads": (1, 1, 1, 1)}
        Restormer(dim=dim, **options).save(folder / f"{name}.keras")
    return folder


def arguments(folder, run, **options):
    options = {
        "run": run,
        "data": folder / "photos",
        "student": folder / "student.keras",
        "teacher": folder / "teacher.keras",
        "steps": 6,
        "steps_per_epoch": 2,
        "batch_size": 2,
        "patch_size": 16,
        "warmup_steps": 1,
        **options,
    }
    return [
        part
        for name, value in options.items()
        if value is not None
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]


def read_log(run):
    with open(run / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_events(folder):
    """TensorBoard scalars: name to pairs of step and value."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    scalars = {}
    for path in sorted(folder.iterdir()):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                if array.dtype == np.float32:  # images are strings
                    scalars.setdefault(value.tag, []).append((event.step, array.item()))
    return scalars


def test_a_run_leaves_student_log_and_settings(folder, tmp_path, capsys):
    run = tmp_path / "new" / "run"
    assert train.main(arguments(folder, run)) == 0
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json",
        "environment.json",
        "log.csv",
        "samples",
        "student.keras",
        "student_best.keras",
        "tensorboard",
    ]
    samples = sorted((run / "samples").iterdir())
    assert [path.name for path in samples] == [f"epoch_{n:04d}.png" for n in (1, 2, 3)]
    assert Image.open(samples[0]).size == (3 * 32, 32)  # input, restored, clean; one image
    (start,) = json.loads((run / "environment.json").read_text())
    assert start["versions"]["tensorflow"].startswith("2.")
    assert (start["epochs_done"], start["replicas"]) == (0, 1)
    events = read_events(run / "tensorboard")
    assert {"loss", "kernel", "val_psnr"} <= events.keys()
    assert [step for step, _ in events["loss"]] == [2, 4, 6]
    rows = read_log(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "reconstruction", "kernel", "contrastive", "val_psnr"} <= rows[0].keys()
    assert json.loads((run / "config.json").read_text())["method"] == "skd"
    logged = [float(row["loss"]) for row in rows]
    assert [value for _, value in events["loss"]] == pytest.approx(logged, rel=1e-5)
    trained = keras.saving.load_model(run / "student.keras")
    untrained = keras.saving.load_model(folder / "student.keras")
    assert trained.count_params() == untrained.count_params()  # no adapters, no teacher
    assert not np.array_equal(trained.get_weights()[0], untrained.get_weights()[0])
    assert str(run / "student.keras") in capsys.readouterr().out

    # A finished run is not trained again.
    written = (run / "student.keras").stat().st_mtime_ns
    assert train.main(arguments(folder, run)) == 0
    assert (run / "student.keras").stat().st_mtime_ns == written

    # And it is not mixed with other settings.
    with pytest.raises(SystemExit) as stop:
        train.main(arguments(folder, run, steps=8))
    assert stop.value.code == 2
    assert "steps 6, now 8" in capsys.readouterr().err


def test_a_run_killed_with_sigkill_ends_as_if_it_had_not_been(folder, tmp_path):
    """With moving average and accumulated gradients, whose state must come back too."""
    options = {"ema": 0.9, "accumulation": 2, "steps": 12, "steps_per_epoch": 3}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train.main(arguments(folder, whole, **options))
    command = [sys.executable, "-m", "keras_skd.train", *arguments(folder, killed, **options)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (killed / "checkpoint.npz").exists():
        assert process.poll() is None, "the run ended without a checkpoint"
        assert time.monotonic() < deadline, "no checkpoint within ten minutes"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "student.keras").exists()
    assert (killed / "student_last.keras").exists()
    train.main(arguments(folder, killed, **options))
    assert [start["epochs_done"] > 0 for start in environment(killed)] == [False, True]
    assert not (killed / "checkpoint.npz").exists()
    # Of one seed on a CPU, to the bit, across processes.
    assert read_log(whole) == read_log(killed)
    for name in ("student.keras", "student_best.keras"):
        first, second = (keras.saving.load_model(run / name) for run in (whole, killed))
        for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def environment(run):
    return json.loads((run / "environment.json").read_text())


def test_another_seed_is_another_run(folder, tmp_path):
    options = {"steps": 2, "method": "none"}
    for name, seed in (("one", 1), ("two", 2)):
        train.main(arguments(folder, tmp_path / name, seed=seed, **options))
    assert read_log(tmp_path / "one") != read_log(tmp_path / "two")


def test_methods_of_one_seed_start_from_one_student(folder, tmp_path):
    students = []
    for method in ("none", "skd"):
        config = train.TrainingConfig(
            str(tmp_path / method),
            data=str(folder / "photos"),
            teacher=str(folder / "teacher.keras"),
            student="restormer_tiny",
            method=method,
            patch_size=16,
        )
        students.append(train.Training(config).student.get_weights())
    for one, other in zip(*students, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_term_and_checkpoint(
    folder, tmp_path, capsys, monkeypatch
):
    run, real, step = tmp_path / "run", losses.contrastive_loss, tf.Variable(0)

    def breaks(*features, **options):
        # Steps 1 to 4 are good; counted in a variable, because the step is traced once.
        factor = tf.where(step.assign_add(1) > 4, np.nan, 1.0)
        return real(*features, **options) * factor

    monkeypatch.setattr(losses, "contrastive_loss", breaks)
    assert train.main(arguments(folder, run)) == 1
    error = capsys.readouterr().err
    assert "failed check: the training diverged at step 5: contrastive is nan" in error
    assert f"the last good checkpoint is {run / 'checkpoint.npz'}, after epoch 2 (step 4)" in error
    assert error.count("\n") == 1
    with np.load(run / "checkpoint.npz") as checkpoint:
        assert all(np.isfinite(checkpoint[name]).all() for name in checkpoint.files)
    # The same command goes on from there, once the cause is gone.
    monkeypatch.undo()
    assert train.main(arguments(folder, run)) == 0
    assert [row["epoch"] for row in read_log(run)] == ["1", "2", "3"]


def test_a_user_of_uformer_is_told_the_patch_size(folder, tmp_path, capsys):
    student = Uformer(
        img_size=32, embed_dim=4, depths=(0, 0, 0, 1, 1, 0, 0, 0, 1), num_heads=[1] * 9
    )
    student.save(tmp_path / "uformer.keras")
    with pytest.raises(SystemExit) as stop:
        train.main(arguments(folder, tmp_path / "run", student=tmp_path / "uformer.keras"))
    assert stop.value.code == 2
    assert "train on images (patches) of a multiple of 32" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["derain", "denoise"])
def test_pairs_serve_every_task(folder, tmp_path, task):
    options = {"task": task, "data": folder / "pairs", "steps": 2, "method": "none"}
    assert train.main(arguments(folder, tmp_path / "run", **options)) == 0
    assert (tmp_path / "run" / "student.keras").exists()


@pytest.mark.parametrize("options", [{"task": "derain"}, {"task": "deblur"}, {"noise": "camera"}])
def test_clean_photos_serve_every_task(folder, tmp_path, capsys, options):
    options = {"steps": 2, "method": "none", **options}
    assert train.main(arguments(folder, tmp_path / "run", **options)) == 0
    assert (tmp_path / "run" / "student.keras").exists()
    assert "photos: 3 clean photographs; " in capsys.readouterr().out


def make_bad_data(folder, tmp_path, case):
    """Options of a run that must be refused, and what its message must name."""
    bad = tmp_path / "bad"
    shutil.copytree(folder / "pairs" if "pair" in case else folder / "photos", bad)
    first = bad / "0.png"
    if case == "missing folder":
        return {"data": tmp_path / "nowhere"}, "nowhere: no such folder"
    if case == "empty folder":
        (tmp_path / "empty").mkdir()
        return {"data": tmp_path / "empty"}, "empty: no images in it"
    if case == "corrupt image":
        first.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
        return {"data": bad}, "0.png: cannot be decoded"
    if case == "truncated image":
        first.write_bytes(first.read_bytes()[:1000])
        return {"data": bad}, "0.png: cannot be decoded"
    if case == "small image":
        return {"data": bad, "patch_size": 64}, "40x32 pixels are smaller than the patch of 64"
    if case == "pair without partner":
        (bad / "target" / "1.png").unlink()
        return {"data": bad, "task": "deblur"}, "no partner of the same name"
    if case == "pair of two sizes":
        Image.new("RGB", (40, 48)).save(bad / "target" / "1.png")
        return {"data": bad, "task": "deblur"}, "differ in size"
    if case == "wrong student":
        return {"student": "restormer_huge"}, "neither a preset (restormer"
    if case == "missing student file":
        return {"student": "nowhere.keras"}, "nowhere.keras: no such model file"
    if case == "damaged teacher file":
        (tmp_path / "teacher.keras").write_bytes(b"PK")
        return {"teacher": tmp_path / "teacher.keras"}, "damaged, or no .keras file"
    if case == "unwritable output":
        (tmp_path / "file").touch()
        return {"run": tmp_path / "file" / "run"}, "cannot be written (not a directory)"
    if case == "odd patch":
        return {"patch_size": 20}, "--patch-size must be a multiple of 8"
    if case == "odd noise":
        return {"sigma": "loud"}, "sigma must be a level"
    if case == "no steps":
        return {"steps": 0}, "--steps must be at least 1"
    if case == "odd average":
        return {"ema": 1.5}, "--ema must be within 0"
    if case == "no cluster":
        return {"strategy": "multi-worker"}, "needs the environment variable TF_CONFIG"
    raise AssertionError(case)


@pytest.mark.parametrize(
    "case",
    [
        "missing folder",
        "empty folder",
        "corrupt image",
        "truncated image",
        "small image",
        "pair without partner",
        "pair of two sizes",
        "wrong student",
        "missing student file",
        "damaged teacher file",
        "unwritable output",
        "odd patch",
        "odd noise",
        "no steps",
        "odd average",
        "no cluster",
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(folder, tmp_path, capsys, case):
    options, message = make_bad_data(folder, tmp_path, case)
    before = sorted(tmp_path.rglob("*"))
    run = options.pop("run", tmp_path / "run")
    with pytest.raises(SystemExit) as stop:
        train.main(arguments(folder, run, **options))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("keras_skd.train: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_found_before_training(folder, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(SystemExit) as stop:
        train.main(arguments(folder, tmp_path / "run"))
    assert stop.value.code == 2
    assert "1 MiB are free; choose another disk" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_epochs_are_whole_and_hold_at_least_the_steps():
    for steps, per_epoch in ((1, 250), (250, 250), (251, 250), (600, 100), (7, 3)):
        config = train.TrainingConfig("run", steps=steps, steps_per_epoch=per_epoch)
        assert config.epoch_steps <= per_epoch
        assert steps <= config.epochs * config.epoch_steps < steps + config.epochs


def test_help_states_every_default(capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for default in ("restormer_denoise", "restormer_tiny", "20000", "0.001", "8-bit units"):
        assert default in text
