"""How many kernels does ML Drift launch for one tile of a ``.tflite`` file?

``python benchmarks/ml_drift_launches.py FILE.tflite [FILE.tflite ...]`` prints a line for each. It
needs gcc and SwiftShader, in front of which a driver of our own counts (``vulkan_launches.c``). The
accelerator may launch some once, so a tile's number is what a process with more tiles adds.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keras_skd.errors import InputError
from keras_skd.export.gpu import ml_drift
from keras_skd.runners import TFLiteRunner

SOURCE = Path(__file__).with_name("vulkan_launches.c")
TILES = (1, 3)


def counting_driver(folder):
    """Compiles the driver that counts.

    Returns:
        The :class:`ml_drift.Driver`, and what the environment has to hold for it.
    """
    found = [each for each in ml_drift.find_vulkan_drivers() if each.name == "SwiftShader"]
    if not found:
        raise InputError(f"no SwiftShader; {ml_drift.HOW_TO_INSTALL}")
    manifest = Path(found[0].files)
    behind = json.loads(manifest.read_text())["ICD"]
    library, ours = folder / "libvulkan_launches.so", folder / "icd.json"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    icd = {**behind, "library_path": str(library)}
    ours.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": icd}))
    environment = {
        "KERAS_SKD_DRIVER": str((manifest.parent / behind["library_path"]).resolve()),
        "KERAS_SKD_LAUNCHES": str(folder / "launches"),
    }
    return dataclasses.replace(found[0], files=str(ours)), environment


def launches(path, tiles, driver):
    """Launches of a process that restores so many tiles, strictly on the GPU."""
    model = TFLiteRunner(path)
    images = np.random.default_rng(0).uniform(size=(tiles, *model.size, model.channels))
    ml_drift.run(path, images, driver, "float32")
    return int(Path(os.environ["KERAS_SKD_LAUNCHES"]).read_text())


def main(arguments=None):
    """Counts, and prints the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE.tflite")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        driver, environment = counting_driver(Path(folder))
        os.environ.update(environment)
        for path in options.files:
            few, many = (launches(path, tiles, driver) for tiles in TILES)
            each = (many - few) / (TILES[1] - TILES[0])
            print(f"{path}: {each:g} launches a tile, {few - each:g} once", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
