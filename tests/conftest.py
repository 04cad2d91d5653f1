"""Fixtures that several test modules share."""

import collections
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

pytest.register_assert_rewrite("tests.families", "tests.killing")

GOLDEN = Path(__file__).resolve().parent / "golden"
_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_folder():
    """The folder ``shared`` beside the repository, with more golden references and photos.

    Where it is absent the test is skipped. Where it is there it has to be whole: a part that moved
    would turn tests off without a word.
    """
    if not _SHARED.is_dir():
        pytest.skip("there is no folder ../shared with the developers' data")
    for part in ("golden", "data/test", "data/train", "cases"):
        if not (_SHARED / part).is_dir():
            pytest.fail(f"../shared is there, but ../shared/{part} is not")
    return _SHARED


class Golden:
    """A recorded run of an official implementation."""

    def __init__(self, folder, name):
        self.checkpoint = folder / f"{name}.pth"
        self.arguments = json.loads((folder / f"{name}.json").read_text())
        self.parameters = self.arguments.pop("params")
        for key in ("architecture", "checkpoint_key", "output_std"):
            del self.arguments[key]
        with np.load(folder / f"{name}.npz") as arrays:
            self.image = np.transpose(arrays["input_nchw"], (0, 2, 3, 1))
            self.output = np.transpose(arrays["output_nchw"], (0, 2, 3, 1))
            self.features = {
                key.removeprefix("feature/"): arrays[key]
                for key in arrays.files
                if key.startswith("feature/")
            }


@pytest.fixture
def golden(request):
    """``golden(name)`` reads a :class:`Golden`, of the tests' own folder or of ``../shared``."""

    def read(name):
        if (GOLDEN / f"{name}.npz").exists():
            return Golden(GOLDEN, name)
        return Golden(request.getfixturevalue("shared_folder") / "golden", name)

    return read


@pytest.fixture(scope="session")
def official_tensors():
    """``official_tensors(model, seed)``: a random state dict of a Restormer, as PyTorch has it."""

    def make(model, seed=0):
        random = np.random.default_rng(seed)
        tensors = collections.OrderedDict()
        for variable, name, _ in model.pytorch_names():
            shape = tuple(variable.shape)
            if name.endswith("temperature"):
                shape = (*shape, 1, 1)
            elif len(shape) == 4:
                axes = (2, 3, 0, 1) if "dwconv" in name else (3, 2, 0, 1)
                shape = tuple(shape[axis] for axis in axes)
            tensors[name] = random.normal(size=shape).astype("float32")
        return tensors

    return make


@pytest.fixture(scope="session")
def driver_named():
    """``driver_named(name)`` gives a Vulkan driver or skips; with ``REQUIRE_GPU`` set, fails."""
    from keras_skd.export.gpu.run import find_drivers

    found = {driver.name: driver for driver in find_drivers(("ml-drift",))}

    def choose(name):
        if name not in found:
            missing = f"no Vulkan driver {name}; .ci/run installs it"
            pytest.fail(missing) if os.environ.get("REQUIRE_GPU") else pytest.skip(missing)
        return found[name]

    return choose


@pytest.fixture(scope="session")
def classic_delegate():
    """Skips where the classic GPU delegate is not installed; with ``REQUIRE_GPU`` set, fails."""
    from keras_skd.export.gpu import classic

    if not classic.is_installed():
        missing = f"no classic GPU delegate; {classic.HOW_TO_INSTALL}"
        pytest.fail(missing) if os.environ.get("REQUIRE_GPU") else pytest.skip(missing)
