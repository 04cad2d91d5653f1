"""The named models: those for grey images do all that those for colour do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.distillation import Distiller
from keras_skd.export.schemes import SCHEMES, Source, float16, static_int8
from keras_skd.export.verification import residual_psnr
from keras_skd.models import PRESETS, Restormer, load_model, with_image_size
from keras_skd.profile import profile
from keras_skd.runners import KerasRunner, TFLiteRunner

GREY = [name for name in PRESETS if name.endswith("_grey")]


def test_every_student_of_restormer_is_there_for_grey_images():
    students = [f"restormer_{size}_grey" for size in ("tiny", "small", "base")]
    assert set(GREY) == {"restormer_bias_free_grey", *students}


@pytest.mark.parametrize("name", GREY)
def test_grey_costs_two_channels_less_at_both_ends(name):
    grey = PRESETS[name].build(load_weights=False)
    colour = PRESETS[name.removesuffix("_grey")].build(load_weights=False)
    assert grey.input_shape == grey.output_shape == (None, None, None, 1)
    counts, of_colour = (profile(model, (64, 64)) for model in (grey, colour))
    # The first convolution goes to dim channels, the last comes from twice as many, both of 3 x 3.
    values = 9 * 2 * (grey.dim + 2 * grey.dim)
    assert of_colour.parameters - counts.parameters == values
    assert of_colour.convolution_macs - counts.convolution_macs == 64 * 64 * values
    assert counts.attention_macs == of_colour.attention_macs


@pytest.fixture(scope="module")
def grey_images():
    """Clean and degraded: ``(4, 64, 64, 1)``."""
    random = np.random.default_rng(0)
    clean = random.uniform(size=(4, 64, 64, 1)).astype("float32")
    return clean, clean + random.normal(0, 0.1, clean.shape).astype("float32")


@pytest.fixture(scope="module")
def grey_student(grey_images, tmp_path_factory):
    """``restormer_tiny_grey`` after a step with a grey teacher, from its file."""
    keras.utils.set_random_seed(0)
    clean, degraded = (images[:, :16, :24] for images in grey_images)
    teacher = Restormer(
        inp_channels=1,
        out_channels=1,
        dim=8,
        num_blocks=(0, 1, 0, 1),
        num_refinement_blocks=0,
        heads=(1, 1, 1, 1),
    )
    student = PRESETS["restormer_tiny_grey"].build()
    before = student.get_weights()
    distiller = Distiller(student, teacher)
    distiller.compile(optimizer=keras.optimizers.Adam(1e-3))
    history = distiller.fit(tf.data.Dataset.from_tensors((degraded, clean)), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for variable, old in zip(student.weights, before, strict=True):
        assert np.any(variable != old), variable.path
    path = tmp_path_factory.mktemp("grey") / "student.keras"
    distiller.save(path)
    student = load_model(path)
    # As that of a trained student, the residual is a tenth of the range: a step of int8 is small
    # beside it.
    output = student.get_layer("output")
    output.kernel.assign(output.kernel * (0.1 / np.abs(student(degraded) - degraded).max()))
    return student


@pytest.mark.parametrize(
    ("scheme", "build"),
    [("fp16", float16), ("static_wi8_ai8", lambda source: static_int8(source, "float32"))],
    ids=["fp16", "static_wi8_ai8"],
)
def test_a_grey_student_is_trained_and_exported(grey_student, grey_images, scheme, build):
    _, degraded = grey_images
    degraded = degraded.clip(0, 1)
    model = with_image_size(grey_student, (64, 64))
    reference = KerasRunner(model).batch(degraded)
    if scheme == "static_wi8_ai8":
        reference = reference.clip(0, 1)  # its output holds no more
    runner = TFLiteRunner(build(Source(model, degraded)))
    assert runner.channels == 1
    restored = np.stack([runner(image) for image in degraded])
    psnr = residual_psnr(restored, reference, degraded)
    assert psnr >= SCHEMES[scheme].least_residual_psnr
