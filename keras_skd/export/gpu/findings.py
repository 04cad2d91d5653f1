"""Functions that find one fault each in a graph; :mod:`keras_skd.export.gpu.rules` lists them.

Each takes a :class:`~keras_skd.export.flatbuffer.Graph` and one of its operations, and returns None
or the problem and the remedy, two halves of a sentence.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from keras_skd.layers.texture_limit import TEXTURE_SIZE

if TYPE_CHECKING:
    from keras_skd.export.flatbuffer import Graph, Operation


# Operations that both delegates have. The classic one lacks the rest.
SUPPORTED = frozenset(
    (
        "ABS",
        "ADD",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "CAST",
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
    )
)
REMEDIES = {
    "L2_NORMALIZATION": "write x * rsqrt(sum(x^2) + epsilon)",
    "GATHER_ND": "slice with constant bounds",
    "GATHER": "slice with constant bounds",
    "TRANSPOSE_CONV": "use a 1x1 convolution and DEPTH_TO_SPACE, or enlarge and convolve",
}
ELEMENTWISE = frozenset(("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB"))
# Values of a map from which a sum over several axes at once was seen to give NaN are about 65,000;
# smaller ones were not measured.
MOST_SUMMED_AT_ONCE = 16384
# Values of a constant in an elementwise operation. A positional table has more, a bias of windows
# of 8x8 (4096) fewer.
MOST_BAKED = 65536


def _tensors(graph, indices):
    return [graph.tensors[index] for index in indices if index >= 0]


def _shapes(graph, operation):
    return [t.shape for t in _tensors(graph, (*operation.inputs, *operation.outputs))]


def rank(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A tensor of more than four axes."""
    ranks = [len(shape) for shape in _shapes(graph, operation)]
    if max(ranks, default=0) > 4:
        return f"has a tensor of rank {max(ranks)}", "reshape so that every tensor has at most four"
    return None


def dynamic_shape(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A size that the file does not fix."""
    if any(t.dynamic for t in _tensors(graph, (*operation.inputs, *operation.outputs))):
        return "has a shape known at run time only", "fix batch and image size before converting"
    return None


def unsupported_operation(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """An operation that one of the delegates lacks."""
    if operation.custom:
        return (
            "is no LiteRT built-in",
            "build the layer from operations that have a built-in (no Flex, no custom ones)",
        )
    if operation.kind not in SUPPORTED:
        remedy = REMEDIES.get(operation.kind, "build the layer from the supported operations")
        return "is an operation that a GPU delegate lacks", remedy
    return None


def adjoint(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A transpose fused into a matmul."""
    options = operation.options
    if operation.kind == "BATCH_MATMUL" and (options.adjX or options.adjY):
        return (
            "has an adj flag, which the classic delegate ignores",
            "put a slice between the transpose and the matmul, or lay the operand out transposed",
        )
    return None


def matmul_rank(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A matmul of fewer than four axes."""
    if operation.kind != "BATCH_MATMUL":
        return None
    ranks = [len(t.shape) for t in _tensors(graph, operation.inputs)]
    if min(ranks) < 4:
        return (
            f"multiplies tensors of rank {min(ranks)}, which gives wrong numbers",
            "reshape both operands to rank 4, (1, blocks, rows, columns)",
        )
    return None


def dropped_axis(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """``x[0]``, ``x[None]``."""
    options = operation.options
    if operation.kind == "STRIDED_SLICE" and (
        options.shrinkAxisMask or options.newAxisMask or options.ellipsisMask
    ):
        return "drops or adds an axis", "slice x[a:b] instead of x[a], and reshape"
    return None


def split(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """Parts of a split that meet again in an elementwise operation."""
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


def broadcast(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """An elementwise operation of which both operands are repeated."""
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


def texture(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A tensor that no GPU's textures hold."""
    side, shape = _texture_side(graph, operation)
    if side > 2 * TEXTURE_SIZE:
        return (
            f"needs a texture of {side} texels for {shape}, more than a GPU has",
            "work in blocks, (1, blocks, rows, columns), or convert for a smaller tile",
        )
    return None


def large_texture(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A tensor that not every GPU's textures hold."""
    side, shape = _texture_side(graph, operation)
    if TEXTURE_SIZE < side <= 2 * TEXTURE_SIZE:
        return (
            f"needs a texture of {side} texels for {shape}; not every GPU has more than "
            f"{TEXTURE_SIZE}",
            "convert for a smaller tile where the GPU refuses it",
        )
    return None


def run_time_sizes(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """Axes or sizes that are no constants."""
    if operation.kind in ("TRANSPOSE", "RESHAPE", "MEAN", "SUM", "TILE", "REDUCE_MAX", "PAD"):
        second = operation.inputs[1:2]
        if second and second[0] >= 0 and not graph.tensors[second[0]].constant:
            return "takes its axes or sizes from a tensor", "make them constants of the graph"
    return None


def float_island(graph: Graph, operation: Operation) -> tuple[str, str] | None:
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


def matmul_broadcast(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A matmul of one matrix with many."""
    if operation.kind != "BATCH_MATMUL":
        return None
    left, right = (t.shape[:-2] for t in _tensors(graph, operation.inputs))
    if left != right and len(left) == len(right):
        return (
            f"repeats one operand, {left} with {right} matrices, and gives wrong numbers",
            "tile the operand first",
        )
    return None


def run_time_weights(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A dense layer whose weights are computed in the graph."""
    if operation.kind == "FULLY_CONNECTED" and not graph.tensors[operation.inputs[1]].constant:
        return (
            "takes weights that are no constant, which gives wrong numbers beside a bias",
            "use a matmul of operands of rank 4",
        )
    return None


def constant_left_side(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A matmul whose left operand is a constant."""
    if operation.kind == "BATCH_MATMUL" and graph.tensors[operation.inputs[0]].constant:
        return (
            "multiplies a constant from the left, which is not compiled",
            "put the constant on the right, or make it a convolution",
        )
    return None


def lower_rank(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """An elementwise operation of operands of ranks 2 to 4 that differ."""
    if operation.kind not in ELEMENTWISE:
        return None
    ranks = [len(t.shape) for t in _tensors(graph, operation.inputs)]
    if len(ranks) == 2 and ranks[0] != ranks[1] and min(ranks) > 1:
        return (
            f"combines operands of ranks {ranks[0]} and {ranks[1]}, which GPUs align differently",
            "give the lower one rank 4, (1, 1, rows, columns)",
        )
    return None


def height_broadcast(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """An elementwise operation that repeats a plane along the height.

    Vectors of channels, (1, 1, 1, channels), are repeated too; every network with squeeze and
    excitation does that, and no GPU was seen to mind.
    """
    if operation.kind not in ELEMENTWISE:
        return None
    shapes = [t.shape for t in _tensors(graph, operation.inputs)]
    if [len(shape) for shape in shapes] != [4, 4]:
        return None
    for flat, tall in (shapes, shapes[::-1]):
        if flat[1] == 1 < tall[1] and flat[2] > 1:
            return (
                f"repeats {flat} along the height of {tall}, of which Mali took the first row's "
                "values for all",
                "tile the operand, or add it in a layout where it is a vector of channels",
            )
    return None


def several_axes(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A sum over several axes of a large map at once."""
    if operation.kind not in ("MEAN", "SUM"):
        return None
    before, after = graph.tensors[operation.inputs[0]].shape, graph.tensors[operation.outputs[0]]
    if len(before) == len(after.shape):
        axes = sum(a != b for a, b in zip(before, after.shape, strict=True))
    else:
        axes = len(before) - len(after.shape)
    summed = prod(before) // max(1, prod(after.shape))
    if axes > 1 and summed > MOST_SUMMED_AT_ONCE:
        return (
            f"sums {summed} values over {axes} axes at once, which gives NaN on Mali",
            "sum along one axis after the other, or use AVERAGE_POOL_2D",
        )
    return None


def baked_constant(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A table among the operands, or a factor of channels right before a residual's addition."""
    if operation.kind not in ELEMENTWISE:
        return None
    constants = [t for t in _tensors(graph, operation.inputs) if t.constant]
    values = max((prod(t.shape) for t in constants), default=0)
    if values > MOST_BAKED:
        return (
            f"takes a constant of {values} values, which came out differently from build to build",
            "fold it into the neighbouring convolution where that is exact",
        )
    if operation.kind == "MUL" and 1 < values == graph.tensors[operation.outputs[0]].shape[-1]:
        product = operation.outputs[0]
        adds = [op for op in graph.consumers(product) if op.kind == "ADD"]
        others = [index for op in adds for index in op.inputs if index != product]
        if any(not graph.tensors[index].constant for index in others):
            return (
                "scales channels right before a residual is added, which came out differently "
                "from build to build",
                "fold the factor into the convolution before it",
            )
    return None


def unscaled_square(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """Squares of what a residual's addition gives, as a plain LayerNorm takes them."""
    squared = operation.inputs[0] if operation.inputs else -1
    if operation.kind == "MUL" and operation.inputs[0] != operation.inputs[1]:
        return None
    if operation.kind not in ("MUL", "SQUARE", "SQUARED_DIFFERENCE"):
        return None
    for _ in range(len(graph.operations)):
        source = graph.producer(squared)
        if source is None or source.kind not in ("SUB", "RESHAPE", "TRANSPOSE", "STRIDED_SLICE"):
            break
        squared = source.inputs[0]
    if source is None or source.kind == "ADD":
        return (
            "squares features that nothing has scaled; beyond 256 they leave float16",
            "multiply by a power of two first, 1/32 for features of 200",
        )
    return None


def constant_operation(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """An operation that could have been computed before; a weight's DEQUANTIZE is expected."""
    if operation.kind == "DEQUANTIZE" or not operation.inputs:
        return None
    if all(t.constant for t in _tensors(graph, operation.inputs)):
        return (
            "has constants only as inputs, which phones refuse",
            "compute it before the conversion",
        )
    return None


def wide_integers(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """int64 where a phone has int32."""
    if operation.kind in ("CAST", "GATHER") and any(
        t.type == "INT64" for t in _tensors(graph, (*operation.inputs, *operation.outputs))
    ):
        return "works on int64, which phones refuse", "use int32"
    return None


def weight_only_int8(graph: Graph, operation: Operation) -> tuple[str, str] | None:
    """A dense layer whose int8 weights are dequantised in the graph."""
    if operation.kind != "FULLY_CONNECTED":
        return None
    source = graph.producer(operation.inputs[1])
    if source and source.kind == "DEQUANTIZE":
        kept = graph.tensors[source.inputs[0]]
        if kept.type in ("INT8", "UINT8", "INT4"):
            return (
                "takes weights that are dequantised from int8, which Adreno does not compile",
                "store them in float16",
            )
    return None
