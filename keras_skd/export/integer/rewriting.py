"""Integer operations and images where LiteRT Quantizer leaves float ones."""

import copy
from collections.abc import Collection

from keras_skd.export.editing import EditedGraph
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
    graph = EditedGraph(content)
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
    graph = EditedGraph(content)
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

    graph = EditedGraph(content)
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
