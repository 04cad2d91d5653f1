"""The blocks of restoration transformers, each one safe for the phone GPU by construction."""

from keras_skd.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ChannelNormalization": "channel_normalization",
        "CropLike": "padding",
        "Downsample": "resampling",
        "GatedFeedForward": "gated_feed_forward",
        "LocallyEnhancedFeedForward": "locally_enhanced_feed_forward",
        "PadToMultiple": "padding",
        "SkipReduction": "resampling",
        "TransformerBlock": "transformer_block",
        "TransposedAttention": "transposed_attention",
        "Unpool": "resampling",
        "Upsample": "resampling",
        "WindowAttention": "window_attention",
        "WindowTransformerBlock": "window_transformer_block",
    },
)
