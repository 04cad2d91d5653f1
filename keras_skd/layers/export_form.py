"""Which of its two equal forms a layer computes: the one for training or the one for export."""

import tensorflow as tf
from keras import ops

# Name scope of convolutions that are means and products of small matrices: the exporter leaves them
# in float where it quantises those that have weights of the student's.
IN_FLOAT = "in_float"


def is_export_shape(build_shape: tuple) -> bool:
    """Whether a layer built for ``build_shape`` is part of a graph of fixed size and batch 1.

    Such graphs are made for export (a model's ``image_size``). They take the form that the phone's
    GPU delegate computes correctly; all others take the one that trains faster. Both compute the
    same function. The shape at build decides, not the shape of a call: a training batch has a
    known shape too.
    """
    return build_shape[0] == 1 and None not in build_shape


def split_channels(x: tf.Tensor, parts: int, export_form: bool) -> list[tf.Tensor]:
    """Splits the last axis of ``x`` into ``parts`` equal tensors.

    The export form slices: a SPLIT whose halves meet again in ``gelu(a) * b`` fails shader
    validation on ML Drift, which then returns zeros without an error. The training form splits,
    because the gradient of a slice pads with zeros: slices were a third of a training step.
    """
    if not export_form:
        return ops.split(x, parts, axis=-1)
    width = x.shape[-1] // parts
    return [x[..., part * width : (part + 1) * width] for part in range(parts)]
