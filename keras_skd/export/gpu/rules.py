"""What a graph must not contain to run on every phone's GPU.

Two delegates have to be content: ML Drift, which today's LiteRT ships, and the classic one of the
phones' older runtimes. The rules are what was seen to be refused or, worse, computed wrongly;
TensorFlow's own analyzer finds most of this compatible. Source of the classic delegate's list of
operations: ``gpu_compatibility.cc`` of TensorFlow Lite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_skd.layers.texture_limit import TEXTURE_SIZE

if TYPE_CHECKING:
    from keras_skd.export.flatbuffer import Graph

# Operations that both delegates have. The classic one lacks the rest.
SUPPORTED = frozenset(
    (
        "ABS",
        "ADD",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "CONCATENATION",
        "CONV_2D",
        "COS",
        "DEPTHWISE_CONV_2D",
        "DEPTH_TO_SPACE",
        "DEQUANTIZE",
        "DIV",
        "ELU",
        "EXP",
        "FLOOR",
        "FULLY_CONNECTED",
        "GELU",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOG",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MIRROR_PAD",
        "MUL",
        "NEG",
        "PAD",
        "PADV2",
        "POW",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SELECT_V2",
        "SIN",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQRT",
        "SQUARE",
        "SQUARED_DIFFERENCE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TILE",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    )
)
REMEDIES = {
    "L2_NORMALIZATION": "write x * rsqrt(sum(x^2) + epsilon)",
    "GATHER_ND": "slice with constant bounds",
    "GATHER": "slice with constant bounds",
}
ELEMENTWISE = frozenset(("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB"))
INT8 = frozenset(("INT8", "UINT8"))


@dataclass(frozen=True)
class Violation:
    """A rule that an operation breaks.

    Attributes:
        rule: Its name, a key of :data:`RULES`.
        operation: Kind and position of the operation.
        layer: The Keras layer that it computes.
        problem: What is wrong.
        remedy: What to do.
        fatal: Whether the file must not be used. What is only slow is not.
    """

    rule: str
    operation: str
    layer: str
    problem: str
    remedy: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.rule}: {self.operation} of {self.layer} {self.problem}; {self.remedy}."


def check_rules(graph: Graph) -> list[Violation]:
    """Walks a graph.

    Args:
        graph: A :class:`keras_skd.export.flatbuffer.Graph`.

    Returns:
        A list of :class:`Violation`, in order of execution, those of one operation together.
    """
    found = []
    for operation in graph.operations:
        for name, rule in RULES.items():
            broken = rule(graph, operation)
            if broken is not None:
                problem, remedy = broken
                found.append(
                    Violation(
                        name,
                        f"{operation.kind} {operation.index}",
                        operation.layer,
                        problem,
                        remedy,
                        fatal=name not in WARNINGS,
                    )
                )
    return found


def _tensors(graph, indices):
    return [graph.tensors[index] for index in indices if index >= 0]


def _shapes(graph, operation):
    return [t.shape for t in _tensors(graph, (*operation.inputs, *operation.outputs))]


def _rank(graph, operation):
    ranks = [len(shape) for shape in _shapes(graph, operation)]
    if max(ranks, default=0) > 4:
        return f"has a tensor of rank {max(ranks)}", "reshape so that every tensor has at most four"
    return None


def _dynamic(graph, operation):
    if any(t.dynamic for t in _tensors(graph, (*operation.inputs, *operation.outputs))):
        return "has a shape known at run time only", "fix batch and image size before converting"
    return None


def _supported(graph, operation):
    if operation.custom:
        return (
            "is no LiteRT built-in",
            "build the layer from operations that have a built-in (no Flex, no custom ones)",
        )
    if operation.kind not in SUPPORTED:
        remedy = REMEDIES.get(operation.kind, "build the layer from the supported operations")
        return "is an operation that a GPU delegate lacks", remedy
    return None


def _adjoint(graph, operation):
    options = operation.options
    if operation.kind == "BATCH_MATMUL" and (options.adjX or options.adjY):
        return (
            "has an adj flag, which the classic delegate ignores",
            "put a slice between the transpose and the matmul, or lay the operand out transposed",
        )
    return None


def _matmul_rank(graph, operation):
    if operation.kind != "BATCH_MATMUL":
        return None
    ranks = [len(t.shape) for t in _tensors(graph, operation.inputs)]
    if min(ranks) < 4:
        return (
            f"multiplies tensors of rank {min(ranks)}, which gives wrong numbers",
            "reshape both operands to rank 4, (1, blocks, rows, columns)",
        )
    return None


def _dropped_axis(graph, operation):
    options = operation.options
    if operation.kind == "STRIDED_SLICE" and (
        options.shrinkAxisMask or options.newAxisMask or options.ellipsisMask
    ):
        return "drops or adds an axis", "slice x[a:b] instead of x[a], and reshape"
    return None


def _split(graph, operation):
    if operation.kind not in ("SPLIT", "SPLIT_V"):
        return None
    ancestors = {output: {output} for output in operation.outputs}
    for later in graph.operations[operation.index + 1 :]:
        sources = set().union(*(ancestors.get(index, set()) for index in later.inputs))
        if len(sources) > 1 and later.kind in ELEMENTWISE:
            return (
                f"gives parts that meet again in {later.kind} {later.index}, which fails shader "
                "validation and returns zeros",
                "slice x[..., :h] and x[..., h:], or compute the parts apart",
            )
        if sources:
            for output in later.outputs:
                ancestors[output] = sources
    return None


def _broadcast(graph, operation):
    if operation.kind not in ELEMENTWISE:
        return None
    shapes = [t.shape for t in _tensors(graph, operation.inputs)]
    if len(shapes) != 2 or len(shapes[0]) != len(shapes[1]):
        return None
    pairs = list(zip(*shapes, strict=True))
    if any(a < b for a, b in pairs) and any(a > b for a, b in pairs):
        return (
            f"broadcasts both ways, {shapes[0]} with {shapes[1]}",
            "tile one operand first, or multiply twice, one way each",
        )
    return None


def _texture_side(graph, operation):
    """The longest side of a texture among an operation's tensors, and that tensor's shape.

    ML Drift lays ``(1, height, width, channels)`` out as a texture of
    ``height * ceil(channels / 4)`` by ``width``.
    """
    found = (0, ())
    for tensor in _tensors(graph, (*operation.inputs, *operation.outputs)):
        if len(tensor.shape) == 4 and not tensor.constant:
            batch, height, width, channels = tensor.shape
            found = max(found, (max(width, batch * height * -(-channels // 4)), tensor.shape))
    return found


def _texture(graph, operation):
    side, shape = _texture_side(graph, operation)
    if side > 2 * TEXTURE_SIZE:
        return (
            f"needs a texture of {side} texels for {shape}, more than a GPU has",
            "work in blocks, (1, blocks, rows, columns), or convert for a smaller tile",
        )
    return None


def _large_texture(graph, operation):
    side, shape = _texture_side(graph, operation)
    if TEXTURE_SIZE < side <= 2 * TEXTURE_SIZE:
        return (
            f"needs a texture of {side} texels for {shape}; not every GPU has more than "
            f"{TEXTURE_SIZE}",
            "convert for a smaller tile where the GPU refuses it",
        )
    return None


def _transposed_by_run_time_values(graph, operation):
    if operation.kind in ("TRANSPOSE", "RESHAPE", "MEAN", "SUM", "TILE", "REDUCE_MAX", "PAD"):
        second = operation.inputs[1:2]
        if second and second[0] >= 0 and not graph.tensors[second[0]].constant:
            return "takes its axes or sizes from a tensor", "make them constants of the graph"
    return None


def _float_island(graph, operation):
    """A float operation whose every neighbour dequantises before and quantises after."""
    if operation.kind != "QUANTIZE":
        return None
    producers = {output: op for op in graph.operations for output in op.outputs}
    island, queue, entries = [], [producers.get(operation.inputs[0])], 0
    while queue:
        op = queue.pop()
        if op is None or op in island:
            continue
        if op.kind == "DEQUANTIZE":
            entries += 1
            continue
        island.append(op)
        queue += [
            producers.get(index)
            for index in op.inputs
            if index >= 0 and not graph.tensors[index].constant
        ]
        if len(island) > 4:
            return None
    if entries and island:
        kinds = ", ".join(op.kind for op in reversed(island))
        return (
            f"closes an island of float ({kinds}) between int8 operations",
            "quantise the island too, or keep its neighbours in float",
        )
    return None


RULES = {
    "rank": _rank,
    "dynamic shape": _dynamic,
    "unsupported operation": _supported,
    "adj flag": _adjoint,
    "matmul rank": _matmul_rank,
    "dropped axis": _dropped_axis,
    "split": _split,
    "broadcast": _broadcast,
    "texture": _texture,
    "large texture": _large_texture,
    "run-time sizes": _transposed_by_run_time_values,
    "float island": _float_island,
}
# A GPU computes int8 operations in float: islands cost time on the CPU, never right numbers. What
# a large texture does, the GPU that is there shows.
WARNINGS = frozenset(("float island", "large texture"))
