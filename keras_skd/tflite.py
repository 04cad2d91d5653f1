"""Runs a ``.tflite`` restorer on the CPU."""

import os
import statistics
import time
from pathlib import Path

import numpy as np

from keras_skd.quiet import quiet


class TFLiteRunner:
    """A ``.tflite`` restorer as a function of one image, on LiteRT's CPU kernels (XNNPACK).

    Args:
        model: Path of the ``.tflite`` file, or its bytes.
        threads: CPU threads; all if None.

    Attributes:
        size: ``(height, width)`` that the model takes, in pixels.
        channels: Channels of the image.
        threads: CPU threads.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no ``.tflite`` model, or not one of a single float32 image of fixed size.
    """

    def __init__(self, model, threads=None):
        from ai_edge_litert.interpreter import Interpreter

        self.threads = threads or os.cpu_count()
        name = "the model" if isinstance(model, bytes | bytearray) else str(model)
        if name == str(model) and not Path(model).is_file():
            raise FileNotFoundError(f"{name}: no such .tflite file.")
        content = Path(model).read_bytes() if name == str(model) else bytes(model)
        try:
            with quiet():
                self._interpreter = Interpreter(model_content=content, num_threads=self.threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{name}: not a .tflite model that LiteRT can run ({reason})."
            ) from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shape = tuple(int(size) for size in inputs[0]["shape"])
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or len(shape) != 4
            or shape[0] != 1
            or inputs[0]["dtype"] != np.float32
            or outputs[0]["dtype"] != np.float32
        ):
            raise ValueError(
                f"{name}: a restorer maps one float32 image (1, height, width, channels) to one; "
                f"this takes {_described(inputs)} and gives {_described(outputs)}."
            )
        self.size, self.channels = shape[1:3], shape[3]
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]

    def __call__(self, image):
        """Restores one image.

        Args:
            image: ``(height, width, channels)``, range 0..1, of exactly the model's size.

        Returns:
            The restored image, float32, same shape, not clipped.

        Raises:
            ValueError: The image has another shape.
        """
        if tuple(image.shape) != (*self.size, self.channels):
            raise ValueError(
                f"this model takes images of {(*self.size, self.channels)}; got "
                f"{tuple(image.shape)}. Cut larger images into tiles."
            )
        self._interpreter.set_tensor(self._input, np.asarray(image, np.float32)[None])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]

    def latency_ms(self, image, runs=10):
        """Median time of one call in milliseconds, after one warm-up call."""
        self(image)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self(image)
            times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times)


def _described(tensors):
    return ", ".join(f"{t['dtype'].__name__} {tuple(map(int, t['shape']))}" for t in tensors)
