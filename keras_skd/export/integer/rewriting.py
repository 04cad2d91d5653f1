"""Integer operations and images where LiteRT Quantizer leaves float ones."""

import copy
from collections.abc import Collection

import numpy as np

from keras_skd.export.flatbuffer import packed

# Results are values of the input, so they keep its scale.
_MOVES = {"DEPTH_TO_SPACE", "REDUCE_MAX", "TILE"}


def with_distributed_output(content: bytes, most_parts: int = 8) -> bytes:
    """The last convolution is taken of the terms of its input, and the results are added.

    ``conv(x + a + f) = conv(x) + conv(a) + conv(f)``, and that of a concatenation is the sum of
    those of its parts. In float nothing changes. In int8 each term keeps steps of its own, and what
    goes straight to the image is not rounded to the coarser steps of their sum: about a third of
    what full integer cost a trained student.

    Args:
        content: A float file, bytes; the last convolution is of stride 1 and has few filters, so
            that more of them cost little.
        most_parts: Terms at most.

    Returns:
        bytes.
    """
    graph = _EditedGraph(content)
    convolution = graph.of_kinds({"CONV_2D"})[-1]
    source, weights, bias = convolution.inputs
    terms = [] if graph.activated(convolution) else graph.terms(source, most_parts)
    additions = [each for each in graph.of_kinds({"ADD"}) if not graph.activated(each)]
    if len(terms) < 2 or not additions:
        return content
    name = graph.name(convolution.outputs[0])
    no_bias = graph.add_constant(bias, 0 * graph.values(bias), f"{name}_no_bias")
    parts, sums = [], []
    for tensor, channels in terms:
        part = copy.copy(convolution)
        kernel = graph.values(weights)[..., channels]
        kernel = graph.add_constant(weights, kernel, f"{name}_kernel{len(parts)}")
        part.inputs = [tensor, kernel, no_bias if parts else bias]
        part.outputs = [graph.add_tensor(convolution.outputs[0], name=f"{name}_term{len(parts)}")]
        parts.append(part)
    total = parts[0].outputs[0]
    for part in parts[1:]:
        sums.append(copy.copy(additions[0]))
        sums[-1].inputs = [total, part.outputs[0]]
        total = graph.add_tensor(convolution.outputs[0], name=f"{name}_sum{len(sums)}")
        sums[-1].outputs = [total]
    sums[-1].outputs = list(convolution.outputs)
    place = next(i for i, each in enumerate(graph.subgraph.operators) if each is convolution)
    graph.subgraph.operators[place : place + 1] = [*parts, *sums]
    graph.remove_unused()
    return packed(graph.model)


def without_islands(content: bytes, kinds: Collection[str]) -> bytes:
    """Operations between a DEQUANTIZE and a QUANTIZE take the integers themselves.

    Args:
        content: A quantised file, bytes.
        kinds: Kinds of operation of one activation that have int8 kernels.

    Returns:
        bytes. A move whose result is quantised at another scale than its input keeps the
        QUANTIZE, from int8 to int8.
    """
    graph = _EditedGraph(content)
    for operator in graph.of_kinds(kinds):
        before = graph.producer(operator.inputs[0])
        after = graph.consumers(operator.outputs[0])
        if graph.kind(before) != "DEQUANTIZE" or not after:
            continue
        if any(graph.kind(consumer) != "QUANTIZE" for consumer in after):
            continue
        integers = before.inputs[0]
        operator.inputs = [integers, *operator.inputs[1:]]
        if graph.kind(operator) in _MOVES:
            operator.outputs = [graph.add_tensor(operator.outputs[0], integers)]
        else:
            operator.outputs = [graph.add_tensor(operator.outputs[0], after[0].outputs[0])]
        for consumer in after:
            if graph.same_scale(operator.outputs[0], consumer.outputs[0]):
                graph.replace(consumer.outputs[0], operator.outputs[0])
                graph.remove(consumer)
            else:
                consumer.inputs = [operator.outputs[0]]
        if not graph.consumers(before.outputs[0]):
            graph.remove(before)
    return packed(graph.model)


def with_byte_images(content: bytes) -> bytes:
    """The same for images of bytes, 0..255 for 0..1.

    Args:
        content: A file of float images that quantises its input first and dequantises its output
            last, both of range 0..1; bytes.

    Returns:
        bytes.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = _EditedGraph(content)
    (image,), (restored,) = graph.subgraph.inputs, graph.subgraph.outputs
    (first,), last = graph.consumers(image), graph.producer(restored)
    last.opcodeIndex = first.opcodeIndex
    last.builtinOptionsType, last.builtinOptions = first.builtinOptionsType, first.builtinOptions
    for side, integers in ((image, first.outputs[0]), (restored, last.inputs[0])):
        tensor = graph.subgraph.tensors[side]
        tensor.type = schema.TensorType.UINT8
        tensor.quantization = copy.deepcopy(graph.subgraph.tensors[integers].quantization)
        tensor.quantization.zeroPoint = [tensor.quantization.zeroPoint[0] + 128]
    return packed(graph.model)


class _EditedGraph:
    """A file's main graph, to change."""

    def __init__(self, content):
        from ai_edge_litert.tools import flatbuffer_utils

        self.model = flatbuffer_utils.read_model_from_bytearray(content)
        self.subgraph = self.model.subgraphs[0]

    def kind(self, operator):
        from ai_edge_litert.tools import flatbuffer_utils

        return operator and flatbuffer_utils.opcode_to_name(self.model, operator.opcodeIndex)

    def of_kinds(self, kinds):
        return [each for each in self.subgraph.operators if self.kind(each) in kinds]

    def producer(self, tensor):
        """The operator that gives a tensor; None for inputs and constants."""
        return next((each for each in self.subgraph.operators if tensor in each.outputs), None)

    def consumers(self, tensor):
        return [each for each in self.subgraph.operators if tensor in each.inputs]

    def activated(self, operator):
        """Whether an activation is fused into an operator."""
        return bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0))

    def name(self, tensor):
        return self.subgraph.tensors[tensor].name.decode()

    def add_tensor(self, shaped, scaled=None, name=None):
        """A new tensor as large as one, and with the type and scale of that or another."""
        tensor = copy.copy(self.subgraph.tensors[shaped])
        like = self.subgraph.tensors[shaped if scaled is None else scaled]
        tensor.type, tensor.quantization = like.type, copy.deepcopy(like.quantization)
        tensor.name = tensor.name if name is None else name.encode()
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def values(self, constant):
        """Those of a float constant, as an array."""
        tensor = self.subgraph.tensors[constant]
        data = bytes(self.model.buffers[tensor.buffer].data)
        return np.frombuffer(data, np.float32).reshape(tensor.shape)

    def add_constant(self, like, values, name):
        """A new float constant, otherwise like another one."""
        index = self.add_tensor(like, name=name)
        tensor, buffer = self.subgraph.tensors[index], copy.copy(self.model.buffers[0])
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.shape, tensor.buffer = list(values.shape), len(self.model.buffers)
        self.model.buffers.append(buffer)
        return index

    def terms(self, tensor, most):
        """What a tensor is the sum of.

        Returns:
            A list of tensors, each with the slice of the channels where it goes; the earlier ones
            of a sum are taken apart last.
        """
        channels = self.subgraph.tensors[tensor].shape[-1]
        found, stuck = [(tensor, slice(0, channels))], []
        while found and len(found) + len(stuck) < most:
            term, place = found.pop(0)
            producer = self.producer(term)
            shape = list(self.subgraph.tensors[term].shape)
            if producer is None or self.activated(producer):
                stuck.append((term, place))
            elif self.kind(producer) == "ADD" and all(
                list(self.subgraph.tensors[each].shape) == shape for each in producer.inputs
            ):
                found += [(each, place) for each in producer.inputs]
            elif self.kind(producer) == "CONCATENATION" and shape[:-1] == list(
                self.subgraph.tensors[producer.inputs[0]].shape[:-1]
            ):
                start = place.start
                for each in producer.inputs:
                    end = start + self.subgraph.tensors[each].shape[-1]
                    found.append((each, slice(start, end)))
                    start = end
            else:
                stuck.append((term, place))
        return stuck + found

    def same_scale(self, one, other):
        one, other = (self.subgraph.tensors[each].quantization for each in (one, other))
        return (one.scale[0], one.zeroPoint[0]) == (other.scale[0], other.zeroPoint[0])

    def replace(self, old, new):
        """Lets all who take the old tensor take the new one."""
        for operator in self.consumers(old):
            operator.inputs = [new if each == old else each for each in operator.inputs]

    def remove_unused(self):
        """Drops operators whose results nobody takes."""
        for operator in reversed(self.subgraph.operators):
            if not any(
                self.consumers(each) or each in self.subgraph.outputs for each in operator.outputs
            ):
                self.remove(operator)

    def remove(self, operator):
        # By identity: the schema's objects compare by value.
        self.subgraph.operators = [each for each in self.subgraph.operators if each is not operator]
