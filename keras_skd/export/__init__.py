"""From a trained student to verified ``.tflite`` files."""
