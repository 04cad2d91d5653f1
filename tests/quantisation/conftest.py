import dataclasses

import keras
import numpy as np
import pytest

from keras_skd.export import schemes
from keras_skd.export.calibration import load_tiles
from keras_skd.models import Restormer, Uformer
from keras_skd.tasks import Task


def make_restormer():
    return Restormer(dim=8, num_blocks=(0, 1, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 2))


def make_small():
    return Restormer(dim=8, num_blocks=(0, 0, 0, 1), num_refinement_blocks=0, heads=(1, 1, 1, 1))


def make_uformer():
    return Uformer(
        img_size=64,
        embed_dim=8,
        depths=(0, 0, 2, 0, 1, 0, 0, 0, 1),
        num_heads=(1, 1, 2, 1, 2, 1, 1, 1, 1),
        mlp_ratio=2.0,
        modulator=True,
    )


def lively(make):
    """A student as if it had been trained a little: no bias is zero, and it moves the image."""
    keras.utils.set_random_seed(0)
    model = make()
    generator = np.random.default_rng(0)
    for variable in model.weights:
        spread = 0.1 * np.abs(variable) + 0.02 * (np.std(variable) + 0.1)
        variable.assign(variable + spread * generator.normal(size=variable.shape))
    return model


@pytest.fixture(autouse=True, scope="module")
def converted_once():
    """The converter's files by model, because the tests convert a few students again and again."""
    convert, files = schemes.float32, {}

    def convert_or_remember(model):
        config = {**model.get_config(), "name": None}  # numbered by how many there were before
        key = (repr(config), *(weight.tobytes() for weight in model.get_weights()))
        if key not in files:
            files[key] = convert(model)
        return files[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schemes, "float32", convert_or_remember)
        yield


@pytest.fixture(scope="session")
def tiles():
    """Few to calibrate on, which is what takes long."""
    tiles = load_tiles(64, Task.of("denoise"))
    few = slice(0, 32, 4)
    return dataclasses.replace(
        tiles,
        calibration=tiles.calibration[few],
        calibration_clean=tiles.calibration_clean[few],
    )
