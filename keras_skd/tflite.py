"""Runs a ``.tflite`` restorer on the CPU."""

import json
import os
import statistics
import time
from pathlib import Path

import numpy as np

from keras_skd.errors import InputError, MissingFileError
from keras_skd.quiet import quiet

METADATA_NAME = "keras_skd"  # of the entry in the file's table of metadata


class TFLiteRunner:
    """A ``.tflite`` restorer as a function of one image, on LiteRT's CPU kernels (XNNPACK).

    Args:
        model: Path of the ``.tflite`` file, or its bytes.
        threads: CPU threads; all if None.

    Attributes:
        size: ``(height, width)`` that the model takes, in pixels.
        channels: Channels of the image.
        threads: CPU threads.
        metadata: What the export wrote into the file: ``name``, ``task``, ``tile`` (pixels),
            ``value_range``, ``scheme`` and ``student_sha256``; empty for a file of another origin.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no ``.tflite`` model, or not one of a single image of fixed size, float32
            or uint8.
    """

    def __init__(self, model, threads=None):
        from ai_edge_litert.interpreter import Interpreter

        self.threads = threads or os.cpu_count()
        name = "the model" if isinstance(model, bytes | bytearray) else str(model)
        if name == str(model) and not Path(model).is_file():
            raise MissingFileError(f"{name}: no such .tflite file.")
        content = Path(model).read_bytes() if name == str(model) else bytes(model)
        try:
            with quiet():
                self._interpreter = Interpreter(model_content=content, num_threads=self.threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
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
            or any(side["dtype"] not in (np.float32, np.uint8) for side in (*inputs, *outputs))
        ):
            raise InputError(
                f"{name}: a restorer maps one image (1, height, width, channels), float32 or "
                f"uint8, to one; this takes {_described(inputs)} and gives {_described(outputs)}."
            )
        self.size, self.channels = shape[1:3], shape[3]
        self._input, self._output = inputs[0], outputs[0]
        self.metadata = read_metadata(content)

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
            raise InputError(
                f"this model takes images of {(*self.size, self.channels)}; got "
                f"{tuple(image.shape)}. Cut larger images into tiles."
            )
        image = np.asarray(image, np.float32)[None]
        if self._input["dtype"] == np.uint8:
            scale, zero = self._input["quantization"]
            image = np.clip(np.rint(image / scale) + zero, 0, 255).astype(np.uint8)
        self._interpreter.set_tensor(self._input["index"], image)
        self._interpreter.invoke()
        restored = self._interpreter.get_tensor(self._output["index"])[0]
        if restored.dtype == np.uint8:
            scale, zero = self._output["quantization"]
            restored = np.float32(scale) * (restored.astype(np.float32) - zero)
        return restored

    def latency_ms(self, image, runs=10):
        """Median time of one call in milliseconds, after one warm-up call."""
        return statistics.median(self.latencies_ms(image, runs))

    def latencies_ms(self, image, runs=10):
        """Times of ``runs`` calls in milliseconds, after one warm-up call."""
        self(image)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self(image)
            times.append(1000 * (time.perf_counter() - start))
        return times


def read_metadata(content):
    """The metadata that the export wrote into a ``.tflite`` file.

    Args:
        content: The file, bytes.

    Returns:
        A dict, empty where there is none.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if (entry.Name() or b"").decode() == METADATA_NAME:
            return json.loads(bytes(model.Buffers(entry.Buffer()).DataAsNumpy()))
    return {}


def _described(tensors):
    return ", ".join(f"{t['dtype'].__name__} {tuple(map(int, t['shape']))}" for t in tensors)
