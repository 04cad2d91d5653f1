"""Uformer's locally enhanced window transformer block (LeWin)."""

import keras

from keras_skd.layers.channel_normalization import ChannelNormalization
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

    Input and output: ``(batch, height, width, channels)``; sizes are multiples of ``window_size``.
    """

    def __init__(
        self,
        num_heads,
        window_size=8,
        shift_size=0,
        mlp_ratio=4.0,
        qkv_bias=True,
        qk_scale=None,
        modulator=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift_size = shift_size
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.qk_scale = qk_scale
        self.modulator = modulator
        policy = self.dtype_policy
        self.norm1 = ChannelNormalization(name="norm1", dtype=policy)
        self.attention = WindowAttention(
            num_heads,
            window_size,
            shift_size,
            qkv_bias,
            qk_scale,
            modulator,
            name="attention",
            dtype=policy,
        )
        self.norm2 = ChannelNormalization(name="norm2", dtype=policy)
        self.feed_forward = LocallyEnhancedFeedForward(mlp_ratio, name="feed_forward", dtype=policy)

    def build(self, input_shape):
        for layer in (self.norm1, self.attention, self.norm2, self.feed_forward):
            layer.build(input_shape)

    def call(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "shift_size": self.shift_size,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "qk_scale": self.qk_scale,
            "modulator": self.modulator,
        }
