"""Soft knowledge distillation of image-restoration transformers, for phones.

Importing the package does no work: each name is loaded when it is first used, and the layers are
registered with Keras when Keras is imported, so that ``keras.saving.load_model`` reads students.
"""

import importlib
import importlib.abc
import importlib.util
import sys

from keras_skd.lazy import lazy_names

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CheckpointError": "models",
        "Distiller": "distillation",
        "Restormer": "models",
        "SKDConfig": "distillation",
        "Task": "tasks",
        "Uformer": "models",
        "load_model": "models",
        "load_pytorch_checkpoint": "models",
        "losses": "distillation.losses",
        "metrics": "metrics",
        "presets": "models.presets",
        "tiling": "tiling",
        "with_image_size": "models",
    },
)


_FAMILIES = (f"{__name__}.layers.", f"{__name__}.models.")


class _RegisterWithKeras(importlib.abc.MetaPathFinder):
    """Imports the models, which registers their layers, once Keras has been imported."""

    def find_spec(self, name, path=None, target=None):
        """Finds Keras as Python does, and adds to what is run when it is loaded."""
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            run = spec.loader.exec_module

            def run_and_register(module):
                run(module)
                # Not while one of our own modules is imported, which is what imports Keras: it
                # would be found half done. It registers what it defines by itself.
                ours = [each for name, each in sys.modules.items() if name.startswith(_FAMILIES)]
                if not any(getattr(each.__spec__, "_initializing", False) for each in ours):
                    importlib.import_module(f"{__name__}.models.presets")

            spec.loader.exec_module = run_and_register
        return spec


if "keras" in sys.modules:
    importlib.import_module(f"{__name__}.models.presets")
else:
    sys.meta_path.insert(0, _RegisterWithKeras())
