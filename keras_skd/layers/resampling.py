"""Halving and doubling of resolution by convolution and pixel (un)shuffle."""

import math

import keras
import tensorflow as tf

from keras_skd.hints import Shape, Tensor
from keras_skd.layers.costs import Macs, pixels_of
from keras_skd.layers.export_form import is_export_shape


class _Resample(keras.layers.Layer):
    def build(self, input_shape):
        channels = input_shape[-1]
        self.export_form = is_export_shape(input_shape)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(3, 3, channels, self._filters(channels)),
            initializer="glorot_uniform",
        )

    def macs(self, input_shape: tuple, output_shape: tuple) -> Macs:
        """Of the convolution as published, at the input's resolution."""
        return Macs(pixels_of(input_shape) * math.prod(self.kernel.shape))


@keras.saving.register_keras_serializable("keras_skd")
class Downsample(_Resample):
    """3x3 convolution to half the channels, then pixel unshuffle.

    Input ``(batch, height, width, channels)``, output ``(batch, height/2, width/2, 2*channels)``.
    Source: Restormer's ``Downsample``. Output channels are in PyTorch's order, ``(channel, row,
    column)`` of the 2x2 cell; TensorFlow's ``space_to_depth`` has ``(row, column, channel)``.

    The export form is one 4x4 convolution of stride 2 whose kernel holds the 3x3 kernel at the four
    places of the cell: one operation for the GPU, with no permutation of channels in it.
    """

    def _filters(self, channels):
        return channels // 2

    def call(self, x: Tensor) -> Tensor:
        if self.export_form:
            return tf.nn.conv2d(x, self._strided_kernel(), 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
        x = tf.nn.space_to_depth(tf.nn.conv2d(x, self.kernel, 1, "SAME"), 2)
        batch, height, width, channels = x.shape
        shape = tf.shape(x)
        x = tf.reshape(x, (shape[0], shape[1], shape[2], 4, channels // 4))
        x = tf.reshape(tf.transpose(x, (0, 1, 2, 4, 3)), shape)
        return tf.ensure_shape(x, (batch, height, width, channels))

    def _strided_kernel(self):
        """(3, 3, channels, channels/2) -> (4, 4, channels, 2*channels)."""
        places = [
            tf.pad(self.kernel, [[row, 1 - row], [column, 1 - column], [0, 0], [0, 0]])
            for row in (0, 1)
            for column in (0, 1)
        ]
        channels = self.kernel.shape[2]
        return tf.reshape(tf.stack(places, axis=-1), (4, 4, channels, 2 * channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        half = [size and size // 2 for size in (height, width)]
        return (batch, *half, 2 * channels)


@keras.saving.register_keras_serializable("keras_skd")
class Upsample(_Resample):
    """3x3 convolution to twice the channels, then pixel shuffle.

    Input ``(batch, height, width, channels)``, output ``(batch, 2*height, 2*width, channels/2)``.
    Source: Restormer's ``Upsample``. The filters are kept in PyTorch's order, ``(channel, row,
    column)``, and reordered for ``depth_to_space`` here: a constant in an exported graph.
    """

    def _filters(self, channels):
        return channels * 2

    def call(self, x: Tensor) -> Tensor:
        kernel = tf.reshape(self.kernel, (*self.kernel.shape[:3], -1, 4))
        kernel = tf.reshape(tf.transpose(kernel, (0, 1, 2, 4, 3)), self.kernel.shape)
        return tf.nn.depth_to_space(tf.nn.conv2d(x, kernel, 1, "SAME"), 2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        double = [size and size * 2 for size in (height, width)]
        return (batch, *double, channels // 2)
