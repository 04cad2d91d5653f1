"""``python -m keras_skd.profile``: parameters, MACs and peak activation memory of a model."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_skd.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

BYTES_PER_VALUE = 4  # float32


@dataclass(frozen=True)
class StageCost:
    """What a stage costs: the blocks that end in a tap, or a single layer between stages.

    Attributes:
        name: The tap's or layer's name.
        parameters: Weights in the stage.
        convolution_macs: Multiply-accumulates of convolutions, per image.
        attention_macs: Multiply-accumulates of attention's matrix products, per image.
        output_shape: ``(height, width, channels)``.
    """

    name: str
    parameters: int
    convolution_macs: int
    attention_macs: int
    output_shape: tuple[int, int, int]

    @property
    def total_macs(self) -> int:
        """Convolutions and attention together."""
        return self.convolution_macs + self.attention_macs


@dataclass(frozen=True)
class Profile:
    """What a model costs on one image.

    Attributes:
        model: The model's name.
        image_size: ``(height, width)`` in pixels.
        stages: In order of computation.
        parameters: Weights of the model.
        peak_activation_bytes: The most float32 activation memory in use at once. An estimate: each
            tensor is freed after its last use, element-wise operations work in place, and the heads
            of window attention follow one another, as in the exported graph.
    """

    model: str
    image_size: tuple[int, int]
    stages: tuple[StageCost, ...]
    parameters: int
    peak_activation_bytes: int

    @property
    def convolution_macs(self) -> int:
        """Multiply-accumulates of all convolutions, per image."""
        return sum(stage.convolution_macs for stage in self.stages)

    @property
    def attention_macs(self) -> int:
        """Multiply-accumulates of all attention matrix products, per image."""
        return sum(stage.attention_macs for stage in self.stages)

    @property
    def total_macs(self) -> int:
        """Convolutions and attention together."""
        return self.convolution_macs + self.attention_macs

    def table(self) -> str:
        """The profile as lines of text: one a stage, then the totals."""
        header = ("stage", "output", "parameters", "conv GMACs", "attention GMACs", "total GMACs")
        rows = [header]
        for stage in (*self.stages, self):
            total = stage is self
            shape = self.image_size if total else stage.output_shape
            macs = (stage.convolution_macs, stage.attention_macs, stage.total_macs)
            rows.append(
                (
                    "total" if total else stage.name,
                    "x".join(str(size) for size in shape),
                    f"{stage.parameters:,}",
                    *(f"{count / 1e9:.3f}" for count in macs),
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        lines = []
        for first, *others in rows:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
        peak = self.peak_activation_bytes / 2**20
        return "\n".join([*lines, f"peak activation memory, float32: about {peak:.1f} MiB"])


def profile(model: keras.Model, image_size: tuple[int, int]) -> Profile:
    """Counts what ``model`` computes on one image.

    A multiply-accumulate (MAC) is one multiplication and one addition. Convolutions count
    ``output pixels x kernel values``; attention counts its two matrix products. Norms, softmax,
    activations and additions are not counted, as in the published numbers. Convolutions with
    resampling count in the published form, whatever the exported graph makes of them.

    Args:
        model: A model of a family, or another functional model of its layers, of Keras's
            convolutions, and of layers of one's own that state their costs as
            :mod:`keras_skd.layers.costs` describes it.
        image_size: ``(height, width)`` in pixels. Sizes are padded as the model does.

    Returns:
        A :class:`Profile`.

    Raises:
        InputError: The image has no pixels, the model was built for another size, or it contains a
            layer with weights that cannot be counted.
    """
    import keras

    from keras_skd.layers import costs
    from keras_skd.models.family import taps_of

    height, width = image_size
    if height < 1 or width < 1:
        raise InputError(f"The image size must be positive; got {height}x{width}.")
    fixed = model.input.shape[1:3]
    if None not in fixed and fixed != (height, width):
        raise InputError(
            f"{model.name} was built for images of {fixed[0]}x{fixed[1]}; got {height}x{width}."
        )
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    shapes = keras.Model(model.input, [layer.output for layer in layers]).compute_output_shape(
        (1, height, width, model.input.shape[-1])
    )
    shape_of = {id(model.input): (1, height, width, model.input.shape[-1])}
    shape_of.update((id(layer.output), shape) for layer, shape in zip(layers, shapes, strict=True))

    stages = {}
    taps = taps_of(model)
    for layer in layers:
        input_shape = shape_of[id(_as_list(layer.input)[0])]
        output_shape = shape_of[id(layer.output)]
        convolution, attention = costs.macs(layer, input_shape, output_shape)
        stage = re.sub(r"_\d+$", "", layer.name)
        stage = stage if stage in taps else layer.name
        before = stages.get(stage, StageCost(stage, 0, 0, 0, output_shape[1:]))
        stages[stage] = StageCost(
            stage,
            before.parameters + layer.count_params(),
            before.convolution_macs + convolution,
            before.attention_macs + attention,
            tuple(output_shape[1:]),
        )
    return Profile(
        model.name,
        (height, width),
        tuple(stage for stage in stages.values() if stage.parameters),
        model.count_params(),
        _peak_activation_bytes(model, layers, shape_of),
    )


def _as_list(tensors):
    return tensors if isinstance(tensors, list | tuple) else [tensors]


def _peak_activation_bytes(model, layers, shape_of):
    from keras_skd.layers import costs

    last_use = {
        id(tensor): index for index, layer in enumerate(layers) for tensor in _as_list(layer.input)
    }
    last_use[id(model.output)] = len(layers)
    live, peak = {id(model.input)}, 0
    for index, layer in enumerate(layers):
        shape = shape_of[id(layer.output)]
        live.add(id(layer.output))
        held = sum(_size(shape_of[tensor]) for tensor in live)
        inside = shape[1] * shape[2] * costs.working_channels(layer)
        peak = max(peak, held + inside)
        live = {tensor for tensor in live if last_use.get(tensor, -1) > index}
    return peak * BYTES_PER_VALUE


def _size(shape):
    return shape[1] * shape[2] * shape[3]


def image_size(text: str) -> tuple[int, int]:
    """``"256"`` or ``"480x640"`` as ``(height, width)``.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match or 0 in (sizes := [int(size or match[1]) for size in match.groups()]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 256 or 480x640 (pixels)")
    return tuple(sizes)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.profile",
        description="Counts parameters and multiply-accumulates and estimates activation memory.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    result.add_argument("model", help="preset (keras_skd.presets) or .keras file")
    result.add_argument(
        "--size",
        type=image_size,
        default="256",
        metavar="PIXELS",
        help="side of a square image, or HEIGHTxWIDTH",
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors
    from keras_skd.quiet import import_tensorflow

    options = parser().parse_args(arguments)
    import_tensorflow()
    from keras_skd.models import PRESETS, load_model

    with reported_errors("keras_skd.profile"):
        if options.model in PRESETS:
            # Costs do not depend on the weights.
            model = PRESETS[options.model].build(load_weights=False)
        else:
            model = load_model(options.model)
        result = profile(model, options.size)
    print(result.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
