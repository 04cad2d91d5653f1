"""What a family of models states about itself, and how the rest of the package asks any model.

A family is one module with a subclass of :class:`RestorationModel`, and one for each layer of its
own. Nothing else in the package names a family, so nothing else changes with a new one (a preset,
if it has a name to be known by). Layers state their costs as :mod:`keras_skd.layers.costs`
describes it.

Functional models of other classes are teachers and students too: the functions of this module give
the default for what they do not state.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import keras

from keras_skd.errors import InputError


class RestorationModel(keras.Model):
    """Base of the families: a functional model from an image to the restored image.

    A subclass calls ``super().__init__(inputs=image, outputs=restored)`` and states:

    Attributes:
        size_multiple: What the architecture needs of height and width. The model itself pads to it
            and crops back (:class:`keras_skd.layers.PadToMultiple`).
        taps: Features by stage, name to symbolic tensor, in order of computation. Blocks of the
            stage ``latent`` are the layers ``latent_0``, ``latent_1``, ...

    ``get_config`` returns every argument of the constructor. For export there are these among them:

    - ``image_size``: ``(height, width)`` for a graph of fixed size and batch 1, or None. Layers
      take their export form in such a graph (:mod:`keras_skd.layers.export_form`).
    - ``for_integers``: whether that graph is for int8 in every operation; only where a layer makes
      a difference there, such as :class:`keras_skd.layers.ChannelNormalization`.

    Two methods are optional: ``pytorch_names()`` and ``pytorch_constants()``, by which
    :func:`keras_skd.load_pytorch_checkpoint` reads the official weights.
    """

    size_multiple: int = 1
    taps: Mapping = MappingProxyType({})

    def export_obstacle(self, image_size: tuple[int, int]) -> str | None:
        """Why this model cannot be exported at a size: one clause, or None where it can.

        Args:
            image_size: ``(height, width)`` in pixels.
        """
        return None

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> RestorationModel:
        return cls(**config)


def size_multiple(model: keras.Model) -> int:
    """What ``model`` pads height and width to a multiple of; 1 where it states nothing."""
    return getattr(model, "size_multiple", 1)


def taps_of(model: keras.Model) -> Mapping:
    """The model's features by stage; empty where it states nothing."""
    return getattr(model, "taps", {})


def with_image_size(
    model: keras.Model, image_size: tuple[int, int] | None, for_integers: bool = False
) -> keras.Model:
    """The same function as a graph of fixed size and batch 1, for export.

    Args:
        model: A model of a family (:class:`RestorationModel`), or another whose configuration has
            ``image_size``.
        image_size: ``(height, width)`` in pixels, or None for any size.
        for_integers: Whether all of the graph is to be computed in int8.

    Returns:
        A new float32 model with a copy of the weights, whatever the global dtype policy is.

    Raises:
        InputError: The model's class has no ``image_size``, or states that it cannot be exported.
    """
    config = model.get_config()
    if "image_size" not in config:
        raise InputError(
            f"{model.name} ({type(model).__name__}) has no image_size in its configuration; export "
            "needs a student of a keras_skd family, such as keras_skd.Restormer."
        )
    if image_size is not None and hasattr(model, "export_obstacle"):
        obstacle = model.export_obstacle(image_size)
        if obstacle is not None:
            raise InputError(
                f"{model.name} ({type(model).__name__}) cannot be exported for images of "
                f"{image_size[0]}x{image_size[1]}: {obstacle}."
            )
    config["image_size"] = image_size
    if "for_integers" in config:
        config["for_integers"] = for_integers
    if "dtype" in config:
        config["dtype"] = "float32"
    with _float32_policy():
        sized = type(model).from_config(config)
    sized.set_weights(model.get_weights())
    return sized


@contextmanager
def _float32_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
