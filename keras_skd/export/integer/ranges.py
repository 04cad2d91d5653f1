"""The ranges that int8 activations span, from calibration tiles."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ai_edge_litert.interpreter import Interpreter

    from keras_skd.export.flatbuffer import Graph

# Fractions of a tensor's span that are tried. Below four fifths, little is gained for what the
# strongest edges of other images could lose.
FRACTIONS = np.linspace(0.8, 1.0, 11)
BINS = 2048
SAMPLED_TILES = 8  # of those that calibrate; all of them give the span
SAMPLES = 32768  # values of a tensor looked at per tile
LEVELS = 255


def keeping_interpreter(content: bytes) -> Interpreter:
    """LiteRT's interpreter of a file, which keeps what lies between the operations.

    Args:
        content: The file, bytes.

    Returns:
        An :class:`ai_edge_litert.interpreter.Interpreter` whose tensors are allocated.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        # Without XNNPACK, which keeps what lies between its operations to itself.
        interpreter = Interpreter(
            model_content=content,
            num_threads=2,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    interpreter.allocate_tensors()
    return interpreter


def narrowed(
    content: bytes, graph: Graph, tiles: np.ndarray, spans: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Ranges of least squared error: outliers are cut where finer steps for the rest are worth it.

    Features have a few values far from the others (edges of high contrast), and with a step of
    1/255 of their span the others lose. The error of a range is that of the values cut off, plus
    a twelfth of the squared step for those within. It takes a third off what int8 costs a trained
    student, and a sixth off what full integer does; the price is up to 0.13 instead of 0.05 of
    error in single pixels of edges.

    Args:
        content: The float file, bytes.
        graph: Its :class:`~keras_skd.export.flatbuffer.Graph`.
        tiles: float32 ``(tiles, height, width, channels)``.
        spans: What every activation spans on the tiles: a dict, name of the tensor to
            ``{"min": array, "max": array}`` of one element.

    Returns:
        The same, narrowed, in scalars.
    """
    interpreter = keeping_interpreter(content)
    generator = np.random.default_rng(0)
    ends = {
        name: tuple(float(np.ravel(span[side])[0]) for side in ("min", "max"))
        for name, span in spans.items()
    }
    names = {
        index: graph.tensors[index].name
        for operation in graph.operations
        for index in operation.outputs
    }
    counts = {index: np.zeros(BINS) for index, name in names.items() if np.ptp(ends[name]) > 0}
    for tile in tiles[:SAMPLED_TILES]:
        interpreter.set_tensor(graph.inputs[0], tile[None])
        interpreter.invoke()
        for index, count in counts.items():
            values = interpreter.get_tensor(index).ravel()
            if values.size > SAMPLES:
                values = values[generator.integers(0, values.size, SAMPLES)]
            count += np.histogram(values, BINS, ends[names[index]])[0]
    fractions = {
        names[index]: _best_fraction(count, *ends[names[index]]) for index, count in counts.items()
    }
    # Scalars: with arrays of rank 1 the quantizer refuses constants that are concatenated.
    return {
        name: {
            "min": np.float32(fractions.get(name, 1.0) * low),
            "max": np.float32(fractions.get(name, 1.0) * high),
        }
        for name, (low, high) in ends.items()
    }


def _best_fraction(count, low, high):
    """The fraction of the range ``low..high`` that a histogram of it is stored best with."""
    values = low + (np.arange(BINS) + 0.5) * ((high - low) / BINS)

    def error(fraction):
        # A range holds zero.
        least, greatest = min(0.0, low * fraction), max(0.0, high * fraction)
        cut_off = values - np.clip(values, least, greatest)
        step = (greatest - least) / LEVELS
        return np.sum(count * np.where(cut_off == 0, step**2 / 12, cut_off**2))

    return min(FRACTIONS[::-1], key=error)
