"""Parts of convolutions with a norm or a scale folded in: what export forms are made of."""

import keras
import tensorflow as tf


def pointwise(
    x: tf.Tensor,
    convolution: keras.layers.Conv2D,
    norm: keras.layers.Layer | None = None,
    channels: slice = slice(None),
    factor: float = 1.0,
    idle: int = 0,
) -> tf.Tensor:
    """Some output channels of a 1x1 convolution of ``norm(x)``, as one operation. Export form.

    Convolutions of their own for the parts of a wider one cost nothing and spare the slices: a
    slice of channels copies pixel by pixel, and was a fifth of a student's time on a CPU. The
    norm's scale and bias are folded into the constants: two passes over memory less.

    Args:
        x: ``(1, height, width, channels)``; with ``norm``, its standardised input.
        convolution: A :class:`keras.layers.Conv2D` of kernel size 1.
        norm: A :class:`~keras_skd.layers.ChannelNormalization` to fold, or None.
        channels: Slice of the output channels.
        factor: Folded into the constants.
        idle: Channels of zeros to append.

    Returns:
        ``(1, height, width, channels of the slice + idle)``.
    """
    kernel = convolution.kernel[..., channels]
    bias = convolution.bias[channels] if convolution.use_bias else None
    if norm is not None:
        if norm.bias is not None:
            folded = tf.linalg.matvec(kernel[0, 0], norm.bias, transpose_a=True)
            bias = folded if bias is None else bias + folded
        kernel = kernel * norm.scale[:, None]
    kernel = kernel * factor
    bias = bias if bias is None else bias * factor
    if idle:
        kernel = tf.concat([kernel, tf.zeros((*kernel.shape[:3], idle))], axis=3)
        bias = bias if bias is None else tf.concat([bias, tf.zeros(idle)], axis=0)
    y = tf.nn.conv2d(x, kernel, 1, "VALID")
    # Not bias_add: TensorFlow's layout pass for oneDNN aborts on its fusion with such a kernel.
    return y if bias is None else y + bias


def depthwise(
    x: tf.Tensor,
    convolution: keras.layers.DepthwiseConv2D,
    channels: slice = slice(None),
    factor: float = 1.0,
) -> tf.Tensor:
    """Some channels of a 3x3 depthwise convolution, times ``factor`` squared. Export form.

    Args:
        x: ``(1, height, width, channels of the slice)``, those channels of its input times
            ``factor``, and any number of idle ones after them, which become zeros.
        convolution: A :class:`keras.layers.DepthwiseConv2D` of kernel size 3.
        channels: Slice of the channels.
        factor: Folded into the constants.

    Returns:
        The shape of ``x``.
    """
    kernel = convolution.kernel[:, :, channels] * factor
    bias = convolution.bias[channels] * factor**2 if convolution.use_bias else None
    idle = x.shape[-1] - kernel.shape[2]
    if idle:
        kernel = tf.concat([kernel, tf.zeros((*kernel.shape[:2], idle, 1))], axis=2)
        bias = bias if bias is None else tf.concat([bias, tf.zeros(idle)], axis=0)
    y = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")
    return y if bias is None else y + bias
