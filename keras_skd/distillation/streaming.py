"""Sums over pairs of positions that never hold the ``N x N`` matrix of pairs.

Rows of the matrix go tile by tile through a loop. A tile has whole rows, so that its softmax is
exact, and a fixed number of values, so that the memory in use is ``O(N)`` beside inputs and
outputs. The backward pass computes each tile again from its inputs, as flash attention does (Dao
et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", 2022).

All functions work in eager mode, in graphs and under XLA.
"""

import tensorflow as tf

from keras_skd.hints import Tensor

# Values of a tile: 4 MB in float32, which fits the cache of one core. On a CPU, tiles of a quarter
# and of four times the size are slower.
TILE_VALUES = 2**20


@tf.custom_gradient
def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """``softmax(queries keys^T) values``, the softmax over keys.

    Args:
        queries: ``(batch, rows, channels)``, float32 or float64; constants, which receive no
            gradient.
        keys: ``(batch, N, channels)``.
        values: The same shape as the keys.

    Returns:
        ``(batch, rows, channels)``, with a gradient for keys and values.
    """
    tiles = _Tiles(queries, keys)
    tiled_queries = tiles.split(queries)

    def forward(index, outputs, normalisers):
        logits = tf.matmul(tiled_queries[index], keys, transpose_b=True)
        greatest = tf.reduce_max(logits, axis=-1, keepdims=True)
        weights = tf.exp(logits - greatest)
        total = tf.reduce_sum(weights, axis=-1, keepdims=True)
        return (
            outputs.write(index, tf.matmul(weights, values) / total),
            normalisers.write(index, greatest + tf.math.log(total)),
        )

    outputs, normalisers = tiles.loop(forward, tiles.array(), tiles.array())
    tiled_outputs, normalisers = outputs.stack(), normalisers.stack()

    def gradient(upstream):
        tiled_upstream = tiles.split(upstream)

        def backward(index, key_gradient, value_gradient):
            query, above = tiled_queries[index], tiled_upstream[index]
            weights = tf.exp(tf.matmul(query, keys, transpose_b=True) - normalisers[index])
            value_gradient += tf.matmul(weights, above, transpose_a=True)
            # The softmax's derivative needs the mean of the weights' derivatives under the weights,
            # which is the product of output and upstream.
            mean = tf.reduce_sum(above * tiled_outputs[index], axis=-1, keepdims=True)
            logits_gradient = weights * (tf.matmul(above, values, transpose_b=True) - mean)
            key_gradient += tf.matmul(logits_gradient, query, transpose_a=True)
            return key_gradient, value_gradient

        return None, *tiles.loop(backward, tf.zeros_like(keys), tf.zeros_like(values))

    return tiles.join(tiled_outputs), gradient


def mean_absolute_difference_of_products(x: Tensor, y: Tensor) -> Tensor:
    """``mean |x x^T - y y^T|`` for each sample, the mean over the ``N x N`` pairs of positions.

    Args:
        x: ``(batch, N, channels)``, float32 or float64.
        y: ``(batch, N, other channels)``; a constant, which receives no gradient.

    Returns:
        ``(batch,)``.
    """
    y = tf.stop_gradient(y)

    @tf.custom_gradient
    def difference(x):
        tiles = _Tiles(x, x)
        tiled_x, tiled_y = tiles.split(x), tiles.split(y)
        pairs = tf.cast(tf.shape(x)[1], x.dtype) ** 2

        def products(index):
            ours = tf.matmul(tiled_x[index], x, transpose_b=True)
            return ours - tf.matmul(tiled_y[index], y, transpose_b=True)

        def forward(index, total):
            return (total + tf.reduce_sum(tf.abs(products(index)), axis=(1, 2)),)

        def gradient(upstream):
            def backward(index, gradients):
                return (gradients.write(index, tf.matmul(tf.sign(products(index)), x)),)

            (gradients,) = tiles.loop(backward, tiles.array())
            # Twice, because each position is in a row and, by symmetry, in a column.
            return upstream[:, None, None] * (2.0 / pairs) * tiles.join(gradients.stack())

        (total,) = tiles.loop(forward, tf.zeros_like(x[:, 0, 0]))
        return total / pairs, gradient

    return difference(x)


class _Tiles:
    """How the rows of a ``rows x N`` matrix are cut, and the loop over the tiles.

    The last tile is filled up with rows of zeros, so that all have one shape (XLA needs that).
    Their outputs are cut off, and their gradients vanish: what arrives from above is zero too.
    """

    def __init__(self, row_vectors, column_vectors):
        self.batch, self.rows = _length(row_vectors, 0), _length(row_vectors, 1)
        self.dtype = row_vectors.dtype
        row_values = self.batch * _length(column_vectors, 1)
        if all(isinstance(length, int) for length in (self.rows, row_values)):
            largest = max(1, TILE_VALUES // max(row_values, 1))
        else:
            largest = tf.maximum(1, TILE_VALUES // tf.maximum(row_values, 1))
        self.count = -(-self.rows // largest)
        self.size = -(-self.rows // self.count)

    def split(self, x):
        """(batch, rows, channels) -> (tiles, batch, rows of a tile, channels)."""
        x = tf.pad(x, ((0, 0), (0, self.count * self.size - self.rows), (0, 0)))
        x = tf.reshape(x, (self.batch, self.count, self.size, x.shape[-1]))
        return tf.transpose(x, (1, 0, 2, 3))

    def join(self, x):
        """(tiles, batch, rows of a tile, channels) -> (batch, rows, channels)."""
        x = tf.transpose(x, (1, 0, 2, 3))
        x = tf.reshape(x, (self.batch, self.count * self.size, x.shape[-1]))
        return x[:, : self.rows]

    def array(self):
        """A place for a result of every tile."""
        return tf.TensorArray(self.dtype, size=self.count)

    def loop(self, body, *state):
        """``state = body(index, *state)``, one tile at a time, which bounds the memory."""
        _, *state = tf.while_loop(
            lambda index, *_: index < self.count,
            lambda index, *state: (index + 1, *body(index, *state)),
            (tf.constant(0), *state),
            parallel_iterations=1,
        )
        return state


def _length(x, axis):
    """An int where the graph knows it, else a scalar tensor."""
    return tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
