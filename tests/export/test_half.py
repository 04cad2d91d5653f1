"""Constants in float16: which ones, and that nothing else changes."""

import keras
import numpy as np
import pytest

from keras_skd.export.flatbuffer import read_graph
from keras_skd.export.half import LEAST_VALUES, with_half_constants
from keras_skd.export.schemes import Source, float16
from keras_skd.models import Restormer, with_image_size
from keras_skd.runners import TFLiteRunner


@pytest.fixture(scope="module")
def source():
    keras.utils.set_random_seed(0)
    student = Restormer(dim=8, num_blocks=(0, 1, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 2))
    return Source(with_image_size(student, (64, 64)), None)


def test_large_constants_are_halved_and_small_ones_kept(source):
    before, after = read_graph(source.float32), read_graph(with_half_constants(source.float32))

    def stored(graph, type_):
        return [t for t in graph.tensors if t.constant and t.type == type_]

    halved = stored(after, "FLOAT16")
    assert halved
    assert all(np.prod(tensor.shape) >= LEAST_VALUES for tensor in halved)
    dequantised = {op.outputs[0] for op in after.operations if op.kind == "DEQUANTIZE"}
    assert len(dequantised) == len(halved)
    kept = [t for i, t in enumerate(after.tensors) if t.constant and i not in dequantised]
    assert all(np.prod(t.shape) < LEAST_VALUES for t in kept if t.type == "FLOAT32")
    others = [op.kind for op in after.operations if op.kind != "DEQUANTIZE"]
    assert others == [op.kind for op in before.operations]


def test_weights_are_rounded_and_nothing_else(source, tmp_path):
    """The file equals Keras whose variables are rounded: 11 bits a weight."""
    paths = tmp_path / "float32.tflite", tmp_path / "float16.tflite"
    paths[0].write_bytes(source.float32)
    paths[1].write_bytes(float16(source))
    assert paths[1].stat().st_size < 0.6 * paths[0].stat().st_size
    image = np.random.default_rng(0).uniform(size=(64, 64, 3)).astype("float32")
    exact, halved = (TFLiteRunner(path)(image) for path in paths)
    residual = np.abs(exact - image).max()
    assert 0 < np.abs(halved - exact).max() < 0.01 * residual
