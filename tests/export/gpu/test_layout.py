"""Matmuls without adj flags: the same numbers."""

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.export.flatbuffer import read_graph
from keras_skd.export.gpu.layout import without_adj_flags

SHAPE = (1, 4, 6, 8)


@pytest.mark.parametrize("flags", [{"transpose_a": True}, {"transpose_b": True}])
def test_a_flag_becomes_a_transpose(converted, on_cpu, tmp_path, flags):
    content = converted(
        lambda x: tf.matmul(x, x * 2 + 1, **flags)[:, :, :6, :6] * tf.reduce_mean(x) + x[..., :6],
        SHAPE,
    )
    assert read_graph(content).histogram().get("TRANSPOSE", 0) == 0
    paths = tmp_path / "before.tflite", tmp_path / "after.tflite"
    paths[0].write_bytes(content)
    paths[1].write_bytes(without_adj_flags(content))
    graph = read_graph(paths[1].read_bytes())
    kinds = [op.kind for op in graph.operations]
    assert kinds[kinds.index("BATCH_MATMUL") - 1] == "TRANSPOSE"
    options = graph.operations[kinds.index("BATCH_MATMUL")].options
    assert not options.adjX
    assert not options.adjY
    images = np.random.default_rng(0).uniform(size=SHAPE).astype("float32")
    before, after = (on_cpu(path, images) for path in paths)
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_file_without_flags_keeps_its_operations(converted):
    content = converted(lambda x: tf.matmul(x, tf.nn.softmax(x[:, :, :1] * tf.ones((8, 1)))), SHAPE)
    kinds = [op.kind for op in read_graph(content).operations]
    assert kinds == [op.kind for op in read_graph(without_adj_flags(content)).operations]
