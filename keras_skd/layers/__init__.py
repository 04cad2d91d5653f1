"""The blocks of restoration transformers, each one safe for the phone GPU by construction."""

from keras_skd.layers.channel_normalization import ChannelNormalization
from keras_skd.layers.gated_feed_forward import GatedFeedForward
from keras_skd.layers.locally_enhanced_feed_forward import LocallyEnhancedFeedForward
from keras_skd.layers.padding import CropLike, PadToMultiple
from keras_skd.layers.resampling import Downsample, SkipReduction, Unpool, Upsample
from keras_skd.layers.transformer_block import TransformerBlock
from keras_skd.layers.transposed_attention import TransposedAttention
from keras_skd.layers.window_attention import WindowAttention
from keras_skd.layers.window_transformer_block import WindowTransformerBlock

__all__ = [
    "ChannelNormalization",
    "CropLike",
    "Downsample",
    "GatedFeedForward",
    "LocallyEnhancedFeedForward",
    "PadToMultiple",
    "SkipReduction",
    "TransformerBlock",
    "TransposedAttention",
    "Unpool",
    "Upsample",
    "WindowAttention",
    "WindowTransformerBlock",
]
