"""The Vulkan drivers in software that the tests of the GPU run on."""

import os

import pytest

from exports.gpu_run import find_drivers


@pytest.fixture(scope="session")
def driver_named():
    """``driver_named(name)`` gives a driver or skips; with ``REQUIRE_GPU`` set, fails."""
    found = {driver.name: driver for driver in find_drivers()}

    def choose(name):
        if name not in found:
            missing = f"no Vulkan driver {name}; .ci/run installs it"
            pytest.fail(missing) if os.environ.get("REQUIRE_GPU") else pytest.skip(missing)
        return found[name]

    return choose
