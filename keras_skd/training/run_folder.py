"""The folder of a training run: what it was, how it went, and where it can be resumed.

``config.json``         the version of keras_skd and the settings, none of them left to a default
``environment.json``    versions and devices, one entry for each start of the run
``log.csv``             one row an epoch
``tensorboard/``        the same as TensorBoard events, and the samples
``samples/``            input, restored and clean crops of validation images, after each epoch
``checkpoint.npz``      student, adapters, optimizer (with moving average and schedule), epoch
``student_best.keras``  the student of the best validation PSNR so far
``student_last.keras``  the student of the last epoch, while the run is unfinished
``student.keras``       the student of the last epoch, once the run is finished

Every file is written under a temporary name and renamed, and the checkpoint is the last one that an
epoch writes: killed at any moment, a run is resumed after the last epoch whose checkpoint is there.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd import __version__
from keras_skd.errors import InputError
from keras_skd.files import locked, replaced, write_csv, write_json

if TYPE_CHECKING:
    from typing import Any

    import keras
    import numpy as np

    from keras_skd.hints import PathLike, Row

STUDENT, BEST, LAST = "student.keras", "student_best.keras", "student_last.keras"
_PACKAGES = ("keras-skd", "tensorflow", "keras", "numpy", "pillow", "ai-edge-litert")


class RunFolder:
    """Reads and writes the files of a run.

    Args:
        path: The folder; it need not exist before something is written.
        writes: False for the workers that leave writing to the first: they read only.
    """

    def __init__(self, path: PathLike, writes: bool = True):
        self.path, self.writes = Path(path), writes
        self._events = None

    @property
    def student(self) -> Path:
        """File of the finished run's student."""
        return self.path / STUDENT

    @property
    def finished(self) -> bool:
        """Whether the student of the finished run is there."""
        return self.student.exists()

    @property
    def checkpoint(self) -> Path:
        """File of the last checkpoint."""
        return self.path / "checkpoint.npz"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training in the folder; a killed process leaves no lock.

        Raises:
            InputError: Another process trains in it.
        """
        if not self.writes:
            yield
            return
        with locked(self.path, "trains"):
            self._remove_leftovers()
            yield

    def _remove_leftovers(self):
        """Removes what a process that was killed while it wrote has left."""
        for folder in (self.path, self.path / "samples"):
            for path in folder.glob(".part-*"):
                path.unlink(missing_ok=True)

    # --- settings and environment ---

    def config(self) -> dict[str, Any] | None:
        """The settings of the run in the folder, or None.

        Raises:
            InputError: The file is damaged.
        """
        path = self.path / "config.json"
        if not path.exists():
            return None
        try:
            config = json.loads(path.read_text())
            if not isinstance(config, dict):
                raise ValueError("no object")
        except ValueError:
            raise InputError(
                f"{path}: damaged; remove the folder or choose another --run."
            ) from None
        return config

    def check_config(self, settings: Mapping[str, Any], free: Collection[str] = ()) -> None:
        """Checks that the run in the folder, if there is one, is of these settings.

        Args:
            settings: A dict as :meth:`write_config` was given.
            free: Names of settings that may differ.

        Raises:
            InputError: It is of others, which the message names, or of a version that did not
                record all of its settings.
        """
        earlier = self.config()
        if earlier is None:
            return
        if "version" not in earlier:
            raise InputError(
                f"{self.path} holds a run of keras_skd 0.1.0, which did not record its defaults: "
                "it cannot be resumed; choose another --run, or remove the folder."
            )
        ours, theirs = _flat(settings), _flat(earlier)
        names = dict.fromkeys([*ours, *theirs])
        differing = [
            f"{name} {theirs.get(name)!r}, now {ours.get(name)!r}"
            for name in names
            if name not in (*free, "version") and ours.get(name) != theirs.get(name)
        ]
        if differing:
            raise InputError(
                f"{self.path} holds a run of other settings ({'; '.join(differing)}) of keras_skd "
                f"{earlier['version']}; choose another --run, or remove the folder."
            )

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Writes the settings, a dict, and the version, unless those of the run are there."""
        if self.writes and self.config() is None:
            write_json(self.path / "config.json", {"version": __version__, **settings})

    def add_environment(self, epoch: int, replicas: int) -> None:
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
        if self.writes:
            write_json(path, [*starts, start])

    # --- log ---

    def log_rows(self, epochs: int | None = None) -> list[dict[str, str]]:
        """The rows of the log, dicts of strings, of the first ``epochs`` epochs or of all."""
        path = self.path / "log.csv"
        if not path.exists():
            return []
        with open(path, newline="") as file:
            return list(csv.DictReader(file))[:epochs]

    def write_log(self, epoch: int, row: Row) -> None:
        """Adds an epoch's row, and drops rows of epochs that are being done again.

        Args:
            epoch: Epochs done before this one.
            row: Column to value; ``epoch`` comes first.
        """
        if not self.writes:
            return
        write_csv(self.path / "log.csv", [*self.log_rows(epoch), {"epoch": epoch + 1, **row}])

    def best(self, column: str, epochs: int) -> float:
        """The greatest value of a column in the first epochs of the log; minus infinity if none."""
        values = [float(row[column]) for row in self.log_rows(epochs) if row.get(column)]
        return max(values, default=float("-inf"))

    def write_events(
        self, step: int, scalars: Mapping[str, float], image: np.ndarray | None
    ) -> None:
        """Writes TensorBoard events.

        Args:
            step: Training steps done.
            scalars: Name to value.
            image: ``(height, width, channels)`` in 0..1, or None.
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
            if image is not None:
                tf.summary.image("samples", np.clip(image, 0, 1)[None], step)
        self._events.flush()

    def write_sample(self, epoch: int, image: np.ndarray) -> None:
        """Writes ``samples/epoch_0001.png`` of an image ``(height, width, 3 or 1)`` in 0..1."""
        if not self.writes:
            return
        from keras_skd.data import write_png

        if image.shape[-1] == 1:
            image = image.repeat(3, axis=-1)
        (self.path / "samples").mkdir(parents=True, exist_ok=True)
        write_png(self.path / "samples" / f"epoch_{epoch:04d}.png", image)

    # --- students and checkpoint ---

    def save_student(
        self,
        student: keras.Model,
        name: str,
        metadata: Mapping[str, Any],
        origin: Sequence[np.ndarray] | None = None,
    ) -> Path:
        """Writes a student to ``student.keras``, ``student_best.keras`` or ``student_last.keras``.

        Args:
            student: A :class:`keras.Model`.
            name: The file's name.
            metadata: What the file remembers; see :func:`keras_skd.models.save_model`.
            origin: See there.

        Returns:
            The file.
        """
        from keras_skd.models import save_model

        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)
            save_model(student, self.path / name, metadata, origin)
        return self.path / name

    def save_checkpoint(self, epochs: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the state of a run.

        Args:
            epochs: Epochs done.
            arrays: Name to array.
        """
        import numpy as np

        if self.writes:
            with replaced(self.checkpoint) as path, open(path, "wb") as file:
                np.savez(file, epoch=epochs, **arrays)

    def restore(self, variables: Mapping[str, keras.Variable]) -> int:
        """Loads the checkpoint, if there is one.

        Args:
            variables: Name to variable, as :meth:`save_checkpoint` was given their arrays.

        Returns:
            The epochs done; 0 without a checkpoint.

        Raises:
            InputError: The checkpoint is of another run, or damaged.
        """
        import numpy as np

        if not self.checkpoint.exists():
            return 0
        try:
            with np.load(self.checkpoint) as saved:
                arrays = {name: saved[name] for name in saved.files}
                epochs = int(arrays.pop("epoch"))
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self.checkpoint}: damaged ({error}); remove it to start anew."
            ) from None
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != {name: tuple(variable.shape) for name, variable in variables.items()}:
            raise InputError(
                f"{self.checkpoint}: not a checkpoint of this run; remove it to start anew."
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        return epochs

    def finish(self) -> None:
        """Removes what only an unfinished run needs, also where a kill has left it behind."""
        self.close()
        if self.writes:
            for path in (self.checkpoint, self.path / LAST):
                # A finished run may lie in a folder that can only be read.
                with suppress(PermissionError):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the files that are open."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _flat(settings):
    """The settings as JSON gives them back, those of ``distillation`` under names of their own."""
    settings = dict(json.loads(json.dumps(settings)))
    return {**settings.pop("distillation", {}), **settings}
