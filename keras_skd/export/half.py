"""Constants in float16, each dequantised once when a runtime loads the file."""

import numpy as np

from keras_skd.export.editing import EditedGraph
from keras_skd.export.flatbuffer import packed

# Values of a constant from which it is stored in float16. What is smaller (a norm's epsilon, the
# bias of few channels) keeps float32: an operation more costs more bytes than it saves, and an
# epsilon of 1e-8 would become 0.
LEAST_VALUES = 33


def with_half_constants(content: bytes) -> bytes:
    """The same graph with its larger float constants in float16.

    Args:
        content: A float file, bytes.

    Returns:
        bytes; about half as many.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = EditedGraph(content)
    produced = {each for op in graph.subgraph.operators for each in op.outputs}
    dequantise = []
    for index, tensor in enumerate(list(graph.subgraph.tensors)):
        data = graph.model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or data is None or index in produced:
            continue
        values = np.frombuffer(bytes(data), np.float32)
        if values.size < LEAST_VALUES:
            continue
        result = graph.add_tensor(index, name=f"{graph.name(index)}_float32")
        graph.subgraph.tensors[result].buffer = 0
        graph.replace(index, result)
        graph.set_values(index, values.astype(np.float16))
        operator = schema.OperatorT()
        operator.opcodeIndex = graph.operator_code(schema.BuiltinOperator.DEQUANTIZE)
        operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
        operator.builtinOptions = schema.DequantizeOptionsT()
        operator.inputs, operator.outputs = [index], [result]
        dequantise.append(operator)
    graph.subgraph.operators = dequantise + graph.subgraph.operators
    return packed(graph.model)
