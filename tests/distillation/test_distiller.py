import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.distillation import Distiller, SKDConfig
from keras_skd.models import Restormer


def restormer(dim, **options):
    options = {"num_blocks": (0, 1, 1, 1), "num_refinement_blocks": 1, "heads": (1, 1, 1, 1)} | (
        options
    )
    return Restormer(dim=dim, **options)


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    clean = generator.uniform(size=(2, 16, 24, 3)).astype(np.float32)
    return clean + generator.normal(0, 0.1, clean.shape).astype(np.float32), clean


def compiled(student, teacher=None, method="skd", **options):
    distiller = Distiller(student, teacher, method, **options)
    distiller.compile(optimizer=keras.optimizers.AdamW(1e-3))
    return distiller


@pytest.mark.parametrize("method", ["none", "output", "skd"])
def test_training_lowers_the_loss_and_leaves_the_teacher_alone(batch, method):
    keras.utils.set_random_seed(0)
    student, teacher = restormer(8), restormer(16)
    before = [w.copy() for w in teacher.get_weights()]
    distiller = compiled(student, teacher, method)
    data = tf.data.Dataset.from_tensors(batch).repeat(12)
    history = distiller.fit(data, epochs=2, steps_per_epoch=6, verbose=0, shuffle=False).history
    assert history["loss"][1] < history["loss"][0]
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))


def test_every_term_is_in_history_and_adds_up_to_the_loss(batch):
    config = SKDConfig(alpha2=0.3, alpha3=0.7)
    distiller = compiled(restormer(8), restormer(16), config=config)
    logs = distiller.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False).history
    expected = logs["reconstruction"][0] + 0.3 * logs["kernel"][0] + 0.7 * logs["contrastive"][0]
    assert logs["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_student_runs_once_a_step_and_teacher_without_training(batch):
    calls = []

    @keras.saving.register_keras_serializable("test")
    class Counter(keras.layers.Layer):
        def __init__(self, side):
            super().__init__()
            self.side = side

        def call(self, x, training=None):
            calls.append((self.side, training))
            return x

    def tapped(side):
        image = keras.Input((None, None, 3))
        features = keras.layers.Conv2D(4, 3, padding="same")(Counter(side)(image))
        model = keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(features))
        model.taps = {"middle": features}
        return model

    config = SKDConfig(stages=("middle",), contrastive_stages=("middle",))
    distiller = compiled(tapped("student"), tapped("teacher"), config=config)
    calls.clear()
    distiller.train_step(tuple(map(tf.constant, batch)))
    assert [call for call in calls if call[0] == "student"] == [("student", True)]
    assert {training for side, training in calls if side == "teacher"} == {False}


def test_adapters_only_where_widths_differ_and_not_in_the_student(batch, tmp_path):
    student = restormer(8)
    names = [w.path for w in student.weights]
    distiller = compiled(student, restormer(16))
    assert set(distiller.adapters) == {"latent", "decoder_level3", "decoder_level2"}
    assert not compiled(restormer(8), restormer(8)).adapters
    assert len(distiller.trainable_variables) == len(names) + 2 * 3
    distiller.train_on_batch(*batch)
    student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert [w.path for w in loaded.weights] == names
    np.testing.assert_allclose(loaded(batch[0]), student(batch[0]), atol=1e-6)


def test_adapters_are_trained(batch):
    distiller = compiled(restormer(8), restormer(16))
    before = distiller.adapters["latent"].kernel.numpy()
    distiller.train_on_batch(*batch)
    assert not np.array_equal(before, distiller.adapters["latent"].kernel.numpy())


def test_validation_reports_psnr(batch):
    degraded, clean = batch
    distiller = compiled(restormer(8), method="none")
    logs = distiller.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    restored = np.clip(distiller.student(degraded), 0, 1)
    expected = np.mean([-10 * np.log10(np.mean((restored[i] - clean[i]) ** 2)) for i in (0, 1)])
    assert logs["psnr"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_finite(batch, policy):
    keras.config.set_dtype_policy(policy)
    try:
        distiller = compiled(restormer(8), restormer(16))
    finally:
        keras.config.set_dtype_policy("float32")
    for _ in range(3):
        logs = distiller.train_on_batch(*batch, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert all(np.isfinite(w).all() for w in distiller.student.get_weights())


def test_errors_name_what_is_wrong():
    student, teacher = restormer(8), restormer(16)
    with pytest.raises(ValueError, match=r"method must be one of .*skd.*; got 'magic'"):
        Distiller(student, teacher, "magic")
    with pytest.raises(ValueError, match="needs a teacher"):
        Distiller(student, None, "skd")
    with pytest.raises(ValueError, match=r"the student .* has no stage 'level9'; it has"):
        Distiller(student, teacher, config=SKDConfig(stages=("level9",)))
    teacher.taps["latent"] = teacher.taps["decoder_level3"]
    with pytest.raises(ValueError, match=r"student's is at 1/8 .* teacher's at 1/4"):
        Distiller(student, teacher)
