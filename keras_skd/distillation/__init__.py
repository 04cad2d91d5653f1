"""Distillation: stages, losses, methods and the Keras model that trains with them."""

from keras_skd.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "METHODS": "methods",
        "Distiller": "distiller",
        "SKDConfig": "methods",
    },
)
