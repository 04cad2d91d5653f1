"""A student as its integer file computes it, to train through.

The exporter makes the file that would be shipped. The graph that the file was made of is traced,
and each of its tensors is found there by its values (:mod:`keras_skd.quantisation.matching`). A
pass of the simulation runs the traced operations again, on the student's own weights, and rounds
wherever the file holds integers, with the file's scales. So nothing is said twice of what is
rounded and how: it is read from the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_skd.errors import FailedCheckError, InputError
from keras_skd.export.schemes import CONVOLUTIONS, FULL_INTEGER, Source
from keras_skd.quantisation import SCHEMES
from keras_skd.quantisation.matching import disturbed, match
from keras_skd.quantisation.quantisers import Quantisers
from keras_skd.quantisation.replay import Replay

if TYPE_CHECKING:
    import keras

    from keras_skd.export.calibration import Tiles
    from keras_skd.export.flatbuffer import Graph, Operation

# How near a simulation has to be to LiteRT, in dB: of the PSNR to the clean tiles, the median over
# tiles, and of the residual's distance from the float student's. The mean would be that of the
# nearly clean tiles, whose errors are of a step or two.
GREATEST_TASK_CHANGE, GREATEST_RESIDUAL_CHANGE = 0.05, 2.0

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
# Traced operations whose second input are weights, and the axis of their output channels.
_KERNELS = {"Conv2D": 3, "DepthwiseConv2dNative": 2, "Conv2DBackpropInput": 2}


class Simulation:
    """A student at a fixed size, with every rounding of its integer file.

    Args:
        student: A trained model of a keras_skd family; a pass is on its weights, as they are then.
        scheme: One of :data:`keras_skd.quantisation.SCHEMES`.
        tiles: What calibrates and checks, of the size that images to train on will have
            (:func:`keras_skd.export.calibration.load_tiles`).
        moving: Whether activations' ranges follow the training; see
            :class:`~keras_skd.quantisation.quantisers.Quantisers`.

    Attributes:
        student: The student.
        scheme: The scheme.
        size: ``(height, width)`` of the images.
        quantisers: The layer that holds the ranges.
        check: How near the simulation is to LiteRT on the tiles that verify: a dict of
            ``task_psnr`` and ``residual_psnr`` (dB, against the float student) of ``file`` and
            ``simulation``.

    Raises:
        InputError: The scheme cannot be simulated, the student was never trained, or
            tensorflow-model-optimization is not installed.
        FailedCheckError: The simulation is not near enough to LiteRT.
    """

    def __init__(self, student: keras.Model, scheme: str, tiles: Tiles, moving: bool = False):
        from keras_skd.models import with_image_size
        from keras_skd.models.family import taps_of

        if scheme not in SCHEMES:
            raise InputError(f"training simulates {', '.join(SCHEMES)}; got {scheme!r}.")
        self.student, self.scheme = student, scheme
        self.size = tuple(tiles.degraded.shape[1:3])
        self.quantisers = Quantisers(moving)
        source = Source(with_image_size(student, self.size), tiles.calibration)
        made_of = source.integer if scheme in FULL_INTEGER else source
        taps = taps_of(made_of.model)
        self._replay = Replay(made_of.model, list(taps.values()))
        self._outputs = dict(zip(("", *taps), self._replay.outputs, strict=True))
        found = _matches(self._replay, made_of, tiles.degraded[:1])
        content = _integer_file(source, scheme, tiles)
        hooks = _Hooks(self._replay, made_of.graph, content, found, self.quantisers)
        self._edges, self._results = hooks.edges, hooks.results
        self._one, self._compiled = {}, None
        self.check = self._checked(source.model, content, tiles)

    def __call__(self, images: tf.Tensor, stages: Sequence[str] = ()) -> list[tf.Tensor]:
        """Runs a batch.

        Args:
            images: float32 ``(batch, height, width, channels)`` of :attr:`size`.
            stages: Names of the student's stages.

        Returns:
            The restored images, and the features of the stages.

        Raises:
            InputError: The images are of another size.
        """
        prepared = self._replay.prepared(
            [variable.value for variable in self.student.weights], self._edges
        )
        changing = [key for key in prepared if key not in self._replay.constants]
        names = tuple(self._outputs[stage] for stage in ("", *stages))
        one = self._function(names, changing)
        values = [prepared[key] for key in changing]
        if tuple(images.shape[1:3]) != self.size and None not in images.shape[1:3]:
            raise InputError(
                f"the simulation is of images of {self.size[0]}x{self.size[1]}; these are of "
                f"{images.shape[1]}x{images.shape[2]}."
            )
        images = tf.ensure_shape(images, (None, *self.size, None))
        if images.shape[0] is None:
            return tf.map_fn(
                lambda image: [result[0] for result in one(image[None], values)],
                images,
                fn_output_signature=[tf.float32] * len(names),
            )
        results = [one(images[index : index + 1], values) for index in range(images.shape[0])]
        return [tf.concat(parts, axis=0) for parts in zip(*results, strict=True)]

    def batch(self, images: np.ndarray) -> np.ndarray:
        """Restores images one by one, float32 ``(n, height, width, channels)``."""
        if self._compiled is None:
            self._compiled = tf.function(lambda image: self(image)[0], autograph=False)
        return np.concatenate(
            [self._compiled(tf.constant(image[None], tf.float32)).numpy() for image in images]
        )

    def _function(self, names, changing):
        """Of one image: traced once, however large the batch."""
        if names not in self._one:

            def run(image, values):
                values = dict(zip(changing, values, strict=True))
                constants = {
                    name: tf.constant(value) for name, value in self._replay.constants.items()
                }
                values = self._replay.run(
                    image, {**constants, **values}, self._edges, self._results
                )
                return [values[name] for name in names]

            self._one[names] = tf.function(run, autograph=False)
        return self._one[names]

    def _checked(self, model, content, tiles):
        from keras_skd.export.verification import residual_psnr, tile_psnrs
        from keras_skd.runners import KerasRunner, TFLiteRunner

        runner = TFLiteRunner(content)
        degraded, clean = tiles.degraded, tiles.clean
        reference = KerasRunner(model).batch(degraded).clip(0, 1)
        restored = {
            "file": np.stack([runner(image) for image in degraded]),
            "simulation": self.batch(degraded),
        }
        scores = {name: tile_psnrs(images, clean) for name, images in restored.items()}
        check = {
            name: {
                "task_psnr": float(scores[name].mean()),
                "residual_psnr": residual_psnr(images.clip(0, 1), reference, degraded),
            }
            for name, images in restored.items()
        }
        of_task = abs(np.median(scores["simulation"] - scores["file"]))
        of_residual = abs(check["simulation"]["residual_psnr"] - check["file"]["residual_psnr"])
        if of_task > GREATEST_TASK_CHANGE or of_residual > GREATEST_RESIDUAL_CHANGE:
            raise FailedCheckError(
                f"the simulation of {self.scheme} is {of_task:.3f} dB of PSNR and "
                f"{of_residual:.2f} dB of the residual from LiteRT; at most "
                f"{GREATEST_TASK_CHANGE} and {GREATEST_RESIDUAL_CHANGE} are allowed, because what "
                "would be trained is not what is shipped."
            )
        return check


def _integer_file(source, scheme, tiles):
    """The file as the exporter makes it."""
    from keras_skd.export import schemes
    from keras_skd.export.integer.sensitivity import measure

    mix = None
    if scheme == "int8":
        mix = measure(source, tiles.calibration[:8], tiles.calibration_clean[:8]).mix(source)
    return schemes.SCHEMES[scheme].build(source, mix, "float32")


def _matches(replay, source, image):
    """The file's tensors in the traced graph.

    They are found on other weights than the student's, in a file of its own: a student's biases may
    be zero and its factors one, so that values agree that are not the same tensor.
    """
    other = source.of(disturbed(source.model))
    if _kinds(other.graph) != _kinds(source.graph):
        raise InputError(
            f"{source.model.name}: the converter leaves out operations that its weights make "
            "needless, as those of a student that was never trained; train it first."
        )
    weights = [variable.value for variable in other.model.weights]
    return match(replay, weights, other.float32, other.graph, image)


def _kinds(graph):
    return [operation.kind for operation in graph.operations]


class _Hooks:
    """Where a replay has to round, so that it does what a file does.

    Args:
        replay: Of the model that the file was made of.
        graph: Of the float file, a :class:`~keras_skd.export.flatbuffer.Graph`.
        content: The integer file made of it: the same operations, and conversions.
        found: Tensor of the float file to names of the traced ones that have its values.
        quantisers: Makes the quantisers.

    Attributes:
        edges: For :meth:`Replay.run`: values that are rounded for one operation alone.
        results: The same: values that are rounded where they come from.
    """

    def __init__(
        self,
        replay: Replay,
        graph: Graph,
        content: bytes,
        found: dict[int, list[str]],
        quantisers: Quantisers,
    ):
        from keras_skd.export.editing import EditedGraph
        from keras_skd.export.flatbuffer import read_graph

        self._replay, self._graph, self._found = replay, graph, found
        self._quantisers = quantisers
        self._quantised = read_graph(content)
        self._tensors = EditedGraph(content).subgraph.tensors
        self._place = {
            name: place
            for place, operation in enumerate((*replay.of_weights, *replay.of_image))
            for name in operation.outputs
        }
        self._place[replay.image] = -1
        self._chosen = {graph.inputs[0]: replay.image}
        self._part = None
        self.edges: dict[Any, Callable] = {}
        self.results: dict[str, Callable] = {}
        pairs = [each for each in self._quantised.operations if each.kind not in _CONVERSIONS]
        if [each.kind for each in pairs] != _kinds(graph):
            raise InputError("the integer file has other operations than the float file.")
        for operation, quantised in zip(graph.operations, pairs, strict=True):
            if not graph.tensors[operation.outputs[0]].constant:
                self._add(operation, quantised)

    def _add(self, operation: Operation, quantised: Operation):
        """The roundings of an operation: of what it takes, and of what it gives."""
        output = operation.outputs[0]
        activations = [
            tensor
            for tensor in operation.inputs
            if tensor >= 0 and not self._graph.tensors[tensor].constant
        ]
        known = all(tensor in self._chosen for tensor in activations)
        name = self._traced(output, activations)
        if name is None:
            # A part of the last convolution, which the exporter takes apart after tracing.
            self._part = (operation, quantised)
            return
        self._chosen[output] = name
        self._round_result(name, quantised.outputs[0])
        if not known:
            # The sum of those parts.
            self._round_kernels(*self._part, self._between(name, []))
            return
        inside = self._between(name, [each for t in activations for each in self._found[t]])
        for tensor, integers in zip(operation.inputs, quantised.inputs, strict=True):
            if tensor < 0 or not self._integer(integers):
                continue
            if not self._graph.tensors[tensor].constant:
                self._round_edge(tensor, integers, inside)
            elif operation.kind not in CONVOLUTIONS:
                self._round_constant(tensor, inside)
        self._round_kernels(operation, quantised, inside)

    def _traced(self, output, activations):
        """Which of the traced tensors of its values an operation's result is.

        The first that comes after what the operation takes: a reshape has the values of its input.
        """
        candidates = self._found[output]
        taken = [self._chosen[tensor] for tensor in activations if tensor in self._chosen]
        after = max((self._place[name] for name in taken), default=-1)
        later = [name for name in candidates if self._place[name] > after]
        return next(iter([*later, *candidates]), None)

    def _between(self, name, ends):
        """The traced operations that make a tensor of others."""
        waiting, inside = [name], {}
        while waiting:
            tensor = waiting.pop()
            operation = self._replay.producers.get(tensor)
            if operation is None or operation.name in inside or tensor in ends:
                continue
            inside[operation.name] = operation
            if operation.kind not in _KERNELS or ends:
                waiting += operation.inputs
        return list(inside.values())

    def _integer(self, tensor):
        return self._quantised.tensors[tensor].type in ("INT8", "INT4")

    def _activation(self, tensor):
        """A quantiser with the scale of the file's tensor."""
        scale = float(self._tensors[tensor].quantization.scale[0])
        zero = int(self._tensors[tensor].quantization.zeroPoint[0])
        return self._quantisers.activation(scale * (-128 - zero), scale * (127 - zero))

    def _round_result(self, name, integers):
        if self._integer(integers) and name not in self.results and name != self._replay.image:
            self.results[name] = self._activation(integers)

    def _round_edge(self, tensor, integers, inside):
        """What an operation takes at another scale than it came with, or as the first integer."""
        producer = self._quantised.producer(integers)
        if producer is None or producer.kind != "QUANTIZE":
            return
        names = {*self._found[tensor], self._chosen[tensor]}
        change = self._activation(integers)
        for operation in inside:
            for place, name in enumerate(operation.inputs):
                if name in names:
                    self.edges[operation.name, place] = change

    def _round_constant(self, tensor, inside):
        """A constant of an elementwise operation: what of its size is not of the image."""
        size = int(np.prod(self._graph.tensors[tensor].shape))
        edges = [
            (operation.name, place)
            for operation in inside
            if self._replay.shown.intersection(operation.outputs)
            for place, name in enumerate(operation.inputs)
            if name not in self._replay.shown and self._size(name) == size
        ]
        if len(edges) == 1:
            self.edges[edges[0]] = self._quantisers.constant()

    def _size(self, name):
        """How many floats; None of what holds none."""
        if name in self._replay.constants:
            value = self._replay.constants[name]
            return value.size if value.dtype == np.float32 else None
        return int(np.prod(self._shape(name))) if name in self._replay.producers else None

    def _round_kernels(self, operation, quantised, inside):
        if operation.kind not in CONVOLUTIONS or not self._integer(quantised.inputs[1]):
            return
        bits = 4 if self._quantised.tensors[quantised.inputs[1]].type == "INT4" else 8
        for each in inside:
            if each.kind in _KERNELS and (each.name, 1) not in self.edges:
                shape = self._shape(each.inputs[1])
                self.edges[each.name, 1] = self._quantisers.kernel(shape, _KERNELS[each.kind], bits)

    def _shape(self, name):
        if name in self._replay.constants:
            return self._replay.constants[name].shape
        operation = self._replay.producers[name]
        return operation.shapes[operation.outputs.index(name)]
