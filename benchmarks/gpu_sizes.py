"""Whole pictures through both GPU accelerators in software: numbers and memory.

``python benchmarks/gpu_sizes.py STUDENT.tflite ACCELERATOR MEGAPIXELS [--precision float32]``
prints one line of JSON: how far the picture is from the CPU's, and the memory of the process that
held the accelerator. All tiles of the picture run in one process, as in an app.
"""

import argparse
import json
import re
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_skd.export.gpu import classic, ml_drift
from keras_skd.export.gpu.run import ACCELERATORS
from keras_skd.runners import TFLiteRunner
from keras_skd.tiling import restore_tiled


class _Tiles:
    """Stands for the model while its tiles are collected, and then while they are put back."""

    def __init__(self, model):
        self.size, self.channels, self.metadata = model.size, model.channels, model.metadata
        self.taken, self.restored = [], None

    def __call__(self, tile):
        if self.restored is None:
            self.taken.append(tile)
            return tile
        return next(self.restored)


@contextmanager
def peak_of_children():
    """A list whose last value is the most memory, in MB, that one child process has had so far.

    Read while they run: what the kernel remembers of them afterwards includes this process, which
    they were for a moment.
    """
    peaks, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.02):
            for children in Path("/proc/self/task").glob("*/children"):
                for child in children.read_text().split():
                    status = Path(f"/proc/{child}/status")
                    found = re.search(
                        r"VmHWM:\s+(\d+)", status.read_text() if status.exists() else ""
                    )
                    peaks.append(max(peaks[-1], int(found[1]) / 1024 if found else 0))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def picture(megapixels):
    """A picture of waves and noise, 4 to 3, uint8."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(width * 3 / 4)
    rows, columns = np.mgrid[:height, :width].astype("float32")
    waves = [np.sin(rows / 37 + k) * np.cos(columns / (29 + k)) for k in range(3)]
    noise = np.random.default_rng(0).normal(scale=15, size=(height, width, 3))
    return np.clip(127 + 90 * np.stack(waves, axis=-1) + noise, 0, 255).astype("uint8")


def main():
    """Measures one picture on one accelerator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=".tflite file")
    parser.add_argument("accelerator", choices=ACCELERATORS)
    parser.add_argument("megapixels", type=float)
    parser.add_argument("--precision", default="float32", choices=classic.PRECISIONS)
    options = parser.parse_args()
    model, image = TFLiteRunner(options.model), picture(options.megapixels)
    tiles = _Tiles(model)
    restore_tiled(tiles, image)
    batch = np.stack(tiles.taken)
    with peak_of_children() as peaks:
        if options.accelerator == classic.NAME:
            restored = classic.run(options.model, batch, options.precision, timeout=7200).restored
        else:
            driver = next(
                driver
                for driver in ml_drift.find_vulkan_drivers()
                if options.precision in driver.precisions
            )
            restored, _ = ml_drift.run(
                options.model, batch, driver, options.precision, timeout=7200
            )
    tiles.restored = iter(restored)
    result = restore_tiled(tiles, image)
    expected = restore_tiled(model, image)
    difference = np.abs(result.astype(int) - expected)
    print(
        json.dumps(
            {
                "accelerator": options.accelerator,
                "precision": options.precision,
                "size": image.shape[:2][::-1],
                "tile": model.size[0],
                "tiles": len(batch),
                "largest_difference_of_255": int(difference.max()),
                "share_that_differs": round(float((difference > 0).mean()), 6),
                # Without the tiles, which the process reads and writes as a whole here.
                "memory_mb": round(peaks[-1] - 2 * batch.nbytes / 2**20),
            }
        )
    )


if __name__ == "__main__":
    main()
