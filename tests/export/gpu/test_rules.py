"""Every GPU rule catches a small model, and the accelerator agrees where it can be asked."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.export.flatbuffer import read_graph
from keras_skd.export.gpu.rules import RULES, check_rules
from keras_skd.export.gpu.run import verify_on_gpu
from keras_skd.quiet import quiet

SHAPE = (1, 16, 16, 8)


def converted(function, shape=SHAPE, custom=False):
    """A ``.tflite`` of a function of one tensor."""

    class Body(keras.layers.Layer):
        def call(self, x):
            return function(x) + 1.0  # the converter names the last operation otherwise

        def compute_output_shape(self, input_shape):
            return input_shape

    image = keras.Input(batch_shape=shape, name="image")
    model = keras.Model(image, Body(name="body")(image), name="probe")
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = custom
    with quiet():
        return converter.convert()


def constant(*shape, seed=0):
    values = np.random.default_rng(seed).normal(scale=0.3, size=shape)
    return tf.constant(values.astype("float32"))


def rank(x):
    cells = tf.transpose(tf.reshape(x, (1, 8, 2, 8, 2, 8)), (0, 1, 3, 2, 4, 5))
    return tf.reshape(cells, SHAPE)


def split(x):
    gate, value = tf.split(x @ constant(8, 16), 2, axis=-1)
    return tf.nn.gelu(gate) * value


def matmul_rank(x):
    """Of rank 3, the transposed product of two activations comes out wrong; of rank 4, right."""
    pixels = tf.reshape(x, (1, 256, 8))
    keys = tf.reshape(x * 0.5 + 0.1, (1, 256, 8))
    gram = tf.matmul(keys, pixels, transpose_a=True)
    return tf.reshape(tf.matmul(pixels, gram), SHAPE)


def adjoint(x):
    return tf.matmul(tf.nn.softmax(tf.matmul(x, x + 1, transpose_b=True)), x)


def texture(x):
    return tf.reshape(tf.nn.softmax(tf.reshape(x, (1, 1, 65536, 8))), (1, 256, 256, 8))


def run_time_sizes(x):
    zero = tf.cast(tf.reduce_mean(tf.sigmoid(x)) * 0.5, tf.int32)
    return tf.reshape(tf.nn.softmax(tf.reshape(x, zero + tf.constant((1, 256, 8)))), SHAPE)


# The rule, its model, and what the accelerator says of it (None: it was not seen to mind).
CASES = {
    "rank": (rank, "does not run"),
    "unsupported operation": (lambda x: tf.math.l2_normalize(x, axis=-1), "does not run"),
    "dropped axis": (lambda x: x * tf.nn.relu(x)[0], "does not run"),
    "split": (split, "fails shader validation|returns zeros"),
    "matmul rank": (matmul_rank, "computes a residual"),
    "adj flag": (adjoint, None),
    "broadcast": (lambda x: x + tf.nn.relu(x[:, :1]) * tf.nn.relu(x[:, :, :1]), None),
    "texture": (texture, None),
    "run-time sizes": (run_time_sizes, None),
}


@pytest.fixture(scope="module")
def files():
    """Rule to the bytes of its negative control."""
    shapes = {"texture": (1, 256, 256, 8)}
    return {rule: converted(case[0], shapes.get(rule, SHAPE)) for rule, case in CASES.items()}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_catches_its_negative_control(files, rule):
    found = [item for item in check_rules(read_graph(files[rule])) if item.rule == rule]
    assert found, read_graph(files[rule]).histogram()
    assert all(item.fatal and item.remedy for item in found)
    assert found[0].layer == "body"
    kind, position = found[0].operation.split()
    assert read_graph(files[rule]).operations[int(position)].kind == kind


@pytest.mark.parametrize("rule", [rule for rule, case in CASES.items() if case[1]])
def test_the_accelerator_refuses_it_or_is_wrong(files, rule, tmp_path, driver_named):
    path = tmp_path / "model.tflite"
    path.write_bytes(files[rule])
    images = np.random.default_rng(0).uniform(size=SHAPE).astype("float32")
    (run,) = verify_on_gpu(path, images, [driver_named("SwiftShader")])
    assert run["failure"] is not None
    assert re.search(CASES[rule][1], run["failure"]), run["failure"]


def test_custom_operations_are_caught():
    """Flex operations are custom ones whose name begins so."""
    content = converted(lambda x: tf.math.erfinv(x * 0.5), custom=True)
    found = check_rules(read_graph(content))
    assert found[0].rule == "unsupported operation"
    assert found[0].operation.startswith("Erfinv")


def test_a_dynamic_batch_is_caught():
    content = converted(tf.nn.relu, (None, 16, 16, 8))
    assert {item.rule for item in check_rules(read_graph(content))} == {"dynamic shape"}


def test_a_large_texture_is_a_warning():
    """(1, 64, 16, 1024) is 64 x 256 = 16384 texels: WebGPU promises 8192, many have more."""
    content = converted(lambda x: tf.reshape(tf.nn.relu(x), (1, 64, 16, 1024)), (1, 512, 512, 4))
    found = check_rules(read_graph(content))
    assert {(item.rule, item.fatal) for item in found} == {("large texture", False)}


def test_weights_that_are_dequantised_are_no_textures():
    """(256, 3, 3, 128) would be 24576 texels, but the accelerator packs weights in its own way."""
    from keras_skd.export.schemes import Source, float16

    image = keras.Input(batch_shape=SHAPE, name="image")
    x = keras.layers.Conv2D(128, 1)(image)
    model = keras.Model(image, keras.layers.Conv2D(256, 3, padding="same")(x))
    graph = read_graph(float16(Source(model, None)))
    assert "DEQUANTIZE" in graph.histogram()
    assert check_rules(graph) == []


def test_a_float_island_between_int8_operations_is_a_warning():
    from keras_skd.export.schemes import Source

    image = keras.Input(batch_shape=SHAPE, name="image")
    x = keras.layers.Conv2D(8, 1, name="before")(image)
    x = keras.layers.Softmax(name="island")(x)
    model = keras.Model(image, keras.layers.Conv2D(8, 1, name="after")(x))
    tiles = np.random.default_rng(0).uniform(size=(4, *SHAPE[1:])).astype("float32")
    source = Source(model, tiles)
    graph = read_graph(source.quantized(source.of_kinds("CONV_2D")))
    (found,) = check_rules(graph)
    assert (found.rule, found.fatal) == ("float island", False)
    assert "SOFTMAX" in found.problem
    assert not check_rules(read_graph(source.float32))


def test_every_rule_has_a_negative_control():
    assert {*CASES, "dynamic shape", "large texture", "float island"} == RULES.keys()


def test_a_clean_graph_passes():
    content = converted(lambda x: tf.nn.gelu(x[..., :4]) * x[..., 4:] @ constant(4, 8))
    assert check_rules(read_graph(content)) == []
