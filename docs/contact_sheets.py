"""Draws the contact sheets of the degradations: ``python -m docs.contact_sheets``.

The photographs are scikit-image's, CC0 or in the public domain (see ``keras_skd/data/photos.py``).
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_skd.data import (
    CameraNoise,
    GaussianNoise,
    MotionBlur,
    Rain,
    to_uint8,
    training_photos,
    validation_photos,
)

SIDE, GAP = 256, 4
DEGRADATIONS = {
    "gaussian_noise": GaussianNoise(5, 50),
    "camera_noise": CameraNoise(),
    "rain": Rain(dry=0),
    "motion_blur": MotionBlur(),
}


def main():
    """Writes ``docs/degradations/NAME.jpg``: a row a photograph, the clean one first."""
    folder = Path(__file__).resolve().parent / "degradations"
    folder.mkdir(exist_ok=True)
    photos = {**training_photos(dead_leaves=0), **validation_photos()}
    for name, degradation in DEGRADATIONS.items():
        rows = []
        for index, photo in enumerate(photos.values()):
            top, left = (photo.shape[0] - SIDE) // 2, (photo.shape[1] - SIDE) // 2
            # The whole photograph is degraded and then cut, so that the cut has no border.
            clean = photo[None] / np.float32(255)
            images = [clean, *(degradation(clean, tf.constant([index, s])) for s in range(4))]
            rows.append([to_uint8(i[0])[top : top + SIDE, left : left + SIDE] for i in images])
        sheet = np.full((len(rows) * (SIDE + GAP) - GAP, 5 * (SIDE + GAP) - GAP, 3), 255, np.uint8)
        for r, row in enumerate(rows):
            for c, image in enumerate(row):
                y, x = r * (SIDE + GAP), c * (SIDE + GAP)
                sheet[y : y + SIDE, x : x + SIDE] = image
        Image.fromarray(sheet).save(folder / f"{name}.jpg", quality=85)
        print(folder / f"{name}.jpg")


if __name__ == "__main__":
    main()
