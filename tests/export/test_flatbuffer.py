"""Reading, compacting and labelling a ``.tflite`` file."""

import keras
import numpy as np
import pytest

from keras_skd.export.flatbuffer import compacted, layer_of, read_graph, with_metadata
from keras_skd.export.schemes import float32
from keras_skd.models import Restormer, with_image_size
from keras_skd.runners import TFLiteRunner


@pytest.fixture(scope="module")
def content():
    keras.utils.set_random_seed(0)
    student = Restormer(dim=8, num_blocks=(0, 1, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 2))
    return float32(with_image_size(student, (64, 64)))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(size=(64, 64, 3)).astype("float32")


def test_compacting_keeps_the_function_and_the_layers(content, image):
    small = compacted(content)
    assert len(small) < len(content)
    np.testing.assert_array_equal(TFLiteRunner(small)(image), TFLiteRunner(content)(image))
    before, after = read_graph(content), read_graph(small)
    assert before.histogram() == after.histogram()
    assert [op.layer for op in before.operations] == [op.layer for op in after.operations]
    assert {"latent_0/attention/qk", "encoder_level2_0/feed_forward/gate", "output"} <= {
        op.layer for op in after.operations
    }


def test_compacting_twice_changes_nothing(content):
    small = compacted(content)
    assert compacted(small) == small


def test_metadata_is_read_back_and_replaced(content, image):
    values = {"name": "student", "task": "denoise", "tile": 64, "value_range": [0.0, 1.0]}
    once = with_metadata(compacted(content), {"name": "earlier"})
    runner = TFLiteRunner(with_metadata(once, values))
    assert runner.metadata == values
    np.testing.assert_array_equal(runner(image), TFLiteRunner(content)(image))
    assert TFLiteRunner(content).metadata == {}


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("restormer_1/latent_0_1/attention_1/k/Conv2D1", "latent_0/attention/k"),
        ("restormer_1/patch_embed_1/convolution2", "patch_embed"),
        ("model/add;model/other", "add"),
        ("arith.constant15", "arith.constant15"),
        ("latent_0/attention/k/", "latent_0/attention/k"),
    ],
)
def test_layer_of(name, layer):
    assert layer_of(name) == layer


def test_no_exported_layer_copies_channels_but_of_the_keys(content):
    """A slice of channels copies pixel by pixel; for k beside q it spares two convolutions."""
    graph = read_graph(content)
    slices = [op for op in graph.operations if op.kind == "STRIDED_SLICE"]
    assert len(slices) == 3  # one a block
    for op in slices:
        before, after = graph.tensors[op.inputs[0]].shape, graph.tensors[op.outputs[0]].shape
        assert before[-1] == 2 * after[-1]
        assert graph.consumers(op.outputs[0])[0].kind in ("BATCH_MATMUL", "RESHAPE")
    assert not {"SPLIT", "GATHER"} & graph.histogram().keys()
