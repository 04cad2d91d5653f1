"""LayerNorm over the channels of every pixel, as Restormer and Uformer use it."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_skd.hints import Shape, Tensor
from keras_skd.layers.costs import Macs
from keras_skd.layers.export_form import IN_FLOAT, is_export_shape
from keras_skd.layers.texture_limit import SPARE_PRODUCTS


def normalise_channels(
    x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor | None, epsilon: float
) -> tf.Tensor:
    """LayerNorm over the last axis, with its gradient written out.

    ``n * scale + bias`` with ``n = (x - mu) / std``; where ``bias`` is None, ``x / std * scale``.
    Fewer passes over memory than automatic differentiation makes.

    Args:
        x: ``(..., channels)``, float32.
        scale: ``(channels,)``.
        bias: ``(channels,)``, or None for the bias-free form.
        epsilon: Added to the variance.
    """

    def mean(values):
        return tf.reduce_mean(values, axis=-1, keepdims=True)

    def sum_over_pixels(values):
        return tf.reduce_sum(tf.reshape(values, (-1, values.shape[-1])), axis=0)

    def forward(x):
        centred = x - mean(x)
        inverse = tf.math.rsqrt(mean(tf.square(centred)) + epsilon)
        return centred, inverse

    @tf.custom_gradient
    def with_bias(x, scale, bias):
        centred, inverse = forward(x)
        normalised = centred * inverse

        def gradient(upstream):
            g = upstream * scale
            x_gradient = inverse * (g - mean(g) - normalised * mean(g * normalised))
            return x_gradient, sum_over_pixels(upstream * normalised), sum_over_pixels(upstream)

        return normalised * scale + bias, gradient

    @tf.custom_gradient
    def bias_free(x, scale):
        centred, inverse = forward(x)
        normalised = x * inverse

        def gradient(upstream):
            g = upstream * scale
            # The variance is about the mean although the numerator is not centred.
            x_gradient = inverse * (g - centred * inverse * mean(g * normalised))
            return x_gradient, sum_over_pixels(upstream * normalised)

        return normalised * scale, gradient

    return bias_free(x, scale) if bias is None else with_bias(x, scale, bias)


@keras.saving.register_keras_serializable("keras_skd")
class ChannelNormalization(keras.layers.Layer):
    """LayerNorm over the channel axis of each pixel.

    With the mean ``mu`` and the (biased) variance ``var`` of a pixel's channels::

        with_bias=True    (x - mu) / sqrt(var + epsilon) * scale + bias
        with_bias=False    x       / sqrt(var + epsilon) * scale

    Source: Restormer's ``WithBias_LayerNorm`` and ``BiasFree_LayerNorm``. The bias-free form
    does not subtract the mean from its output, yet its variance is about the mean.

    Statistics are computed in float32 under mixed precision. In the export form the pixel is scaled
    down before it is squared because a phone GPU computes the float32 graph in float16, where the
    squares of real features (\\|x\\| of 200 and more) overflow.

    Args:
        with_bias: Whether to centre the output and to learn a bias.
        epsilon: Added to the variance, in squared input units.
        for_integers: Whether the export form is for int8 in every operation: its ranges are known,
            so that nothing overflows, and features are not scaled.

    Input and output: ``(batch, height, width, channels)``.
    """

    # Up to so many channels, 1x1 convolutions take mean and variance no slower than reductions do.
    ALWAYS_CONVOLVED = 16

    def __init__(
        self,
        with_bias: bool = True,
        epsilon: float = 1e-5,
        for_integers: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.with_bias = with_bias
        self.epsilon = epsilon
        self.for_integers = for_integers

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.export_form = is_export_shape(input_shape)
        self.export_shape = input_shape
        self.scale = self.add_weight(name="scale", shape=(channels,), initializer="ones")
        self.bias = None
        if self.with_bias:
            self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        scale = ops.cast(self.scale, "float32")
        bias = None if self.bias is None else ops.cast(self.bias, "float32")
        if not self.export_form:
            y = normalise_channels(ops.cast(x, "float32"), scale, bias, self.epsilon)
            return ops.cast(y, self.compute_dtype)
        y = self.standardised(x) * scale
        return ops.cast(y if bias is None else y + bias, self.compute_dtype)

    @property
    def prescale(self) -> float:
        """Of the features before they are squared in the export form, for float16's range.

        A power of two, so that scaling is exact in float32. Deviations of 1000 then square to
        62,500 where each square is divided by their number before they are added; where they are
        added first, 384 of 200 come to 15,000.
        """
        if self.for_integers:
            return 1.0
        return 1.0 / 4.0 if self._is_convolved() else 1.0 / 32.0

    def _is_convolved(self):
        """Whether 1x1 convolutions take mean and variance: three operations of a GPU, not six."""
        _, height, width, channels = self.export_shape
        return not self.for_integers and (
            channels <= self.ALWAYS_CONVOLVED or channels**2 * height * width <= SPARE_PRODUCTS
        )

    def standardised(self, x: Tensor) -> Tensor:
        """The export form before its ``scale`` and ``bias``, which the next layer may fold."""
        with tf.name_scope(self.name):
            x = ops.cast(x, "float32")
            return self._convolved(x) if self._is_convolved() else self._reduced(x)

    def _convolved(self, x):
        channels = x.shape[-1]
        mean = np.full((1, 1, channels, channels), 1 / channels, "float32")
        centring = (np.eye(channels, dtype="float32") - mean) * np.float32(self.prescale)
        with tf.name_scope(IN_FLOAT):
            centred = tf.nn.conv2d(x, centring, 1, "VALID")
            # The variance lies in every channel: a factor as wide as the features is no operation
            # of its own on a GPU.
            inverse = self._inverse(tf.nn.conv2d(centred * centred, mean, 1, "VALID"))
        return inverse * centred if self.with_bias else (inverse * self.prescale) * x

    def _reduced(self, x):
        scaled = x * self.prescale
        centred = scaled - ops.mean(scaled, axis=-1, keepdims=True)
        inverse = self._inverse(ops.mean(ops.square(centred), axis=-1, keepdims=True))
        return (centred if self.with_bias else scaled) * inverse

    def _inverse(self, variance):
        """``1 / sqrt(variance + epsilon)`` of the scaled features.

        In float16 epsilon vanishes: beside the variance, or by itself as a stored constant. The
        upper bound, which changes nothing in float32, keeps 0 / 0 out of black images.
        """
        epsilon = self.epsilon * self.prescale**2
        inverse = ops.rsqrt(variance + epsilon)
        return inverse if self.for_integers else ops.minimum(inverse, epsilon**-0.5)

    def macs(self, input_shape: tuple, output_shape: tuple) -> Macs:
        """Nothing: norms are not counted."""
        return Macs()

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "with_bias": self.with_bias,
            "epsilon": self.epsilon,
            "for_integers": self.for_integers,
        }
