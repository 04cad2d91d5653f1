"""Uformer's locally enhanced feed-forward network (LeFF)."""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_skd.hints import Shape, Tensor
from keras_skd.layers.costs import Macs, sum_of_macs
from keras_skd.layers.export_form import is_export_shape


@tf.custom_gradient
def gelu(x: Tensor) -> Tensor:
    """``x * Phi(x)`` with the exact normal distribution, and its gradient written out.

    Automatic differentiation makes twice the passes over the widest tensors of the network.
    """
    cdf = 0.5 + 0.5 * tf.math.erf(x * tf.cast(math.sqrt(0.5), x.dtype))

    def gradient(upstream):
        density = tf.exp(-0.5 * tf.square(x)) * tf.cast(1 / math.sqrt(2 * math.pi), x.dtype)
        return upstream * (cdf + x * density)

    return x * cdf, gradient


@keras.saving.register_keras_serializable("keras_skd")
class LocallyEnhancedFeedForward(keras.layers.Layer):
    """``W_2 gelu(D gelu(W_1 x))`` with a 3x3 depthwise convolution ``D`` between two projections.

    Source: Wang et al., "Uformer", CVPR 2022, figure 3.

    Args:
        mlp_ratio: ``hidden = int(channels * mlp_ratio)``.

    Input and output: ``(batch, height, width, channels)``.
    """

    def __init__(self, mlp_ratio: float = 4.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.mlp_ratio = mlp_ratio

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.hidden = int(channels * self.mlp_ratio)
        export_form = is_export_shape(input_shape)
        self.activation = (lambda x: ops.gelu(x, approximate=False)) if export_form else gelu
        policy = self.dtype_policy
        self.linear1 = keras.layers.Conv2D(self.hidden, 1, name="linear1", dtype=policy)
        self.depthwise = keras.layers.DepthwiseConv2D(
            3, padding="same", name="depthwise", dtype=policy
        )
        self.linear2 = keras.layers.Conv2D(channels, 1, name="linear2", dtype=policy)
        hidden_shape = (*input_shape[:-1], self.hidden)
        self.linear1.build(input_shape)
        self.depthwise.build(hidden_shape)
        self.linear2.build(hidden_shape)

    def call(self, x: Tensor) -> Tensor:
        x = self.activation(self.linear1(x))
        return self.linear2(self.activation(self.depthwise(x)))

    def macs(self, input_shape: tuple, output_shape: tuple) -> Macs:
        """Of its three convolutions, per image."""
        return sum_of_macs((self.linear1, self.depthwise, self.linear2), input_shape, output_shape)

    @property
    def working_channels(self) -> int:
        """Twice the hidden ones: the depthwise convolution reads one tensor and writes another."""
        return 2 * self.hidden

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mlp_ratio": self.mlp_ratio}
