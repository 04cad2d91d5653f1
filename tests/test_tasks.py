import dataclasses

import pytest

from keras_skd.data import CameraNoise, GaussianNoise, MotionBlur, Rain
from keras_skd.errors import InputError
from keras_skd.models import PRESETS
from keras_skd.tasks import CHANNELS, RECORDED, TASK_NAMES, Task, resolved, sigma_range

BLIND = Task("denoise", "gaussian", "0-50")
CAMERA = Task("denoise", "camera")


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("25", (25, 25)),
        ("0-50", (0, 50)),
        ("2.5-7", (2.5, 7)),
        (" 5 - 10 ", (5, 10)),
        (15, (15, 15)),
    ],
)
def test_sigma_range(text, levels):
    assert sigma_range(text) == levels


@pytest.mark.parametrize("text", ["", "loud", "5-", "50-0", "-5", "300", "1-2-3", "nan", None])
def test_sigma_range_refuses(text):
    with pytest.raises(InputError, match="sigma must be"):
        sigma_range(text)


def test_defaults_are_filled():
    assert Task.of("denoise") == Task("denoise", "gaussian", "25")
    assert Task.of("denoise", sigma=15.0) == Task("denoise", "gaussian", "15")
    assert Task.of("denoise", "camera") == CAMERA
    assert Task.of("derain") == Task("derain")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sharpen",), "--task must be one of denoise, derain, deblur; got 'sharpen'"),
        (("derain", None, "25"), "--sigma belongs to --task denoise"),
        (("deblur", "camera"), "--noise belongs to --task denoise"),
        (("denoise", "quantum"), "--noise must be one of gaussian, camera; got 'quantum'"),
        (("denoise", "camera", "25"), "--sigma is the level of Gaussian noise"),
        (("denoise", "gaussian", "loud"), "--sigma must be"),
    ],
)
def test_what_does_not_belong_together_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Task.of(*arguments)


def test_every_task_states_its_degradation_and_channel():
    assert BLIND.degradation() == GaussianNoise(0, 50)
    assert CAMERA.degradation() == CameraNoise()
    assert Task("derain").degradation() == Rain()
    assert Task("deblur").degradation() == MotionBlur()
    assert {Task.of(name).channel for name in TASK_NAMES} == set(CHANNELS)
    assert Task("derain").channel == "y"


def test_pairs_bring_their_own_degradation():
    for task in (BLIND, CAMERA):
        assert task.for_groups([(0, 1)]) == (Task("denoise", RECORDED), None)
    assert Task("derain").for_groups([(0, 1)]) == (Task("derain"), None)
    assert BLIND.for_groups([(0,)]) == (BLIND, GaussianNoise(0, 50))
    for mixed in ([(0,), (0, 1)], [(0, 1), (0,)]):
        assert CAMERA.for_groups(mixed) == (CAMERA, CameraNoise())
    with pytest.raises(InputError, match="recorded pairs cannot be added to clean images"):
        Task("denoise", RECORDED).for_groups([(0,)])


@pytest.mark.parametrize("task", [BLIND, CAMERA, Task("derain"), Task("denoise", RECORDED)])
def test_a_file_remembers_its_task(task):
    assert Task.from_metadata({"name": "student", **task.as_dict()}) == task
    assert Task.from_metadata({}) is None


@pytest.mark.parametrize(
    ("known", "asked", "expected"),
    [
        (None, ("denoise",), Task("denoise", "gaussian", "25")),
        (BLIND, (), BLIND),
        (BLIND, ("denoise", "gaussian", "15"), Task("denoise", "gaussian", "15")),
        (Task("derain"), ("derain",), Task("derain")),
        (Task("denoise", RECORDED), (), Task("denoise", RECORDED)),
        (Task("denoise", RECORDED), (None, "camera"), CAMERA),
    ],
)
def test_what_a_model_remembers_need_not_be_said(known, asked, expected):
    assert resolved(known, *asked) == expected


@pytest.mark.parametrize(
    ("known", "asked", "message"),
    [
        (None, (), "s.keras does not say what it was trained for; name it with --task"),
        (BLIND, ("derain",), "s.keras was trained for denoise .gaussian, sigma 0-50., not for"),
        (BLIND, (None, "camera"), "not for --noise camera"),
        (BLIND, (None, None, "60"), "not for --sigma 60; choose a level within"),
        (Task("derain"), (None, None, "25"), "--sigma belongs to --task denoise"),
    ],
)
def test_a_contradiction_is_an_error(known, asked, message):
    with pytest.raises(InputError, match=message):
        resolved(known, *asked, **({"source": "s.keras"}))


def test_bundled_teachers_are_of_the_task_that_names_them():
    for name in TASK_NAMES:
        teacher = Task.of(name).teacher
        assert teacher is None or PRESETS[teacher].task.name == name
    trained = [preset for preset in PRESETS.values() if preset.weights]
    assert all(preset.task is not None for preset in trained)


def test_tasks_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BLIND.sigma = "10"
