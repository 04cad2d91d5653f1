"""Restormer, Uformer, the named models, and the import of PyTorch checkpoints."""

from keras_skd.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CheckpointError": "checkpoints",
        "PRESETS": "presets",
        "Preset": "presets",
        "RestorationModel": "family",
        "Restormer": "restormer",
        "Uformer": "uformer",
        "load_model": "files",
        "load_pytorch_checkpoint": "checkpoints",
        "read_metadata": "files",
        "read_origin": "files",
        "read_pytorch_checkpoint": "checkpoints",
        "save_model": "files",
        "weights_sha256": "files",
        "with_image_size": "family",
    },
)
