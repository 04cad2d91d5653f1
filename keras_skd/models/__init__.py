"""Restormer, Uformer, the named models, and the import of PyTorch checkpoints."""

import sys

from keras_skd.quiet import import_tensorflow

# So long as Python looks for the module of ``python -m``, which is convert_checkpoint: its errors
# are one line, beside which TensorFlow would log while it loads.
if sys.argv[:1] == ["-m"]:
    import_tensorflow()

from keras_skd.models.checkpoints import (
    CheckpointError,
    load_pytorch_checkpoint,
    read_pytorch_checkpoint,
)
from keras_skd.models.family import RestorationModel, with_image_size
from keras_skd.models.files import load_model, read_metadata, save_model
from keras_skd.models.presets import PRESETS, Preset
from keras_skd.models.restormer import Restormer
from keras_skd.models.uformer import Uformer

__all__ = [
    "PRESETS",
    "CheckpointError",
    "Preset",
    "RestorationModel",
    "Restormer",
    "Uformer",
    "load_model",
    "load_pytorch_checkpoint",
    "read_metadata",
    "read_pytorch_checkpoint",
    "save_model",
    "with_image_size",
]
