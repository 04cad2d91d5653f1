"""Draws ``results/tasks.jpg``: what the bundled models do for each task, on a photograph each.

    python -m results.picture

The photographs are those inside scikit-image that no model was trained on; noise, rain and blur are
those of the generators.
"""

import dataclasses
from pathlib import Path

import numpy as np

from keras_skd.data import ImagePairs, validation_photos
from keras_skd.demo import before_after
from keras_skd.models import load_model
from keras_skd.runners import KerasRunner
from keras_skd.tasks import Task

FILE = Path(__file__).with_name("tasks.jpg")
SIZE = 256  # pixels of a crop
# By the name that the models carry: what a row is called, the task, the seed of what is added, the
# photograph, and the top and left of the crop.
ROWS = {
    "denoise": ("Gaussian noise", Task("denoise", "gaussian", "25"), 0, "chelsea", (20, 60)),
    "camera": ("camera noise", Task("denoise", "camera"), 0, "rocket", (100, 190)),
    "derain": ("rain", Task("derain"), 3, "rocket", (20, 300)),
    "deblur": ("motion blur", Task("deblur"), 0, "chelsea", (40, 150)),
}


def main():
    """Restores every row's crop by student and teacher, and draws all of them."""
    photos = validation_photos()
    tiles, students, teachers = [], [], []
    for name, (label, task, seed, photo, (top, left)) in ROWS.items():
        crop = np.ascontiguousarray(photos[photo][top : top + SIZE, left : left + SIZE])
        pair = ImagePairs([(crop,)], task.degradation(), seed)[0]
        tiles.append(dataclasses.replace(pair, name=label))
        students.append(KerasRunner(load_model(f"restormer_tiny_{name}"))(pair.degraded))
        teachers.append(KerasRunner(load_model(f"restormer_{name}"))(pair.degraded))
    columns = {
        "before": [tile.degraded for tile in tiles],
        "student": students,
        "teacher": teachers,
        "ground truth": [tile.clean for tile in tiles],
    }
    before_after(FILE, tiles, columns)


if __name__ == "__main__":
    main()
