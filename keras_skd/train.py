"""``python -m keras_skd.train``: distil a student from a teacher with ``model.fit``."""

import argparse
import csv
import dataclasses
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

TASKS = ("denoise", "derain", "deblur")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that defines a training run.

    Attributes:
        run: Folder of the run. One that holds an interrupted run of the same settings is resumed.
        task: ``denoise``, ``derain`` or ``deblur``.
        data: Folder of a data set (:func:`keras_skd.data.recognise`): clean images, which are
            degraded as the task asks, or pairs. None for the embedded photographs.
        validation: The same for validation; None holds out every twentieth image of ``data``.
        teacher: Preset name or ``.keras`` file; None for the method ``none``.
        student: Preset name or ``.keras`` file.
        method: A key of :data:`keras_skd.distillation.METHODS`.
        steps: Training steps. Rounded up to whole epochs.
        steps_per_epoch: Steps between validations and checkpoints.
        batch_size: Patches a step.
        patch_size: Height and width of a patch in pixels, a multiple of 8.
        sigma: Noise level for ``denoise`` in 8-bit units, ``"25"`` or ``"0-50"`` (blind).
        noise: For ``denoise``: ``"gaussian"``, or ``"camera"`` (signal-dependent, of all ISOs).
        learning_rate: Peak of the schedule: linear warm-up, then cosine decay to a hundredth.
        warmup_steps: Steps of warm-up.
        weight_decay: Of AdamW.
        precision: Keras dtype policy of student and teacher.
        seed: Seed of weights, patches and noise.
    """

    run: str
    task: str = "denoise"
    data: str | None = None
    validation: str | None = None
    teacher: str | None = "restormer_denoise"
    student: str = "restormer_tiny"
    method: str = "skd"
    steps: int = 20000
    steps_per_epoch: int = 250
    batch_size: int = 8
    patch_size: int = 64
    sigma: str = "25"
    noise: str = "gaussian"
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self):
        """Checks what can be checked without reading a file."""
        if self.task not in TASKS:
            raise ValueError(f"--task must be one of {', '.join(TASKS)}; got {self.task!r}.")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"--precision must be one of {', '.join(PRECISIONS)}; got {self.precision!r}."
            )
        if self.patch_size < 16 or self.patch_size % 8:
            raise ValueError(
                f"--patch-size must be a multiple of 8, at least 16; got {self.patch_size}."
            )
        for name in ("steps", "steps_per_epoch", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1.")

    @property
    def epochs(self):
        """Whole epochs that hold at least ``steps`` steps."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def epoch_steps(self):
        """Steps of each epoch: as equal as the epochs allow, at most ``steps_per_epoch``."""
        return -(-self.steps // self.epochs)


class Training:
    """A run that has been checked and is ready to train.

    Everything that can be wrong with the user's input is found here, before any long work.

    Args:
        config: The run's settings.

    Raises:
        ValueError: An image, pair, model or setting is wrong; the message names it.
        FileNotFoundError: A folder or file does not exist.
        OSError: The run folder cannot be written, or its disk is too small.
    """

    def __init__(self, config):
        import keras

        from keras_skd.command import output_folder
        from keras_skd.data import degradation_for
        from keras_skd.distillation import Distiller
        from keras_skd.models import load_model, with_image_size

        self.config = config
        self.folder = Path(config.run)
        self._check_resumable()
        training, validation = self._find_images()
        self._degradation = degradation_for(config.task, training, config.sigma, config.noise)

        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy(config.precision)
        try:
            student = load_model(config.student)
            with_image_size(student, None)  # refuses a class that cannot be exported, now
            teacher = None
            if config.method != "none":
                if config.teacher is None:
                    raise ValueError(f"--teacher is needed for the method {config.method!r}.")
                teacher = load_model(config.teacher)
            self.distiller = Distiller(student, teacher, config.method)
        finally:
            keras.config.set_dtype_policy("float32")
        self._compile()
        state_bytes = 4 * sum(math.prod(v.shape) for v in self._state_variables().values())
        with output_folder(config.run, needed_bytes=4 * state_bytes + 2**24):
            self._read_images(training, validation)

    @property
    def student(self):
        """The student, trained once :meth:`fit` returned."""
        return self.distiller.student

    @property
    def finished(self):
        """Whether the run folder holds the finished student of this run."""
        return (self.folder / "student.keras").exists()

    def fit(self):
        """Trains, or goes on where an interrupted run stopped, and writes ``student.keras``.

        Returns:
            The student's file.
        """
        import keras

        from keras_skd.command import replaced
        from keras_skd.data import training_batches
        from keras_skd.models import with_image_size

        output = self.folder / "student.keras"
        if self.finished:
            self.distiller.student.set_weights(keras.saving.load_model(output).get_weights())
            return output
        config = self.config
        with replaced(self.folder / "config.json") as path:
            path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        epoch = self._restore()
        batches = training_batches(
            self._store,
            patch_size=config.patch_size,
            batch_size=config.batch_size,
            steps=config.epochs * config.epoch_steps,
            degradation=self._degradation,
            seed=config.seed,
            first_step=epoch * config.epoch_steps,
        )
        self.distiller.fit(
            batches,
            epochs=config.epochs,
            initial_epoch=epoch,
            steps_per_epoch=config.epoch_steps,
            validation_data=self._validation,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=self._end_of_epoch)],
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,
        )
        # Rebuilt in float32: the precision of training is no property of the student.
        student = with_image_size(self.distiller.student, None)
        with replaced(output) as path:
            student.save(path)
        (self.folder / "checkpoint.npz").unlink()
        return output

    # --- data ---

    def _find_images(self):
        from keras_skd.data import find_groups, training_photos, validation_photos

        config = self.config
        if config.data is None:
            training = [(image,) for image in training_photos().values()]
            validation = [(image,) for image in validation_photos().values()]
        else:
            training = find_groups(config.data, config.task, "train", report=print)
            validation = None
        if config.validation is not None:
            validation = find_groups(config.validation, config.task, "test", report=print)
        if validation is None:
            if len(training) < 2:
                raise ValueError(
                    f"{config.data}: one image cannot be both trained and validated on; add images "
                    "or name another folder with --validation."
                )
            validation = training[::20]
            training = [group for index, group in enumerate(training) if index % 20]
        if len(training[0]) != len(validation[0]):
            raise ValueError(
                f"{config.data} and {config.validation}: one holds pairs (input/, target/) and the "
                "other clean images; both must be of one kind."
            )
        return training, validation

    def _read_images(self, training, validation):
        from keras_skd.data import ImageStore, validation_batches

        self._store = ImageStore(training, self.config.patch_size, self.folder)
        held_out = ImageStore(validation, self.config.patch_size, self.folder)
        degradation = self._degradation
        if degradation is not None:
            degradation = degradation.fixed()
        groups = [held_out[index] for index in range(min(len(held_out), 32))]
        self._validation = validation_batches(groups, degradation)

    # --- optimizer, checkpoint, log ---

    def _compile(self):
        import keras

        config = self.config
        total = config.epochs * config.epoch_steps
        warmup = min(config.warmup_steps, total // 2)
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=config.learning_rate / 100 if warmup else config.learning_rate,
            decay_steps=total - warmup,
            alpha=0.01,
            warmup_target=config.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
        optimizer = keras.optimizers.AdamW(
            schedule, weight_decay=config.weight_decay, global_clipnorm=1.0
        )
        self.distiller.compile(optimizer=optimizer)
        optimizer.build(self.distiller.trainable_variables)

    def _state_variables(self):
        # By position: Keras numbers the names of layers by how many the process made before.
        variables = [*self.distiller.variables, *self.distiller.optimizer.variables]
        return {f"{index:04d}": variable for index, variable in enumerate(variables)}

    def _end_of_epoch(self, epoch, logs):
        import numpy as np

        from keras_skd.command import replaced

        rows = [*self._log_rows(epoch), {"epoch": epoch + 1, **logs}]
        with replaced(self.folder / "log.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        state = {name: np.asarray(v) for name, v in self._state_variables().items()}
        with replaced(self.folder / "checkpoint.npz") as path, open(path, "wb") as file:
            np.savez(file, epoch=epoch + 1, **state)

    def _log_rows(self, epochs):
        log = self.folder / "log.csv"
        if not log.exists():
            return []
        with open(log, newline="") as file:
            return list(csv.DictReader(file))[:epochs]

    def _check_resumable(self):
        path = self.folder / "config.json"
        if not path.exists():
            return
        try:
            earlier = json.loads(path.read_text())
        except ValueError:
            raise ValueError(
                f"{path}: damaged; remove the folder or choose another --run."
            ) from None
        now = json.loads(json.dumps(dataclasses.asdict(self.config)))
        differing = [
            f"{name} {earlier.get(name)!r}, now {value!r}"
            for name, value in now.items()
            if name != "run" and earlier.get(name) != value
        ]
        if differing:
            raise ValueError(
                f"{self.folder} holds a run of other settings ({'; '.join(differing)}); choose "
                "another --run, or remove the folder."
            )

    def _restore(self):
        """Loads the checkpoint, if there is one; returns the epochs done."""
        import numpy as np

        path = self.folder / "checkpoint.npz"
        if not path.exists():
            return 0
        with np.load(path) as saved:
            variables = self._state_variables()
            shapes = {name: saved[name].shape for name in saved.files if name != "epoch"}
            if shapes != {name: tuple(variable.shape) for name, variable in variables.items()}:
                raise ValueError(f"{path}: not a checkpoint of this run; remove it to start anew.")
            for name, variable in variables.items():
                variable.assign(saved[name])
            epoch = int(saved["epoch"])
        print(f"resuming after epoch {epoch} of {self.config.epochs}", flush=True)
        return epoch


def parser():
    """The command's arguments; every default is :class:`TrainingConfig`'s."""
    from keras_skd.distillation import METHODS
    from keras_skd.models import PRESETS

    presets = ", ".join(PRESETS)
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.train",
        description="Distils a light student from a teacher on a folder of images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}

    def add(name, **options):
        default = defaults[name]
        required = default is dataclasses.MISSING
        result.add_argument(
            f"--{name.replace('_', '-')}",
            required=required,
            default=None if required else default,
            **options,
        )

    add("run", metavar="DIR", help="folder of the run; an interrupted run in it is resumed")
    add("task", choices=TASKS, help="what the student removes")
    add(
        "data",
        metavar="DIR",
        help="a data set as it is unpacked, clean photos (degraded on the fly), or input/ and "
        "target/; without it the embedded photos",
    )
    add("validation", metavar="DIR", help="the same for validation; else 1 image in 20 of --data")
    add("teacher", metavar="NAME_OR_FILE", help=f"preset ({presets}) or .keras file")
    add("student", metavar="NAME_OR_FILE", help="preset or .keras file")
    methods = "; ".join(f"{name}: {text}" for name, text in METHODS.items())
    add("method", choices=METHODS, help=methods)
    add("steps", type=int, help="training steps, rounded up to whole epochs")
    add("steps_per_epoch", type=int, metavar="STEPS", help="between validations and checkpoints")
    add("batch_size", type=int, metavar="PATCHES", help="patches a step")
    add("patch_size", type=int, metavar="PIXELS", help="side of a patch, a multiple of 8")
    add("sigma", help="denoise: noise level in 8-bit units, or a range such as 0-50 (blind)")
    add("noise", choices=("gaussian", "camera"), help="denoise: of --sigma, or as of a sensor")
    add("learning_rate", type=float, metavar="RATE", help="peak, after warm-up; cosine decay")
    add("warmup_steps", type=int, metavar="STEPS", help="of linear warm-up")
    add("weight_decay", type=float, metavar="RATE", help="of AdamW")
    add("precision", choices=PRECISIONS, help="mixed_bfloat16 is faster on CPUs with AVX512_BF16")
    add("seed", type=int, help="of weights, patches and noise")
    return result


def main(arguments=None):
    """Runs the command; returns the exit code."""
    from keras_skd.command import input_errors, resumable
    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    options = parser().parse_args(arguments)
    with resumable():
        with input_errors("keras_skd.train"):
            training = Training(TrainingConfig(**vars(options)))
        print(training.fit())
    return 0


if __name__ == "__main__":
    sys.exit(main())
