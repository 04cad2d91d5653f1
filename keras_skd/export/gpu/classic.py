"""Runs a ``.tflite`` file on the classic GPU delegate: the library that Android apps bundle.

The file is computed by ``libtensorflowlite_gpu_jni.so`` of ``tensorflow-lite-gpu`` 2.16.1, the very
bytes of the Android package, with OpenCL on the processor (PoCL). ``make classic-gpu`` installs it;
``android_demo/host/README.md`` tells how Android's library runs on a computer.

``python classic.py MODEL INPUT OUTPUT PRECISION`` is the process that holds the delegate: it maps
images ``(n, height, width, channels)`` of one ``.npy`` file to those of another.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_skd.hints import PathLike


NAME = "classic"
PRECISIONS = ("float32", "float16")
HOW_TO_INSTALL = "run `make classic-gpu` in the project's folder (Linux, x86_64)"

RUNTIME = "libtensorflowlite_jni.so"
DELEGATE = "libtensorflowlite_gpu_jni.so"
STAMP = "installed.json"  # written last

# Of TfLiteGpuDelegateOptionsV2: what an app asks for that allows float16, and OpenCL only, because
# the delegate would otherwise go on to OpenGL, which lacks most of a student's operations.
_MINIMUM_LATENCY, _AUTOMATIC, _OPENCL_ONLY = 2, 0, 2


class ClassicError(RuntimeError):
    """The delegate refuses a graph, takes only a part of it, or fails; the message says which."""


@dataclass(frozen=True)
class ClassicRun:
    """What the delegate computed.

    Attributes:
        restored: float32 ``(n, height, width, channels)``.
        operations: Operations of the file, all of them on the delegate.
        launches: Kernels launched for one image.
        prepare_seconds: From the file to kernels that are compiled.
        run_seconds: For each image. Of a processor: it says nothing about a phone.
    """

    restored: np.ndarray
    operations: int
    launches: int
    prepare_seconds: float
    run_seconds: tuple


def folder() -> Path:
    """Where the delegate is installed: ``KERAS_SKD_CLASSIC_GPU`` or the user's cache."""
    chosen = os.environ.get("KERAS_SKD_CLASSIC_GPU")
    return Path(chosen).absolute() if chosen else _cache() / "classic_gpu"


def _cache():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_skd"


def is_installed() -> bool:
    """Whether the delegate can run here."""
    return (folder() / STAMP).is_file()


def run(path: PathLike, images: np.ndarray, precision: str, timeout: float = 600) -> ClassicRun:
    """Restores images with a file, the whole graph on the classic delegate.

    Args:
        path: The ``.tflite`` file.
        images: float32 ``(n, height, width, channels)``, range 0..1.
        precision: ``float32`` or ``float16``.
        timeout: Seconds; compiling the kernels takes up to two minutes where none are kept.

    Returns:
        A :class:`ClassicRun`.

    Raises:
        ClassicError: The delegate does not take every operation, or it fails.
    """
    if not is_installed():
        raise ClassicError(f"the classic GPU delegate is not installed; {HOW_TO_INSTALL}")
    home = folder()
    environment = {
        "POCL_CACHE_DIR": str(_cache() / "classic_gpu_kernels"),
        **os.environ,
        "LD_LIBRARY_PATH": str(home),
    }
    if precision == "float16":
        environment["CLASSIC_GPU_PRELUDE"] = str(home / "half.cl")
    Path(environment["POCL_CACHE_DIR"]).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source, result = Path(scratch) / "images.npy", Path(scratch) / "restored.npy"
        np.save(source, np.asarray(images, np.float32))
        # By path and not as a module: the process needs neither TensorFlow nor the package.
        command = [sys.executable, __file__, path, source, result, precision]
        try:
            process = subprocess.run(
                [str(part) for part in command],
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise ClassicError(f"gives no result within {timeout} s") from None
        lines = process.stdout.strip().splitlines()
        answer = json.loads(lines[-1]) if lines else {}
        if process.returncode or "error" in answer:
            said = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
            raise ClassicError(answer.get("error") or f"crashes: {said[-1][:200]}")
        return ClassicRun(restored=np.load(result), **answer)


class _Options(ctypes.Structure):
    """``TfLiteGpuDelegateOptionsV2``."""

    _fields_ = [
        ("is_precision_loss_allowed", ctypes.c_int32),
        ("inference_preference", ctypes.c_int32),
        ("inference_priority1", ctypes.c_int32),
        ("inference_priority2", ctypes.c_int32),
        ("inference_priority3", ctypes.c_int32),
        ("experimental_flags", ctypes.c_int64),
        ("max_delegated_partitions", ctypes.c_int32),
        ("serialization_dir", ctypes.c_char_p),
        ("model_token", ctypes.c_char_p),
    ]


_POINTER, _TEXT, _INT, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
# Function to its result and its arguments.
_RUNTIME_FUNCTIONS = {
    "TfLiteModelCreateFromFile": (_POINTER, _TEXT),
    "TfLiteModelDelete": (None, _POINTER),
    "TfLiteInterpreterCreate": (_POINTER, _POINTER, _POINTER),
    "TfLiteInterpreterDelete": (None, _POINTER),
    "TfLiteInterpreterModifyGraphWithDelegate": (_INT, _POINTER, _POINTER),
    "TfLiteInterpreterAllocateTensors": (_INT, _POINTER),
    "TfLiteInterpreterInvoke": (_INT, _POINTER),
    "TfLiteInterpreterGetInputTensor": (_POINTER, _POINTER, _INT),
    "TfLiteInterpreterGetOutputTensor": (_POINTER, _POINTER, _INT),
    "TfLiteTensorType": (_INT, _POINTER),
    "TfLiteTensorNumDims": (_INT, _POINTER),
    "TfLiteTensorDim": (_INT, _POINTER, _INT),
    "TfLiteTensorCopyFromBuffer": (_INT, _POINTER, _POINTER, _SIZE),
    "TfLiteTensorCopyToBuffer": (_INT, _POINTER, _POINTER, _SIZE),
}
_DELEGATE_FUNCTIONS = {
    "TfLiteGpuDelegateOptionsV2Default": (_Options,),
    "TfLiteGpuDelegateV2Create": (_POINTER, ctypes.POINTER(_Options)),
    "TfLiteGpuDelegateV2Delete": (None, _POINTER),
}
_TYPES = {1: np.float32, 3: np.uint8}


def _load(name, functions):
    library = ctypes.CDLL(str(folder() / name))
    for function, (result, *arguments) in functions.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


class _Delegated:
    """A model on the delegate."""

    def __init__(self, path, precision):
        self.lite = _load(RUNTIME, _RUNTIME_FUNCTIONS)
        self.gpu = _load(DELEGATE, _DELEGATE_FUNCTIONS)
        self.log = _load("libc.so", {"android_log_text": (_TEXT,)}).android_log_text
        counters = {"opencl_launches": (ctypes.c_long,), "opencl_failures": (ctypes.c_long,)}
        self.opencl = _load("libOpenCL.so", counters)
        self.model = self.lite.TfLiteModelCreateFromFile(str(path).encode())
        if not self.model:
            raise ClassicError("is no model that TensorFlow Lite 2.16.1 can read")
        self.interpreter = self.lite.TfLiteInterpreterCreate(self.model, None)
        options = self.gpu.TfLiteGpuDelegateOptionsV2Default()
        options.experimental_flags |= _OPENCL_ONLY
        if precision == "float16":
            options.is_precision_loss_allowed = 1
            options.inference_priority1 = _MINIMUM_LATENCY
            options.inference_priority2 = options.inference_priority3 = _AUTOMATIC
        self.delegate = self.gpu.TfLiteGpuDelegateV2Create(ctypes.byref(options))
        status = self.lite.TfLiteInterpreterModifyGraphWithDelegate(self.interpreter, self.delegate)
        self.operations = self._delegated_operations(status)
        self._check(self.lite.TfLiteInterpreterAllocateTensors(self.interpreter), "allocation")
        self.input = self.lite.TfLiteInterpreterGetInputTensor(self.interpreter, 0)
        self.output = self.lite.TfLiteInterpreterGetOutputTensor(self.interpreter, 0)

    def _delegated_operations(self, status):
        """How many operations the delegate took, which must be all of them.

        ModifyGraph succeeds where the delegate takes a part of the graph, or nothing at all.
        """
        said = self.log().decode(errors="replace")
        refused = re.search(
            r"not supported by GPU delegate:\n(.*?)\n(?:No|\d+) operations will", said, re.S
        )
        if refused:
            raise ClassicError(f"refuses {' | '.join(refused[1].split(chr(10)))}")
        failed = re.search(r"TfLiteGpuDelegate (?:Init|Prepare): .*", said)
        if failed or status:
            raise ClassicError(f"does not run: {failed[0] if failed else said.strip()[-200:]}")
        taken = re.search(r"Replacing (\d+) out of (\d+) node.*yielding (\d+) partitions", said)
        if not taken or taken[1] != taken[2] or taken[3] != "1":
            raise ClassicError(f"takes a part only: {taken[0] if taken else 'nothing'}")
        if "OpenCL" not in said:
            raise ClassicError("does not run on OpenCL")
        return int(taken[1])

    def _check(self, status, what):
        if status or self.opencl.opencl_failures():
            lines = [line for line in self.log().decode(errors="replace").splitlines() if line]
            raise ClassicError(f"fails in {what}: {lines[-1][:200] if lines else status}")

    def __call__(self, image):
        types = [_TYPES.get(self.lite.TfLiteTensorType(side)) for side in (self.input, self.output)]
        if None in types:
            raise ClassicError("takes images of float32 and uint8 only")
        if types[0] == np.uint8:
            image = np.rint(255 * np.clip(image, 0, 1))
        image = np.ascontiguousarray(image, types[0])
        pointer = image.ctypes.data
        status = self.lite.TfLiteTensorCopyFromBuffer(self.input, pointer, image.nbytes)
        self._check(status, "the input's size")
        self._check(self.lite.TfLiteInterpreterInvoke(self.interpreter), "the run")
        axes = range(self.lite.TfLiteTensorNumDims(self.output))
        shape = [self.lite.TfLiteTensorDim(self.output, axis) for axis in axes]
        restored = np.empty(shape[1:], types[1])
        pointer = restored.ctypes.data
        status = self.lite.TfLiteTensorCopyToBuffer(self.output, pointer, restored.nbytes)
        self._check(status, "the output's size")
        return restored / np.float32(255 if types[1] == np.uint8 else 1)

    def close(self):
        self.lite.TfLiteInterpreterDelete(self.interpreter)
        self.gpu.TfLiteGpuDelegateV2Delete(self.delegate)
        self.lite.TfLiteModelDelete(self.model)


@contextmanager
def _delegated(path, precision):
    model = _Delegated(path, precision)
    try:
        yield model
    finally:
        model.close()


def main(arguments: Sequence[str]) -> None:
    """The process that holds the delegate; prints a line of JSON."""
    path, source, result, precision = arguments
    images = np.load(source)
    start = time.perf_counter()
    try:
        with _delegated(path, precision) as model:
            prepared = time.perf_counter() - start
            restored, seconds = [], []
            before = model.opencl.opencl_launches()
            for image in images:
                begin = time.perf_counter()
                restored.append(model(image))
                seconds.append(time.perf_counter() - begin)
            launches = model.opencl.opencl_launches() - before
            np.save(result, np.stack(restored))
            answer = {
                "operations": model.operations,
                "launches": launches // len(images),
                "prepare_seconds": round(prepared, 3),
                "run_seconds": [round(each, 3) for each in seconds],
            }
    except ClassicError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
