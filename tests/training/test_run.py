import contextlib
import csv
import dataclasses
import gc
import json
import os
import shutil
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_skd import __version__, train
from keras_skd.data import GaussianNoise, ImageStore
from keras_skd.distillation import losses
from keras_skd.errors import InputError
from keras_skd.models import Restormer, Uformer, read_metadata
from keras_skd.training import RunFolder, Training, TrainingConfig, building
from tests.killing import train_and_kill


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
    if options.get("method") == "none":
        del options["teacher"]
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
    with Image.open(samples[0]) as sample:
        assert sample.size == (3 * 32, 32)  # input, restored, clean; one image
    (start,) = json.loads((run / "environment.json").read_text())
    assert start["versions"]["tensorflow"].startswith("2.")
    assert (start["epochs_done"], start["replicas"]) == (0, 1)
    events = read_events(run / "tensorboard")
    assert {"loss", "kernel", "val_psnr"} <= events.keys()
    assert [step for step, _ in events["loss"]] == [2, 4, 6]
    rows = read_log(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    columns = {"loss", "reconstruction", "kernel", "contrastive", "val_psnr", "val_reconstruction"}
    assert columns | {"learning_rate", "gradient_norm"} <= rows[0].keys()
    assert json.loads((run / "config.json").read_text())["method"] == "skd"
    for name in ("student.keras", "student_best.keras"):
        assert read_metadata(run / name) == {"task": "denoise", "noise": "gaussian", "sigma": "25"}
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
    train_and_kill(arguments(folder, killed, **options), killed)
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
        config = TrainingConfig(
            str(tmp_path / method),
            data=str(folder / "photos"),
            teacher=None if method == "none" else str(folder / "teacher.keras"),
            student="restormer_tiny",
            method=method,
            patch_size=16,
        )
        with Training(config) as training:
            students.append(training.student.get_weights())
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
    with pytest.raises(SystemExit) as stop:
        train.main(arguments(folder, run))
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "failed check: the training diverged at step 5: contrastive is nan" in error
    assert f"the last good checkpoint is {run / 'checkpoint.npz'}, after epoch 2 (step 4)" in error
    assert error.count("\n") == 1
    with np.load(run / "checkpoint.npz") as checkpoint:
        assert all(np.isfinite(checkpoint[name]).all() for name in checkpoint.files)
    # The same command resumes from there, once the cause is gone.
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


def config_of(folder, run, **options):
    options = {
        "run": str(run),
        "data": str(folder / "photos"),
        "student": str(folder / "student.keras"),
        "method": "none",
        "steps": 4,
        "steps_per_epoch": 2,
        "batch_size": 2,
        "patch_size": 16,
        **options,
    }
    return TrainingConfig(**options)


def test_a_kill_between_the_last_save_and_the_end_leaves_nothing_behind(
    folder, tmp_path, monkeypatch
):
    config = config_of(folder, tmp_path / "run")
    run = tmp_path / "run"

    class Killed(BaseException):
        pass

    def killed(self):
        raise Killed

    with monkeypatch.context() as patch, Training(config) as training:
        patch.setattr("keras_skd.training.run_folder.RunFolder.finish", killed)
        with pytest.raises(Killed):
            training.fit()
    (run / ".part-1-student.keras").write_bytes(b"half")
    (run / "samples" / ".part-1-epoch_0001.png").write_bytes(b"half")
    left = {path.name for path in run.iterdir()}
    assert {"checkpoint.npz", "student_last.keras", "student.keras"} <= left
    written = (run / "student.keras").stat().st_mtime_ns
    with Training(config) as training:
        assert training.finished
        assert training.fit() == run / "student.keras"
    assert (run / "student.keras").stat().st_mtime_ns == written
    assert {path.name for path in run.iterdir()} == left - {
        "checkpoint.npz",
        "student_last.keras",
        ".part-1-student.keras",
    }
    assert not list((run / "samples").glob(".*"))


def test_settings_are_recorded_with_nothing_left_to_a_default(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    teacher = str(folder / "teacher.keras")
    config = config_of(folder, run, method="skd", teacher=teacher)
    with Training(config) as training:
        training.fit()
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["version"] == __version__
    assert (recorded["task"], recorded["noise"], recorded["sigma"]) == ("denoise", "gaussian", "25")
    assert (recorded["warmup_steps"], recorded["teacher"]) == (2, teacher)
    assert recorded["distillation"] == {
        "alpha1": 1.0,
        "alpha2": 0.02,
        "alpha3": 0.1,
        "repulsion": 0.0,
        "bandwidth": 1.0,
        "temperature": 0.1,
        "queries": 256,
        "stages": [[name, name] for name in ("latent", "decoder_level3", "decoder_level2")],
        "contrastive_stages": ["pixels"],
        "contrastive_positives": ["teacher"],
    }
    # A later version of other defaults: of a loss, of warm-up, of what is compared.
    changes = {"alpha2": 0.05, "warmup_steps": 1, "stages": [["latent", "latent"]]}
    for name, value in changes.items():
        changed = json.loads(json.dumps(recorded))
        (changed["distillation"] if name in changed["distillation"] else changed)[name] = value
        (run / "config.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=f"of other settings \\({name} .*, now .*\\) of keras"):
            Training(config)
    # What does not change the training may differ, and so may the version.
    changed = {**recorded, "version": "0.2.99", "steps_per_execution": 9, "run": "elsewhere"}
    (run / "config.json").write_text(json.dumps(changed))
    with Training(config) as training:
        training.fit()


def test_a_run_of_the_first_version_is_refused_with_the_reason(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"run": str(run), "task": "denoise"}))
    with pytest.raises(InputError, match=r"holds a run of keras_skd 0\.1\.0, .* choose another"):
        Training(config_of(folder, run))
    (run / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        Training(config_of(folder, run))


def test_a_damaged_or_foreign_checkpoint_is_named(folder, tmp_path):
    run = tmp_path / "run"
    for content in (b"", b"PK", b"nonsense" * 100):
        run.mkdir(exist_ok=True)
        (run / "checkpoint.npz").write_bytes(content)
        damaged = pytest.raises(InputError, match=r"checkpoint\.npz: damaged .*; remove it")
        with Training(config_of(folder, run)) as training, damaged:
            training.fit()
    np.savez(run / "checkpoint.npz", epoch=1, **{"0000": np.zeros(3)})
    foreign = pytest.raises(InputError, match="not a checkpoint of this run")
    with Training(config_of(folder, run)) as training, foreign:
        training.fit()


def test_two_processes_do_not_train_in_one_folder(folder, tmp_path):
    run = tmp_path / "run"
    with Training(config_of(folder, run)) as training:
        other = RunFolder(run)
        with other.locked(), pytest.raises(InputError, match="another process trains in it"):
            training.fit()
        assert not (run / "config.json").exists()
        training.fit()  # the lock went with the block


def test_the_dtype_policy_is_afterwards_what_it_was(folder, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with Training(config_of(folder, tmp_path / "run", student="restormer_tiny")) as training:
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
            assert {layer.compute_dtype for layer in training.student.layers} == {"float32"}
        with pytest.raises(InputError, match="neither a preset"):
            Training(config_of(folder, tmp_path / "other", student="nothing"))
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_student_of_mixed_precision_is_saved_in_float32(folder, tmp_path):
    options = {"student": "restormer_tiny", "precision": "mixed_bfloat16", "steps": 2}
    with Training(config_of(folder, tmp_path / "run", **options)) as training:
        computes = {layer.compute_dtype for layer in training.student.layers}
        assert "bfloat16" in computes
        student = keras.saving.load_model(training.fit())
    assert {layer.compute_dtype for layer in student.layers} == {"float32"}


def open_files(folder):
    """What this process holds open in a folder though it was deleted."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(link))
    return [link for link in links if link.startswith(str(folder)) and "(deleted)" in link]


def test_a_closed_training_gives_its_disk_back(folder, tmp_path):
    training = Training(config_of(folder, tmp_path / "run"))
    assert len(open_files(tmp_path)) == 1  # validation is read and let go
    training.fit()
    training.close()
    assert not open_files(tmp_path)
    training.close()  # again does nothing


def graphs():
    """Graphs of TensorFlow that are held in memory once Keras's session is cleared."""
    keras.backend.clear_session()
    gc.collect()
    return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())


def test_trainings_of_one_process_hold_no_memory_of_those_before(folder, tmp_path):
    """Models and graphs of closed trainings are gone: they are what grows by 150 MB a run."""
    options = {"method": "skd", "teacher": str(folder / "teacher.keras"), "steps": 2}
    references, before = [], graphs()
    for index in range(2):
        with Training(config_of(folder, tmp_path / str(index), **options)) as training:
            training.fit()
            references.append(weakref.ref(training.student))
            references.append(weakref.ref(training.distiller))
        del training
        assert graphs() == before
    assert [reference() for reference in references] == [None] * 4


def test_the_teacher_is_trained_and_of_the_task(folder, tmp_path):
    def refused(message, **options):
        options = {"method": "output", **options}
        with pytest.raises(InputError, match=message):
            Training(config_of(folder, tmp_path / "run", **options))
        assert not (tmp_path / "run").exists()

    refused("restormer_light is an architecture without trained", teacher="restormer_light")
    refused(
        r"the teacher restormer_denoise was trained for denoise .*, not for --task derain",
        task="derain",
        teacher="restormer_denoise",
    )
    # Pairs bring a noise of their own, which no bundled model teaches.
    refused(
        "no bundled model teaches denoise .recorded.; name one with --teacher",
        data=str(folder / "pairs"),
    )


@pytest.mark.parametrize("name", ["sigma", "noise"])
def test_a_noise_does_nothing_where_pairs_bring_their_own(folder, tmp_path, name):
    value = {"sigma": "25", "noise": "gaussian"}[name]
    with pytest.raises(InputError, match=f"--{name} does nothing: .*pairs holds pairs"):
        Training(config_of(folder, tmp_path / "run", data=str(folder / "pairs"), **{name: value}))


def test_a_student_of_pairs_remembers_a_recorded_noise(folder, tmp_path):
    config = config_of(folder, tmp_path / "run", data=str(folder / "pairs"), steps=2)
    with Training(config) as training:
        metadata = read_metadata(training.fit())
    assert metadata == {"task": "denoise", "noise": "recorded", "sigma": None}


def test_a_grey_student_trains_and_a_dual_pixel_one_is_refused(folder, tmp_path):
    options = {"num_blocks": (0, 0, 0, 1), "num_refinement_blocks": 0, "heads": (1, 1, 1, 1)}
    for name, channels in (("grey", (1, 1)), ("dual", (6, 3))):
        shape = {"inp_channels": channels[0], "out_channels": channels[1]}
        dual = channels[0] != channels[1]
        model = Restormer(dim=8, dual_pixel_task=dual, **shape, **options)
        model.save(tmp_path / f"{name}.keras")
    config = config_of(folder, tmp_path / "run", student=str(tmp_path / "grey.keras"), steps=2)
    with Training(config) as training:
        assert keras.saving.load_model(training.fit()).input.shape[-1] == 1
    with Image.open(next((tmp_path / "run" / "samples").iterdir())) as sample:
        assert sample.size == (96, 32)
    with pytest.raises(InputError, match=r"takes images of 6 channels, .*dual-pixel"):
        Training(config_of(folder, tmp_path / "other", student=str(tmp_path / "dual.keras")))
    with pytest.raises(InputError, match=r"of 1 channels and the teacher .* of 3; both must"):
        Training(
            config_of(
                folder,
                tmp_path / "other",
                student=str(tmp_path / "grey.keras"),
                method="output",
                teacher=str(folder / "teacher.keras"),
            )
        )


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_schedule_of_the_learning_rate_ends_with_the_run(folder, tmp_path, accumulation):
    """Keras evaluates schedules at raw steps, with accumulated gradients too."""
    options = {"steps": 12, "steps_per_epoch": 3, "warmup_steps": 3, "learning_rate": 1e-3}
    with Training(config_of(folder, tmp_path / "run", accumulation=accumulation, **options)) as run:
        run.fit()
    rates = [float(row["learning_rate"]) for row in read_log(tmp_path / "run")]
    # After warm-up, a third, two thirds and the whole of the decay.
    decay = [0.01 + 0.99 * (1 + np.cos(np.pi * part / 3)) / 2 for part in range(4)]
    assert rates == pytest.approx([1e-3 * each for each in decay], rel=1e-4)


def test_batches_are_made_ahead():
    store = ImageStore([(np.zeros((32, 32, 3), np.uint8),)], 16)
    for strategy in (None, tf.distribute.get_strategy()):
        config = TrainingConfig("run", patch_size=16, batch_size=2)
        batches = building.make_batches(
            config, store, GaussianNoise(25, 25), 3, first_step=7, strategy=strategy
        )
        kinds = []
        while hasattr(batches, "_input_dataset"):
            kinds.append(type(batches).__name__)
            batches = batches._input_dataset
        # Nothing but options comes after what is made ahead.
        assert next(kind for kind in kinds if "Options" not in kind) == "_PrefetchDataset", kinds
    store.close()


def test_validation_is_of_other_scenes_and_of_a_few_images_from_all_over(tmp_path):
    for scene in range(100):
        for frame in range(2):
            Image.new("RGB", (16, 16), (scene, frame, 0)).save(
                tmp_path / f"{scene:03d}_{frame}.png"
            )
    config = TrainingConfig("run", data=str(tmp_path))
    [(training, _)], validation = building.find_images(config)
    scenes = [
        {group[0].stem.partition("_")[0] for group in each} for each in (training, validation)
    ]
    assert not scenes[0] & scenes[1]
    assert (len(training), len(validation)) == (190, 10)
    config = TrainingConfig("run", data=str(tmp_path), validation=str(tmp_path))
    _, validation = building.find_images(config)
    assert len(validation) == building.MAX_VALIDATION
    assert validation[-1][0].stem > "095"


def test_folders_are_mixed_and_a_folder_of_one_scene_is_trained_on_whole(folder, tmp_path, capsys):
    generator = np.random.default_rng(0)
    for side in ("input", "target"):
        (tmp_path / "video" / side).mkdir(parents=True)
        for frame in range(3):
            pixels = generator.integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "video" / side / f"000_{frame:08d}.png")
    config = TrainingConfig(
        run=str(tmp_path / "run"),
        task="deblur",
        method="none",
        student=str(folder / "student.keras"),
        data=(str(folder / "photos"), str(tmp_path / "video")),
        shares=(3, 1),
        steps=2,
        batch_size=4,
        patch_size=16,
    )
    with Training(config) as training:
        assert training.fit().exists()
    assert "video: one scene; all of it is trained on" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["shares"] == [3, 1]
    for shares, message in (((1,), "1 numbers for 2 folders"), ((1, 0), "numbers above 0")):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, shares=shares)
