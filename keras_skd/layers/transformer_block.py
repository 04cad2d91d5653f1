"""Restormer's transformer block."""

import keras

from keras_skd.layers.channel_normalization import ChannelNormalization
from keras_skd.layers.gated_feed_forward import GatedFeedForward
from keras_skd.layers.transposed_attention import TransposedAttention


@keras.saving.register_keras_serializable("keras_skd")
class TransformerBlock(keras.layers.Layer):
    """``y = x + MDTA(norm1(x))``, then ``y + GDFN(norm2(y))``.

    Source: Zamir et al., "Restormer", CVPR 2022, figure 2.

    Args:
        num_heads: Heads of the transposed attention.
        ffn_expansion_factor: Width of the feed-forward network over the block's.
        use_bias: Whether the convolutions have a bias.
        norm_with_bias: ``WithBias`` or ``BiasFree`` LayerNorm.

    Input and output: ``(batch, height, width, channels)``.
    """

    def __init__(
        self, num_heads, ffn_expansion_factor=2.66, use_bias=False, norm_with_bias=True, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.ffn_expansion_factor = ffn_expansion_factor
        self.use_bias = use_bias
        self.norm_with_bias = norm_with_bias
        policy = self.dtype_policy
        self.norm1 = ChannelNormalization(norm_with_bias, name="norm1", dtype=policy)
        self.attention = TransposedAttention(num_heads, use_bias, name="attention", dtype=policy)
        self.norm2 = ChannelNormalization(norm_with_bias, name="norm2", dtype=policy)
        self.feed_forward = GatedFeedForward(
            ffn_expansion_factor, use_bias, name="feed_forward", dtype=policy
        )

    def build(self, input_shape):
        for layer in (self.norm1, self.attention, self.norm2, self.feed_forward):
            layer.build(input_shape)

    def call(self, x):
        x = x + self.attention(x, norm=self.norm1)
        return x + self.feed_forward(x, norm=self.norm2)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "ffn_expansion_factor": self.ffn_expansion_factor,
            "use_bias": self.use_bias,
            "norm_with_bias": self.norm_with_bias,
        }
