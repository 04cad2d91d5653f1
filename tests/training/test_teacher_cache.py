import dataclasses
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_skd import Distiller, SKDConfig, train
from keras_skd.data import GaussianNoise, ImageStore, Rain, pipeline
from keras_skd.errors import InputError
from keras_skd.models import Restormer
from keras_skd.tasks import Task
from keras_skd.training import (
    TeacherCache,
    Training,
    TrainingConfig,
    build_teacher_cache,
    teacher_cache,
)

TASK = Task("denoise", "gaussian", "25")
STAGES = ("encoder_level2", "decoder_level2")
OPTIONS = {"num_refinement_blocks": 0, "heads": (1, 1, 1, 1)}


def restormer(dim, seed):
    keras.utils.set_random_seed(seed)
    return Restormer(dim=dim, num_blocks=(0, 1, 0, 1), **OPTIONS)


@pytest.fixture(scope="module")
def teacher():
    return restormer(16, 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    generator = np.random.default_rng(0)
    photos = [(generator.integers(0, 256, (40, 48, 3), np.uint8),) for _ in range(3)]
    return ImageStore(photos, 16, tmp_path_factory.mktemp("store"))


def built(folder, teacher, store, crops=100, **changes):
    options = {
        "task": TASK,
        "degradation": GaussianNoise(25, 25),
        "patch_size": 16,
        "stages": STAGES,
        "crops": crops,
        **changes,
    }
    return build_teacher_cache(folder, teacher, store, **options)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, teacher, store):
    return built(tmp_path_factory.mktemp("caches") / "cache", teacher, store)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_a_cached_step_equals_one_with_the_teacher(cache, teacher, monkeypatch):
    monkeypatch.setattr(teacher_cache, "_turned", lambda array, quarter_turns, flip: array)
    student = restormer(8, 2)
    distiller = Distiller(student, teacher, "skd", SKDConfig(stages=STAGES))
    ((degraded, targets),) = cache.batches(batch_size=8, steps=1)
    _, clean, recorded = distiller._unpack((degraded, targets))
    cached = distiller.compute_terms(degraded, clean, targets=recorded)
    run = distiller.compute_terms(degraded, clean)
    for name in run:
        # float16 rounds the teacher's outputs by at most 2^-11 of their size.
        assert float(cached[name]) == pytest.approx(float(run[name]), rel=2e-3), name
    # The teacher's outputs of other crops are far from that: the check can fail.
    wrong = [recorded[0][::-1], [stage[::-1] for stage in recorded[1]], recorded[2]]
    wrong = distiller.compute_terms(degraded, clean, targets=wrong)
    assert float(wrong["contrastive"]) != pytest.approx(float(run["contrastive"]), rel=0.02)


def test_batches_depend_on_seed_and_number_alone_and_draw_every_crop_once(cache):
    def drawn(first, seed=0):
        return list(cache.batches(batch_size=10, steps=20, seed=seed, first_step=first))

    whole, resumed = drawn(0), drawn(13)
    for (degraded, targets), (again, same) in zip(whole[13:], resumed, strict=True):
        np.testing.assert_array_equal(degraded, again)
        np.testing.assert_array_equal(targets["teacher_image"], same["teacher_image"])
    assert np.abs(drawn(19, seed=1)[0][0] - whole[19][0]).max() > 0.1
    # Sums of a crop do not change by turning it: 200 draws of 100 crops see each twice.
    sums = [np.float64(degraded).sum((1, 2, 3)).round(6) for degraded, _ in whole]
    _, counts = np.unique(np.concatenate(sums), return_counts=True)
    assert set(counts) == {2}


def test_all_of_a_sample_is_turned_alike(cache, teacher):
    """The noise is the same in the input and, nearly, in what the teacher makes of it."""
    for degraded, targets in cache.batches(batch_size=16, steps=4):
        for place in range(16):
            image = targets["teacher_image"][place].numpy().ravel()
            given = degraded[place].numpy().ravel()
            assert np.corrcoef(image, given)[0, 1] > 0.5
            other = np.rot90(degraded[place].numpy(), 1).ravel()
            assert np.corrcoef(image, other)[0, 1] < 0.5


def test_rain_is_never_turned_sideways(cache, teacher, store, tmp_path):
    rainy = built(tmp_path / "rain", teacher, store, task=Task("derain"), degradation=Rain())

    def turns(cache):
        return {int(turn) for step in range(40) for turn in cache._drawn(step, 4, seed=0)[1]}

    assert turns(rainy) == {0, 2}
    assert turns(cache) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": Task("denoise", "gaussian", "50")}, "sigma '25', now '50'"),
        ({"patch_size": 32}, "patch_size 16, now 32"),
        ({"degradation": GaussianNoise(25, 30)}, "degradation"),
        ({"stages": (*STAGES, "latent")}, "stages .*latent too"),
    ],
)
def test_a_cache_of_other_settings_is_refused(cache, teacher, store, changes, named):
    before = files(cache.folder)
    with pytest.raises(InputError, match=named):
        built(cache.folder, teacher, store, **changes)
    assert files(cache.folder) == before


def test_a_cache_of_another_teacher_or_of_other_images_is_refused(cache, teacher, store):
    with pytest.raises(InputError, match="teacher_sha256"):
        built(cache.folder, restormer(16, 3), store)
    photos = [(np.random.default_rng(1).integers(0, 256, (40, 48, 3), np.uint8),)] * 3
    with pytest.raises(InputError, match="images_sha256"):
        built(cache.folder, teacher, ImageStore(photos, 16))
    assert built(cache.folder, teacher, store, stages=STAGES[:1]).stages == STAGES


def test_a_build_that_was_killed_resumes(cache, teacher, store, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_cache, "SAVE_EVERY", 2)
    written = teacher_cache.write_json

    def killed(path, value):
        written(path, value)
        if value.get("crops") == 64:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teacher_cache, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            built(tmp_path / "cache", teacher, store)
    with pytest.raises(InputError, match="no complete cache"):
        TeacherCache(tmp_path / "cache")
    first_steps = []

    def counted(*arguments, first_step, **options):
        first_steps.append(first_step)
        return pipeline.training_batches(*arguments, first_step=first_step, **options)

    monkeypatch.setattr("keras_skd.data.training_batches", counted, raising=False)
    again = built(tmp_path / "cache", teacher, store)
    assert first_steps == [4]  # 64 crops are 4 passes of 16
    assert files(again.folder) == files(cache.folder)


def test_too_little_space_is_said_before_work(teacher, store, tmp_path):
    with pytest.raises(InputError, match="too small; at least 64"):
        built(tmp_path / "cache", teacher, store, crops=None, gigabytes=1e-5)
    assert not (tmp_path / "cache").exists()


def test_reading_keeps_memory_flat(cache):
    def anonymous():
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024

    def read(steps):
        for _ in cache.batches(batch_size=16, steps=steps):
            pass

    read(50)
    before = anonymous()
    read(500)
    assert anonymous() - before < 30  # MiB; 500 batches are 60


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for index in range(3):
        pixels = generator.integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    restormer(8, 0).save(folder / "student.keras")
    restormer(16, 1).save(folder / "teacher.keras")
    return folder


def test_runs_of_several_methods_and_seeds_share_a_cache(photos, tmp_path):
    config = TrainingConfig(
        run=str(tmp_path / "skd"),
        data=str(photos),
        teacher=str(photos / "teacher.keras"),
        student=str(photos / "student.keras"),
        teacher_cache=str(tmp_path / "cache"),
        cache_size=1e-3,
        steps=4,
        batch_size=2,
        patch_size=16,
    )
    # Output alone needs no stage, and is first: the cache holds the others' all the same.
    for run, method, seed in (("output", "output", 0), ("skd", "skd", 0), ("again", "skd", 1)):
        changes = {"run": str(tmp_path / run), "method": method, "seed": seed}
        with Training(dataclasses.replace(config, **changes)) as training:
            training.fit()
        recorded = json.loads((tmp_path / run / "config.json").read_text())
        assert recorded["teacher_cache"] == str(tmp_path / "cache")
    assert TeacherCache(tmp_path / "cache").crops > 64
    other = dataclasses.replace(config, run=str(tmp_path / "other"), sigma="50")
    with Training(other) as training, pytest.raises(InputError, match="sigma"):
        training.fit()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "none", "--teacher-cache", "x"], "--teacher-cache does nothing"),
        (["--cache-size", "3"], "--cache-size does nothing without --teacher-cache"),
        (["--teacher-cache", "x", "--cache-size", "0"], "--cache-size must be above 0"),
    ],
)
def test_flags_that_do_nothing_are_refused(photos, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        train.main(["--run", str(tmp_path / "run"), "--data", str(photos), *flags])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_contrast_of_deep_features_needs_the_teacher_itself(teacher):
    config = SKDConfig(stages=STAGES, contrastive_stages=("encoder_level1",))
    distiller = Distiller(restormer(8, 2), teacher, "skd", config)
    with pytest.raises(InputError, match=r"encoder_level1.*no teacher cache can hold"):
        distiller.check_cacheable()
    published = Distiller(restormer(8, 2), teacher, "skd_as_published", SKDConfig(stages=STAGES))
    with pytest.raises(InputError, match=r"encoder_level1.*leave the cache out\.$"):
        published.check_cacheable()
