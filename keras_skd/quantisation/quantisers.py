"""The fake quantisers of tensorflow-model-optimization, for Keras 3.

They are the field's, and keep their ranges in variables of a layer. That package is made for
``tf_keras`` and, when it is imported, makes it the ``tf.keras`` of the whole process; here it is
imported so that nothing of that is left behind.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import keras
import tensorflow as tf

from keras_skd.errors import InputError

_SWITCH = "TF_USE_LEGACY_KERAS"
HOW_TO_INSTALL = (
    "training for integers needs tensorflow-model-optimization; install it with "
    "`pip install keras-skd[quantise]`."
)


def import_quantizers() -> Any:
    """The module of quantisers.

    Raises:
        InputError: The package is not installed; the message says how to install it.
    """
    tf.keras.__name__  # noqa: B018, an untouched tf.keras would become tf_keras for good
    before = os.environ.get(_SWITCH)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it uses distutils
            from tensorflow_model_optimization.python.core.quantization.keras import quantizers
    except ImportError as error:
        raise InputError(HOW_TO_INSTALL) from error
    finally:
        if before is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = before
    return quantizers


class Quantisers(keras.layers.Layer):
    """Makes fake quantisers, and holds their ranges as weights that are not trained.

    Each is a function that rounds to the steps of a range; its gradient is one within the range and
    zero outside.

    Args:
        moving: Whether the ranges of activations follow what they take in training, as moving
            averages (``MovingAverageQuantizer``); False keeps those they start from.
    """

    def __init__(self, moving: bool = False):
        super().__init__(name="quantisers", dtype="float32", trainable=True)
        self._module = import_quantizers()
        self.moving = moving
        self.built = True

    def activation(self, low: float, high: float) -> Any:
        """Of a tensor in 8 bits.

        Args:
            low: What the least integer stands for, at first.
            high: The same for the greatest.
        """
        quantizer = self._module.MovingAverageQuantizer(
            num_bits=8, per_axis=False, symmetric=False, narrow_range=False
        )
        ranges = self._ranges(quantizer, ())
        ranges["min_var"].assign(low)
        ranges["max_var"].assign(high)
        return lambda values: quantizer(values, self.moving, ranges)

    def constant(self) -> Any:
        """Of a constant of an elementwise operation, in 8 bits, with one scale."""
        quantizer = self._module.LastValueQuantizer(
            num_bits=8, per_axis=False, symmetric=False, narrow_range=False
        )
        ranges = self._ranges(quantizer, ())
        return lambda values: quantizer(values, True, ranges)

    def kernel(self, shape: tuple, axis: int, bits: int) -> Any:
        """Of a convolution's weights, symmetric, with a scale an output channel.

        Args:
            shape: Of the weights.
            axis: That of the output channels.
            bits: 8 or 4.
        """
        quantizer = self._module.LastValueQuantizer(
            num_bits=bits, per_axis=True, symmetric=True, narrow_range=True
        )
        # The package's axis is the last one.
        order = [*(each for each in range(len(shape)) if each != axis), axis]
        back = [order.index(each) for each in range(len(shape))]
        ranges = self._ranges(quantizer, tuple(shape[each] for each in order))

        def quantised(values):
            moved = tf.transpose(values, order)
            return tf.transpose(quantizer(moved, True, ranges), back)

        return quantised

    def _ranges(self, quantizer, shape):
        ranges = quantizer.build(shape, "range", _NamedByPosition(self))
        return {name: variable.value for name, variable in ranges.items()}


class _NamedByPosition:
    """A layer as the package expects it: ``add_weight`` takes the name first, and a whole number as
    a shape."""

    def __init__(self, layer):
        self._layer = layer

    def add_weight(self, name, initializer, trainable, shape=()):
        shape = (shape,) if isinstance(shape, int) else shape or ()
        return self._layer.add_weight(
            name=name, shape=shape, initializer="zeros", trainable=trainable
        )
