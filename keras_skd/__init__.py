"""Soft knowledge distillation of image-restoration transformers, for phones."""
