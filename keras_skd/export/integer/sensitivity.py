"""What int8 costs, operation by operation, and the mix that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.export.schemes import CONVOLUTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_skd.export.flatbuffer import Operation
    from keras_skd.export.schemes import Source

# Kinds that are measured on top of the dense convolutions. LiteRT has them all in int8.
CANDIDATES = (
    "DEPTHWISE_CONV_2D",
    "GELU",
    "MUL",
    "ADD",
    "CONCATENATION",
    "BATCH_MATMUL",
    "SUM",
    "MEAN",
    "RSQRT",
    "SUB",
)
# The recommended mix may lose a third of what the scheme promises: the user's images are others,
# and may be smoother than the calibration tiles.
BUDGET = 0.03  # dB
LEAST_GAIN = 0.002  # dB that a layer must bring, or it and those after it stay in int8
TILE = 128  # pixels; the ranges of a graph of this size are those of a larger one
TILES = 8  # of that size; as many pixels in smaller ones


@dataclass(frozen=True)
class Cost:
    """What it costs to quantise one thing alone.

    Attributes:
        group: ``layer`` (its dense convolutions alone) or ``operation`` (a kind, on top of the
            dense convolutions).
        name: The layer's name or the kind of operation.
        operations: How many operations that are.
        psnr_loss: dB of PSNR to the clean tiles lost, mean of the quarter of tiles that lose most:
            a smooth tile that comes out at 38 dB loses six times what one at 30 dB does.
        residual_psnr: Against the float file, in dB of the residual's peak.
    """

    group: str
    name: str
    operations: int
    psnr_loss: float
    residual_psnr: float


@dataclass(frozen=True)
class Sensitivity:
    """The report.

    Attributes:
        costs: List of :class:`Cost`, of layers and kinds, the dearest of each first.
        float_layers: Layers whose convolutions the recommended mix keeps in float.
        psnr_loss: What the mix loses, in dB, as that of a :class:`Cost`.
        convolutions_loss: What the dense convolutions in int8 lose, likewise.
        tiles: Tiles measured.
        tile: Their height and width in pixels.
    """

    costs: list
    float_layers: list
    psnr_loss: float
    convolutions_loss: float
    tiles: int
    tile: int

    def mix(self, source: Source) -> list[Operation]:
        """The operations of a :class:`~keras_skd.export.schemes.Source` that the mix quantises."""
        return [
            operation
            for operation in source.integer_operations()
            if _part(operation.layer) not in self.float_layers
        ]


def _part(layer):
    """A layer of the model, or an attention or feed-forward network of a block."""
    return "/".join(layer.split("/")[:2])


def measure(
    source: Source,
    degraded: np.ndarray,
    clean: np.ndarray,
    on_progress: Callable[[str], object] | None = None,
) -> Sensitivity:
    """Quantises one layer, then one kind of operation, at a time, and follows with the mix.

    The mix quantises the dense convolutions. While that loses more than :data:`BUDGET`, the layer
    that loses most alone returns to float, as long as that helps. Other kinds stay in float: their
    share of the time is small, and between int8 convolutions they are islands either way.

    Args:
        source: A :class:`~keras_skd.export.schemes.Source`.
        degraded: float32 ``(tiles, height, width, channels)``.
        clean: Their targets.
        on_progress: Called with a line of text.

    Returns:
        A :class:`Sensitivity`.
    """
    from keras_skd.export.verification import residual_psnr, tile_psnrs
    from keras_skd.runners import TFLiteRunner

    def run(content):
        runner = TFLiteRunner(content)
        return np.stack([runner(image) for image in degraded])

    reference = run(source.float32)
    reference_scores = tile_psnrs(reference, clean)

    def cost(group, name, operations, base=()):
        restored = run(source.quantized([*base, *operations]))
        losses = np.sort(reference_scores - tile_psnrs(restored, clean))
        return Cost(
            group,
            name,
            len(operations),
            float(losses[-max(1, len(losses) // 4) :].mean()),
            residual_psnr(restored, reference, degraded),
        )

    base = source.integer_operations()
    by_layer = {}
    for operation in base:
        if operation.kind in CONVOLUTIONS:
            by_layer.setdefault(_part(operation.layer), []).append(operation)
    layers = [cost("layer", name, operations) for name, operations in by_layer.items()]
    layers.sort(key=lambda item: item.residual_psnr)
    everything = cost("operation", "dense convolutions", base)
    kinds = [
        cost("operation", kind, source.of_kinds(kind), base)
        for kind in CANDIDATES
        if source.of_kinds(kind)
    ]
    kinds.sort(key=lambda item: item.residual_psnr)
    float_layers, loss = [], everything.psnr_loss
    for layer in layers:
        if loss <= BUDGET:
            break
        without = [*float_layers, layer.name]
        mix = [operation for operation in base if _part(operation.layer) not in without]
        less = cost("layer", layer.name, mix).psnr_loss
        if less > loss - LEAST_GAIN:
            break
        float_layers, loss = without, less
        if on_progress:
            on_progress(f"int8: {layer.name} stays in float, the loss is {loss:.3f} dB")
    return Sensitivity(
        costs=[everything, *kinds, *layers],
        float_layers=float_layers,
        psnr_loss=loss,
        convolutions_loss=everything.psnr_loss,
        tiles=len(degraded),
        tile=degraded.shape[1],
    )
