"""Soft knowledge distillation of image-restoration transformers, for phones.

Importing the package does no work: each name is loaded when it is first used.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "keras_skd.models",
    "Distiller": "keras_skd.distillation",
    "Restormer": "keras_skd.models",
    "SKDConfig": "keras_skd.distillation",
    "Uformer": "keras_skd.models",
    "load_model": "keras_skd.models",
    "load_pytorch_checkpoint": "keras_skd.models",
    "with_image_size": "keras_skd.models",
}
_MODULES = {
    "losses": "keras_skd.distillation.losses",
    "metrics": "keras_skd.metrics",
    "presets": "keras_skd.models.presets",
    "tiling": "keras_skd.tiling",
}

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'keras_skd' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
