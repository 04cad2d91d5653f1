"""What runs a model on an image: one small protocol for a Keras model and a ``.tflite`` file."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from keras_skd.errors import InputError, MissingFileError
from keras_skd.quiet import quiet

if TYPE_CHECKING:
    import keras

    from keras_skd.hints import PathLike

METADATA_NAME = "keras_skd"  # of the entry in a .tflite file's table of metadata


@runtime_checkable
class Runner(Protocol):
    """A restorer as a function of one image.

    Attributes:
        size: ``(height, width)`` in pixels that it takes, or None for any size.
        channels: Channels of the image, 3 or 1.
        metadata: What its file remembers: ``task``, ``noise``, ``sigma``; for a ``.tflite`` also
            ``name``, ``tile``, ``scheme``, ...; empty for a file of another origin.
    """

    size: tuple[int, int] | None
    channels: int
    metadata: dict[str, Any]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Restores ``(height, width, channels)``, float32 of range 0..1, to the same shape."""


class KerasRunner:
    """A Keras model as a :class:`Runner`, compiled once.

    Args:
        model: A :class:`keras.Model` of one image ``(batch, height, width, channels)``.
        size: ``(height, width)`` in pixels to compile it for; None takes the model's own fixed
            size, or any size where it has none.
        metadata: What the model's file remembers.

    Raises:
        InputError: It does not map one image to one image of the same size.
    """

    size: tuple[int, int] | None
    channels: int
    metadata: dict[str, Any]

    def __init__(
        self,
        model: keras.Model,
        size: tuple[int, int] | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
        if not inputs or not outputs or len(inputs) != 1 or len(outputs) != 1:
            raise InputError(
                f"{getattr(model, 'name', model)!s}: a restorer maps one image to one; this model "
                f"has {len(inputs or ())} inputs and {len(outputs or ())} outputs."
            )
        given, restored = tuple(inputs[0].shape), tuple(outputs[0].shape)
        if len(given) != 4 or given[3] not in (1, 3) or not _compatible(given, restored):
            raise InputError(
                f"{model.name}: a restorer maps images (batch, height, width, 3 or 1) to images "
                f"of the same size; this model maps {given} to {restored}."
            )
        self.model = model
        self.size = given[1:3] if None not in given[1:3] else size and tuple(size)
        self.channels = given[3]
        self.metadata = metadata or {}
        self._compiled = None

    def with_size(self, size: tuple[int, int]) -> KerasRunner:
        """The same model compiled for one size."""
        return KerasRunner(self.model, size, self.metadata)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Restores one image; see :class:`Runner`."""
        return self.batch(np.asarray(image, np.float32)[None])[0]

    def batch(self, images: np.ndarray) -> np.ndarray:
        """Restores images of one size one by one: ``(n, height, width, channels)``, float32."""
        return np.concatenate([self._run(image[None]).numpy() for image in images])

    def _run(self, images):
        import tensorflow as tf

        if self._compiled is None:
            # One graph for all sizes: a new one for every size would cost more than running it.
            shape = (1, *(self.size or (None, None)), self.channels)
            self._compiled = tf.function(
                lambda images: self.model(images, training=False),
                input_signature=[tf.TensorSpec(shape, tf.float32)],
            )
        return self._compiled(images)


def _compatible(given, restored):
    return len(given) == len(restored) and all(
        one == other or None in (one, other) for one, other in zip(given, restored, strict=True)
    )


class TFLiteRunner:
    """A ``.tflite`` restorer as a :class:`Runner`, on LiteRT's CPU kernels (XNNPACK).

    Args:
        model: Path of the ``.tflite`` file, or its bytes.
        threads: CPU threads; all if None.

    Attributes:
        threads: CPU threads.

    Raises:
        MissingFileError: There is no such file.
        InputError: It is not a ``.tflite`` model, or does not map an image of fixed size, float32
            or uint8, to one of the same size.
    """

    size: tuple[int, int] | None
    channels: int
    metadata: dict[str, Any]

    def __init__(self, model: PathLike | bytes, threads: int | None = None):
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
        _check_tensors(name, inputs, outputs)
        shape = tuple(int(size) for size in inputs[0]["shape"])
        self.size, self.channels = shape[1:3], shape[3]
        self._input, self._output = inputs[0], outputs[0]
        self.metadata = read_tflite_metadata(content)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Restores one image of exactly the model's size; see :class:`Runner`. Not clipped.

        Raises:
            InputError: The image has another shape.
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


def _check_tensors(name, inputs, outputs):
    """Refuses what does not map one image of fixed size to one of the same size.

    Raises:
        InputError: The message says what the file does instead.
    """
    described = f"this takes {_described(inputs)} and gives {_described(outputs)}"
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(f"{name}: a restorer maps one image to one; {described}.")
    (given,), (restored,) = inputs, outputs
    if any(side["dtype"] not in (np.float32, np.uint8) for side in (given, restored)):
        raise InputError(f"{name}: a restorer's images are float32 or uint8; {described}.")
    shape = tuple(int(size) for size in given["shape"])
    signature = tuple(int(size) for size in given.get("shape_signature", shape))
    if len(shape) != 4 or shape[0] != 1:
        raise InputError(
            f"{name}: a restorer takes one image (1, height, width, channels); {described}."
        )
    if -1 in signature[1:]:
        raise InputError(
            f"{name}: takes images of any size {signature}; a file of fixed size is needed: "
            "convert the model with one (--tile)."
        )
    if tuple(int(size) for size in restored["shape"]) != shape:
        raise InputError(
            f"{name}: a restorer's output has the size and the channels of its input; {described}."
        )


def _described(tensors):
    return ", ".join(f"{t['dtype'].__name__} {tuple(map(int, t['shape']))}" for t in tensors)


def read_tflite_metadata(content: bytes) -> dict[str, Any]:
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


def as_runner(model: Runner | keras.Model) -> Runner:
    """A :class:`Runner` as it is, or a Keras model as one."""
    return model if isinstance(model, Runner) else KerasRunner(model)


def load_runner(name_or_file: PathLike, untrained: bool = False) -> Runner:
    """Loads what restores images: a preset, a ``.keras`` file or a ``.tflite`` file.

    Args:
        name_or_file: Name or path.
        untrained: Whether a preset without weights is taken, with random ones.

    Returns:
        A :class:`Runner`.

    Raises:
        InputError: It is none of these, it was never trained, or the file is damaged.
        MissingFileError: There is no such file.
    """
    if Path(name_or_file).suffix == ".tflite":
        runner = TFLiteRunner(name_or_file)
        if runner.channels not in (1, 3):
            raise InputError(
                f"{name_or_file}: takes images of {runner.channels} channels; photographs have 3, "
                "or 1 for grey."
            )
        return runner
    from keras_skd.models import load_model, read_metadata

    model = load_model(name_or_file, trained=not untrained)
    return KerasRunner(model, metadata=read_metadata(name_or_file))


def latencies_ms(call: Callable[[], object], runs: int = 10) -> list[float]:
    """Times of ``runs`` calls in milliseconds, after one call to warm up."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return times


def median_ms(call: Callable[[], object], runs: int = 10) -> float:
    """Median of :func:`latencies_ms`."""
    return statistics.median(latencies_ms(call, runs))
