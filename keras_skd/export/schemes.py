"""The ways to store a student in a ``.tflite`` file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_skd.errors import InputError
from keras_skd.export.flatbuffer import compacted, read_graph
from keras_skd.export.gpu.layout import without_adj_flags
from keras_skd.export.gpu.run import LEAST_RESIDUAL_PSNR
from keras_skd.export.half import with_half_constants
from keras_skd.export.integer.ranges import narrowed
from keras_skd.export.integer.rewriting import (
    with_byte_images,
    with_distributed_output,
    without_islands,
)
from keras_skd.quiet import quiet

if TYPE_CHECKING:
    import keras

    from keras_skd.export.flatbuffer import Graph, Operation

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
# Products per value read or written from which an int8 convolution is faster than a float one with
# its conversions. Measured with LiteRT on an x86 CPU (AVX512-VNNI); benchmarks/cpu_latency.py.
# Depthwise convolutions never are: XNNPACK's are 1.5 times slower in int8 than in float32.
LEAST_INTENSITY = 16
IMAGE_CHANNELS = 4  # at most
# Copies of values, at the scale that they have.
MOVES = ("RESHAPE", "TRANSPOSE", "STRIDED_SLICE")
# Has int8 kernels in LiteRT, but no support by LiteRT Quantizer.
_WITHOUT_QUANTIZER = {"DEPTH_TO_SPACE", "EXP", "LEAKY_RELU", "REDUCE_MAX", "TILE"}
# The quantizer's names, where they are not the file's.
_QUANTIZER_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}


def _in_float(operation):
    from keras_skd.layers.export_form import IN_FLOAT

    return operation.layer.split("/")[-1] == IN_FLOAT


class Source:
    """A student at a fixed size, with what the schemes share: its float file and its ranges.

    Args:
        model: A Keras model of fixed size and batch 1.
        calibration: float32 ``(tiles, height, width, channels)``, degraded as in the task.
        distributed: Whether the last convolution is taken of the terms of its input
            (:func:`~keras_skd.export.integer.rewriting.with_distributed_output`).
    """

    def __init__(self, model: keras.Model, calibration: np.ndarray, distributed: bool = False):
        self.model = model
        self.calibration = calibration
        self._distributed = distributed

    def of(self, model: keras.Model) -> Source:
        """The same of another model of these images."""
        return Source(model, self.calibration, self._distributed)

    @cached_property
    def float32(self) -> bytes:
        """The float file, bytes, with the converter's names.

        Raises:
            InputError: An operation of the model is not built into LiteRT.
        """
        content = float32(self.model)
        return with_distributed_output(content) if self._distributed else content

    @cached_property
    def graph(self) -> Graph:
        """The float file's :class:`~keras_skd.export.flatbuffer.Graph`."""
        return read_graph(self.float32)

    @cached_property
    def ranges(self) -> dict[str, dict[str, Any]]:
        """The range of every activation in int8, from the calibration tiles."""
        with quiet():
            from litert_quantizer import quantizer

            quantization = quantizer.Quantizer(self.float32)
            quantization.add_static_config(".*", "*", 8, 8)
            (image,) = self.model.inputs
            spans = quantization.calibrate(
                {"serving_default": [{image.name: tile[None]} for tile in self.calibration]},
                num_threads=2,
                mode=quantizer.calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            )
            return narrowed(self.float32, self.graph, self.calibration, spans)

    @cached_property
    def integer(self) -> Source:
        """The same function as a graph that can compute every operation in int8.

        Its output convolution is distributed, and features have their own scale
        (``for_integers``): layers scale them down so that squares of 200 do not overflow float16.
        The ranges of int8 are known, and do not need that; but the steps of scaled squares lie
        below float16's least number, and a phone's GPU, which computes int8 operations in float16,
        loses them (22 dB against the CPU, and 36 unscaled).
        """
        from keras_skd.models import with_image_size

        size = self.model.input_shape[1:3]
        model = with_image_size(self.model, size, for_integers=True)
        return Source(model, self.calibration, distributed=True)

    def quantized(
        self,
        operations: Collection[Operation],
        dynamic: bool = False,
        half: Collection[Operation] = (),
        ranges: dict[str, dict[str, Any]] | None = None,
        four_bits: Collection[Operation] = (),
    ) -> bytes:
        """The float file with some operations in int8.

        Weights are symmetric with a scale per output channel; activations are asymmetric with the
        range that they take on the calibration tiles.

        Args:
            operations: List of :class:`~keras_skd.export.flatbuffer.Operation` of :attr:`graph`.
            dynamic: Whether activations stay float and are quantised as they come.
            half: Convolutions that stay in float and whose weights are stored in float16.
            ranges: In place of :attr:`ranges`.
            four_bits: Convolutions among ``operations`` whose weights take 4 bits.

        Returns:
            The flatbuffer, bytes; input and output are float32.
        """
        names = defaultdict(list)
        for usual, group in ((8, operations), (16, half)):
            for operation in group:
                name = self.graph.tensors[operation.outputs[0]].name
                bits = 4 if operation in four_bits else usual
                names[operation.kind, bits].append(name)
        if not names:
            return self.float32
        with quiet():
            from litert_quantizer import quantizer
            from litert_quantizer.algorithm_manager import AlgorithmName

            quantization = quantizer.Quantizer(self.float32)
            for (kind, bits), outputs in names.items():
                # The quantizer searches the name of the output, a semicolon after it.
                scope = f"^(?:{'|'.join(map(re.escape, outputs))});$"
                kind = _QUANTIZER_NAMES.get(kind, kind)
                if bits == 16:
                    quantization.add_weight_only_config(
                        scope, kind, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
                    )
                elif dynamic:
                    quantization.add_dynamic_config(scope, kind, bits)
                else:
                    quantization.add_static_config(scope, kind, 8, bits)
            return bytes(
                quantization.quantize(
                    None if dynamic else ranges or self.ranges, enable_progress_report=False
                ).quantized_model
            )

    def integer_operations(self) -> list[Operation]:
        """The operations that gain by int8: dense convolutions, and copies beside them.

        What is left out has few weights, and int8 would cost quality and no less time.
        """
        convolutions = [
            operation
            for operation in self.of_kinds("CONV_2D", "TRANSPOSE_CONV")
            if not _in_float(operation)
            and (operation.kind != "CONV_2D" or self._intensity(operation) >= LEAST_INTENSITY)
        ]
        beside = {tensor for each in convolutions for tensor in (each.inputs[0], *each.outputs)}
        return convolutions + [
            operation
            for operation in self.of_kinds(*MOVES)
            if beside & {operation.inputs[0], *operation.outputs}
        ]

    def wide_convolutions(self) -> list[Operation]:
        """The dense convolutions whose weights bear 4 bits.

        Not those that read or write an image: they hold a few hundred weights, and all of the
        picture passes them. In 4 bits they cost restormer_tiny 1.2 and 5 dB.
        """
        shapes = {
            operation: self.graph.tensors[operation.inputs[1]].shape
            for operation in self.of_kinds("CONV_2D")
        }
        return [each for each, (out, *_, into) in shapes.items() if min(out, into) > IMAGE_CHANNELS]

    def _intensity(self, convolution):
        outputs, rows, columns, inputs = self.graph.tensors[convolution.inputs[1]].shape
        return rows * columns * inputs * outputs / (inputs + outputs)

    def of_kinds(self, *kinds: str) -> list[Operation]:
        """The operations of some kinds."""
        return [operation for operation in self.graph.operations if operation.kind in kinds]


def float32(model: keras.Model) -> bytes:
    """Float weights, float arithmetic.

    Args:
        model: A Keras model of fixed size and batch 1.

    Returns:
        The flatbuffer, bytes, with the converter's names.

    Raises:
        InputError: An operation of the model is not built into LiteRT.
    """
    import tensorflow as tf

    # from_keras_model and not from_concrete_functions: that wrote a broken file for these models.
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        with quiet():
            return without_adj_flags(converter.convert())
    except Exception as error:
        raise InputError(
            f"{model.name} cannot be converted to LiteRT's built-in operations: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def float16(source: Source) -> bytes:
    """Weights rounded to float16; arithmetic in the float type of the runtime."""
    return compacted(with_half_constants(source.float32))


def dynamic_int8(source: Source, bits: int = 8) -> bytes:
    """Weights in int8 or int4, activations float; those of convolutions are quantised on the way.

    Args:
        source: A :class:`Source`.
        bits: Of the weights, 8 or 4.
    """
    convolutions = [each for each in source.of_kinds("CONV_2D") if not _in_float(each)]
    four = source.wide_convolutions() if bits == 4 else ()
    return compacted(source.quantized(convolutions, dynamic=True, four_bits=four))


def mixed_int8(source: Source, mix: Collection[Operation]) -> bytes:
    """Some operations in int8; the weights of the convolutions that stay in float in float16.

    Args:
        source: A :class:`Source`.
        mix: The operations in int8, as
            :meth:`keras_skd.export.integer.sensitivity.Sensitivity.mix` gives them.
    """
    return compacted(
        source.quantized(
            mix, half=[each for each in source.of_kinds(*CONVOLUTIONS) if each not in mix]
        )
    )


def static_int8(source: Source, image_type: str, bits: int = 8) -> bytes:
    """All operations in int8.

    Args:
        source: A :class:`Source`; for images of bytes, its calibration is what bytes can hold.
        image_type: ``float32`` or ``uint8``, of the input and the output.
        bits: Of the weights of wide convolutions, 8 or 4; LiteRT has no others in 4.
    """
    source = source.integer
    # A step is that of a byte: the restored image is rounded to bytes in any case.
    sides = (*source.graph.outputs, *(source.graph.inputs if image_type == "uint8" else ()))
    full = {"min": np.float32(0), "max": np.float32(1)}
    ranges = {**source.ranges, **{source.graph.tensors[side].name: full for side in sides}}
    kinds = source.graph.histogram().keys() - _WITHOUT_QUANTIZER
    four = source.wide_convolutions() if bits == 4 else ()
    content = source.quantized(source.of_kinds(*kinds), ranges=ranges, four_bits=four)
    content = without_islands(content, _WITHOUT_QUANTIZER)
    return compacted(with_byte_images(content) if image_type == "uint8" else content)


@dataclass(frozen=True)
class Scheme:
    """A way to store a student, and what it promises.

    Attributes:
        build: Function of a :class:`Source`, of the operations that the recommended mix quantises
            and of the images' type; gives the bytes.
        description: One line for ``--help``.
        least_residual_psnr: Bound on the residual against Keras, in dB of its own peak.
        greatest_task_change: Bound on the change of PSNR to the clean tiles against Keras, in dB.
        least_gpu_psnr: Bound on the residual of the GPU against the CPU by precision, in dB. A GPU
            computes int8 operations in float, so that values near a step's edge fall on the other
            side; what is left is the quantisation's own error.
        trained_for: What ``train --quantise`` names for students of this scheme, if it is for
            such alone; a conversion of any other carries a warning. None if it is for all.
    """

    build: Callable
    description: str
    least_residual_psnr: float
    greatest_task_change: float
    least_gpu_psnr: dict
    trained_for: str | None = None


_INTEGER_ON_GPU = {"float32": 30.0, "float16": 30.0}

SCHEMES = {
    "fp32": Scheme(
        lambda source, mix, image_type: compacted(source.float32),
        "float32 weights",
        90.0,
        0.001,
        LEAST_RESIDUAL_PSNR,
    ),
    "fp16": Scheme(
        lambda source, mix, image_type: float16(source),
        "float16 weights, half the size",
        50.0,
        0.01,
        LEAST_RESIDUAL_PSNR,
    ),
    "dynamic_wi8_afp32": Scheme(
        lambda source, mix, image_type: dynamic_int8(source),
        "int8 weights of the convolutions; float activations, quantised as they come",
        30.0,
        0.1,
        _INTEGER_ON_GPU,
    ),
    "int8": Scheme(
        lambda source, mix, image_type: mixed_int8(source, mix),
        "the recommended mix: dense convolutions in int8 (per-channel weights, calibrated "
        "activations); in float, with float16 weights, what int8 does not help or hurts",
        30.0,
        0.1,
        _INTEGER_ON_GPU,
    ),
    "static_wi8_ai8": Scheme(
        lambda source, mix, image_type: static_int8(source, image_type),
        "full integer; images of float32 or of bytes (--image-type)",
        25.0,
        0.3,
        _INTEGER_ON_GPU,
    ),
    "static_wi4_ai8": Scheme(
        lambda source, mix, image_type: static_int8(source, image_type, bits=4),
        "full integer, 4 bits for the weights of dense convolutions; for students trained for it "
        "(train --quantise)",
        15.0,
        1.5,
        _INTEGER_ON_GPU,
        trained_for="static_wi4_ai8",
    ),
    "dynamic_wi4_afp32": Scheme(
        lambda source, mix, image_type: dynamic_int8(source, bits=4),
        "int4 weights of the convolutions, float activations; for students trained for "
        "static_wi4_ai8",
        15.0,
        1.5,
        _INTEGER_ON_GPU,
        trained_for="static_wi4_ai8",
    ),
}

# Of schemes that take images of bytes, and whose output holds 0..1 and no more.
FULL_INTEGER = ("static_wi8_ai8", "static_wi4_ai8")
