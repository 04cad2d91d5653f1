"""Uformer's window attention (W-MSA), with shifted windows and the decoder's modulator."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_skd.errors import InputError
from keras_skd.hints import Shape, Tensor
from keras_skd.layers.costs import Macs, pixels_of, sum_of_macs
from keras_skd.layers.export_form import is_export_shape, split_channels
from keras_skd.layers.folded_convolutions import pointwise
from keras_skd.layers.texture_limit import TEXTURE_SIZE

# Official value of the mask. Its exponential is zero in float32 beside any real weight, and it
# fits float16 (65504) together with the logits.
MASKED = -100.0
# The same in integers: it stretches the range of the logits, and with it the steps of them all.
MASKED_IN_INTEGERS = -20.0


def partition_windows(x: tf.Tensor, window_size: int) -> tf.Tensor:
    """``(batch, height, width, c)`` to ``(1, windows, window_size**2, c)``, rows first.

    The channels of ``space_to_depth`` lie in the order ``(row, column, channel)`` of the cell,
    which is a window's: one operation, of rank 4, four times faster than reshape and transpose.
    """
    cells = tf.nn.space_to_depth(x, window_size)
    return tf.reshape(cells, (1, -1, window_size**2, x.shape[-1]))


def merge_windows(windows: tf.Tensor, window_size: int, shape: tuple) -> tf.Tensor:
    """The inverse of :func:`partition_windows`, for an image of ``shape``."""
    batch, height, width, channels = shape
    rows, columns = height // window_size, width // window_size
    cells = tf.reshape(windows, (batch, rows, columns, window_size**2 * channels))
    return tf.nn.depth_to_space(cells, window_size)


def roll(x: tf.Tensor, shift: int, export_form: bool) -> tf.Tensor:
    """Moves an image cyclically by ``shift`` pixels up and left (negative: down and right)."""
    if not export_form:
        return tf.roll(x, (-shift, -shift), (1, 2))
    # TFLite has no roll that a GPU knows; a part of four copies is two operations, where slices and
    # concatenations are six.
    height, width = x.shape[1:3]
    row, column = shift % height, shift % width
    return tf.tile(x, (1, 2, 2, 1))[:, row : row + height, column : column + width]


def relative_position_index(window_size: int) -> np.ndarray:
    """Row of the bias table for each pair of a window's pixels, ``(pixels, pixels)``.

    The row is ``(dy + w - 1) (2 w - 1) + dx + w - 1`` for the first pixel's position less the
    second's.
    """
    rows, columns = np.divmod(np.arange(window_size**2), window_size)
    row_distance = rows[:, None] - rows + window_size - 1
    column_distance = columns[:, None] - columns + window_size - 1
    return row_distance * (2 * window_size - 1) + column_distance


def _wrapped(height, width, shift):
    """Which pixels of a rolled image came from the other side: ``(1, height, width, 2)``, 0 or 1.

    The last axis tells rows from columns. Pixels of a window may attend to each other only where
    they agree in both.
    """
    rows = tf.cast(tf.range(height) >= height - shift, "float32")
    columns = tf.cast(tf.range(width) >= width - shift, "float32")
    shape = (1, height, width)
    rows = tf.broadcast_to(rows[None, :, None], shape)
    return tf.stack([rows, tf.broadcast_to(columns[None, None, :], shape)], axis=-1)


@keras.saving.register_keras_serializable("keras_skd")
class WindowAttention(keras.layers.Layer):
    """Multi-head self-attention within windows of ``window_size x window_size`` pixels.

    With q, k, v of one head and window as ``(pixels, d)`` matrices and ``B`` the learned bias of
    the pixels' relative positions::

        out = softmax(qk_scale * q k^T + B) v

    Source: Wang et al., "Uformer: A General U-Shaped Transformer for Image Restoration", CVPR 2022,
    equation 1; the modulator is its section 3.3.

    With ``shift_size`` the image is rolled first, so that windows straddle those of the block
    before; pixels that only meet because the image was rolled are masked. The modulator is a
    learned value per pixel and channel of a window, added to the input.

    Args:
        num_heads: Heads; ``channels`` must be a multiple.
        window_size: Side of a window in pixels; height and width must be multiples.
        shift_size: Pixels by which windows are shifted, 0 or half a window.
        qkv_bias: Whether the projections to q, k and v have a bias.
        qk_scale: Scale of the logits; None is ``d ** -0.5``.
        modulator: Whether there is a modulator.
        for_integers: Whether the export form is for int8 in every operation.

    Input and output: ``(batch, height, width, channels)``.

    Raises:
        ValueError: ``channels`` is not a multiple of ``num_heads``.
    """

    def __init__(
        self,
        num_heads: int,
        window_size: int = 8,
        shift_size: int = 0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        modulator: bool = False,
        for_integers: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift_size = shift_size
        self.qkv_bias = qkv_bias
        self.qk_scale = qk_scale
        self.modulator = modulator
        self.for_integers = for_integers

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.num_heads:
            raise InputError(
                f"WindowAttention: {channels} channels cannot be divided into "
                f"num_heads={self.num_heads}; choose a divisor of {channels}."
            )
        self.channels = channels
        self.export_form = is_export_shape(input_shape)
        self.image_size = input_shape[1:3]
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        self.modulation = None
        if self.modulator:
            self.modulation = self.add_weight(
                name="modulator", shape=(self.window_size**2, channels), initializer=normal
            )
        self.bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * self.window_size - 1) ** 2, self.num_heads),
            initializer=normal,
        )

        def projection(filters, name, use_bias):
            layer = keras.layers.Conv2D(
                filters, 1, use_bias=use_bias, name=name, dtype=self.dtype_policy
            )
            layer.build(input_shape)
            return layer

        self.to_q = projection(channels, "to_q", self.qkv_bias)
        self.to_kv = projection(2 * channels, "to_kv", self.qkv_bias)
        self.project_out = projection(channels, "project_out", True)

    def call(self, x: Tensor) -> Tensor:
        if self.shift_size:
            x = roll(x, self.shift_size, self.export_form)
        if self.export_form:
            rows = self._band_rows(x.shape)
            # The converter keeps a slice of everything: a copy for nothing.
            bands = [x]
            if rows < x.shape[1]:
                bands = [x[:, top : top + rows] for top in range(0, x.shape[1], rows)]
            bands = [self._exported(band, rows * index) for index, band in enumerate(bands)]
            x = bands[0] if len(bands) == 1 else tf.concat(bands, axis=1)
        else:
            x = self._attend(x)
        if self.shift_size:
            x = roll(x, -self.shift_size, self.export_form)
        return x

    def _attend(self, x):
        """Attention in the windows of an image."""
        shape = ops.shape(x)
        windows = partition_windows(x, self.window_size)
        if self.modulation is not None:
            windows = windows + ops.cast(self.modulation, windows.dtype)
        windows = self._batched(self.to_q(windows), self.to_kv(windows), shape[1:3])
        return merge_windows(self.project_out(windows), self.window_size, shape)

    def _exported(self, x, top):
        """The export form, for a band of the image from row ``top`` on."""
        cells = tf.nn.space_to_depth(x, self.window_size)
        if self.modulation is not None:
            # A vector of the cells' channels: as a plane for all windows, Mali would take it wrong.
            cells = cells + tf.reshape(self.modulation, (1, 1, 1, -1))
        windows = tf.reshape(cells, (1, -1, self.window_size**2, self.channels))
        windows = self._by_head(windows, self._mask_factors(top, x.shape[1]))
        return merge_windows(windows, self.window_size, x.shape)

    def _band_rows(self, shape):
        """Most pixel rows, whole windows, whose tensors fit the largest texture.

        The widest are the cells of ``space_to_depth``, and k, v and the logits by window. 256 x 256
        pixels of 32 channels take two bands.
        """
        _, height, width, channels = shape
        pixels = self.window_size**2
        columns = width // self.window_size
        slices = max(pixels * channels, columns * 2 * channels, columns * pixels) // 4
        rows = height // self.window_size
        fitting = max(1, TEXTURE_SIZE // slices)
        bands = min(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= fitting)
        return height // bands

    def _scale(self):
        return self.qk_scale or (self.channels // self.num_heads) ** -0.5

    def _position_bias(self):
        """``(heads, pixels, pixels)``, float32."""
        pixels = self.window_size**2
        index = relative_position_index(self.window_size).ravel()
        # Gathered along the second axis, because the gradient along the first is sparse.
        bias = tf.gather(tf.transpose(ops.cast(self.bias_table, "float32")), index, axis=1)
        return tf.reshape(bias, (self.num_heads, pixels, pixels))

    def _batched(self, q, kv, size):
        pixels, head_width = self.window_size**2, self.channels // self.num_heads
        k, v = split_channels(kv, 2, export_form=False)
        # (windows, heads, pixels, d). Scaling the small q is cheaper than scaling the logits.
        q, k, v = (
            tf.transpose(tf.reshape(x, (-1, pixels, self.num_heads, head_width)), (0, 2, 1, 3))
            for x in (q * self._scale(), k, v)
        )
        logits = tf.cast(tf.matmul(q, k, transpose_b=True), "float32") + self._position_bias()
        if self.shift_size:
            wrapped = partition_windows(
                _wrapped(*size, self.shift_size), self.window_size
            )  # (1, windows of one image, pixels, 2)
            differs = tf.reduce_any(wrapped[0, :, :, None] != wrapped[0, :, None], axis=-1)
            mask = tf.where(differs, MASKED, 0.0)[None, :, None]
            # (batch, windows of one image, heads, pixels, pixels)
            by_image = (-1, tf.shape(mask)[1], self.num_heads, pixels, pixels)
            logits = tf.reshape(tf.reshape(logits, by_image) + mask, tf.shape(logits))
        attention = tf.cast(tf.nn.softmax(logits), self.compute_dtype)
        out = tf.transpose(tf.matmul(attention, v), (0, 2, 1, 3))
        return tf.reshape(out, (1, -1, pixels, self.channels))

    def _by_head(self, windows, mask_factors):
        """Attention and its projection, ``(1, windows, pixels, channels)``.

        Each head has convolutions of its own for q and v: a slice of channels would be one more
        operation.
        """
        pixels, head_width = self.window_size**2, self.channels // self.num_heads
        keys = pointwise(windows, self.to_kv, channels=slice(self.channels))
        if self.num_heads > 1:
            keys = tf.transpose(keys, (0, 1, 3, 2))  # (1, windows, channels, pixels)
        heads = []
        for head in range(self.num_heads):
            part = slice(head * head_width, (head + 1) * head_width)
            with tf.name_scope(f"head{head}"):
                query = pointwise(windows, self.to_q, channels=part, factor=self._scale())
                # With one head, the converter fuses the transpose into the matmul, and the exporter
                # takes both apart again.
                key = keys[:, :, part] if self.num_heads > 1 else tf.transpose(keys, (0, 1, 3, 2))
                if mask_factors is not None:
                    # The mask is a product of narrow matrices: four more channels of q and k. As a
                    # constant of the logits' size it would make the file several times larger.
                    mask_query, mask_key = mask_factors
                    query = tf.concat([query, mask_query], axis=3)
                    key = tf.concat([key, mask_key], axis=2)
                # By head from the table: a slice of the whole would stay an operation of constants.
                index = relative_position_index(self.window_size).ravel()
                bias = tf.gather(self.bias_table[:, head], index)
                bias = tf.reshape(bias, (1, 1, pixels, pixels))
                logits = tf.matmul(query, key) + bias
                heads.append(self._weighted(logits, self._values(windows, part)))
        return heads[0] if len(heads) == 1 else self.project_out(tf.concat(heads, axis=-1))

    def _weighted(self, logits, values):
        """The means of the values of a window, weighted by the softmax of the logits."""
        if not self.for_integers:
            return tf.matmul(tf.nn.softmax(logits), values)
        # The steps of a softmax in int8 are 1/256, whatever its range: weights of 64 pixels, near
        # 4/256 each, would be rounded coarsely and not sum to one. Undivided they reach 1.
        weights = tf.exp(logits - tf.reduce_max(logits, axis=3, keepdims=True))
        return tf.matmul(weights, values) / tf.reduce_sum(weights, axis=3, keepdims=True)

    def _values(self, windows, part):
        """v of a head; of an only head, times the projection, which then has no operation."""
        channels = slice(self.channels + part.start, self.channels + part.stop)
        if self.num_heads > 1:
            return pointwise(windows, self.to_kv, channels=channels)
        kernel = tf.matmul(self.to_kv.kernel[..., channels], self.project_out.kernel)
        # The weights of a pixel sum to one, so that a bias passes through them.
        bias = self.project_out.bias
        if self.to_kv.use_bias:
            projected = tf.linalg.matvec(
                self.project_out.kernel[0, 0], self.to_kv.bias[channels], transpose_a=True
            )
            bias = bias + projected
        return tf.nn.conv2d(windows, kernel, 1, "VALID") + bias

    def _mask_factors(self, top, rows):
        """``u (1, windows, pixels, 4)`` and ``w (1, windows, 4, pixels)``: the mask is ``u w``.

        For the windows of a band of ``rows`` pixels from ``top`` on; None where nothing shifts.
        With ``r`` whether a pixel was wrapped, ``r (1 - r') + (1 - r) r'`` is whether two differ.
        It is exactly zero for the others, so that float16 logits lose nothing.
        """
        if not self.shift_size:
            return None
        wrapped = _wrapped(*self.image_size, self.shift_size)[:, top : top + rows]
        wrapped = tf.cast(partition_windows(wrapped, self.window_size), self.compute_dtype)
        query = tf.concat([wrapped, 1 - wrapped], axis=-1)
        masked = MASKED_IN_INTEGERS if self.for_integers else MASKED
        key = tf.concat([1 - wrapped, wrapped], axis=-1) * masked
        return query, tf.transpose(key, (0, 1, 3, 2))

    def macs(self, input_shape: tuple, output_shape: tuple) -> Macs:
        """Of its projections, and of ``q k^T`` and its product with v, per image."""
        parts = (self.to_q, self.to_kv, self.project_out)
        convolution, _ = sum_of_macs(parts, input_shape, output_shape)
        products = 2 * pixels_of(output_shape) * self.channels * self.window_size**2
        return Macs(convolution, products)

    @property
    def working_channels(self) -> int:
        """q, k, v and the output, and the logits and weights of one head."""
        return 4 * self.channels + 2 * self.window_size**2

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "shift_size": self.shift_size,
            "qkv_bias": self.qkv_bias,
            "qk_scale": self.qk_scale,
            "modulator": self.modulator,
            "for_integers": self.for_integers,
        }
