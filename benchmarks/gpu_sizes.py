"""Whole pictures through both GPU accelerators in software: numbers and memory.

``python benchmarks/gpu_sizes.py STUDENT.tflite ACCELERATOR MEGAPIXELS [--precision float32]``
prints one line of JSON: how far the picture is from the CPU's, and the memory of the process that
held the accelerator. All tiles of the picture run in one process, as in an app.
"""

import argparse
import json
import resource

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
    if options.accelerator == classic.NAME:
        restored = classic.run(options.model, batch, options.precision, timeout=7200).restored
    else:
        driver = next(
            driver
            for driver in ml_drift.find_vulkan_drivers()
            if options.precision in driver.precisions
        )
        restored, _ = ml_drift.run(options.model, batch, driver, options.precision, timeout=7200)
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
                # Without the pictures, which the process reads and writes as a whole here.
                "memory_mb": round(
                    resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
                    - 2 * batch.nbytes / 2**20
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
