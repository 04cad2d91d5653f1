"""A training run put together."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from keras_skd.errors import InputError
from keras_skd.training import building
from keras_skd.training.run_folder import STUDENT, RunFolder
from keras_skd.training.settings import FREE_SETTINGS
from keras_skd.training.strategies import make_strategy, writes_files

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    import tensorflow as tf

    from keras_skd.training.settings import TrainingConfig


@contextmanager
def _graphs_released():
    """Lets graphs that are traced meanwhile be released with the functions they belong to.

    TensorFlow registers every ``custom_gradient`` of a graph by a name of its own, globally and for
    good, and each entry holds its whole graph: 150 MB a run that nothing uses once models are made
    and the step has been traced. There is no public way to take an entry back.
    """
    from tensorflow.python.framework import ops

    registered = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    before = set(registered)
    try:
        yield
    finally:
        for name in set(registered) - before:
            if name.startswith("CustomGradient-"):
                del registered[name]


class Training:
    """A run that has been checked and is ready to train.

    Everything that can be wrong with the user's input is found here, before any long work. See
    :mod:`keras_skd.training.run_folder` for what the run's folder holds. Use it as a context, or
    call :meth:`close`, where one process makes several: the decoded images lie on disk until then.

    ::

        with Training(TrainingConfig(run="runs/mine", data="photos")) as training:
            student_file = training.fit()

    Args:
        config: The run's :class:`~keras_skd.training.TrainingConfig`.
        strategy: The ``tf.distribute`` strategy; None makes that of ``config.strategy``.

    Attributes:
        config: The settings.
        task: The :class:`~keras_skd.tasks.Task` on the images that were found; the student's file
            remembers it.
        settings: What ``config.json`` records, a dict.
        distiller: The :class:`~keras_skd.Distiller`; None once closed.

    Raises:
        InputError: An image, pair, model or setting is wrong; the message names it.
        MissingFileError: A folder or file does not exist.
        OutputError: The run folder cannot be written, or its disk is too small.
    """

    @_graphs_released()
    def __init__(self, config: TrainingConfig, strategy: tf.distribute.Strategy | None = None):
        import keras

        from keras_skd.files import output_folder
        from keras_skd.models import with_image_size

        self.config = config
        config.check_used()
        self._strategy = strategy or make_strategy(config.strategy)
        self._replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        self._files = RunFolder(config.run, writes_files(self._strategy))
        self.folder = self._files.path
        self._store = None
        if config.batch_size % self._replicas:
            raise InputError(
                f"--batch-size {config.batch_size} cannot be divided among {self._replicas} "
                "replicas; choose a multiple."
            )
        parts, validation = building.find_images(config)
        groups = [group for groups, _ in parts for group in groups]
        self.task, self._degradation = building.find_task(config, groups)
        # Before models are made: what can be refused at once is.
        self._files.check_config(config.resolved(self.task), (*FREE_SETTINGS, *_RESOLVED_LATER))
        keras.utils.set_random_seed(config.seed)
        with self._scope():
            student, self._teacher = building.load_models(config, self.task)
            self._origin = self._float_weights(student)
            simulation = building.make_simulation(config, self.task, student)
            self.distiller = building.make_distiller(config, student, self._teacher, simulation)
        self.settings = building.settings_of(config, self.task, self.distiller)
        self._files.check_config(self.settings, FREE_SETTINGS)
        # What is saved: precision and devices of training are not properties of the student.
        # It refuses a class that cannot be exported.
        with building.dtype_policy("float32"):
            self._exported = with_image_size(student, None)
        try:
            with output_folder(config.run, needed_bytes=4 * self._state_bytes() + 2**24):
                self._read_images(parts, validation)
        except BaseException:
            self.close()
            raise

    def _float_weights(self, student):
        """Of the student in float that training for integers starts from, or came from before."""
        from keras_skd.models import read_origin

        if self.config.quantise is None:
            return None
        return read_origin(self.config.student) or student.get_weights()

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of models, compiled functions and decoded images."""
        if self._store is not None:
            self._store.close()
        self._files.close()
        self._store = self.distiller = self._exported = self._validation = None
        self._teacher = None

    @property
    def student(self) -> keras.Model:
        """The student, trained once :meth:`fit` returned."""
        return self.distiller.student

    @property
    def finished(self) -> bool:
        """Whether the run folder holds the finished student of this run."""
        return self._files.finished

    def fit(self) -> Path:
        """Trains, or resumes where an interrupted run stopped, and writes ``student.keras``.

        Returns:
            The student's file.

        Raises:
            TrainingDivergedError: A loss or the validation is not a number.
            InputError: Another process trains in the folder.
        """
        with self._files.locked():
            if self.finished:
                return self._load_finished()
            return self._fit()

    def _load_finished(self):
        from keras_skd.models import load_model

        self.student.set_weights(load_model(self._files.student).get_weights())
        self._files.finish()  # a kill may have come before
        return self._files.student

    @_graphs_released()
    def _fit(self):
        from keras_skd.training import callbacks

        files, config = self._files, self.config
        cache = building.open_teacher_cache(
            config, self.task, self._store, self._degradation, self._teacher, self.distiller
        )
        files.write_config(self.settings)
        checkpoint = callbacks.SaveCheckpoint(files)
        epoch = checkpoint.restore(self.distiller)
        if epoch:
            print(f"resuming after epoch {epoch} of {config.epochs}", flush=True)
        files.add_environment(epoch, self._replicas)
        validate = callbacks.Validate(self._validation, files)
        metadata = self.task.as_dict()
        if self._origin is not None:
            metadata["quantise"] = config.quantise
        students = callbacks.SaveStudents(
            files, metadata, exported=self._exported, origin=self._origin
        )
        self.distiller.fit(
            building.make_batches(
                config,
                self._store,
                self._degradation,
                self.student.input.shape[-1],
                first_step=epoch * config.epoch_steps,
                strategy=self._strategy,
                cache=cache,
            ),
            epochs=config.epochs,
            initial_epoch=epoch,
            steps_per_epoch=config.epoch_steps,
            callbacks=[
                callbacks.StopWhenDiverged(files, every=building.LOG_EVERY),
                validate,
                callbacks.LearningRate(),
                callbacks.WriteSamples(files, validate),
                students,
                callbacks.WriteLog(files, validate),
                checkpoint,
            ],
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,
        )
        # With --ema these are the averaged weights, which Keras's fit() ends on.
        output = students.save(STUDENT)
        files.finish()
        return output

    def _scope(self):
        return self._strategy.scope() if self._strategy else nullcontext()

    def _state_bytes(self):
        from keras_skd.training.callbacks import state_variables

        shapes = (variable.shape for variable in state_variables(self.distiller).values())
        return 4 * sum(math.prod(shape) for shape in shapes)

    def _read_images(self, parts, validation):
        from keras_skd.data import ImageStore, validation_batches

        folder = self.folder if self._files.writes else None
        self._store = ImageStore.mixed(parts, self.config.patch_size, folder)
        degradation = self._degradation and self._degradation.fixed()
        held_out = ImageStore(validation, self.config.patch_size, folder)
        try:
            options = {"channels": self.student.input.shape[-1]}
            if self.config.quantise is not None:
                options["crop"] = self.config.patch_size  # the size that is simulated
            self._validation = validation_batches(list(held_out), degradation, **options)
        finally:
            held_out.close()


# Known once the models are made.
_RESOLVED_LATER = ("stages", "contrastive_stages")
