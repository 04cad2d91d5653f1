"""The classic delegate of the Android package: what it computes, and that it can fail."""

import hashlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.export.gpu import classic
from keras_skd.runners import TFLiteRunner

SHAPE = (1, 16, 16, 8)


def psnr(values, reference):
    """Of values against those of the CPU, whose peak is the reference's own, in dB."""
    if not np.isfinite(values).all():
        return -np.inf
    error = np.sqrt(np.mean((np.float64(values) - reference) ** 2))
    return 20 * np.log10(np.abs(reference).max() / max(error, 1e-12))


@pytest.fixture
def ran(converted, on_cpu, tmp_path, classic_delegate):
    """``ran(function)``: a :class:`~classic.ClassicRun` and the dB to the CPU's kernels."""

    def run(function, precision="float32", shape=SHAPE):
        path = tmp_path / "model.tflite"
        path.write_bytes(converted(function, shape))
        images = np.random.default_rng(0).uniform(size=shape).astype("float32")
        result = classic.run(path, images, precision)
        return result, psnr(result.restored, on_cpu(path, images))

    return run


def constant(*shape, seed=0):
    values = np.random.default_rng(seed).normal(scale=0.3, size=shape)
    return tf.constant(values.astype("float32"))


@pytest.mark.parametrize(("precision", "least"), [("float32", 120), ("float16", 55)])
def test_a_convolution_is_right(ran, precision, least):
    """float32 has 24 bits, 144 dB; float16 11, 66 dB, and 72 products are summed."""
    _, decibels = ran(
        lambda x: tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 8, 8), 1, "SAME")), precision
    )
    assert decibels > least
    if precision == "float16":
        assert decibels < 90, "float32 instead of float16"


def test_the_delegate_is_that_of_the_package(classic_delegate):
    """Not a byte of the two libraries is changed."""
    installer = Path(__file__).parents[3] / "android_demo/host/install.py"
    pinned = re.findall(r'classic\.\w+: "(\w{64})"', installer.read_text())
    installed = [classic.folder() / name for name in (classic.RUNTIME, classic.DELEGATE)]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in installed] == pinned


def test_launches_are_those_of_one_image(converted, tmp_path, classic_delegate):
    """A convolution with its bias and RELU, and what is added, are one kernel."""
    path = tmp_path / "model.tflite"

    def body(x):
        return tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 8, 8), 1, "SAME") + constant(8))

    path.write_bytes(converted(body, SHAPE))
    images = np.random.default_rng(0).uniform(size=(3, *SHAPE[1:])).astype("float32")
    one, three = (classic.run(path, images[:count], "float32") for count in (1, 3))
    assert one.launches == three.launches
    # Beside the kernel, the image goes into the layout of the GPU and comes back.
    assert one.launches == 3
    assert three.restored.shape == images.shape
    assert np.array_equal(one.restored, three.restored[:1])


# What the delegate refuses, and its reason.
REFUSED = {
    "GATHER_ND": lambda x: tf.gather_nd(x, tf.zeros((1, 16, 1), tf.int32)),
    "L2_NORMALIZATION": lambda x: tf.math.l2_normalize(x, axis=-1),
    "STRIDED_SLICE": lambda x: x * tf.nn.relu(x)[0],
    "GATHER": lambda x: tf.gather(x, tf.range(15, -1, -1, tf.int64), axis=1),
    "RESHAPE": lambda x: tf.reshape(
        tf.nn.relu(tf.transpose(tf.reshape(x, (1, 8, 2, 8, 2, 8)), (0, 1, 3, 2, 4, 5))), SHAPE
    ),
    "MUL": lambda x: tf.nn.relu(x[:, :1]) * tf.nn.relu(x[:, :, :1]) + x,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_delegate_refuses_is_an_error(ran, kind):
    """ModifyGraph succeeds with the rest on the CPU, which must not count."""
    with pytest.raises(classic.ClassicError, match=f"refuses.*{kind}"):
        ran(REFUSED[kind])


# What the delegate takes and computes wrongly. As many rows as channels: the operands fit together
# either way.
WRONG = {
    "adj_y": lambda x: tf.matmul(tf.nn.softmax(tf.matmul(x, x + 1, transpose_b=True)), x),
    "adj_x": lambda x: tf.matmul(x, tf.nn.softmax(tf.matmul(x, x + 1, transpose_a=True))),
}


@pytest.mark.parametrize("case", WRONG)
def test_adj_flags_are_computed_wrongly(ran, case):
    """Its numbers are those of the operands as they lie."""
    square = (1, 16, 8, 8)
    result, decibels = ran(WRONG[case], shape=square)
    assert decibels < 40
    assert result.restored.shape == square


def test_the_same_without_flags_is_right(ran):
    """A slice between the transpose and the matmul leaves no flag."""

    def body(x):
        padded = tf.concat([x + 1, tf.zeros((1, 16, 16, 4))], axis=3)
        keys = tf.transpose(padded, (0, 1, 3, 2))[:, :, :8]
        return tf.matmul(tf.nn.softmax(tf.matmul(x, keys)), x)

    assert ran(body)[1] > 100


def test_a_file_that_is_none_is_an_error(tmp_path, classic_delegate):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"nothing")
    with pytest.raises(classic.ClassicError, match="no model"):
        classic.run(path, np.zeros(SHAPE, np.float32), "float32")


def test_images_of_another_size_are_an_error(ran, converted, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(tf.nn.relu, SHAPE))
    with pytest.raises(classic.ClassicError, match="size"):
        classic.run(path, np.zeros((1, 8, 8, 8), np.float32), "float32")


def test_a_run_that_takes_too_long_is_an_error(converted, tmp_path, classic_delegate):
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(tf.nn.relu, SHAPE))
    with pytest.raises(classic.ClassicError, match="gives no result"):
        classic.run(path, np.zeros(SHAPE, np.float32), "float32", timeout=0.01)


def test_where_it_is_not_installed_the_error_tells_how_to(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_SKD_CLASSIC_GPU", str(tmp_path))
    assert not classic.is_installed()
    with pytest.raises(classic.ClassicError, match="make classic-gpu"):
        classic.run(tmp_path / "model.tflite", np.zeros(SHAPE, np.float32), "float32")


# Least PSNR of the residual against the CPU. float16 keeps 7 bits through 500 operations.
LEAST_RESIDUAL_PSNR = {"float32": 80.0, "float16": 40.0}


@pytest.fixture(scope="module", params=["restormer_tiny", "uformer_tiny"])
def student(request, tmp_path_factory):
    """A student's file of float16 weights for tiles of 128, and an image."""
    from keras_skd.export.schemes import Source, float16
    from keras_skd.models import PRESETS, with_image_size

    keras.utils.set_random_seed(0)
    model = with_image_size(PRESETS[request.param].build(load_weights=False), (128, 128))
    path = tmp_path_factory.mktemp("student") / f"{request.param}.tflite"
    path.write_bytes(float16(Source(model, None)))
    image = np.random.default_rng(0).uniform(size=(1, 128, 128, 3)).astype("float32")
    return path, image


@pytest.mark.parametrize("precision", classic.PRECISIONS)
def test_a_student_runs_whole_and_right(student, precision, classic_delegate):
    path, image = student
    run = classic.run(path, image, precision)
    residual = TFLiteRunner(path)(image[0]) - image[0]
    assert psnr(run.restored[0] - image[0], residual) >= LEAST_RESIDUAL_PSNR[precision]
    assert 0 < run.launches < run.operations
