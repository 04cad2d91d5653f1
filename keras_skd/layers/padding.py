"""Padding of any image size to the multiple that an architecture needs, and back."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_skd.hints import Shape, Tensor


def reflected_indices(size: Tensor, padded_size: Tensor) -> Tensor:
    """Indices ``0 .. padded_size-1`` folded back into ``0 .. size-1`` by reflection.

    The border pixel is not repeated (``reflect``), and any amount of padding is possible:
    a size of 1 repeats its only pixel. Both sizes may be tensors, because this is part of a graph;
    arrays are reflected by :func:`keras_skd.tiling.reflected`, to the same pixels.
    """
    period = tf.maximum(2 * (size - 1), 1)
    folded = tf.range(padded_size) % period
    return tf.minimum(folded, period - folded) % size


def _reflected(x, axis, count):
    """``x`` with ``count`` pixels more along an axis, of known size, by one operation a period.

    By mirroring and not by :func:`reflected_indices`, for which a phone's GPU has no operation.
    """
    while count:
        size = x.shape[axis]
        if size == 1:
            return tf.repeat(x, count + 1, axis=axis)
        part = min(count, size - 1)
        x = tf.pad(x, [[0, part if each == axis else 0] for each in range(4)], "REFLECT")
        count -= part
    return x


@keras.saving.register_keras_serializable("keras_skd")
class PadToMultiple(keras.layers.Layer):
    """Reflects the bottom and right borders until both sizes are multiples of ``multiple``.

    An input that fits already passes through untouched; where the size is static this is decided
    when the graph is built, so that an exported model carries no trace of it. Static sizes are
    padded by mirroring, sizes known at run time only by gathering.

    Input ``(batch, height, width, channels)``, output the same with sizes rounded up.
    """

    def __init__(self, multiple: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, x: Tensor) -> Tensor:
        for axis in (1, 2):
            size = x.shape[axis]
            if size is not None:
                x = _reflected(x, axis, -size % self.multiple)
                continue
            size = tf.shape(x)[axis]
            padded_size = -(-size // self.multiple) * self.multiple
            x = tf.cond(
                tf.equal(size, padded_size),
                lambda x=x: x,
                lambda x=x, size=size, padded_size=padded_size, axis=axis: tf.gather(
                    x, reflected_indices(size, padded_size), axis=axis
                ),
            )
        return x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        sizes = [size and -(-size // self.multiple) * self.multiple for size in (height, width)]
        return (batch, *sizes, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("keras_skd")
class CropLike(keras.layers.Layer):
    """Crops the first input's bottom and right to the second input's size.

    Inputs ``(batch, height, width, channels)`` twice, output the first at the second's size.
    """

    def call(self, x: Tensor, like: Tensor) -> Tensor:
        if None not in x.shape[1:3] and x.shape[1:3] == like.shape[1:3]:
            return x
        return x[:, : ops.shape(like)[1], : ops.shape(like)[2]]

    def compute_output_shape(self, x_shape: Shape, like_shape: Shape) -> Shape:
        return (*like_shape[:3], x_shape[3])
