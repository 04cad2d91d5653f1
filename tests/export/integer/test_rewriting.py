"""A graph wholly in int8: nothing stays float, and nothing else changes."""

import keras
import numpy as np
import pytest

from keras_skd.export.calibration import load_tiles
from keras_skd.export.flatbuffer import read_graph
from keras_skd.export.gpu.run import verify_on_gpu
from keras_skd.export.integer.rewriting import with_distributed_output, without_islands
from keras_skd.export.schemes import Source, float32, static_int8
from keras_skd.export.verification import residual_psnr
from keras_skd.models import Restormer, Uformer, load_model, with_image_size
from keras_skd.runners import TFLiteRunner
from keras_skd.tasks import Task

IN_INT8 = {"DEPTH_TO_SPACE", "EXP", "LEAKY_RELU", "REDUCE_MAX", "TILE"}


def student_of(family):
    keras.utils.set_random_seed(0)
    if family == "Uformer":
        depths = (1, 0, 0, 0, 1, 0, 0, 0, 1)
        return Uformer(img_size=128, embed_dim=8, depths=depths, num_heads=(1,) * 9), 128
    return Restormer(
        dim=8, num_blocks=(0, 1, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 2)
    ), 64


def source_of(family):
    student, size = student_of(family)
    images = np.random.default_rng(0).uniform(size=(2, size, size, 3)).astype("float32")
    output = student.get_layer("output" if family == "Restormer" else "output_proj")
    output.kernel.assign(output.kernel * (0.1 / np.abs(student(images) - images).max()))
    return Source(with_image_size(student, (size, size)), images)


@pytest.fixture(scope="module")
def source():
    return source_of("Restormer")


def types(graph):
    """Types of all results but the file's own output."""
    return {
        graph.tensors[index].type
        for operation in graph.operations
        for index in operation.outputs
        if index not in graph.outputs
    }


@pytest.mark.parametrize("family", ["Restormer", "Uformer"])
def test_every_result_is_int8(family):
    source = source_of(family)
    content = static_int8(source, "float32")
    graph = read_graph(content)
    assert types(graph) == {"INT8"}
    assert graph.histogram()["DEQUANTIZE"] == 1
    image = source.calibration[0]
    reference = TFLiteRunner(source.float32)(image)
    assert residual_psnr(TFLiteRunner(content)(image), reference, image) > 25


def restorer(terms):
    """Convolves what ``terms`` makes of three images of 4 channels."""
    image = keras.Input(batch_shape=(1, 16, 16, 3), name="image")
    features = [keras.layers.Conv2D(4, 1, name=f"feature{i}")(image) for i in range(3)]
    output = keras.layers.Conv2D(3, 3, padding="same", name="output", bias_initializer="ones")
    return keras.Model(image, keras.layers.Add()([output(terms(*features)), image]))


@pytest.mark.parametrize(
    ("terms", "convolutions"),
    [
        (lambda a, b, c: a + b + c, 6),
        (lambda a, b, c: keras.ops.concatenate([a + b, c], axis=-1), 6),
        (lambda a, b, c: keras.ops.concatenate([a[:, :8], (b + c)[:, 8:]], axis=1), 4),
        (lambda a, b, c: keras.ops.relu(a + b) * c, 4),
        (lambda a, b, c: keras.ops.relu(a + b), 3),
    ],
    ids=["sum", "sum in a concatenation", "rows", "product", "activated sum"],
)
def test_the_last_convolution_is_taken_of_the_terms(terms, convolutions):
    """A concatenation of rows is no sum, nor are a product and what an activation makes of one."""
    keras.utils.set_random_seed(0)
    content = float32(restorer(terms))
    distributed = with_distributed_output(content)
    graph = read_graph(distributed)
    assert graph.histogram()["CONV_2D"] == convolutions
    assert {op.layer for op in graph.operations if op.kind == "CONV_2D"} >= {"output"}
    image = np.random.default_rng(0).uniform(size=(16, 16, 3)).astype("float32")
    np.testing.assert_allclose(
        TFLiteRunner(distributed)(image), TFLiteRunner(content)(image), rtol=0, atol=1e-5
    )


def test_the_bundled_teacher_bears_full_integer():
    """On noisy photographs; without the distributed output it is farther from float."""
    tiles = load_tiles(64, Task.of("denoise"))
    whole = with_image_size(load_model("restormer_denoise"), (64, 64), for_integers=True)
    images = tiles.degraded[:4]

    def restored(content):
        runner = TFLiteRunner(content)
        return np.stack([runner(image) for image in images])

    # The reference and both files are of one conversion, which is what takes long.
    content = float32(whole)
    reference, distance = restored(content), []
    for graph in (with_distributed_output(content), content):
        source = Source(whole, tiles.calibration[:8])
        source.float32, source.integer = graph, source
        distance.append(residual_psnr(restored(static_int8(source, "float32")), reference, images))
    assert distance[0] > 36
    assert distance[0] > distance[1] + 0.5


def test_what_the_quantizer_lacks_is_put_in_int8_without_a_change(source):
    source = source.integer
    kinds = source.graph.histogram().keys()
    islands = source.quantized(source.of_kinds(*(kinds - IN_INT8)))
    whole = without_islands(islands, IN_INT8)
    before, after = read_graph(islands), read_graph(whole)
    assert "FLOAT32" in types(before)
    assert types(after) == {"INT8"}
    for kind in IN_INT8:
        assert before.histogram().get(kind) == after.histogram().get(kind)
    image = source.calibration[0]
    expected, restored = TFLiteRunner(islands)(image), TFLiteRunner(whole)(image)
    # The exponential rounds once instead of twice.
    assert residual_psnr(restored, expected, image) > 35


def test_images_of_bytes(source):
    images = np.rint(source.calibration * 255).astype("float32") / np.float32(255)
    content = static_int8(Source(source.model, images), "uint8")
    graph = read_graph(content)
    for side in (*graph.inputs, *graph.outputs):
        assert graph.tensors[side].type == "UINT8"
    runner = TFLiteRunner(content)
    restored = runner(images[0])
    # A step of the model is a step of the byte.
    np.testing.assert_allclose(restored * 255, np.rint(restored * 255), atol=1e-3)
    reference = TFLiteRunner(source.float32)(images[0]).clip(0, 1)
    assert residual_psnr(restored, reference, images[0]) > 25


@pytest.mark.parametrize("image_type", ["float32", "uint8"])
@pytest.mark.parametrize("name", ["SwiftShader", "lavapipe"])
def test_it_runs_on_the_gpu(source, name, image_type, driver_named, tmp_path):
    file = tmp_path / "static.tflite"
    file.write_bytes(static_int8(source, image_type))
    bounds = {"float32": 30.0, "float16": 30.0}
    (run,) = verify_on_gpu(
        file, source.calibration[:1], [driver_named(name)], least_residual_psnr=bounds
    )
    assert run["failure"] is None
