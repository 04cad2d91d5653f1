"""Every GPU rule catches a small model and leaves its neighbour; the accelerators agree."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.export.flatbuffer import packed, read_graph
from keras_skd.export.gpu import classic
from keras_skd.export.gpu.rules import CLASSIC, ML_DRIFT, RULES, check_rules
from keras_skd.export.gpu.run import verify_on_gpu
from keras_skd.export.verification import residual_psnr
from keras_skd.quiet import quiet

SHAPE = (1, 16, 16, 8)


def constant(*shape, seed=0):
    values = np.random.default_rng(seed).normal(scale=0.3, size=shape)
    return tf.constant(values.astype("float32"))


def rank(x):
    cells = tf.transpose(tf.reshape(x, (1, 8, 2, 8, 2, 8)), (0, 1, 3, 2, 4, 5))
    return tf.reshape(cells, SHAPE)


def windows(x):
    return tf.reshape(tf.nn.space_to_depth(x, 2), (1, 64, 4, 8))


def split(x):
    gate, value = tf.split(x @ constant(8, 16), 2, axis=-1)
    return tf.nn.gelu(gate) * value


def slices(x):
    wide = x @ constant(8, 16)
    return tf.nn.gelu(wide[..., :8]) * wide[..., 8:]


def matmul_rank(x):
    """Of rank 3, the transposed product of two activations comes out wrong; of rank 4, right."""
    pixels = tf.reshape(x, (1, 256, 8))
    keys = tf.reshape(x * 0.5 + 0.1, (1, 256, 8))
    gram = tf.matmul(keys, pixels, transpose_a=True)
    return tf.reshape(tf.matmul(pixels, gram), SHAPE)


def adjoint(x):
    return tf.matmul(tf.nn.softmax(tf.matmul(x, x + 1, transpose_b=True)), x)


def laid_out(x):
    """A slice between the transpose and the matmul leaves no flag."""
    padded = tf.concat([x + 1, tf.zeros((*x.shape[:3], 4))], axis=3)
    keys = tf.transpose(padded, (0, 1, 3, 2))[:, :, :8]
    return tf.matmul(tf.nn.softmax(tf.matmul(x, keys)), x)


def texture(x):
    return tf.reshape(tf.nn.softmax(tf.reshape(x, (1, 1, 65536, 8))), (1, 256, 256, 8))


def run_time_sizes(x):
    zero = tf.cast(tf.reduce_mean(tf.sigmoid(x)) * 0.5, tf.int32)
    return tf.reshape(tf.nn.softmax(tf.reshape(x, zero + tf.constant((1, 256, 8)))), SHAPE)


def run_time_weights(x):
    weights = tf.reshape(tf.nn.softmax(x[:, :1, :8]), (8, 8))
    product = tf.matmul(tf.reshape(x, (256, 8)), weights, transpose_b=True)
    return tf.reshape(tf.nn.tanh(product + constant(8)), SHAPE)


def transposed_convolution(x):
    return tf.nn.conv2d_transpose(x, constant(2, 2, 8, 8), (1, 32, 32, 8), 2)[:, ::2, ::2]


def shuffled_convolution(x):
    return tf.nn.depth_to_space(x @ constant(8, 32), 2)[:, ::2, ::2]


def layer_norm(x, prescale=1.0):
    x = x * 3000.0 + tf.nn.relu(x)
    scaled = x * prescale
    centred = scaled - tf.reduce_mean(scaled, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(variance + 1e-5 * prescale**2)


def whole_mean(x):
    return x + tf.reduce_mean(x, axis=(1, 2), keepdims=True)


@dataclass(frozen=True)
class Case:
    """A graph that a rule finds, one just inside, and what the accelerators say to the first.

    Attributes:
        outside: Function that breaks the rule.
        inside: Its neighbour, in which no fatal rule is broken.
        ml_drift: Pattern of the failure on ML Drift, or None where it runs right here.
        classic: Pattern of the classic delegate's error, :data:`WRONG`, or None.
        shape: Of the input.
        driver: That shows ML Drift's failure.
    """

    outside: Callable
    inside: Callable
    ml_drift: str | None = None
    classic: str | None = None
    shape: tuple = SHAPE
    driver: str = "SwiftShader"

    @property
    def precision(self):
        return "float32" if self.driver == "SwiftShader" else "float16"


WRONG = "computes a residual"
REFUSED = "does not run"
CASES = {
    "rank": Case(rank, lambda x: tf.reshape(windows(x), SHAPE), REFUSED, "refuses RESHAPE"),
    "run-time sizes": Case(
        run_time_sizes,
        lambda x: tf.reshape(tf.nn.softmax(tf.reshape(x, (1, 1, 256, 8))), SHAPE),
        REFUSED,
        "static-sized",
    ),
    "unsupported operation": Case(
        lambda x: tf.math.l2_normalize(x, axis=-1),
        lambda x: x * tf.math.rsqrt(tf.reduce_sum(x * x, axis=-1, keepdims=True) + 1e-6),
        REFUSED,
        "refuses L2_NORMALIZATION",
    ),
    # Runs here; refused by phones.
    "unsupported operation, TRANSPOSE_CONV": Case(transposed_convolution, shuffled_convolution),
    "wide integers": Case(
        lambda x: tf.cast(tf.cast(x * 9, tf.int64), tf.float32),
        lambda x: tf.cast(tf.cast(x * 9, tf.int32), tf.float32),
        REFUSED,
        "refuses CAST",
    ),
    # As many rows as channels, so that the operands fit together either way.
    "adj flag": Case(adjoint, laid_out, None, WRONG, shape=(1, 16, 8, 8)),
    "matmul rank": Case(
        matmul_rank, lambda x: tf.matmul(x, tf.nn.softmax(x[:, :, :8])), WRONG, WRONG
    ),
    "matmul broadcast": Case(
        lambda x: tf.matmul(x, tf.nn.softmax(x[:, :1, :8])),
        lambda x: tf.matmul(x, tf.tile(tf.nn.softmax(x[:, :1, :8]), (1, 16, 1, 1))),
        WRONG,
        WRONG,
    ),
    "run-time weights": Case(
        run_time_weights, lambda x: tf.matmul(x, tf.nn.softmax(x[:, :, :8])), WRONG, None
    ),
    "constant left side": Case(
        lambda x: tf.matmul(constant(1, 16, 16, 16), x),
        lambda x: tf.matmul(x, constant(8, 8)),
        REFUSED,
        "Not supported batched mat mul",
    ),
    "dropped axis": Case(
        lambda x: x * tf.nn.relu(x)[0],
        lambda x: x * tf.nn.relu(x)[:, :1, :1],
        REFUSED,
        "refuses STRIDED_SLICE",
    ),
    "split": Case(split, slices, "fails shader validation|returns zeros", None),
    "broadcast": Case(
        lambda x: x + tf.nn.relu(x[:, :1]) * tf.nn.relu(x[:, :, :1]),
        lambda x: x + tf.nn.relu(x[:, :1, :1]) * tf.nn.relu(x[:, :, :1]),
        None,
        "refuses MUL",
    ),
    "broadcast, constant": Case(
        lambda x: tf.nn.tanh(tf.nn.relu(x[:, :1]) + constant(1, 16, 1, 8)),
        lambda x: tf.nn.tanh(x + constant(1, 16, 1, 8)),
        None,
        WRONG,
    ),
    # Phones' faults that neither accelerator shows here.
    "lower rank": Case(lambda x: x * constant(16, 8), lambda x: x * constant(8)),
    "lower rank, 3": Case(lambda x: x * constant(16, 16, 8), lambda x: x * constant(1, 16, 16, 8)),
    "height broadcast": Case(
        lambda x: x + tf.nn.relu(x[:, :1]), lambda x: x + tf.nn.relu(x[:, :1, :1])
    ),
    "several axes": Case(
        whole_mean,
        lambda x: x + tf.reduce_mean(tf.reduce_mean(x, 2, keepdims=True), 1, keepdims=True),
        shape=(1, 256, 256, 2),
    ),
    "baked constant": Case(
        lambda x: x * constant(1, 128, 128, 8),
        lambda x: x * constant(1, 1, 128, 8),
        shape=(1, 128, 128, 8),
    ),
    "baked constant, factor": Case(
        lambda x: tf.nn.relu(x) + tf.nn.sigmoid(x) * constant(8),
        lambda x: tf.nn.relu(x) + tf.nn.sigmoid(x) * 0.5,
    ),
    "unscaled square": Case(
        layer_norm, lambda x: layer_norm(x, 1 / 1024), WRONG, WRONG, driver="lavapipe"
    ),
    "texture": Case(texture, lambda x: tf.nn.softmax(x), shape=(1, 256, 256, 8)),
}


@pytest.fixture(scope="module")
def graph_of(converted):
    """``graph_of(function, shape)``: bytes and :class:`~keras_skd.export.flatbuffer.Graph`."""
    known = {}

    def convert(function, shape):
        if (function, shape) not in known:
            content = converted(function, shape)
            known[function, shape] = content, read_graph(content)
        return known[function, shape]

    return convert


@pytest.mark.parametrize("name", CASES)
def test_a_rule_catches_its_negative_control(graph_of, name):
    rule, case = name.split(",")[0], CASES[name]
    _, graph = graph_of(case.outside, case.shape)
    found = [item for item in check_rules(graph) if item.rule == rule]
    assert found, graph.histogram()
    assert all(item.fatal == RULES[rule].fatal and item.remedy for item in found)
    assert found[0].layer == "body"
    kind, position = found[0].operation.split()
    assert graph.operations[int(position)].kind == kind
    assert RULES[rule].source in str(found[0])


@pytest.mark.parametrize("name", CASES)
def test_a_rule_leaves_the_graph_just_inside(graph_of, name):
    rule, case = name.split(",")[0], CASES[name]
    found = check_rules(graph_of(case.inside, case.shape)[1])
    assert rule not in {item.rule for item in found}
    assert not [item for item in found if item.fatal]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.ml_drift])
def test_ml_drift_refuses_it_or_is_wrong(graph_of, on_cpu, name, tmp_path, driver_named):
    case = CASES[name]
    assert ML_DRIFT in RULES[name.split(",")[0]].accelerators
    path = tmp_path / "model.tflite"
    path.write_bytes(graph_of(case.outside, case.shape)[0])
    images = np.random.default_rng(0).uniform(size=case.shape).astype("float32")
    driver, reference = driver_named(case.driver), on_cpu(path, images)
    (run,) = verify_on_gpu(path, images, [driver], reference=reference)
    assert run["failure"] is not None
    assert re.search(case.ml_drift, run["failure"]), run["failure"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.classic])
def test_the_classic_delegate_refuses_it_or_is_wrong(
    graph_of, on_cpu, name, tmp_path, classic_delegate
):
    case = CASES[name]
    assert CLASSIC in RULES[name.split(",")[0]].accelerators
    path = tmp_path / "model.tflite"
    path.write_bytes(graph_of(case.outside, case.shape)[0])
    images = np.random.default_rng(0).uniform(size=case.shape).astype("float32")
    if case.classic != WRONG:
        with pytest.raises(classic.ClassicError, match=case.classic):
            classic.run(path, images, case.precision)
        return
    restored = classic.run(path, images, case.precision).restored
    assert residual_psnr(restored, on_cpu(path, images), images) < 40


@pytest.mark.parametrize("name", ["adj flag", "broadcast", "split", "unscaled square"])
def test_the_graph_just_inside_is_right_on_both(
    graph_of, on_cpu, name, tmp_path, driver_named, classic_delegate
):
    case = CASES[name]
    path = tmp_path / "model.tflite"
    path.write_bytes(graph_of(case.inside, case.shape)[0])
    images = np.random.default_rng(0).uniform(size=case.shape).astype("float32")
    driver, reference = driver_named(case.driver), on_cpu(path, images)
    (run,) = verify_on_gpu(path, images, [driver], reference=reference)
    assert run["failure"] is None
    restored = classic.run(path, images, case.precision).restored
    assert residual_psnr(restored, on_cpu(path, images), images) > 40


def test_custom_operations_are_caught(converted):
    """Flex operations are custom ones whose name begins so."""
    content = converted(lambda x: tf.math.erfinv(x * 0.5), SHAPE, custom=True)
    found = check_rules(read_graph(content))
    assert found[0].rule == "unsupported operation"
    assert found[0].operation.startswith("Erfinv")


def test_a_dynamic_batch_is_caught(converted):
    content = converted(tf.nn.relu, (None, 16, 16, 8))
    assert {item.rule for item in check_rules(read_graph(content))} == {"dynamic shape"}


def test_a_large_texture_is_a_warning(converted):
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


def test_an_operation_of_constants_is_caught(converted):
    """The converter folds them, so an operand is exchanged in the file."""
    from ai_edge_litert.tools import flatbuffer_utils

    content = converted(lambda x: x + tf.nn.sigmoid(x) * constant(8), SHAPE)
    model = flatbuffer_utils.read_model_from_bytearray(content)
    kinds = [op.kind for op in read_graph(content).operations]
    product = model.subgraphs[0].operators[kinds.index("MUL")]
    product.inputs = [product.inputs[1]] * 2
    found = [item.rule for item in check_rules(read_graph(packed(model)))]
    assert "constant operation" in found
    assert "constant operation" not in {item.rule for item in check_rules(read_graph(content))}


@pytest.mark.parametrize(("bits", "caught"), [(8, True), (16, False)])
def test_dense_weights_of_int8_are_caught(converted, bits, caught):
    from litert_quantizer import quantizer
    from litert_quantizer.algorithm_manager import AlgorithmName

    content = converted(lambda x: x @ constant(8, 8), SHAPE)
    with quiet():
        quantization = quantizer.Quantizer(content)
        algorithm = {} if bits == 8 else {"algorithm_key": AlgorithmName.FLOAT_CASTING}
        quantization.add_weight_only_config(".*", "FULLY_CONNECTED", bits, **algorithm)
        stored = bytes(quantization.quantize(enable_progress_report=False).quantized_model)
    assert "DEQUANTIZE" in read_graph(stored).histogram()
    found = {item.rule for item in check_rules(read_graph(stored))}
    assert found == ({"weight-only int8"} if caught else set())


def test_every_rule_has_a_negative_control():
    apart = {
        "dynamic shape",
        "large texture",
        "float island",
        "constant operation",
        "weight-only int8",
    }
    assert {name.split(",")[0] for name in CASES} | apart == RULES.keys()


def test_every_rule_names_accelerators_and_source():
    for name, rule in RULES.items():
        assert rule.source, name
        assert set(rule.accelerators) <= {ML_DRIFT, CLASSIC}
        assert rule.accelerators or not rule.fatal


def test_a_clean_graph_passes(converted):
    content = converted(lambda x: tf.nn.gelu(x[..., :4]) * x[..., 4:] @ constant(4, 8), SHAPE)
    assert check_rules(read_graph(content)) == []
