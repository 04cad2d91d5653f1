"""Import of PyTorch checkpoints, without PyTorch and without running anything from them.

A file is untrusted input: it is read as data, its sizes are checked against what it has before
memory is taken, and whatever is wrong with it is a :class:`CheckpointError`.
"""

from keras_skd.models.checkpoints.errors import CheckpointError
from keras_skd.models.checkpoints.loading import load_pytorch_checkpoint
from keras_skd.models.checkpoints.reading import read_pytorch_checkpoint

__all__ = ["CheckpointError", "load_pytorch_checkpoint", "read_pytorch_checkpoint"]
