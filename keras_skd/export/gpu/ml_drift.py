"""Runs a ``.tflite`` file on ML Drift, LiteRT's GPU accelerator.

The accelerator, that of the phones, speaks Vulkan, so it runs on a computer too: on its GPU, or on
a driver in software. Every run is a process of its own, because a driver may crash and does so
beside TensorFlow.

``python -m keras_skd.export.gpu.ml_drift MODEL INPUT OUTPUT PRECISION DRIVER`` is that process: it
maps images ``(n, height, width, channels)`` of one ``.npy`` file to those of another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.export.flatbuffer import read_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_skd.hints import PathLike


# LiteRT's number for a tensor buffer in GPU memory. A model that fell back takes host memory (1).
_GPU_BUFFER = 26
# Images of bytes lie in host memory either way; then this line of the accelerator's tells.
_ON_GPU_LINE = "Initializing WebGPU-based API from graph"

NAME = "ml-drift"
HARDWARE = "GPU"  # name of a driver of hardware

_ICD_FOLDERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_SWIFTSHADER = (
    "/usr/lib/chromium/vk_swiftshader_icd.json",
    "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
    "/opt/google/chrome/vk_swiftshader_icd.json",
)

HOW_TO_INSTALL = (
    "no Vulkan driver; install one, in software on Debian: apt-get install libvulkan1 "
    "chromium-common"
)


class MLDriftError(RuntimeError):
    """The accelerator does not run a graph; the message says why."""


@dataclass(frozen=True)
class Driver:
    """A Vulkan driver.

    Attributes:
        name: ``SwiftShader``, ``lavapipe`` or ``GPU``.
        files: The driver's manifests, as ``VK_DRIVER_FILES`` takes them.
        precisions: Arithmetic to verify: ``float32``, ``float16``.
    """

    name: str
    files: str
    precisions: tuple
    accelerator = NAME


def find_vulkan_drivers() -> list[Driver]:
    """The Vulkan drivers of this machine.

    ``VK_DRIVER_FILES`` of the environment, if set, is the only one. The drivers of hardware count
    only where a GPU's device file exists: Mesa installs them everywhere.

    Returns:
        A list of :class:`Driver`, which may be empty.
    """
    chosen = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES")
    if chosen:
        return [_software_driver(chosen) or Driver(HARDWARE, chosen, ("float32", "float16"))]
    manifests = [path for folder in _ICD_FOLDERS for path in sorted(Path(folder).glob("*.json"))]
    found = [_software_driver(path) for path in (*_SWIFTSHADER, *manifests) if Path(path).is_file()]
    software = {driver.name: driver for driver in found if driver}
    hardware = [
        str(path)
        for path in manifests
        if not _software_driver(path) and path.stem.split("_")[0] not in ("gfxstream", "virtio")
    ]
    if hardware and (any(Path("/dev/dri").glob("renderD*")) or Path("/dev/nvidia0").exists()):
        return [Driver(HARDWARE, ":".join(hardware), ("float32", "float16")), *software.values()]
    return list(software.values())


def _software_driver(path):
    # SwiftShader computes in float32 whatever it is asked for; lavapipe does real float16.
    if "swiftshader" in Path(path).stem:
        return Driver("SwiftShader", str(path), ("float32",))
    if Path(path).stem.startswith("lvp_icd"):
        return Driver("lavapipe", str(path), ("float16",))
    return None


def run(
    path: PathLike, images: np.ndarray, driver: Driver, precision: str, timeout: float = 600
) -> tuple[np.ndarray, float | None]:
    """Restores images with a file, strictly on the GPU.

    Args:
        path: The ``.tflite`` file.
        images: float32 ``(n, height, width, channels)``, range 0..1.
        driver: A :class:`Driver`.
        precision: ``float32`` or ``float16``.
        timeout: Seconds; compiling the shaders in software takes up to a minute.

    Returns:
        The restored images, float32 of the same shape, and the median of their milliseconds: None
        for a driver in software, whose time says nothing.

    Raises:
        MLDriftError: Nothing ran, it fell back to the CPU, or its shaders are invalid.
    """
    root = Path(__file__).resolve().parents[3]
    environment = {
        # The shaders of lavapipe take up to a minute to compile: keep them.
        "MESA_SHADER_CACHE_DIR": str(Path.home() / ".cache" / "mesa"),
        # A third less to compile there, for a fifth more to run.
        "LP_NATIVE_VECTOR_WIDTH": "128",
        **os.environ,
        "VK_DRIVER_FILES": driver.files,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "images.npy", Path(folder) / "restored.npy"
        np.save(source, np.asarray(images, np.float32))
        arguments = (path, source, result, precision, driver.name)
        command = [sys.executable, "-m", "keras_skd.export.gpu.ml_drift", *arguments]
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
            raise MLDriftError(f"gives no result within {timeout} s") from None
        # The accelerator reports this there only, goes on, and returns zeros.
        invalid = [line for line in process.stderr.splitlines() if "Validation error" in line]
        if invalid:
            raise MLDriftError(f"fails shader validation: {invalid[0].strip()[:200]}")
        if process.returncode:
            lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
            errors = [line for line in lines if "rror" in line] or lines
            raise MLDriftError(f"does not run: {errors[-1].strip()[:200]}")
        measured = json.loads(process.stdout.splitlines()[-1])
        restored = np.load(result)
    if not (measured["on_gpu"] or (measured["bytes"] and _ON_GPU_LINE in process.stderr)):
        raise MLDriftError("falls back to the CPU")
    return restored, measured["latency_ms"]


def _restore(model, image, types, attempts=5):
    """Runs one image; returns the restored one and its seconds, write and read included.

    ``types`` are those of the model's input and output: float32, or uint8 for 0..1 as 0..255.

    The accelerator waits a few seconds for a result and then refuses that buffer for good. A
    driver in software on a busy machine takes longer, above all for the first run, which compiles
    its shaders: then again, with new buffers.
    """
    image = np.ascontiguousarray(image)
    if types[0] == np.uint8:
        image = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    for attempt in range(attempts):
        inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
        start = time.perf_counter()
        inputs[0].write(image)
        model.run_by_index(0, inputs, outputs)
        try:
            restored = outputs[0].read(image.size, types[1]).reshape(image.shape)
        except RuntimeError as error:
            if "Failed to lock" not in str(error) or attempt == attempts - 1:
                raise
        else:
            seconds = time.perf_counter() - start
            return restored / np.float32(255 if types[1] == np.uint8 else 1), seconds


def main(arguments: Sequence[str]) -> None:
    """The process that runs on the GPU; prints a line of JSON."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.gpu_options import GpuOptions
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import Options

    path, source, result, precision, driver = arguments
    images = np.load(source)
    # The GPU alone: with the CPU beside it, what the GPU cannot do falls back without a word.
    options = Options(
        hardware_accelerators=HardwareAccelerator.GPU,
        gpu_options=GpuOptions(enforce_f32=precision == "float32"),
    )
    model = CompiledModel.from_file(path, options=options)
    requirements = model.get_input_buffer_requirements(0, 0)
    graph = read_graph(Path(path).read_bytes())
    types = [
        np.dtype(graph.tensors[side[0]].type.lower()) for side in (graph.inputs, graph.outputs)
    ]
    in_hardware = driver == HARDWARE
    if in_hardware:
        _restore(model, images[0], types)  # to warm up
    restored, seconds = zip(*(_restore(model, image, types) for image in images), strict=True)
    np.save(result, np.stack(restored))
    on_gpu = requirements["supported_types"] == [_GPU_BUFFER] and model.is_fully_accelerated()
    print(
        json.dumps(
            {
                "on_gpu": on_gpu,
                "bytes": types[0] == np.uint8,
                "latency_ms": 1000 * float(np.median(seconds)) if in_hardware else None,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
