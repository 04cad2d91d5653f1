"""The callbacks with a plain ``Distiller.fit``, as their documentation shows it."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.distillation import Distiller, losses
from keras_skd.errors import FailedCheckError, InputError
from keras_skd.models import read_metadata
from keras_skd.training import (
    LearningRate,
    RunFolder,
    SaveCheckpoint,
    SaveStudents,
    StopWhenDiverged,
    TrainingDivergedError,
    Validate,
    WriteLog,
    WriteSamples,
)


def model(width, seed):
    """A residual model of two convolutions, with one tap at half resolution."""
    image = keras.Input((None, None, 3))

    def convolution(x, filters, **options):
        initializer = keras.initializers.GlorotUniform(seed + filters)
        return keras.layers.Conv2D(
            filters, 3, padding="same", kernel_initializer=initializer, **options
        )(x)

    coarse = convolution(image, width, strides=2, activation="relu")
    x = keras.layers.UpSampling2D(interpolation="bilinear")(coarse)
    result = keras.Model(image, keras.layers.Add()([convolution(x, 3), image]))
    result.taps = {"coarse": coarse}
    return result


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    clean = generator.uniform(size=(6, 16, 16, 3)).astype(np.float32)
    return clean + generator.normal(0, 0.1, clean.shape).astype(np.float32), clean


def distiller(learning_rate=1e-2, **options):
    keras.utils.set_random_seed(0)
    result = Distiller(model(4, 0), model(8, 50))
    result.compile(keras.optimizers.AdamW(learning_rate, **options))
    return result


def batches(images, first_step=0):
    """Batch ``i`` is a function of ``i``, so that a resumed training sees what it would have."""
    return tf.data.Dataset.range(first_step, 100).map(
        lambda step: tuple(tf.roll(tf.constant(each), step, 0)[:2] for each in images)
    )


def validation(images):
    return [(degraded[None], clean[None]) for degraded, clean in zip(*images, strict=True)]


def fit(trained, images, folder, epochs=3, **more):
    folder = RunFolder(folder)
    checkpoint = SaveCheckpoint(folder)
    epoch = checkpoint.restore(trained)
    validate = Validate(validation(images), folder)
    return trained.fit(
        batches(images, first_step=4 * epoch),
        epochs=epochs,
        steps_per_epoch=4,
        initial_epoch=epoch,
        callbacks=[
            StopWhenDiverged(folder, every=2),
            validate,
            LearningRate(),
            WriteSamples(folder, validate),
            SaveStudents(folder, {"task": "denoise", "noise": "gaussian", "sigma": "25"}),
            WriteLog(folder, validate),
            checkpoint,
        ],
        verbose=0,
        shuffle=False,
        **more,
    ).history


def read_log(folder):
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_they_validate_log_and_save(images, tmp_path):
    trained = distiller(use_ema=True, ema_momentum=0.5)
    history = fit(trained, images, tmp_path)
    assert {
        "loss",
        "kernel",
        "val_psnr",
        "val_reconstruction",
        "learning_rate",
        "gradient_norm",
    } <= (history.keys())
    rows = read_log(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for name in ("loss", "val_psnr", "learning_rate", "gradient_norm"):
        assert [float(row[name]) for row in rows] == pytest.approx(history[name])
    assert history["learning_rate"] == pytest.approx([1e-2] * 3)
    assert list((tmp_path / "tensorboard").iterdir())
    assert len(list((tmp_path / "samples").iterdir())) == 3
    # The last student is the averaged one, which fit() ends on, and its scores are those logged.
    last = keras.saving.load_model(tmp_path / "student_last.keras")
    for one, other in zip(last.get_weights(), trained.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    restored = np.clip(last(images[0]), 0, 1)
    squared = np.mean((restored - images[1]) ** 2, axis=(1, 2, 3))
    assert history["val_psnr"][-1] == pytest.approx(np.mean(-10 * np.log10(squared)), abs=1e-3)
    assert read_metadata(tmp_path / "student_best.keras")["sigma"] == "25"


def test_the_best_student_is_that_of_the_best_validation(images, tmp_path):
    class Worsens(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = [1.0, 5.0, 2.0][epoch]

    trained, seen = distiller(), []
    folder = RunFolder(tmp_path)

    class Remembers(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(trained.student.get_weights())

    trained.fit(
        batches(images),
        epochs=3,
        steps_per_epoch=2,
        callbacks=[Worsens(), SaveStudents(folder, monitor="score"), WriteLog(folder), Remembers()],
        verbose=0,
        shuffle=False,
    )
    best = keras.saving.load_model(tmp_path / "student_best.keras").get_weights()
    np.testing.assert_array_equal(best[0], seen[1][0])
    assert not np.array_equal(best[0], seen[2][0])


def test_a_resumed_training_goes_as_one_that_was_not_interrupted(images, tmp_path):
    options = {"use_ema": True, "ema_momentum": 0.5, "gradient_accumulation_steps": 3}
    whole = fit(distiller(**options), images, tmp_path / "whole", epochs=4)
    fit(distiller(**options), images, tmp_path / "parts", epochs=2)
    resumed = distiller(**options)
    resumed.student.set_weights([w + 1 for w in resumed.student.get_weights()])
    fit(resumed, images, tmp_path / "parts", epochs=4)
    logs = [read_log(tmp_path / name) for name in ("whole", "parts")]
    assert len(logs[0]) == len(logs[1]) == 4
    assert len(whole["loss"]) == 4
    # fit() ends on the average where it is asked to; the second part began from the trained ones.
    for one, other in zip(*logs, strict=True):
        assert {k: float(v) for k, v in one.items()} == pytest.approx(
            {k: float(v) for k, v in other.items()}, rel=1e-6
        )


def test_divergence_is_named_by_step_term_and_checkpoint(images, tmp_path, monkeypatch):
    real, step = losses.contrastive_loss, tf.Variable(0)

    def breaks(*features, **options):
        factor = tf.where(step.assign_add(1) > 6, np.nan, 1.0)
        return real(*features, **options) * factor

    monkeypatch.setattr(losses, "contrastive_loss", breaks)
    with pytest.raises(TrainingDivergedError) as error:
        fit(distiller(), images, tmp_path)
    assert isinstance(error.value, FailedCheckError)
    assert "diverged at step 7: contrastive is nan; the last good checkpoint is" in str(error.value)
    assert "after epoch 1 (step 4)" in str(error.value)
    with np.load(tmp_path / "checkpoint.npz") as checkpoint:
        assert all(np.isfinite(checkpoint[name]).all() for name in checkpoint.files)
    # Resumed, steps are still those of the whole training.
    step.assign(3)
    with pytest.raises(TrainingDivergedError, match="diverged at step 8: contrastive is nan"):
        fit(distiller(), images, tmp_path)
    monkeypatch.undo()
    assert len(fit(distiller(), images, tmp_path)["loss"]) == 2


def test_divergence_is_found_within_an_epoch_and_without_a_folder(images, monkeypatch):
    real, step = losses.contrastive_loss, tf.Variable(0)

    def breaks(*features, **options):
        factor = tf.where(step.assign_add(1) > 6, np.inf, 1.0)
        return real(*features, **options) * factor

    monkeypatch.setattr(losses, "contrastive_loss", breaks)
    done = []

    class Counts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            done.append(batch)

    with pytest.raises(TrainingDivergedError, match="step 7: contrastive is inf; no checkpoints"):
        distiller().fit(
            batches(images),
            epochs=1,
            steps_per_epoch=40,
            callbacks=[StopWhenDiverged(every=5), Counts()],
            verbose=0,
            shuffle=False,
        )
    assert len(done) == 10  # looked at before steps 6 and 11


def test_a_student_that_gives_no_numbers_in_validation_stops_the_training(images):
    broken = np.full_like(images[1], np.nan)
    trained = distiller()
    with pytest.raises(TrainingDivergedError, match="the validation after epoch 1: val_"):
        trained.fit(
            batches(images),
            steps_per_epoch=2,
            callbacks=[Validate(validation((broken, images[1])))],
            verbose=0,
            shuffle=False,
        )


def test_a_perfect_student_is_no_divergence(images):
    image = keras.Input((None, None, 3))
    identity = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    identity.set_weights([np.eye(3)[None, None], np.zeros(3)])
    trained = Distiller(identity, method="none")
    trained.compile(keras.optimizers.SGD(0.0))
    clean = (images[1], images[1])
    history = trained.fit(
        batches(clean),
        steps_per_epoch=1,
        callbacks=[Validate(validation(clean))],
        verbose=0,
        shuffle=False,
    ).history
    assert history["val_psnr"] == [np.inf]


def test_they_are_for_distillers():
    other = model(4, 0)
    other.compile("sgd", "mae")
    with pytest.raises(InputError, match=r"a callback of Distiller\.fit"):
        other.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8, 3)), callbacks=[StopWhenDiverged()])
