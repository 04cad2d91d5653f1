"""Which of its two equal forms a layer computes: the one for training or the one for export."""

import tensorflow as tf
from keras import ops

# WebGPU guarantees textures of 8192 x 8192, as phones do. ML Drift lays (1, height, width,
# channels) out as a texture of height * ceil(channels / 4) by width; where one is larger nothing
# runs at all.
TEXTURE_SIZE = 8192


def is_export_shape(build_shape):
    """Whether a layer built for ``build_shape`` is part of a graph of fixed size and batch 1.

    Such graphs are made for export (a model's ``image_size``). They take the form that the phone's
    GPU delegate computes correctly; all others take the one that trains faster. Both compute the
    same function. The shape at build decides, not the shape of a call: a training batch has a
    known shape too.
    """
    return build_shape[0] == 1 and None not in build_shape


def split_channels(x, parts, export_form):
    """Splits the last axis of ``x`` into ``parts`` equal tensors.

    The export form slices: a SPLIT whose halves meet again in ``gelu(a) * b`` fails shader
    validation on ML Drift, which then returns zeros without an error. The training form splits,
    because the gradient of a slice pads with zeros: slices were a third of a training step.
    """
    if not export_form:
        return ops.split(x, parts, axis=-1)
    width = x.shape[-1] // parts
    return [x[..., part * width : (part + 1) * width] for part in range(parts)]


def pointwise(x, convolution, norm=None, channels=slice(None), factor=1.0, idle=0):
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


def depthwise(x, convolution, channels=slice(None), factor=1.0):
    """Some channels of a 3x3 depthwise convolution, times ``factor`` squared. Export form.

    Args:
        x: Those channels of its input, times ``factor``, and any number of idle ones, which become
            zeros.
        convolution: A :class:`keras.layers.DepthwiseConv2D` of kernel size 3.
        channels: Slice of the channels.
        factor: Folded into the constants.
    """
    kernel = convolution.kernel[:, :, channels] * factor
    bias = convolution.bias[channels] * factor**2 if convolution.use_bias else None
    idle = x.shape[-1] - kernel.shape[2]
    if idle:
        kernel = tf.concat([kernel, tf.zeros((*kernel.shape[:2], idle, 1))], axis=2)
        bias = bias if bias is None else tf.concat([bias, tf.zeros(idle)], axis=0)
    y = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")
    return y if bias is None else y + bias
