"""Soft knowledge distillation: the losses and the Distiller."""

from keras_skd.distillation.distiller import METHODS, Distiller, SKDConfig

__all__ = ["METHODS", "Distiller", "SKDConfig"]
