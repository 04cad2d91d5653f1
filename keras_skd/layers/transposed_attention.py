"""Restormer's multi-Dconv head transposed attention (MDTA): attention across channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_skd.errors import InputError
from keras_skd.hints import Shape, Tensor
from keras_skd.layers.costs import Macs, pixels_of, sum_of_macs
from keras_skd.layers.export_form import IN_FLOAT, is_export_shape, split_channels
from keras_skd.layers.folded_convolutions import depthwise, pointwise
from keras_skd.layers.texture_limit import SPARE_PRODUCTS, TEXTURE_SIZE

# Values that a mean takes over two axes at once; from about 65,000 Mali gives NaN.
MOST_AT_ONCE = 128 * 128


def _mean_over_pixels(x):
    """``(1, height, width, c) -> (1, 1, 1, c)``."""
    if x.shape[1] * x.shape[2] <= MOST_AT_ONCE:
        return ops.mean(x, axis=(1, 2), keepdims=True)
    return ops.mean(ops.mean(x, axis=2, keepdims=True), axis=1, keepdims=True)


if TYPE_CHECKING:
    from keras_skd.layers.channel_normalization import ChannelNormalization


def _column_norms(x):
    """L2 norms over pixels: ``(batch, heads, pixels, d) -> (batch, heads, d, 1)``, float32."""
    squares = ops.sum(ops.square(ops.cast(x, "float32")), axis=2)
    # torch.nn.functional.normalize divides by max(norm, 1e-12).
    return ops.sqrt(ops.maximum(squares, 1e-24))[..., None]


@keras.saving.register_keras_serializable("keras_skd")
class TransposedAttention(keras.layers.Layer):
    """Multi-Dconv head transposed attention.

    Attention runs across the channels of a head, so its cost is linear in the number of pixels.
    With q, k, v of one head as ``(pixels, d)`` matrices whose columns are L2-normalised (q, k)::

        A   = softmax(temperature * q^T k)      (d, d), each row sums to one
        out = v A^T                             (pixels, d)

    Source: Zamir et al., "Restormer", CVPR 2022, equation 1.

    One function, three layouts. Where height and width are dynamic (training), heads are a batch
    axis of one matmul. Where they are static (export), the sum over pixels is taken in parts with
    tensors of rank 4, which is what the phone's GPU delegates compute correctly: one matmul over
    all pixels exceeds their textures and, in float16, loses the sum. The parts are image rows, and
    for integers blocks of at most ``BLOCK`` pixels.

    Args:
        num_heads: Heads; ``channels`` must be a multiple.
        use_bias: Whether the convolutions have a bias.
        for_integers: Whether the export form is for int8 in every operation.

    Input and output: ``(batch, height, width, channels)``.

    Raises:
        ValueError: ``channels`` is not a multiple of ``num_heads``.
    """

    BLOCK = 1024  # pixels
    # Of q and k in the export form, so that features of 1000 square to less than float16 holds.
    PRESCALE = 1.0 / 4.0
    # Largest factor that normalises q and k: features of 1e-4 are still exact, and in float16,
    # where the EPSILON below vanishes, a black image gives 0 and not 0 / 0.
    _LARGEST_INVERSE = 3e4
    WIDEST_FOR_ROWS = 4  # channels per pixel of a row
    _MASKED = -100.0  # its exponential is zero in float32 beside any real weight
    _IDLE = 4  # channels of zeros, see _blocked
    _EPSILON = 1e-12  # on squared norms

    def __init__(
        self, num_heads: int, use_bias: bool = False, for_integers: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.use_bias = use_bias
        self.for_integers = for_integers

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.num_heads:
            raise InputError(
                f"TransposedAttention: {channels} channels cannot be divided into "
                f"num_heads={self.num_heads}; choose a divisor of {channels}."
            )
        self.channels = channels
        self.export_form = is_export_shape(input_shape)
        self.temperature = self.add_weight(
            name="temperature", shape=(self.num_heads,), initializer="ones"
        )
        convolution = {"use_bias": self.use_bias, "dtype": self.dtype_policy}
        self.qkv = keras.layers.Conv2D(3 * channels, 1, name="qkv", **convolution)
        self.qkv_depthwise = keras.layers.DepthwiseConv2D(
            3, padding="same", name="qkv_depthwise", **convolution
        )
        self.project_out = keras.layers.Conv2D(channels, 1, name="project_out", **convolution)
        self.qkv.build(input_shape)
        self.qkv_depthwise.build((*input_shape[:-1], 3 * channels))
        self.project_out.build(input_shape)

    def call(self, x: Tensor, norm: ChannelNormalization | None = None) -> Tensor:
        """``norm``, if given, is applied to ``x`` first."""
        if self.export_form:
            x = x if norm is None else norm.standardised(x)
            if self.for_integers:
                return self.project_out(self._blocked(*self._integer_projections(x, norm)))
            parts = {"qk": slice(2 * self.channels), "v": slice(2 * self.channels, None)}
            factors = {"qk": self.PRESCALE, "v": 1.0}
            return self._by_rows(
                *(self._projection(x, norm, name, parts[name], factors[name]) for name in parts)
            )
        x = x if norm is None else norm(x)
        return self.project_out(self._batched(self.qkv_depthwise(self.qkv(x))))

    def _batched(self, qkv):
        batch, height, width, _ = ops.shape(qkv)
        head_width = self.channels // self.num_heads
        shape = (batch, height * width, self.num_heads, head_width)
        # (batch, heads, pixels, d). Matmuls, because einsum is three times slower on a CPU.
        q, k, v = (
            ops.transpose(ops.reshape(part, shape), (0, 2, 1, 3))
            for part in split_channels(qkv, 3, export_form=False)
        )
        if self.compute_dtype == "float16":
            # Sums over all pixels leave its range (65504): 128 * 128 products of two threes do.
            q, k = ops.cast(q, "float32"), ops.cast(k, "float32")
        gram = tf.cast(tf.matmul(q, k, transpose_a=True), "float32")  # rows: q
        scale = ops.cast(self.temperature, "float32")[None, :, None, None]
        # Normalising the d x d product is cheaper than normalising q and k.
        logits = gram * (scale / _column_norms(q))
        logits = logits / ops.transpose(_column_norms(k), (0, 1, 3, 2))
        attention = ops.cast(ops.softmax(logits, axis=-1), self.compute_dtype)
        out = tf.matmul(v, attention, transpose_b=True)
        return ops.reshape(ops.transpose(out, (0, 2, 1, 3)), (batch, height, width, self.channels))

    def _projection(self, x, norm, name, part, factor=1.0, idle=0):
        """Some channels of qkv times ``factor``, and ``idle`` zeros."""
        with tf.name_scope(name):
            # A root of the factor each: constants of a thousandth would leave float16's range.
            root = math.sqrt(factor)
            pixels = pointwise(x, self.qkv, norm, part, root, idle)
            return depthwise(pixels, self.qkv_depthwise, part, root)

    def _by_rows(self, qk, v):
        """The export form, with as few operations of a GPU as there are.

        Args:
            qk: ``(1, height, width, 2 * channels)``: q and k, times ``PRESCALE``.
            v: ``(1, height, width, channels)``.
        """
        _, height, width, channels = v.shape
        squares = _mean_over_pixels(qk * qk)
        temperature = ops.repeat(self.temperature, channels // self.num_heads)
        factors = ops.concatenate([temperature, ops.ones(channels)])[None, None, None]
        inverse = ops.minimum(ops.rsqrt(squares + self._EPSILON), self._LARGEST_INVERSE)
        rows = self._rows(height, width)
        # Of q and k, the root of a block's pixels each: a block's sum stays below their number.
        unit = qk * (inverse * (factors * (rows * width) ** -0.5))
        keys = unit[..., channels:]
        # The matrix of q with k, or of q and k with k: what the keys' rows cost may be less than a
        # slice that leaves them out.
        if channels**2 * height * width > SPARE_PRODUCTS:
            unit = unit[..., :channels]
        if rows > 1:
            shape = (1, height // rows, rows * width)
            unit, keys, v = (ops.reshape(x, (*shape, x.shape[-1])) for x in (unit, keys, v))
        _, blocks, pixels, _ = v.shape
        # Transposed, a block has its pixels in place of channels, and all together exceed the
        # largest texture from 32768 pixels on (256 x 256 has two groups).
        groups = next(
            n
            for n in range(1, blocks + 1)
            if n == blocks or (blocks % n == 0 and blocks // n * -(-pixels // 4) <= TEXTURE_SIZE)
        )
        grams = []
        for group in range(groups):
            part = slice(group * blocks // groups, (group + 1) * blocks // groups)
            # The converter keeps a slice of everything: a copy for nothing.
            left, right = (unit, keys) if groups == 1 else (unit[:, part], keys[:, part])
            product = tf.matmul(left, right, transpose_a=True)
            grams.append(ops.mean(product, axis=1, keepdims=True))
        logits = grams[0] if groups == 1 else sum(grams[1:], grams[0]) * (1 / groups)
        if self.num_heads > 1:
            # All heads in one matmul, and what they must not see masked: a few percent more
            # arithmetic, and an operation of each kind instead of one a head.
            head = np.arange(channels) * self.num_heads // channels
            mask = np.zeros(logits.shape, "float32")
            mask[:, :, :channels] = self._MASKED * (head[:, None] != head)
            logits = logits + mask
        folded = self._folded_projection(tf.nn.softmax(logits))
        if blocks > 1:
            folded = ops.tile(folded, (1, blocks, 1, 1))
        out = tf.matmul(v, folded)
        if rows > 1:
            out = ops.reshape(out, (1, height, width, channels))
        return out + self.project_out.bias if self.use_bias else out

    def _rows(self, height, width):
        """How many rows of the image a matmul takes at once; a divisor of the height.

        One row needs no reshape. But where the matrix of a row is much wider than the row has
        pixels, a CPU is busy with the matrix: there, up to ``BLOCK`` pixels.
        """
        if self.channels <= self.WIDEST_FOR_ROWS * width:
            return 1
        return max(n for n in range(1, height + 1) if height % n == 0 and n * width <= self.BLOCK)

    def _folded_projection(self, attention):
        """``A^T W`` of the projection ``W``: ``(1, 1, rows, channels)`` to one matrix.

        It is computed once for the image and not for every pixel. The contraction runs along the
        height, so that A needs no transpose; the stride leaves the rows of the keys out.
        """
        rows, channels = attention.shape[2:]
        kernel = tf.reshape(self.project_out.kernel, (channels, 1, 1, channels))
        columns = tf.reshape(attention, (1, rows, channels, 1))
        with tf.name_scope(IN_FLOAT):
            return tf.nn.conv2d(columns, kernel, (rows - channels + 1, 1), "VALID")

    def _integer_projections(self, x, norm):
        """q, k and v, each ``(1, height, width, channels)``; k with ``_IDLE`` zeros appended."""
        return [
            self._projection(
                x,
                norm,
                name,
                slice(index * self.channels, (index + 1) * self.channels),
                idle=self._IDLE if name == "k" else 0,
            )
            for index, name in enumerate("qkv")
        ]

    def _blocked(self, q, k, v):
        """The export form for integers: known ranges, and operations that int8 bears."""
        _, height, width, _ = q.shape
        pixels = height * width
        block = max(n for n in range(1, self.BLOCK + 1) if pixels % n == 0)
        blocks = pixels // block
        q, k, v = (ops.reshape(x, (1, blocks, block, x.shape[-1])) for x in (q, k, v))
        # Transposed, k has a block's pixels in place of channels, and all blocks together exceed
        # the largest texture from 32768 pixels on (256 x 256 has two groups).
        least = pixels / (4 * TEXTURE_SIZE)
        groups = min(n for n in range(1, blocks + 1) if blocks % n == 0 and n >= least)
        grams, squares = [], []
        for group in range(groups):
            part = slice(group * blocks // groups, (group + 1) * blocks // groups)
            # The converter keeps a slice of everything: a copy for nothing.
            k_part, q_part = (k, q) if groups == 1 else (k[:, part], q[:, part])
            # A slice has to stand between a transpose and a matmul: the converter fuses the two,
            # past any elementwise operation, into an adj flag, which the classic GPU delegate
            # ignores. It drops the idle channels of k, whose rows lie last.
            k_transposed = ops.transpose(k_part, (0, 1, 3, 2))[:, :, : self.channels]
            product = ops.matmul(k_transposed, q_part)  # rows: k
            grams.append(ops.mean(product, axis=1, keepdims=True))
            # A product, because there is no SQUARE in int8.
            squared = ops.sum(k_transposed * k_transposed, axis=3, keepdims=True)
            squares.append(ops.mean(squared, axis=1, keepdims=True))
        gram, k_squares = (
            parts[0] if groups == 1 else sum(parts[1:], parts[0]) * (1 / groups)
            for parts in (grams, squares)
        )
        q_squares = ops.mean(ops.sum(q * q, axis=2, keepdims=True), axis=1, keepdims=True)
        head_width = self.channels // self.num_heads
        temperature = ops.repeat(self.temperature, head_width)
        # Two multiplications, each broadcasting one way only (a rule of the classic delegate).
        logits = gram * ops.rsqrt(k_squares + self._EPSILON)
        logits = logits * (ops.rsqrt(q_squares + self._EPSILON) * temperature)
        # A softmax over the rows leaves A^T in place, with no transpose before the matmul.
        if self.num_heads == 1:
            weights = ops.exp(logits - ops.max(logits, axis=2, keepdims=True))
        else:
            # All heads in one matmul, and what they must not see masked: a few percent more
            # arithmetic, and an operation of each kind instead of one a head. By factors and not by
            # a large negative term, with which int8 could not tell the logits apart.
            head = np.arange(self.channels) // head_width
            own = (head[:, None] == head).astype("float32")[None, None]
            logits = logits * own
            weights = ops.exp(logits - ops.max(logits, axis=2, keepdims=True)) * own
        attention = weights / ops.sum(weights, axis=2, keepdims=True)
        if blocks > 1:
            attention = ops.tile(attention, (1, blocks, 1, 1))
        return ops.reshape(ops.matmul(v, attention), (1, height, width, self.channels))

    def macs(self, input_shape: tuple, output_shape: tuple) -> Macs:
        """Of its convolutions, and of ``q^T k`` and its product with v, per image."""
        parts = (self.qkv, self.qkv_depthwise, self.project_out)
        convolution, _ = sum_of_macs(parts, input_shape, output_shape)
        products = 2 * pixels_of(output_shape) * self.channels**2 // self.num_heads
        return Macs(convolution, products)

    @property
    def working_channels(self) -> int:
        """q, k and v, twice: the depthwise convolution reads one tensor and writes another."""
        return 2 * 3 * self.channels

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "use_bias": self.use_bias,
            "for_integers": self.for_integers,
        }
