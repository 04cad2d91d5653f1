"""A ``.tflite`` file as a list of operations, and the metadata in it."""

import collections
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import flatbuffers
import numpy as np

from keras_skd.runners import METADATA_NAME

_SUFFIX = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes:
        name: As the converter named it.
        shape: Sizes.
        dynamic: Whether one of the sizes is known at run time only.
        type: ``FLOAT32``, ``INT8``, ...
        constant: Whether its values follow from the file alone: a weight, or one dequantised.
    """

    name: str
    shape: tuple
    dynamic: bool
    type: str
    constant: bool


@dataclass(frozen=True)
class Operation:
    """An operation of the graph.

    Attributes:
        index: Position in the graph.
        kind: ``CONV_2D``, ...; a custom one's own name.
        custom: Whether it is not built into LiteRT (Flex operations are custom).
        inputs: Indices of its tensors; -1 for an optional one that is absent.
        outputs: Indices of its tensors.
        options: The schema's option table, or None.
        layer: The Keras layer that it computes, ``block/sublayer``.
    """

    index: int
    kind: str
    custom: bool
    inputs: tuple
    outputs: tuple
    options: object
    layer: str


@dataclass(frozen=True)
class Graph:
    """The main graph of a file.

    Attributes:
        tensors: List of :class:`Tensor`.
        operations: List of :class:`Operation`, in order of execution.
        inputs: Indices of the tensors that the caller gives.
        outputs: Indices of the tensors that the caller gets.
    """

    tensors: list
    operations: list
    inputs: tuple
    outputs: tuple

    def histogram(self) -> dict[str, int]:
        """How many operations of each kind there are, the most frequent first."""
        return dict(collections.Counter(op.kind for op in self.operations).most_common())

    def producer(self, tensor: int) -> Operation | None:
        """The :class:`Operation` that gives a tensor; None for an input or a stored constant."""
        return next((op for op in self.operations if tensor in op.outputs), None)

    def consumers(self, tensor: int) -> list[Operation]:
        """The operations that take a tensor."""
        return [op for op in self.operations if tensor in op.inputs]

    def described(self, operation: Operation) -> str:
        """``CONV_2D 12 of encoder_level1_0/attention``."""
        return f"{operation.kind} {operation.index} of {operation.layer}"


@cache
def _names(enumeration):
    from ai_edge_litert import schema_py_generated as schema

    values = vars(getattr(schema, enumeration)).items()
    return {value: name for name, value in values if isinstance(value, int)}


def read_graph(content: bytes) -> Graph:
    """Reads a file's main graph.

    Args:
        content: The file, bytes.

    Returns:
        A :class:`Graph`.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    graph = model.subgraphs[0]
    tensors = [
        Tensor(
            name=_decoded(tensor.name),
            shape=tuple(() if tensor.shape is None else map(int, tensor.shape)),
            dynamic=any(
                int(size) < 0 for size in _listed(tensor.shape) + _listed(tensor.shapeSignature)
            ),
            type=_names("TensorType")[tensor.type],
            constant=model.buffers[tensor.buffer].data is not None,
        )
        for tensor in graph.tensors
    ]
    operations = []
    for index, operator in enumerate(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        kind = _names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]
        custom = kind == "CUSTOM"
        inputs = tuple(map(int, _listed(operator.inputs)))
        outputs = tuple(map(int, _listed(operator.outputs)))
        if inputs and all(tensors[each].constant for each in inputs if each >= 0):
            for each in outputs:
                tensors[each] = replace(tensors[each], constant=True)
        operations.append(
            Operation(
                index=index,
                kind=_decoded(code.customCode) if custom else kind,
                custom=custom,
                inputs=inputs,
                outputs=outputs,
                options=operator.builtinOptions,
                layer=layer_of(tensors[outputs[0]].name) if outputs else "",
            )
        )
    return Graph(tensors, operations, tuple(graph.inputs), tuple(graph.outputs))


def layer_of(name: str) -> str:
    """The Keras layer of a tensor.

    ``restormer_1/latent_0_1/attention_1/k/Conv2D1`` -> ``latent_0/attention/k``: without the
    model's name, the operation's, and the number that Keras appends to a name in use. A compacted
    file has the result, with a slash at its end.
    """
    if name.endswith("/"):
        return name[:-1]
    if name.startswith("StatefulPartitionedCall"):
        return "the output"
    parts = [part for part in name.split(";")[0].split("/") if part]
    inner = parts[1:-1] if len(parts) > 2 else parts[-1:]
    return "/".join(_SUFFIX.sub("", part) for part in inner)


def with_metadata(content: bytes, values: Mapping[str, Any]) -> bytes:
    """A file with a dict of metadata, which :attr:`TFLiteRunner.metadata` reads back.

    Args:
        content: The file, bytes.
        values: What JSON can hold.

    Returns:
        bytes.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(json.dumps(values).encode(), np.uint8)
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [
        *(item for item in model.metadata or [] if _decoded(item.name) != METADATA_NAME),
        entry,
    ]
    return packed(model)


def _listed(values):
    return [] if values is None else list(values)


def _decoded(name):
    return name.decode() if isinstance(name, bytes) else name or ""


def compacted(content: bytes) -> bytes:
    """The same graph in fewer bytes.

    A student's file is small enough that what is not weights counts: half of an int8 file of
    300,000 weights. Names are cut to those of the layers, and only results keep them; equal
    constants, shapes and zero points (eight bytes a channel) share their bytes; shape signatures
    that say what the shapes say go, as do the ranges that the quantizer saw.

    Args:
        content: The file, bytes.

    Returns:
        bytes.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    for graph in model.subgraphs:
        results = {index for operator in graph.operators for index in _listed(operator.outputs)}
        kept = set(graph.inputs) | set(graph.outputs) | results
        kept |= {index for op in graph.operators for index in _listed(op.inputs) if index >= 0}
        new = {old: place for place, old in enumerate(sorted(kept))} | {-1: -1}
        for old in kept:
            _compact_tensor(graph.tensors[old])
            if old in results:
                graph.tensors[old].name = f"{layer_of(_decoded(graph.tensors[old].name))}/".encode()
            elif old not in graph.inputs:
                graph.tensors[old].name = None
        graph.tensors = [graph.tensors[old] for old in sorted(kept)]
        graph.inputs = [new[index] for index in graph.inputs]
        graph.outputs = [new[index] for index in graph.outputs]
        for operator in graph.operators:
            operator.inputs = [new[index] for index in _listed(operator.inputs)]
            operator.outputs = [new[index] for index in _listed(operator.outputs)]
        for signature in model.signatureDefs or []:
            for side in (*signature.inputs, *signature.outputs):
                side.tensorIndex = new[side.tensorIndex]
    _drop_unused_buffers(model)
    return packed(model)


def _compact_tensor(tensor):
    if tensor.shapeSignature is not None and min(tensor.shapeSignature, default=0) >= 0:
        tensor.shapeSignature = None
    quantization = tensor.quantization
    if quantization is not None:
        quantization.min = quantization.max = None


def _drop_unused_buffers(model):
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = [
        item for item in model.metadata or [] if _decoded(item.name) != "CONVERSION_METADATA"
    ]
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors] + model.metadata
    buffers, places = [schema.BufferT()], {b"": 0}
    for holder in holders:
        data = model.buffers[holder.buffer].data
        key = b"" if data is None else bytes(data)
        if key not in places:
            places[key] = len(buffers)
            buffers.append(model.buffers[holder.buffer])
        holder.buffer = places[key]
    model.buffers = buffers


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors once: a flatbuffer's tables may point to the same one."""

    def __init__(self):
        super().__init__(1024)
        self._written = {}

    def CreateNumpyVector(self, x):
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s, *arguments):
        if s not in self._written:
            self._written[s] = super().CreateString(s, *arguments)
        return self._written[s]

    def StartVector(self, elemSize, numElems, alignment):
        # The schema aligns the constants' bytes to 16, which the generated Python leaves out.
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)


def packed(model: Any) -> bytes:
    """The bytes of a model of the schema's objects; equal vectors are stored once."""

    def vector(values):
        return None if values is None else np.asarray(values, np.int32)

    for graph in model.subgraphs:
        graph.inputs, graph.outputs = vector(graph.inputs), vector(graph.outputs)
        for tensor in graph.tensors:
            tensor.shape = vector(tensor.shape)
            tensor.shapeSignature = vector(tensor.shapeSignature)
        for operator in graph.operators:
            operator.inputs, operator.outputs = vector(operator.inputs), vector(operator.outputs)
    builder = _SharingBuilder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
