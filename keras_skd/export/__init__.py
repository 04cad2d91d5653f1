"""From a trained student to verified ``.tflite`` files."""

TILE_SIZES = range(64, 513, 8)  # pixels, of the image that a file takes
