"""Photographs to training pairs: data sets, decoding, degradations, the ``tf.data`` pipeline."""

from keras_skd.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CameraNoise": "degradations",
        "DataSet": "datasets",
        "GaussianNoise": "degradations",
        "ImagePairs": "pairs",
        "ImageStore": "store",
        "MatImage": "mat_files",
        "MotionBlur": "degradations",
        "Pair": "pairs",
        "Rain": "degradations",
        "check_submission": "submissions",
        "find_groups": "datasets",
        "find_submission": "submissions",
        "held_out": "scenes",
        "image_names": "pairs",
        "list_images": "images",
        "load_image": "images",
        "make_pairs": "pairs",
        "read_image": "images",
        "recognise": "datasets",
        "to_uint8": "images",
        "training_batches": "pipeline",
        "training_photos": "photos",
        "validation_batches": "pipeline",
        "validation_photos": "photos",
        "write_png": "images",
        "write_submission": "submissions",
    },
)
