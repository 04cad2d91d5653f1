"""Integer operations and images where AI Edge Quantizer leaves float ones."""

import copy

from exports.flatbuffer import packed

# Results are values of the input, so they keep its scale.
_MOVES = {"DEPTH_TO_SPACE", "REDUCE_MAX", "TILE"}


def without_islands(content, kinds):
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


def with_byte_images(content):
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

    def add_tensor(self, shaped, scaled):
        """A new tensor, as large as the first of two and with the type and scale of the second."""
        tensor = copy.copy(self.subgraph.tensors[shaped])
        tensor.type = self.subgraph.tensors[scaled].type
        tensor.quantization = copy.deepcopy(self.subgraph.tensors[scaled].quantization)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def same_scale(self, one, other):
        one, other = (self.subgraph.tensors[each].quantization for each in (one, other))
        return (one.scale[0], one.zeroPoint[0]) == (other.scale[0], other.zeroPoint[0])

    def replace(self, old, new):
        """Lets all who take the old tensor take the new one."""
        for operator in self.consumers(old):
            operator.inputs = [new if each == old else each for each in operator.inputs]

    def remove(self, operator):
        # By identity: the schema's objects compare by value.
        self.subgraph.operators = [each for each in self.subgraph.operators if each is not operator]
