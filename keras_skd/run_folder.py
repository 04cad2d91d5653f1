"""The folder of a training run: what it was, how it went, and where it can go on.

``config.json``         the settings
``environment.json``    versions and devices, one entry for each start of the run
``log.csv``             one row an epoch
``tensorboard/``        the same as TensorBoard events, and the samples
``samples/``            input, restored and clean crops of validation images, after each epoch
``checkpoint.npz``      student, adapters, optimizer (with moving average and schedule), epoch
``student_best.keras``  the student of the best validation PSNR so far
``student_last.keras``  the student of the last epoch, while the run is unfinished
``student.keras``       the student of the last epoch, once the run is finished

Every file is written under a temporary name and renamed, and the checkpoint is the last one that an
epoch writes: killed at any moment, a run goes on after the last epoch whose checkpoint is there.
"""

import csv
import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path

from keras_skd.errors import InputError
from keras_skd.files import replaced

STUDENT, BEST, LAST = "student.keras", "student_best.keras", "student_last.keras"
_PACKAGES = ("keras-skd", "tensorflow", "keras", "numpy", "pillow", "ai-edge-litert")


class RunFolder:
    """Reads and writes the files of a run.

    Args:
        path: The folder; it need not exist before something is written.
        writes: False for the workers that leave writing to the first: they read only.
    """

    def __init__(self, path, writes=True):
        self.path, self.writes = Path(path), writes
        self._events = None

    @property
    def student(self):
        """File of the finished run's student."""
        return self.path / STUDENT

    @property
    def checkpoint(self):
        """File of the last checkpoint."""
        return self.path / "checkpoint.npz"

    # --- settings and environment ---

    def config(self):
        """The settings of the run in the folder, or None.

        Raises:
            ValueError: The file is damaged.
        """
        path = self.path / "config.json"
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError:
            raise InputError(
                f"{path}: damaged; remove the folder or choose another --run."
            ) from None

    def write_config(self, config):
        """Writes the settings, a dict."""
        self._write_json("config.json", config)

    def add_environment(self, epoch, replicas):
        """Notes the versions and devices of this start of the run.

        Args:
            epoch: Epochs done before.
            replicas: Copies of the student that train together.
        """
        import tensorflow as tf

        path = self.path / "environment.json"
        try:
            starts = json.loads(path.read_text())
        except (OSError, ValueError):
            starts = []
        versions = {}
        for package in _PACKAGES:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                versions[package] = None
        start = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "epochs_done": epoch,
            "python": platform.python_version(),
            "system": platform.platform(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "replicas": replicas,
            "versions": versions,
        }
        self._write_json("environment.json", [*starts, start])

    def _write_json(self, name, value):
        if self.writes:
            with replaced(self.path / name) as path:
                path.write_text(json.dumps(value, indent=2) + "\n")

    # --- log ---

    def log_rows(self, epochs=None):
        """The rows of the log, dicts of strings, of the first ``epochs`` epochs or of all."""
        path = self.path / "log.csv"
        if not path.exists():
            return []
        with open(path, newline="") as file:
            return list(csv.DictReader(file))[:epochs]

    def write_log(self, epoch, row):
        """Adds an epoch's row, and drops rows of epochs that are being done again.

        Args:
            epoch: Epochs done before this one.
            row: Column to value; ``epoch`` comes first.
        """
        if not self.writes:
            return
        rows = [*self.log_rows(epoch), {"epoch": epoch + 1, **row}]
        with replaced(self.path / "log.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def best(self, column, epochs):
        """The greatest value of a column in the first epochs of the log; minus infinity if none."""
        values = [float(row[column]) for row in self.log_rows(epochs) if row.get(column)]
        return max(values, default=float("-inf"))

    def write_events(self, step, scalars, image):
        """Writes TensorBoard events.

        Args:
            step: Training steps done.
            scalars: Name to value.
            image: ``(height, width, 3)`` in 0..1.
        """
        if not self.writes:
            return
        import numpy as np
        import tensorflow as tf

        if self._events is None:
            self._events = tf.summary.create_file_writer(str(self.path / "tensorboard"))
        with self._events.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step)
            tf.summary.image("samples", np.clip(image, 0, 1)[None], step)
        self._events.flush()

    def write_sample(self, epoch, image):
        """Writes ``samples/epoch_0001.png`` of an image ``(height, width, 3)`` in 0..1."""
        if not self.writes:
            return
        from keras_skd.data import write_png

        (self.path / "samples").mkdir(exist_ok=True)
        write_png(self.path / "samples" / f"epoch_{epoch:04d}.png", image)

    # --- students and checkpoint ---

    def save_student(self, student, name):
        """Writes a student to ``student.keras``, ``student_best.keras`` or ``student_last.keras``.

        Returns:
            The file.
        """
        if self.writes:
            with replaced(self.path / name) as path:
                student.save(path)
        return self.path / name

    def save_checkpoint(self, epochs, arrays):
        """Writes the state of a run.

        Args:
            epochs: Epochs done.
            arrays: Name to array.
        """
        import numpy as np

        if self.writes:
            with replaced(self.checkpoint) as path, open(path, "wb") as file:
                np.savez(file, epoch=epochs, **arrays)

    def restore(self, variables):
        """Loads the checkpoint, if there is one.

        Args:
            variables: Name to variable, as :meth:`save_checkpoint` was given their arrays.

        Returns:
            The epochs done; 0 without a checkpoint.

        Raises:
            ValueError: The checkpoint is of another run.
        """
        import numpy as np

        if not self.checkpoint.exists():
            return 0
        with np.load(self.checkpoint) as saved:
            shapes = {name: saved[name].shape for name in saved.files if name != "epoch"}
            if shapes != {name: tuple(variable.shape) for name, variable in variables.items()}:
                raise InputError(
                    f"{self.checkpoint}: not a checkpoint of this run; remove it to start anew."
                )
            for name, variable in variables.items():
                variable.assign(saved[name])
            return int(saved["epoch"])

    def finish(self):
        """Removes what only an unfinished run needs."""
        if self._events is not None:
            self._events.close()
        if self.writes:
            self.checkpoint.unlink(missing_ok=True)
            (self.path / LAST).unlink(missing_ok=True)
