"""Halving and doubling of resolution by convolution and pixel (un)shuffle."""

import math
from typing import Any

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

    Args:
        deferred: Whether a :class:`SkipReduction` does this layer's work; it passes its input on.
    """

    def __init__(self, deferred: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.deferred = deferred

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deferred": self.deferred}

    def _filters(self, channels):
        return channels * 2

    def call(self, x: Tensor) -> Tensor:
        if self.deferred:
            return x
        return tf.nn.depth_to_space(tf.nn.conv2d(x, self.shuffled_kernel(), 1, "SAME"), 2)

    def shuffled_kernel(self) -> Tensor:
        """The kernel in the order of ``depth_to_space``: ``(3, 3, channels, 4 * filters)``."""
        kernel = tf.reshape(self.kernel, (*self.kernel.shape[:3], -1, 4))
        return tf.reshape(tf.transpose(kernel, (0, 1, 2, 4, 3)), self.kernel.shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.deferred:
            return input_shape
        batch, height, width, channels = input_shape
        double = [size and size * 2 for size in (height, width)]
        return (batch, *double, channels // 2)


@keras.saving.register_keras_serializable("keras_skd")
class SkipReduction(keras.layers.Layer):
    """The 1x1 convolution of an upsampled tensor and a skip connection's, concatenated.

    ``W [shuffle(U x), s] = shuffle((W_1 U) x) + W_2 s``: the halves of ``W`` apart, the first one
    folded into the upsampling's 3x3 kernel ``U``. One operation of a GPU fewer, and less
    arithmetic. For graphs of fixed size; training concatenates.

    Args:
        filters: Channels of the output.
        use_bias: Whether there is a bias.

    Inputs ``x (1, height, width, 2c)`` and ``s (1, 2 height, 2 width, c)``; output ``(1, 2 height,
    2 width, filters)``.
    """

    def __init__(self, filters: int, use_bias: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.use_bias = use_bias

    def build(self, x_shape: Shape, skip_shape: Shape) -> None:
        shape = (1, 1, x_shape[-1] // 2 + skip_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer="zeros")

    def call(self, x: Tensor, skip: Tensor, upsample: Upsample) -> Tensor:
        """``upsample`` is the :class:`Upsample` of ``x``, deferred."""
        channels = x.shape[-1] // 2
        kernel = tf.reshape(upsample.shuffled_kernel(), (3, 3, 2 * channels, 4, channels))
        kernel = tf.linalg.matmul(kernel, self.kernel[:, :, :channels])
        kernel = tf.reshape(kernel, (3, 3, 2 * channels, -1))
        upsampled = tf.nn.depth_to_space(tf.nn.conv2d(x, kernel, 1, "SAME"), 2)
        y = tf.nn.conv2d(skip, self.kernel[:, :, channels:], 1, "VALID") + upsampled
        return y + self.bias if self.use_bias else y

    def macs(self, input_shape: tuple, output_shape: tuple) -> Macs:
        """Of the convolution as published, at the output's resolution."""
        return Macs(pixels_of(output_shape) * math.prod(self.kernel.shape))

    def compute_output_shape(self, x_shape: Shape, skip_shape: Shape) -> Shape:
        return (*skip_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable("keras_skd")
class Unpool(keras.layers.Conv2DTranspose):
    """Transposed convolution of kernel and stride 2, as Uformer upsamples.

    The export form is a 1x1 convolution to the four pixels of a cell and ``depth_to_space``: phones
    refuse a transposed convolution.

    Args:
        filters: Channels of the output.

    Input ``(batch, height, width, channels)``, output ``(batch, 2 height, 2 width, filters)``.
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(filters, 2, 2, **kwargs)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.export_form = is_export_shape(input_shape)

    def call(self, x: Tensor) -> Tensor:
        if not self.export_form:
            return super().call(x)
        # (row, column, filter, channel) -> (1, 1, channel, (row, column, filter))
        kernel = tf.reshape(tf.transpose(self.kernel, (3, 0, 1, 2)), (1, 1, x.shape[-1], -1))
        cells = tf.nn.conv2d(x, kernel, 1, "VALID") + tf.tile(self.bias, (4,))
        return tf.nn.depth_to_space(cells, 2)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {name: config[name] for name in config if name not in ("kernel_size", "strides")}
