"""The losses of soft knowledge distillation, as pure functions.

Source: Zhang and Yan, "Soft Knowledge Distillation with Multi-Dimensional Cross-Net Attention for
Image Restoration Models Compression", ICASSP 2025 (arXiv 2501.09321). The paper leaves the scale of
features and logits, the axis of the softmax, the bandwidth and the contrastive pairs open; each
function states our decision and why.

Features are ``(batch, height, width, channels)``; ``S`` are the student's, brought to the teacher's
width, and ``T`` the teacher's. N is the number of positions, C of channels.
"""

import tensorflow as tf

# Query positions whose attention is held at a time: memory is O(N * _QUERY_BLOCK), not O(N^2).
_QUERY_BLOCK = 1024


def normalise_by_teacher(student, teacher, epsilon=1e-6):
    """Divides both features by the teacher's root mean square over each sample.

    Distances then are of order one at every stage and for every image, so that one kernel bandwidth
    fits all, and a stage of large features does not outweigh the others.

    Returns:
        The two normalised features, float32.
    """
    student, teacher = tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
    mean_square = tf.reduce_mean(tf.square(teacher), axis=(1, 2, 3), keepdims=True)
    inverse = tf.math.rsqrt(mean_square + epsilon)
    return student * inverse, teacher * inverse


def gaussian_kernel_distance(x, y, bandwidth=1.0):
    """``GK(x, y) = mean over positions of 1 - exp(-|x - y|^2 / (2 bandwidth^2))``.

    The squared distance is the mean over the channels of a position. Summed over a whole feature
    map, as the formula may be read, the kernel saturates at 1 and its gradient vanishes.

    Args:
        x: ``(batch, height, width, channels)``, see :func:`normalise_by_teacher`.
        y: The same shape.
        bandwidth: sigma of the kernel, in units of the features.

    Returns:
        ``(batch,)``, in 0..1; 0 for equal features.
    """
    squared = tf.reduce_mean(tf.square(x - y), axis=-1)
    return tf.reduce_mean(-tf.math.expm1(-squared / (2.0 * bandwidth**2)), axis=(1, 2))


def channel_cross_attention(student, teacher, temperature=0.1):
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

    Returns:
        ``(batch, height, width, channels of the teacher)``.
    """
    shape = tf.shape(teacher)
    s, t = _positions_by_channels(student), _positions_by_channels(teacher)
    logits = tf.matmul(
        tf.math.l2_normalize(t, axis=1), tf.math.l2_normalize(s, axis=1), transpose_a=True
    )
    attention = tf.nn.softmax(logits / temperature, axis=-1)  # (batch, teacher's, student's)
    return tf.reshape(tf.matmul(s, attention, transpose_b=True), shape)


def spatial_cross_attention(student, teacher, temperature=0.1):
    """MCA-s: ``S_s = S softmax(T^T S / temperature)``, with S and T as ``C x N``.

    Each teacher position asks which student positions are like it and receives their mix. The
    softmax runs over the student's positions, the axis that the product contracts. Position vectors
    are L2-normalised for the logits, as in :func:`channel_cross_attention`.

    The ``N x N`` attention is never held: query positions go block by block, and the backward pass
    computes each block's softmax again.

    Args:
        student: ``(batch, height, width, channels)``.
        teacher: The same shape.
        temperature: lambda, dimensionless.

    Returns:
        ``(batch, height, width, channels)``.
    """
    s, t = _positions_by_channels(student), _positions_by_channels(teacher)
    queries = tf.math.l2_normalize(t, axis=-1) / temperature
    keys = tf.math.l2_normalize(s, axis=-1)
    return tf.reshape(_blocked_attention(queries, keys, s), tf.shape(teacher))


def contrastive_loss(anchors, positives, negatives, epsilon=1e-3):
    """``L_CL = sum over layers of weight * d(anchor, positive) / (d(anchor, negative) + epsilon)``.

    ``d`` is the mean absolute difference of features; with several positives their distances are
    averaged. Weights double with depth and sum to one. Pulls the student's image towards clean
    images and away from the degraded input.

    Args:
        anchors: The student's image's features, a list of ``(batch, height, width, channels)``
            from the shallowest layer to the deepest.
        positives: A list of such lists: of the ground truth and of the teacher's image.
        negatives: Such a list: of the degraded input.
        epsilon: Keeps the ratio finite where the student returns its input.

    Returns:
        ``(batch,)``.
    """
    weights = [2.0**depth for depth in range(len(anchors))]
    loss = 0.0
    for layer, (anchor, negative) in enumerate(zip(anchors, negatives, strict=True)):
        near = tf.add_n([_distance(anchor, positive[layer]) for positive in positives])
        ratio = near / len(positives) / (_distance(anchor, negative) + epsilon)
        loss += weights[layer] / sum(weights) * ratio
    return loss


def _distance(x, y):
    difference = tf.cast(x, tf.float32) - tf.cast(y, tf.float32)
    return tf.reduce_mean(tf.abs(difference), axis=(1, 2, 3))


def _positions_by_channels(x):
    """(batch, height, width, channels) -> (batch, height * width, channels), float32."""
    shape = tf.shape(x)
    return tf.reshape(tf.cast(x, tf.float32), (shape[0], shape[1] * shape[2], x.shape[-1]))


@tf.custom_gradient
def _blocked_attention(queries, keys, values):
    """``softmax(queries keys^T) values`` for ``(batch, N, C)`` without the ``N x N`` matrix."""
    count = tf.shape(queries)[1]
    blocks = -(-count // _QUERY_BLOCK)

    def block(tensor, index):
        return tensor[:, index * _QUERY_BLOCK : (index + 1) * _QUERY_BLOCK]

    def attend(index):
        logits = tf.matmul(block(queries, index), keys, transpose_b=True)
        return tf.nn.softmax(logits, axis=-1)

    def forward(index, outputs):
        return index + 1, outputs.write(index, _to_front(tf.matmul(attend(index), values)))

    def gradient(upstream):
        def backward(index, query_gradients, key_gradient, value_gradient):
            weights = attend(index)
            g = block(upstream, index)
            value_gradient += tf.matmul(weights, g, transpose_a=True)
            d_weights = tf.matmul(g, values, transpose_b=True)
            mean = tf.reduce_sum(d_weights * weights, axis=-1, keepdims=True)
            d_logits = weights * (d_weights - mean)
            key_gradient += tf.matmul(d_logits, block(queries, index), transpose_a=True)
            query_gradient = _to_front(tf.matmul(d_logits, keys))
            return (
                index + 1,
                query_gradients.write(index, query_gradient),
                key_gradient,
                value_gradient,
            )

        _, query_gradients, key_gradient, value_gradient = tf.while_loop(
            lambda index, *_: index < blocks,
            backward,
            (0, _block_array(blocks), tf.zeros_like(keys), tf.zeros_like(values)),
            parallel_iterations=1,
        )
        return _to_front(query_gradients.concat()), key_gradient, value_gradient

    _, outputs = tf.while_loop(
        lambda index, _: index < blocks,
        forward,
        (0, _block_array(blocks)),
        parallel_iterations=1,
    )
    return _to_front(outputs.concat()), gradient


def _block_array(blocks):
    # The last block may be shorter, hence infer_shape=False.
    return tf.TensorArray(tf.float32, size=blocks, infer_shape=False)


def _to_front(x):
    """(batch, N, C) <-> (N, batch, C): TensorArray concatenates along the first axis."""
    return tf.transpose(x, (1, 0, 2))
