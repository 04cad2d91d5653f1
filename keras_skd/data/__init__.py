"""Photographs to training pairs: decoding, degradations, the ``tf.data`` pipeline."""

from keras_skd.data.degradations import GaussianNoise
from keras_skd.data.images import list_images, read_image, to_uint8, write_png
from keras_skd.data.photos import training_photos, validation_photos
from keras_skd.data.pipeline import training_batches, validation_batches
from keras_skd.data.store import ImageStore, find_groups

__all__ = [
    "GaussianNoise",
    "ImageStore",
    "find_groups",
    "list_images",
    "read_image",
    "to_uint8",
    "training_batches",
    "training_photos",
    "validation_batches",
    "validation_photos",
    "write_png",
]
