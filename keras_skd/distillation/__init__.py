"""Soft knowledge distillation: the losses and the Distiller."""

from keras_skd.distillation.distiller import Distiller
from keras_skd.distillation.methods import METHODS, SKDConfig

__all__ = ["METHODS", "Distiller", "SKDConfig"]
