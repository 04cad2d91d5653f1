"""Rewrites what the converter fuses and a phone's GPU does not know."""

import copy

import numpy as np

from keras_skd.export.editing import EditedGraph
from keras_skd.export.flatbuffer import packed


def without_adj_flags(content: bytes) -> bytes:
    """Matmuls with an adj flag become a transpose and a matmul.

    The converter fuses a transpose into the matmul that takes it; the classic delegate ignores the
    flag, which is the transpose.

    Args:
        content: A float file of operands of rank 4, bytes.

    Returns:
        bytes.
    """
    graph = EditedGraph(content)
    operators = []
    for operator in graph.subgraph.operators:
        if graph.kind(operator) == "BATCH_MATMUL":
            options = operator.builtinOptions
            for place, flag in enumerate(("adjX", "adjY")):
                if getattr(options, flag):
                    operators.append(_transposed(graph, operator, place))
                    setattr(options, flag, False)
        operators.append(operator)
    graph.subgraph.operators = operators
    return packed(graph.model)


def _transposed(graph, matmul, place):
    """Gives a matmul's operand its own transpose; returns the operation that computes it."""
    from ai_edge_litert import schema_py_generated as schema

    source = matmul.inputs[place]
    name = f"{graph.name(matmul.outputs[0]).split(';')[0]}_operand{place}"
    result = graph.add_tensor(source, name=name)
    tensor = graph.subgraph.tensors[result]
    *batch, rows, columns = map(int, tensor.shape)
    tensor.shape, tensor.shapeSignature = [*batch, columns, rows], None
    axes = np.array([*range(len(batch)), len(batch) + 1, len(batch)], np.int32)
    operator = copy.copy(matmul)
    operator.opcodeIndex = graph.operator_code(schema.BuiltinOperator.TRANSPOSE)
    operator.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
    operator.builtinOptions = schema.TransposeOptionsT()
    operator.inputs = [source, graph.add_integers(axes, f"{name}_axes")]
    operator.outputs = [result]
    matmul.inputs = [result if each == place else old for each, old in enumerate(matmul.inputs)]
    return operator
