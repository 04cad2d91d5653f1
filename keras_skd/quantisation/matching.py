"""Which value of a traced model is which tensor of the ``.tflite`` file made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_skd.errors import InputError

if TYPE_CHECKING:
    import keras

    from keras_skd.export.flatbuffer import Graph
    from keras_skd.quantisation.replay import Replay

# Two float runs of one function on one image differ by this share of the largest value at most,
# and two different functions, with weights that are all different, by far more.
_TOLERANCE = 1e-4
# Spread of the random change of the weights, which tells apart what happens to be alike: biases of
# zero, factors of one.
_SPREAD = 0.05


def disturbed(model: keras.Model) -> keras.Model:
    """A copy of a model of fixed size, each of whose weights was changed a little, at random."""
    generator = np.random.default_rng(0)
    copy = type(model).from_config(model.get_config())
    copy.set_weights(
        [
            weight
            + generator.normal(size=weight.shape)
            * _SPREAD
            * (np.abs(weight) + np.std(weight) + 0.1)
            for weight in model.get_weights()
        ]
    )
    return copy


def file_values(content: bytes, graph: Graph, image: np.ndarray) -> dict[int, np.ndarray]:
    """What LiteRT computes for every activation of a float file.

    Args:
        content: The file, bytes.
        graph: Its :class:`~keras_skd.export.flatbuffer.Graph`.
        image: float32 ``(1, height, width, channels)``.

    Returns:
        Index of the tensor to its values.
    """
    from keras_skd.export.integer.ranges import keeping_interpreter

    interpreter = keeping_interpreter(content)
    interpreter.set_tensor(graph.inputs[0], image)
    interpreter.invoke()
    return {
        index: interpreter.get_tensor(index)
        for operation in graph.operations
        for index in operation.outputs
        if not graph.tensors[index].constant
    }


def match(
    replay: Replay, weights: list, content: bytes, graph: Graph, image: np.ndarray
) -> dict[int, list[str]]:
    """The traced tensors that have the values of each tensor of the file, in order.

    Args:
        replay: Of the model that the file was made of.
        weights: Its weights.
        content: The float file, bytes.
        graph: Its :class:`~keras_skd.export.flatbuffer.Graph`.
        image: float32 of the model's input shape.

    Returns:
        Index of the file's tensor to names of the traced ones; an empty list where none has its
        values.

    Raises:
        InputError: The file's result is not that of the traced model.
    """
    values = replay.run(tf.constant(image), replay.prepared(weights))
    by_size = {}
    for operation in replay.of_image:
        for name in operation.outputs:
            if values[name].dtype == tf.float32:
                flat = values[name].numpy().ravel()
                by_size.setdefault(flat.size, []).append((name, flat))
    found = {}
    for index, expected in file_values(content, graph, image).items():
        expected = expected.ravel()
        bound = _TOLERANCE * (np.abs(expected).max() + 1e-9)
        found[index] = [
            name
            for name, flat in by_size.get(expected.size, [])
            if np.abs(flat - expected).max() <= bound
        ]
    for tensor in graph.inputs:
        found[tensor] = [replay.image]
    if replay.outputs[0] not in found[graph.outputs[0]]:
        raise InputError("the converted file does not compute what the model does.")
    return found
