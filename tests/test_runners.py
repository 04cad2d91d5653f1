import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.errors import InputError
from keras_skd.models import load_model, read_metadata, save_model, with_image_size
from keras_skd.runners import KerasRunner, Runner, as_runner, load_runner
from keras_skd.tasks import Task


def restorer(shape=(None, None, 3), filters=None, **options):
    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    options = {"kernel_size": 3, "padding": "same", **options}
    return keras.Model(image, keras.layers.Conv2D(filters or shape[-1], **options)(image))


def tflite(model):
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(size=(16, 24, 3)).astype(np.float32)


def test_a_keras_model_and_its_tflite_are_the_same_runner(image, tmp_path):
    free = restorer()
    expected = free(image[None]).numpy()[0]
    fixed = restorer((16, 24, 3))
    fixed.set_weights(free.get_weights())
    (tmp_path / "fixed.tflite").write_bytes(tflite(fixed))
    runners = {
        None: KerasRunner(free),
        (16, 24): KerasRunner(fixed),
        "tiled": KerasRunner(free).with_size((16, 24)),
        "tflite": load_runner(tmp_path / "fixed.tflite"),
    }
    for name, runner in runners.items():
        assert isinstance(runner, Runner)
        assert runner.size == (None if name is None else (16, 24))
        assert (runner.channels, runner.metadata) == (3, {})
        np.testing.assert_allclose(runner(image), expected, atol=1e-5)
    assert as_runner(runners["tflite"]) is runners["tflite"]
    assert as_runner(free).model is free


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: restorer(filters=1), "images of the same size; this model maps"),
        (lambda: restorer((8, 8, 3), strides=2), "images of the same size; this model maps"),
        (lambda: restorer((8, 8, 6)), "3 or 1"),
        (lambda: keras.Sequential(), "0 inputs and 0 outputs"),
        (lambda: "restormer_tiny", "restormer_tiny: a restorer maps one image to one"),
    ],
)
def test_keras_models_that_are_no_restorers_are_refused(model, message):
    with pytest.raises(InputError, match=message):
        KerasRunner(model())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: restorer((8, 8, 3), filters=1), "has the size and the channels of its input"),
        (lambda: restorer((8, 8, 3), filters=12, strides=2), "has the size and the channels"),
        (lambda: restorer((None, None, 3)), "takes images of any size .* fixed size is needed"),
        (lambda: restorer((8, 8, 6)), "takes images of 6 channels; photographs have 3"),
    ],
)
def test_tflite_files_that_are_no_restorers_are_refused(tmp_path, model, message):
    """A super-resolver would be written in part, one of three channels to one broadcast."""
    (tmp_path / "model.tflite").write_bytes(tflite(model()))
    with pytest.raises(InputError, match=message):
        load_runner(tmp_path / "model.tflite")


def test_a_student_remembers_its_task(tmp_path):
    task = Task("denoise", "gaussian", "0-50")
    file = tmp_path / "student.keras"
    save_model(load_model("restormer_tiny"), file, task.as_dict())
    assert Task.from_metadata(read_metadata(file)) == task
    assert load_runner(file).metadata == task.as_dict()
    keras.saving.load_model(file)  # still an ordinary file of Keras
    with_image_size(load_model(file), (64, 64)).save(tmp_path / "plain.keras")
    assert read_metadata(tmp_path / "plain.keras") == {}
    assert list(tmp_path.glob(".part*")) == []


def test_presets_remember_what_their_weights_were_trained_for():
    assert read_metadata("restormer_denoise")["sigma"] == "0-50"
    assert read_metadata("restormer_tiny") == {}


def test_a_preset_without_weights_restores_nothing_unless_asked_to():
    with pytest.raises(InputError, match=r"without trained weights.*restormer_denoise"):
        load_runner("restormer_light")
    assert load_runner("restormer_tiny", untrained=True).channels == 3


def test_damaged_files_are_told_from_missing_ones(tmp_path):
    save_model(restorer(), tmp_path / "whole.keras", {})
    content = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.keras: damaged, or no \.keras file"):
        load_model(tmp_path / "cut.keras")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({}))
    with pytest.raises(InputError, match=r"empty\.keras: not a Keras model file"):
        load_model(tmp_path / "empty.keras")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.keras: no such model file"):
        load_model(tmp_path / "nowhere.keras")
