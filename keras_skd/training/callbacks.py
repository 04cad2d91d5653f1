"""What happens while a :class:`~keras_skd.Distiller` is fitted: callbacks for ``Distiller.fit``.

The ``train`` command uses them, and so can anyone who calls ``fit``::

    folder = RunFolder("runs/mine")
    checkpoint = SaveCheckpoint(folder)
    distiller.fit(
        batches,                                  # pairs (degraded, clean), float32 in 0..1
        epochs=40,
        steps_per_epoch=250,
        initial_epoch=checkpoint.restore(distiller),
        callbacks=[
            StopWhenDiverged(folder),             # names the step and the term
            validate := Validate(validation),     # adds val_psnr to the logs
            LearningRate(),                       # adds learning_rate to the logs
            WriteSamples(folder, validate),
            SaveStudents(folder),                 # student_best.keras, student_last.keras
            WriteLog(folder, validate),           # log.csv, TensorBoard
            checkpoint,                           # last, so that what it promises is there
        ],
    )

Keras calls them in this order: those that add to the logs come before those that write them. Each
may be left out. See :mod:`keras_skd.training.run_folder` for the files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_skd.errors import FailedCheckError, InputError
from keras_skd.training.run_folder import BEST, LAST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, NoReturn

    from keras_skd.distillation import Distiller
    from keras_skd.hints import Tensor
    from keras_skd.training.run_folder import RunFolder

_SHOWN = 4  # validation images on a sample


class TrainingDivergedError(FailedCheckError):
    """A loss is not a number; the message has the step, the term and the last checkpoint."""


class StopWhenDiverged(keras.callbacks.Callback):
    """Ends the training once a term of the loss is not finite, and names the step and the term.

    The distiller remembers the first such step by itself, so this looks only now and then: each
    look waits for the device.

    Args:
        folder: The :class:`~keras_skd.training.RunFolder` whose checkpoint the message names, or
            None.
        every: Training steps between looks; there is one at the end of every epoch, too.

    Raises:
        TrainingDivergedError: From ``fit``, as described.
    """

    def __init__(self, folder: RunFolder | None = None, every: int = 50):
        super().__init__()
        self.folder, self.every = folder, every
        self._first_epoch, self._epoch, self._looked = None, None, 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model, and forgets what was before."""
        if not hasattr(self.model, "first_divergence"):
            raise InputError("StopWhenDiverged is a callback of Distiller.fit.")
        self._first_epoch = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes where the epoch begins."""
        self._first_epoch = epoch if self._first_epoch is None else self._first_epoch
        self._epoch, self._looked = epoch, 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks every so many steps."""
        if batch - self._looked >= self.every:
            self._looked = batch
            self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks once more, before anything of the epoch is saved."""
        self._look()

    def _look(self):
        found = self.model.first_divergence()
        if found is None:
            return
        step, values = found
        steps = self.params.get("steps")
        if steps:
            step += self._first_epoch * steps
        diverged(f"step {step}", values, self.folder, self._epoch, steps)


def diverged(
    when: str,
    values: Mapping[str, float],
    folder: RunFolder | None = None,
    epoch: int = 0,
    steps: int | None = None,
) -> NoReturn:
    """Raises :class:`TrainingDivergedError`.

    Args:
        when: Such as ``"step 7"``.
        values: The terms that are not finite, by name.
        folder: The :class:`~keras_skd.training.RunFolder` of the run, or None.
        epoch: Epochs done.
        steps: Steps of an epoch, or None.
    """
    what = ", ".join(f"{name} is {value:g}" for name, value in values.items())
    last = "there is no checkpoint yet"
    if folder is None:
        last = "no checkpoints are written"
    elif folder.checkpoint.exists():
        at = f" (step {epoch * steps})" if steps else ""
        last = f"the last good checkpoint is {folder.checkpoint}, after epoch {epoch}{at}"
    raise TrainingDivergedError(
        f"the training diverged at {when}: {what}; {last}. Try a smaller --learning-rate, or "
        "--precision float32."
    )


class Validate(keras.callbacks.Callback):
    """Runs the student on fixed pairs after every epoch.

    Adds to the logs ``val_psnr`` (dB, mean over the images, of images clipped to 0..1) and
    ``val_reconstruction`` (mean absolute difference). With a moving average of weights, the
    averaged ones are used. Unlike ``fit``'s ``validation_data`` it runs no teacher. A student that
    is trained for integers is run as its integer file computes it.

    Args:
        pairs: ``(degraded, clean)`` of float32 ``(1, height, width, channels)`` in 0..1, a list or
            a dataset, as :func:`keras_skd.data.validation_batches` makes. The student is compiled
            once for each size among them.
        folder: The :class:`~keras_skd.training.RunFolder` that a message about divergence names.

    Attributes:
        sample: After an epoch, float32 ``(height, width, channels)`` in 0..1: input, restored and
            clean side by side, of the first images.

    Raises:
        TrainingDivergedError: From ``fit``: an image is not a number.
    """

    def __init__(self, pairs: Iterable[tuple[Tensor, Tensor]], folder: RunFolder | None = None):
        super().__init__()
        self.pairs, self.folder = pairs, folder
        self.sample = None
        self._runners = {}  # by size: a graph of known size takes every layer, and is faster

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validates, every worker by itself with the same weights and images."""
        with self.model.averaged_weights():
            scores = self._scores()
        bad = {name: value for name, value in scores.items() if not math.isfinite(value)}
        if bad:
            # A restored image that equals the clean one has an infinite PSNR, and nothing is wrong.
            bad = {name: value for name, value in bad.items() if value != math.inf}
        if bad:
            diverged(
                f"the validation after epoch {epoch + 1}",
                bad,
                self.folder,
                epoch,
                self.params.get("steps"),
            )
        if logs is not None:
            logs.update(scores)  # the history and the progress bar, which come later, have them

    def _scores(self):
        differences, psnrs, rows = [], [], []
        for degraded, clean in self.pairs:
            degraded, clean = np.asarray(degraded), np.asarray(clean)
            restored = self._runner(degraded.shape[1:3]).batch(degraded)
            differences.append(np.mean(np.abs(restored - clean)))
            squared = np.mean(np.square(np.clip(restored, 0, 1) - clean), axis=(1, 2, 3))
            with np.errstate(divide="ignore"):
                psnrs.append(np.mean(-10 * np.log10(squared)))
            if len(rows) < _SHOWN:
                rows.append(np.concatenate([degraded[0], restored[0], clean[0]], axis=1))
        self.sample = np.clip(np.concatenate(rows), 0.0, 1.0)
        return {
            "val_reconstruction": float(np.mean(differences)),
            "val_psnr": float(np.mean(psnrs)),
        }

    def _runner(self, size):
        from keras_skd.runners import KerasRunner

        if size not in self._runners:
            simulation = self.model.simulation
            self._runners[size] = simulation or KerasRunner(self.model.student, size)
        return self._runners[size]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Lets go of the compiled student."""
        self._runners = {}


class LearningRate(keras.callbacks.Callback):
    """Adds ``learning_rate`` to the logs, as it stands after the epoch's last step."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Reads it; a schedule is evaluated."""
        if logs is not None:
            rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
            logs["learning_rate"] = float(rate)


class WriteSamples(keras.callbacks.Callback):
    """Writes the validation's sample of every epoch.

    Args:
        folder: A :class:`~keras_skd.training.RunFolder`.
        validate: The :class:`Validate`, earlier in the list.
    """

    def __init__(self, folder: RunFolder, validate: Validate):
        super().__init__()
        self.folder, self.validate = folder, validate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes ``samples/epoch_0001.png``."""
        self.folder.write_sample(epoch + 1, self.validate.sample)


class SaveStudents(keras.callbacks.Callback):
    """Saves the student after every epoch, and the best one so far.

    With a moving average of weights, the averaged ones are saved.

    Args:
        folder: A :class:`~keras_skd.training.RunFolder`.
        metadata: What the files remember: ``task``, ``noise`` and ``sigma``
            (:meth:`keras_skd.tasks.Task.as_dict`), so that ``evaluate``, ``restore`` and the
            export know it.
        monitor: What the best student has most of, among the logs; where they have it not, none is
            the best.
        exported: A model of the student's weights that is saved in its place, such as one of
            float32; None saves the student.
        origin: Of a student trained for integers: see :func:`keras_skd.models.save_model`.
    """

    def __init__(
        self,
        folder: RunFolder,
        metadata: Mapping[str, Any] | None = None,
        monitor: str = "val_psnr",
        exported: keras.Model | None = None,
        origin: Sequence[np.ndarray] | None = None,
    ):
        super().__init__()
        self.folder, self.monitor, self.exported = folder, monitor, exported
        self.metadata, self.origin = metadata or {}, origin

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves."""
        value = (logs or {}).get(self.monitor)
        with self.model.averaged_weights():
            if value is not None and value > self.folder.best(self.monitor, epoch):
                self.save(BEST)
            self.save(LAST)

    def save(self, name: str) -> Path:
        """Saves the student as it is.

        Returns:
            The file.
        """
        student = self.model.student
        if self.exported is not None:
            self.exported.set_weights(student.get_weights())
            student = self.exported
        return self.folder.save_student(student, name, self.metadata, self.origin)


class WriteLog(keras.callbacks.Callback):
    """Writes the logs of every epoch to ``log.csv`` and as TensorBoard events.

    Args:
        folder: A :class:`~keras_skd.training.RunFolder`.
        validate: The :class:`Validate` whose sample TensorBoard shows, or None.
    """

    def __init__(self, folder: RunFolder, validate: Validate | None = None):
        super().__init__()
        self.folder, self.validate = folder, validate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a row; the events are at the number of steps, or of epochs if that is unknown."""
        done = (epoch + 1) * (self.params.get("steps") or 1)
        self.folder.write_events(done, logs or {}, getattr(self.validate, "sample", None))
        self.folder.write_log(epoch, logs or {})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the events."""
        self.folder.close()


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves what a killed training is resumed from: student, adapters, optimizer, epochs done.

    Pass it last, so that what an epoch has written is there once its checkpoint is.

    Args:
        folder: A :class:`~keras_skd.training.RunFolder`.
    """

    def __init__(self, folder: RunFolder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves."""
        arrays = {name: value.numpy() for name, value in state_variables(self.model).items()}
        self.folder.save_checkpoint(epoch + 1, arrays)

    def restore(self, distiller: Distiller) -> int:
        """Loads the checkpoint, if there is one, into a compiled distiller.

        Args:
            distiller: The :class:`~keras_skd.Distiller`, made and compiled as the one that was
                saved.

        Returns:
            The epochs done, for ``initial_epoch`` of ``fit``; 0 without a checkpoint.

        Raises:
            InputError: The checkpoint is damaged, or of another distiller.
        """
        return self.folder.restore(state_variables(distiller))


def state_variables(distiller: Distiller) -> dict[str, keras.Variable]:
    """What a training is resumed from: name to variable, of a compiled distiller."""
    if not distiller.optimizer.built:
        distiller.optimizer.build(distiller.trainable_variables)
    # By position: Keras numbers the names of layers by how many the process made before.
    variables = [*distiller.weights, *distiller.optimizer.variables]
    return {f"{index:04d}": variable for index, variable in enumerate(variables)}
