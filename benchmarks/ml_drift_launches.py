"""How many kernels does ML Drift launch for one tile of a ``.tflite`` file?

``python benchmarks/ml_drift_launches.py FILE.tflite [FILE.tflite ...]`` prints a line for each. It
needs gcc and SwiftShader, in front of which a driver of our own counts (``vulkan_launches.c``). The
accelerator launches a few kernels once, so a tile's number is what a process with more tiles adds.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keras_skd.errors import InputError
from keras_skd.export.gpu import ml_drift
from keras_skd.runners import TFLiteRunner

SOURCE = Path(__file__).with_suffix("").parent / "vulkan_launches.c"
TILES = (1, 3)


def counting_driver(folder):
    """Compiles the driver that counts; returns its manifest and the library behind it."""
    found = [each for each in ml_drift.find_vulkan_drivers() if each.name == "SwiftShader"]
    if not found:
        raise InputError(f"no SwiftShader; {ml_drift.HOW_TO_INSTALL}")
    manifest = Path(found[0].files)
    behind = json.loads(manifest.read_text())["ICD"]
    library = folder / "libvulkan_launches.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    ours = folder / "icd.json"
    icd = {**behind, "library_path": str(library)}
    ours.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": icd}))
    return ours, (manifest.parent / behind["library_path"]).resolve()


def launches(path, tiles, manifest, library, folder):
    """Launches of a process that restores so many tiles."""
    model = TFLiteRunner(path)
    images = np.random.default_rng(0).uniform(size=(tiles, *model.size, model.channels))
    np.save(folder / "images.npy", images.astype("float32"))
    arguments = [path, folder / "images.npy", folder / "restored.npy", "float32", "SwiftShader"]
    process = subprocess.run(
        [sys.executable, "-m", "keras_skd.export.gpu.ml_drift", *map(str, arguments)],
        env={**os.environ, "VK_DRIVER_FILES": str(manifest), "KERAS_SKD_DRIVER": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(re.search(r"vulkan launches: (\d+)", process.stderr)[1])


def main(arguments=None):
    """Counts, and prints the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE.tflite")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        driver = counting_driver(folder)
        for path in options.files:
            few, many = (launches(path, tiles, *driver, folder) for tiles in TILES)
            each = (many - few) / (TILES[1] - TILES[0])
            print(f"{path}: {each:g} launches a tile, {few - each:g} once", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
