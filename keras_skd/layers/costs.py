"""How a layer states what it costs, and what Keras's convolutions cost.

A layer of one's own that holds weights states its multiply-accumulates, and one that needs memory
of its own states how much::

    def macs(self, input_shape, output_shape):
        return Macs(convolution, attention)     # per image

    @property
    def working_channels(self):                 # optional, 0 where it is missing
        return values per output pixel that it holds at once, beside its input and its output

Shapes are ``(batch, height, width, channels)`` with known height and width, of the first input
where there are several. A multiply-accumulate (MAC) is one multiplication and one addition. A
convolution counts ``pixels x kernel values``, attention its two matrix products; norms,
activations and additions are not counted, as in the published numbers. A layer counts all that is
inside it.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import keras

from keras_skd.errors import InputError


class Macs(NamedTuple):
    """Multiply-accumulates per image.

    Attributes:
        convolution: Of convolutions.
        attention: Of attention's matrix products.
    """

    convolution: int = 0
    attention: int = 0


def pixels_of(shape: tuple) -> int:
    """Pixels of one image of ``(batch, height, width, channels)``."""
    return shape[1] * shape[2]


def macs(layer: keras.layers.Layer, input_shape: tuple, output_shape: tuple) -> Macs:
    """What a layer of a model costs on one image.

    Args:
        layer: A layer with a method ``macs`` (see the module), a convolution of Keras's, or one
            without weights, which counts as nothing.
        input_shape: ``(batch, height, width, channels)``; of the first input if it has several.
        output_shape: The same of its output.

    Raises:
        InputError: It holds weights and does not state what it computes with them.
    """
    if hasattr(layer, "macs"):
        return Macs(*layer.macs(input_shape, output_shape))
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return Macs(pixels_of(input_shape) * math.prod(layer.kernel.shape))
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return Macs(pixels_of(output_shape) * math.prod(layer.kernel.shape))
    if layer.weights:
        raise InputError(
            f"cannot count {layer.name} ({type(layer).__name__}); only convolutions and layers "
            "with a method macs(input_shape, output_shape) are known, as keras_skd.layers.costs "
            "describes it."
        )
    return Macs()


def sum_of_macs(
    layers: Iterable[keras.layers.Layer], input_shape: tuple, output_shape: tuple
) -> Macs:
    """:func:`macs` of layers that all work at one resolution, as those inside a block do."""
    costs = [macs(layer, input_shape, output_shape) for layer in layers]
    return Macs(*(sum(each) for each in zip(*costs, strict=True)))


def working_channels(layer: keras.layers.Layer) -> int:
    """Values per output pixel that a layer holds inside, beside its input and its output.

    The layer's own ``working_channels``; 0 where it states nothing.
    """
    return getattr(layer, "working_channels", 0)
