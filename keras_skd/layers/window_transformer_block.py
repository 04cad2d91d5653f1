"""Uformer's locally enhanced window transformer block (LeWin)."""

from typing import Any

import keras

from keras_skd.hints import Shape, Tensor
from keras_skd.layers.channel_normalization import ChannelNormalization
from keras_skd.layers.costs import Macs, sum_of_macs
from keras_skd.layers.locally_enhanced_feed_forward import LocallyEnhancedFeedForward
from keras_skd.layers.window_attention import WindowAttention


@keras.saving.register_keras_serializable("keras_skd")
class WindowTransformerBlock(keras.layers.Layer):
    """``y = x + W-MSA(norm1(x))``, then ``y + LeFF(norm2(y))``.

    Source: Wang et al., "Uformer", CVPR 2022, equation 1.

    Args:
        num_heads: Heads of the window attention.
        window_size: Side of a window in pixels.
        shift_size: Pixels by which windows are shifted.
        mlp_ratio: Width of the feed-forward network over the block's.
        qkv_bias: Whether the projections to q, k and v have a bias.
        qk_scale: Scale of attention's logits; None is one over the root of a head's width.
        modulator: Whether windows have a modulator.
        for_integers: Whether the export form is for int8 in every operation, see
            :class:`~keras_skd.layers.ChannelNormalization` and
            :class:`~keras_skd.layers.window_attention.WindowAttention`.

    Input and output: ``(batch, height, width, channels)``; sizes are multiples of ``window_size``.
    """

    def __init__(
        self,
        num_heads: int,
        window_size: int = 8,
        shift_size: int = 0,
        mlp_ratio: float = 4.0,
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
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.qk_scale = qk_scale
        self.modulator = modulator
        self.for_integers = for_integers
        policy = self.dtype_policy
        scaled = {"for_integers": for_integers, "dtype": policy}
        self.norm1 = ChannelNormalization(name="norm1", **scaled)
        self.attention = WindowAttention(
            num_heads,
            window_size,
            shift_size,
            qkv_bias,
            qk_scale,
            modulator,
            name="attention",
            **scaled,
        )
        self.norm2 = ChannelNormalization(name="norm2", **scaled)
        self.feed_forward = LocallyEnhancedFeedForward(mlp_ratio, name="feed_forward", dtype=policy)

    def build(self, input_shape: Shape) -> None:
        for layer in (self.norm1, self.attention, self.norm2, self.feed_forward):
            layer.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))

    def macs(self, input_shape: tuple, output_shape: tuple) -> Macs:
        """Of the attention and the feed-forward network, per image."""
        return sum_of_macs((self.attention, self.feed_forward), input_shape, output_shape)

    @property
    def working_channels(self) -> int:
        """Of the wider half of the block."""
        return max(self.attention.working_channels, self.feed_forward.working_channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "shift_size": self.shift_size,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "qk_scale": self.qk_scale,
            "modulator": self.modulator,
            "for_integers": self.for_integers,
        }
