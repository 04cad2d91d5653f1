"""Photographs to training pairs: data sets, decoding, degradations, the ``tf.data`` pipeline."""

from keras_skd.data.datasets import DataSet, find_groups, recognise
from keras_skd.data.degradations import (
    CameraNoise,
    GaussianNoise,
    MotionBlur,
    Rain,
)
from keras_skd.data.images import list_images, load_image, read_image, to_uint8, write_png
from keras_skd.data.mat_files import MatImage
from keras_skd.data.pairs import ImagePairs, Pair, image_names, make_pairs
from keras_skd.data.photos import training_photos, validation_photos
from keras_skd.data.pipeline import training_batches, validation_batches
from keras_skd.data.store import ImageStore

__all__ = [
    "CameraNoise",
    "DataSet",
    "GaussianNoise",
    "ImagePairs",
    "ImageStore",
    "MatImage",
    "MotionBlur",
    "Pair",
    "Rain",
    "find_groups",
    "image_names",
    "list_images",
    "load_image",
    "make_pairs",
    "read_image",
    "recognise",
    "to_uint8",
    "training_batches",
    "training_photos",
    "validation_batches",
    "validation_photos",
    "write_png",
]
