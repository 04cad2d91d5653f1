"""Restormer's transformer block."""

from typing import Any

import keras

from keras_skd.hints import Shape, Tensor
from keras_skd.layers.channel_normalization import ChannelNormalization
from keras_skd.layers.costs import Macs, sum_of_macs
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
        for_integers: Whether the export form is for int8 in every operation, see
            :class:`~keras_skd.layers.ChannelNormalization`.

    Input and output: ``(batch, height, width, channels)``.
    """

    def __init__(
        self,
        num_heads: int,
        ffn_expansion_factor: float = 2.66,
        use_bias: bool = False,
        norm_with_bias: bool = True,
        for_integers: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.ffn_expansion_factor = ffn_expansion_factor
        self.use_bias = use_bias
        self.norm_with_bias = norm_with_bias
        self.for_integers = for_integers
        policy = self.dtype_policy
        scaled = {"for_integers": for_integers, "dtype": policy}
        self.norm1 = ChannelNormalization(norm_with_bias, name="norm1", **scaled)
        self.attention = TransposedAttention(num_heads, use_bias, name="attention", **scaled)
        self.norm2 = ChannelNormalization(norm_with_bias, name="norm2", **scaled)
        self.feed_forward = GatedFeedForward(
            ffn_expansion_factor, use_bias, name="feed_forward", dtype=policy
        )

    def build(self, input_shape: Shape) -> None:
        for layer in (self.norm1, self.attention, self.norm2, self.feed_forward):
            layer.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        x = x + self.attention(x, norm=self.norm1)
        return x + self.feed_forward(x, norm=self.norm2)

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
            "ffn_expansion_factor": self.ffn_expansion_factor,
            "use_bias": self.use_bias,
            "norm_with_bias": self.norm_with_bias,
            "for_integers": self.for_integers,
        }
