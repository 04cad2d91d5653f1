"""Training on two devices and on two machines, which are two processes on this one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_skd.models import Restormer
from keras_skd.training.strategies import make_strategy, writes_files

REPOSITORY = Path(__file__).resolve().parents[2]

# Logical devices have to be set before TensorFlow looks at them, so in a process of its own.
TWO_DEVICES = """
import sys
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_skd.train import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, a student and a teacher, and the run of one process that the others must equal."""
    folder = tmp_path_factory.mktemp("strategy")
    (folder / "photos").mkdir()
    generator = np.random.default_rng(0)
    for index in range(3):
        image = generator.integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(image).save(folder / "photos" / f"{index}.png")
    keras.utils.set_random_seed(0)
    for name, dim in (("student", 8), ("teacher", 16)):
        options = {"num_blocks": (0, 0, 0, 1), "num_refinement_blocks": 0, "heads": (1, 1, 1, 1)}
        Restormer(dim=dim, **options).save(folder / f"{name}.keras")
    finish(start(folder, "single"))
    return folder


def start(folder, run, strategy="none", code=None, **environment):
    options = {
        "run": folder / run,
        "data": folder / "photos",
        "student": folder / "student.keras",
        "teacher": folder / "teacher.keras",
        "steps": 4,
        "steps_per_epoch": 2,
        "batch_size": 4,
        "patch_size": 16,
        "warmup_steps": 1,
        "method": "skd",
        "strategy": strategy,
    }
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, *(["-c", code] if code else ["-m", "keras_skd.train"]), *arguments]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    try:
        outputs = [process.communicate(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (output, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error[-3000:] + output[-1000:]
    return outputs


def assert_equals_the_single_process(folder, run):
    one, other = (
        keras.saving.load_model(folder / name / "student.keras").get_weights()
        for name in ("single", run)
    )
    untrained = keras.saving.load_model(folder / "student.keras").get_weights()
    assert max(np.abs(a - b).max() for a, b in zip(one, untrained, strict=True)) > 1e-3
    for a, b in zip(one, other, strict=True):
        # The global batch is summed in another order, and Adam divides by the root of squares.
        np.testing.assert_allclose(a, b, atol=1e-4)
    logs = [(folder / name / "log.csv").read_text().splitlines() for name in ("single", run)]
    header = logs[0][0].split(",")
    for row, expected in zip(*(log[1:] for log in logs), strict=True):
        values = zip(header, row.split(","), expected.split(","), strict=True)
        for name, value, reference in values:
            assert float(value) == pytest.approx(float(reference), rel=1e-3), name


def test_two_devices_train_as_one(folder):
    finish(start(folder, "mirrored", "mirrored", TWO_DEVICES))
    environment = json.loads((folder / "mirrored" / "environment.json").read_text())
    assert environment[0]["replicas"] == 2
    assert_equals_the_single_process(folder, "mirrored")


# One device of two meets a term that is no number; the other meets it a step later.
ONE_OF_TWO_DIVERGES = """
import sys
import numpy as np
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_skd.distillation import losses
real = losses.contrastive_loss
def breaks(*features, **options):
    context = tf.distribute.get_replica_context()
    bad = (counter >= 3) & (context.replica_id_in_sync_group == 1)
    return real(*features, **options) * tf.where(bad, np.nan, 1.0)
losses.contrastive_loss = breaks
from keras_skd.distillation.distiller import Distiller
step = Distiller.train_step
def counted(self, data):
    global counter
    counter = tf.cast(self.optimizer.iterations, tf.int32) + 1
    return step(self, data)
Distiller.train_step = counted
from keras_skd.train import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_first_divergence_of_several_devices_is_named(folder):
    process = start(folder, "diverged", "mirrored", ONE_OF_TWO_DIVERGES)
    _, error = process.communicate(timeout=900)
    assert process.returncode == 1, error[-3000:]
    assert "diverged at step 3: contrastive is nan; the last good checkpoint" in error


# Every worker writes the weights that it ends with.
WORKER = """
import sys
import numpy as np
from keras_skd import train
from keras_skd.training import run
class Training(run.Training):
    def fit(self):
        output = super().fit()
        np.savez(sys.argv[1], *self.student.get_weights())
        return output
run.Training = Training
sys.exit(train.main(sys.argv[2:]))
"""


def test_two_workers_train_as_one_and_end_with_equal_weights(folder):
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    processes = []
    for index in (0, 1):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        code = WORKER.replace("sys.argv[1],", f"{str(folder / f'worker{index}.npz')!r},")
        code = code.replace("sys.argv[2:]", "sys.argv[1:]")
        processes.append(
            start(folder, "workers", "multi-worker", code, TF_CONFIG=json.dumps(cluster))
        )
    finish(*processes)
    with np.load(folder / "worker0.npz") as one, np.load(folder / "worker1.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])
    # One worker writes: one start, one log.
    environment = json.loads((folder / "workers" / "environment.json").read_text())
    assert [start["replicas"] for start in environment] == [2]
    assert_equals_the_single_process(folder, "workers")


def test_names_and_settings_are_checked(monkeypatch):
    with pytest.raises(
        ValueError, match=r"--strategy must be one of none, mirrored.*; got 'magic'"
    ):
        make_strategy("magic")
    assert make_strategy("none") is None
    assert writes_files(None)
    for value in ("", "{", "{}", '{"cluster": {"worker": []}, "task": {"index": 0}}'):
        monkeypatch.setenv("TF_CONFIG", value)
        with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
            make_strategy("multi-worker")
