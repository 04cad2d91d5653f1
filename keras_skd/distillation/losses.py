"""The losses of soft knowledge distillation, and those that it is compared with.

Pure functions, and thin Keras losses around those of soft knowledge distillation.

Source: Zhang and Yan, "Soft Knowledge Distillation with Multi-Dimensional Cross-Net Attention for
Image Restoration Models Compression", ICASSP 2025 (arXiv 2501.09321). The paper leaves the scale of
features and logits, the axis of the softmax, the bandwidth and the contrastive pairs open; each
function states our decision and why.

Features are ``(batch, height, width, channels)``; ``S`` are the student's, brought to the teacher's
width, and ``T`` the teacher's. N is the number of positions, C of channels. float16 and bfloat16
features are computed with in float32.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_skd.distillation import streaming
from keras_skd.hints import Tensor


def normalise_by_teacher(
    student: Tensor, teacher: Tensor, epsilon: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """``S / rms(T), T / rms(T)``, with the root mean square over each sample.

    Distances then are of order one at every stage and for every image, so that one kernel bandwidth
    fits all, and a stage of large features does not outweigh the others. Dividing both by one
    number keeps what the student gets wrong in scale; normalising each by its own would hide it.

    Args:
        student: ``(batch, height, width, channels)``.
        teacher: ``(batch, height, width, channels of the teacher)``.
        epsilon: Added to the mean square, for teachers that are zero.

    Returns:
        The two normalised features, float32.
    """
    student, teacher = _precise(student), _precise(teacher)
    mean_square = tf.reduce_mean(tf.square(teacher), axis=(1, 2, 3), keepdims=True)
    inverse = tf.math.rsqrt(mean_square + epsilon)
    return student * inverse, teacher * inverse


def gaussian_kernel_distance(
    x: Tensor, y: Tensor, bandwidth: float = 1.0, by_position: bool = True
) -> Tensor:
    """``GK(x, y) = mean over positions of 1 - exp(-|x - y|^2 / (2 bandwidth^2))``.

    The squared distance is the mean over the channels of a position. Summed over a whole feature
    map, as the formula may be read, the kernel saturates at 1 and its gradient vanishes. The
    gradient of a position is greatest at a root-mean-square distance of one bandwidth.

    Args:
        x: ``(batch, height, width, channels)``, see :func:`normalise_by_teacher`.
        y: The same shape.
        bandwidth: sigma of the kernel, in units of the features.
        by_position: False makes it one kernel of the whole map, of the squared distance summed
            over positions and channels: the formula as printed.

    Returns:
        ``(batch,)``, in 0..1; 0 for equal features.
    """
    squared = tf.square(_precise(x) - _precise(y))
    if by_position:
        squared = tf.reduce_mean(squared, axis=-1)
    else:
        squared = tf.reduce_sum(squared, axis=(1, 2, 3))[:, None, None]  # the map as one position
    return tf.reduce_mean(-tf.math.expm1(-squared / (2.0 * bandwidth**2)), axis=(1, 2))


def mean_absolute_difference(x: Tensor, y: Tensor) -> Tensor:
    """``mean |x - y|`` of each sample: L1 between images or features.

    Args:
        x: ``(batch, height, width, channels)``.
        y: The same shape.

    Returns:
        ``(batch,)``.
    """
    return tf.reduce_mean(tf.abs(_precise(x) - _precise(y)), axis=(1, 2, 3))


def channel_cross_attention(
    student: Tensor, teacher: Tensor, temperature: float = 0.1, cosines: bool = True
) -> Tensor:
    """MCA-c: ``S_c = softmax(T S^T / temperature) S``, with S and T as ``C x N``.

    Each teacher channel asks which student channels are like it and receives their mix. The softmax
    runs over the student's channels, the axis that the product contracts, so that each output is a
    convex combination of student channels. Channels are L2-normalised for the logits, which then
    are cosines in -1..1 at every resolution: a temperature of 0.1 to 1 is neither flat nor an
    argmax. To infinity, every output channel tends to the mean of the student's channels.

    Args:
        student: ``(batch, height, width, channels)``.
        teacher: ``(batch, height, width, channels of the teacher)``.
        temperature: lambda, dimensionless.
        cosines: False takes the dot products themselves as logits: the formula as printed.

    Returns:
        ``(batch, height, width, channels of the teacher)``.
    """
    shape = tf.shape(teacher)
    s, t = _positions_by_channels(student), _positions_by_channels(teacher)
    queries, keys = (tf.math.l2_normalize(x, axis=1) if cosines else x for x in (t, s))
    logits = tf.matmul(queries, keys, transpose_a=True)
    attention = tf.nn.softmax(logits / temperature, axis=-1)  # (batch, teacher's, student's)
    return tf.reshape(tf.matmul(s, attention, transpose_b=True), shape)


def spatial_cross_attention(
    student: Tensor, teacher: Tensor, temperature: float = 0.1, cosines: bool = True
) -> Tensor:
    """MCA-s: ``S_s = S softmax(T^T S / temperature)^T``, with S and T as ``C x N``.

    Each teacher position asks which student positions are like it and receives their mix. The
    softmax runs over the student's positions, the axis that the product contracts: the rows of
    ``T^T S`` are the teacher's positions, so the product needs the transpose, which the paper does
    not print. Position vectors are L2-normalised for the logits, as in
    :func:`channel_cross_attention`.

    The attention of all positions to all is never held, neither here nor in the backward pass; see
    :mod:`keras_skd.distillation.streaming`.

    Args:
        student: ``(batch, height, width, channels)``.
        teacher: ``(batch, rows, columns, channels)``: those positions that ask, all or, from
            :func:`thinned`, a part. Receives no gradient.
        temperature: lambda, dimensionless.
        cosines: False takes the dot products themselves as logits: the formula as printed.

    Returns:
        ``(batch, rows, columns, channels)``.
    """
    s, t = _positions_by_channels(student), _positions_by_channels(teacher)
    queries, keys = (tf.math.l2_normalize(x, axis=-1) if cosines else x for x in (t, s))
    return tf.reshape(streaming.attention(queries / temperature, keys, s), tf.shape(teacher))


def thinned(features: Tensor, positions: int | None) -> Tensor:
    """The features at a regular grid of about so many positions.

    The cost of :func:`spatial_cross_attention` is the number of positions that ask times that of
    positions that answer. Neighbours ask nearly the same, so a part of them does.

    Args:
        features: ``(batch, height, width, channels)``.
        positions: About how many to keep at most; None keeps all.

    Returns:
        Every n-th row and column, with the smallest n that will do; all where that is 1.
    """
    if positions is None:
        return features
    _, height, width, _ = _shape(features)
    if isinstance(height, int) and isinstance(width, int):
        least, step = min, max(1, math.ceil(math.sqrt(height * width / positions)))
    else:
        root = tf.sqrt(tf.cast(height * width, tf.float32) / positions)
        least, step = tf.minimum, tf.maximum(1, tf.cast(tf.math.ceil(root), tf.int32))
    top, left = ((least(step, length) - 1) // 2 for length in (height, width))
    return features[:, top::step, left::step]


def contrastive_loss(
    anchors: Sequence[Tensor],
    positives: Sequence[Sequence[Tensor]],
    negatives: Sequence[Tensor],
    repulsion: float = 0.0,
    epsilon: float = 1e-6,
) -> Tensor:
    """``L_CL = sum over layers of weight * d(a, p) / ((d(a, n) + d(p, n)) / 2 + epsilon)``.

    ``a`` is the anchor, ``p`` the positive, ``n`` the negative, and ``d`` the mean absolute
    difference of their features; with several positives their distances are averaged. Weights
    double with depth and sum to one. The form is near that of Wu et al., "Contrastive Learning for
    Compact Single Image Dehazing", CVPR 2021, ``d(a, p) / d(a, n)``, and differs in two ways that
    were measured (``results/README.md``):

    - That ratio is unbounded where a student returns its input, as an untrained one does: the
      first gradients are a thousand times the reconstruction's, and Adam remembers them for a
      thousand steps. ``d(p, n)`` bounds it.
    - Its gradient also pushes the image away from its input, beyond the ground truth: it smooths
      what is no noise. By default the denominator is a constant to the gradient.

    Args:
        anchors: The student's image's features, a list of ``(batch, height, width, channels)``
            from the shallowest layer to the deepest.
        positives: A list of such lists: of the ground truth and of the teacher's image.
        negatives: Such a list: of the degraded input.
        repulsion: Share of the gradient through ``d(a, n)`` that is kept, 0 to 1. The value does
            not depend on it.
        epsilon: Keeps the ratio finite where the input is clean.

    Returns:
        ``(batch,)``.
    """
    weights = _depth_weights(anchors)
    loss = 0.0
    for layer, (anchor, negative) in enumerate(zip(anchors, negatives, strict=True)):
        each = [positive[layer] for positive in positives]
        near = tf.add_n([mean_absolute_difference(anchor, positive) for positive in each])
        between = tf.add_n([mean_absolute_difference(positive, negative) for positive in each])
        far = mean_absolute_difference(anchor, negative)
        far = repulsion * far + (1 - repulsion) * tf.stop_gradient(far)
        scale = (far + between / len(each)) / 2 + epsilon
        loss += weights[layer] * near / len(each) / scale
    return loss


def contrastive_ratio(
    anchors: Sequence[Tensor],
    positives: Sequence[Sequence[Tensor]],
    negatives: Sequence[Tensor],
    epsilon: float = 1e-6,
) -> Tensor:
    """``sum over layers of weight * d(a, p) / (d(a, n) + epsilon)``, with its own gradient.

    The contrast of Wu et al. 2021, on which :func:`contrastive_loss` improves. Where a student
    returns its input it is ``d(p, n) / epsilon``, and the first gradients are huge.

    Args:
        anchors: As for :func:`contrastive_loss`.
        positives: The same.
        negatives: The same.
        epsilon: Keeps the ratio finite where the student returns its input.

    Returns:
        ``(batch,)``.
    """
    weights = _depth_weights(anchors)
    loss = 0.0
    for layer, (anchor, negative) in enumerate(zip(anchors, negatives, strict=True)):
        distances = [mean_absolute_difference(anchor, positive[layer]) for positive in positives]
        near = tf.add_n(distances) / len(distances)
        far = mean_absolute_difference(anchor, negative)
        loss += weights[layer] * near / (far + epsilon)
    return loss


def image_kl_divergence(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    """``KL(p(T) || p(S))`` of images, with ``p = softmax(image / temperature)`` over the positions.

    An image is no distribution; the softmax over the positions of each colour channel makes it one,
    as channel-wise distillation does with feature maps (Shu et al., "Channel-wise Knowledge
    Distillation for Dense Prediction", ICCV 2021). It cannot see the mean of a channel, which the
    reconstruction loss takes care of.

    Args:
        student: The student's image, ``(batch, height, width, channels)`` in 0..1.
        teacher: The teacher's, same shape.
        temperature: In units of the image; 0.1 weighs the brightest pixels 20,000 times the
            darkest.

    Returns:
        ``(batch,)``, the mean over the channels; 0 for equal images.
    """
    ours = tf.nn.log_softmax(_positions_by_channels(student) / temperature, axis=1)
    theirs = tf.nn.log_softmax(_positions_by_channels(teacher) / temperature, axis=1)
    return tf.reduce_mean(tf.reduce_sum(tf.exp(theirs) * (theirs - ours), axis=1), axis=-1)


def feature_affinity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """``mean |A(S) - A(T)|`` with ``A(F) = F^T F`` of position vectors of length one.

    The affinity of every position with every other is ``N x N`` and does not depend on the width,
    so that no adapter is needed. It is never held whole; see
    :mod:`keras_skd.distillation.streaming`.

    Source: He et al., "FAKD: Feature-Affinity Based Knowledge Distillation for Efficient Image
    Super-Resolution", ICIP 2020.

    Args:
        student: ``(batch, height, width, channels)``.
        teacher: ``(batch, height, width, channels of the teacher)``; receives no gradient.

    Returns:
        ``(batch,)``, in 0..2.
    """
    s, t = (tf.math.l2_normalize(_positions_by_channels(x), axis=-1) for x in (student, teacher))
    return streaming.mean_absolute_difference_of_products(s, t)


class _KernelLoss(keras.losses.Loss):
    """The kernel distance of some function of the features to the teacher's."""

    def __init__(self, bandwidth=1.0, reduction="sum_over_batch_size", name=None, dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.bandwidth = bandwidth

    def attend(self, student, teacher):
        return student

    def call(self, teacher, student):
        student, teacher = normalise_by_teacher(student, tf.stop_gradient(teacher))
        return gaussian_kernel_distance(self.attend(student, teacher), teacher, self.bandwidth)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bandwidth": self.bandwidth}


@keras.saving.register_keras_serializable("keras_skd")
class GaussianKernelLoss(_KernelLoss):
    """``GK(S, T)`` of :func:`gaussian_kernel_distance`, both normalised by the teacher.

    Call it as ``loss(teacher, student)``, features of one shape; the teacher gets no gradient.

    Args:
        bandwidth: sigma of the kernel, in units of the teacher's root mean square.
    """


class _AttentionLoss(_KernelLoss):
    def __init__(self, temperature=0.1, bandwidth=1.0, **kwargs):
        super().__init__(bandwidth, **kwargs)
        self.temperature = temperature

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable("keras_skd")
class ChannelCrossAttentionLoss(_AttentionLoss):
    """``GK(S_c, T)`` with ``S_c`` of :func:`channel_cross_attention`.

    Call it as ``loss(teacher, student)``, features of one shape; the teacher gets no gradient.

    Args:
        temperature: lambda of the attention.
        bandwidth: sigma of the kernel, in units of the teacher's root mean square.
    """

    def attend(self, student: Tensor, teacher: Tensor) -> Tensor:
        return channel_cross_attention(student, teacher, self.temperature)


@keras.saving.register_keras_serializable("keras_skd")
class SpatialCrossAttentionLoss(_AttentionLoss):
    """``GK(S_s, T)`` with ``S_s`` of :func:`spatial_cross_attention`.

    Call it as ``loss(teacher, student)``, features of one shape; the teacher gets no gradient.

    Args:
        temperature: lambda of the attention.
        bandwidth: sigma of the kernel, in units of the teacher's root mean square.
    """

    def attend(self, student: Tensor, teacher: Tensor) -> Tensor:
        return spatial_cross_attention(student, teacher, self.temperature)


@keras.saving.register_keras_serializable("keras_skd")
class ContrastiveLoss(keras.losses.Loss):
    """:func:`contrastive_loss` of lists of features.

    Call it as ``loss({"positives": [features, ...], "negatives": features}, anchors)``, where
    features are lists of ``(batch, height, width, channels)``, shallow to deep.

    Args:
        repulsion: Share of the gradient that pushes the anchor away from the negative, 0 to 1.
        epsilon: Keeps the ratio finite where the input is clean.
    """

    def __init__(
        self,
        repulsion: float = 0.0,
        epsilon: float = 1e-6,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.repulsion, self.epsilon = repulsion, epsilon

    def call(self, references: Mapping[str, Any], anchors: Sequence[Tensor]) -> Tensor:
        return contrastive_loss(
            anchors,
            references["positives"],
            references["negatives"],
            repulsion=self.repulsion,
            epsilon=self.epsilon,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "repulsion": self.repulsion, "epsilon": self.epsilon}


def _depth_weights(layers):
    """A weight for each layer, shallow to deep; they double with depth and sum to one."""
    weights = [2.0**depth for depth in range(len(layers))]
    return [weight / sum(weights) for weight in weights]


def _precise(x):
    """float64 as it is, everything else as float32."""
    x = tf.convert_to_tensor(x)
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def _positions_by_channels(x):
    """(batch, height, width, channels) -> (batch, height * width, channels)."""
    x = _precise(x)
    batch, height, width, channels = _shape(x)
    return tf.reshape(x, (batch, height * width, channels))


def _shape(x):
    """Each length as an int where the graph knows it, else as a scalar tensor."""
    return [known or length for known, length in zip(x.shape, tf.unstack(tf.shape(x)), strict=True)]
