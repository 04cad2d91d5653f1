"""``python -m keras_skd.train``: distil a student from a teacher with ``model.fit``."""

import argparse
import dataclasses
import json
import math
import sys
from contextlib import nullcontext
from dataclasses import dataclass

from keras_skd.errors import InputError
from keras_skd.tasks import TASK_NAMES, Task

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# Settings that do not change what is trained, so that a run may go on with others.
_FREE_SETTINGS = ("run", "strategy", "steps_per_execution")


class TrainingDivergedError(RuntimeError):
    """A loss is no number any more; the message has the step, the term and the last checkpoint."""


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
        ema: Momentum of the moving average of the student's weights, which is what is validated
            and saved; 0 for none.
        accumulation: Steps whose gradients are averaged before the optimizer's update.
        steps_per_execution: Steps that TensorFlow runs between looks at the losses.
        jit_compile: Whether XLA compiles the step. On a CPU it is several times slower.
        strategy: One of :data:`keras_skd.strategy.STRATEGIES`. ``batch_size`` is that of all
            replicas together, so that the strategy does not change what is trained.
        distillation: Weights and temperatures, an :class:`keras_skd.SKDConfig`; None for its
            defaults.
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
    ema: float = 0.0
    accumulation: int = 1
    steps_per_execution: int = 1
    jit_compile: bool = False
    strategy: str = "none"
    distillation: object = None

    def __post_init__(self):
        """Checks what can be checked without reading a file."""
        self.goal  # noqa: B018, raises for a task, noise or level that is none
        if self.precision not in PRECISIONS:
            raise InputError(
                f"--precision must be one of {', '.join(PRECISIONS)}; got {self.precision!r}."
            )
        if self.patch_size < 16 or self.patch_size % 8:
            raise InputError(
                f"--patch-size must be a multiple of 8, at least 16; got {self.patch_size}."
            )
        counts = ("steps", "steps_per_epoch", "batch_size", "accumulation", "steps_per_execution")
        for name in counts:
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1.")
        if not 0 <= self.ema < 1:
            raise InputError(f"--ema must be within 0 (none) and 1, such as 0.999; got {self.ema}.")

    @property
    def goal(self):
        """The :class:`~keras_skd.tasks.Task` of the run."""
        if self.task != "denoise":
            return Task.of(self.task)
        return Task.of(self.task, self.noise, None if self.noise == "camera" else self.sigma)

    @property
    def epochs(self):
        """Whole epochs that hold at least ``steps`` steps."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def epoch_steps(self):
        """Steps of each epoch: as equal as the epochs allow, at most ``steps_per_epoch``."""
        return -(-self.steps // self.epochs)


_DISTILLATION_HELP = {
    "alpha1": "of the attention terms within the kernel loss",
    "alpha2": "of the kernel loss",
    "alpha3": "of the contrastive loss",
    "repulsion": "of the contrastive loss from the degraded input, 0 to 1",
    "bandwidth": "sigma of the Gaussian kernel, in units of the teacher's RMS",
    "temperature": "lambda of both attentions",
    "output_weight": "of L1 to the teacher's image",
    "kl_weight": "of the divergence of kl",
    "kl_temperature": "of kl, in units of the image",
    "feature_weight": "of L1 between features",
    "affinity_weight": "of the affinity of fakd",
}


class Training:
    """A run that has been checked and is ready to train.

    Everything that can be wrong with the user's input is found here, before any long work. See
    :mod:`keras_skd.run_folder` for what the run's folder holds.

    Args:
        config: The run's settings.
        strategy: The ``tf.distribute`` strategy; None makes that of ``config.strategy``.

    Raises:
        ValueError: An image, pair, model or setting is wrong; the message names it.
        FileNotFoundError: A folder or file does not exist.
        OSError: The run folder cannot be written, or its disk is too small.
    """

    def __init__(self, config, strategy=None):
        import keras

        from keras_skd.distillation import Distiller
        from keras_skd.files import output_folder
        from keras_skd.models import load_model, with_image_size
        from keras_skd.run_folder import RunFolder
        from keras_skd.strategy import make_strategy, writes_files

        self.config = config
        self._strategy = strategy or make_strategy(config.strategy)
        self._replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        self._files = RunFolder(config.run, writes_files(self._strategy))
        self.folder = self._files.path
        self._check_resumable()
        if config.batch_size % self._replicas:
            raise InputError(
                f"--batch-size {config.batch_size} cannot be divided among {self._replicas} "
                "replicas; choose a multiple."
            )
        training, validation = self._find_images()
        self._task, self._degradation = config.goal.for_groups(training)

        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy(config.precision)
        try:
            with self._scope():
                student = load_model(config.student)
                teacher = None
                if config.method != "none":
                    if config.teacher is None:
                        raise InputError(f"--teacher is needed for the method {config.method!r}.")
                    teacher = load_model(config.teacher)
                self.distiller = Distiller(student, teacher, config.method, config.distillation)
                self._compile()
        finally:
            keras.config.set_dtype_policy("float32")
        # What is saved: the precision and the devices of training are no property of the student.
        # It refuses a class that cannot be exported.
        self._exported = with_image_size(student, None)
        self.distiller.check_image_size(config.patch_size, config.patch_size)
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
        return self._files.student.exists()

    def fit(self):
        """Trains, or goes on where an interrupted run stopped, and writes ``student.keras``.

        Returns:
            The student's file.

        Raises:
            TrainingDivergedError: A loss or the validation is no number any more.
        """
        import keras

        from keras_skd.data import training_batches
        from keras_skd.run_folder import STUDENT

        files, config = self._files, self.config
        if self.finished:
            self.student.set_weights(keras.saving.load_model(files.student).get_weights())
            return files.student
        files.write_config(dataclasses.asdict(config))
        epoch = files.restore(self._state_variables())
        if epoch:
            print(f"resuming after epoch {epoch} of {config.epochs}", flush=True)
        files.add_environment(epoch, self._replicas)
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
            self._for_workers(batches),
            epochs=config.epochs,
            initial_epoch=epoch,
            steps_per_epoch=config.epoch_steps,
            callbacks=[self._callback()],
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,
        )
        # With --ema these are the averaged weights, which Keras's fit() ends on.
        self._exported.set_weights(self.student.get_weights())
        output = files.save_student(self._exported, STUDENT)
        files.finish()
        return output

    def _scope(self):
        return self._strategy.scope() if self._strategy else nullcontext()

    def _for_workers(self, batches):
        """Every worker makes every batch and takes its part, so all see the data of one process."""
        import tensorflow as tf

        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return batches.with_options(options) if self._strategy else batches

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
                raise InputError(
                    f"{config.data}: one image cannot be both trained and validated on; add images "
                    "or name another folder with --validation."
                )
            validation = training[::20]
            training = [group for index, group in enumerate(training) if index % 20]
        if len(training[0]) != len(validation[0]):
            raise InputError(
                f"{config.data} and {config.validation}: one holds pairs (input/, target/) and the "
                "other clean images; both must be of one kind."
            )
        return training, validation

    def _read_images(self, training, validation):
        from keras_skd.data import ImageStore, validation_batches

        folder = self.folder if self._files.writes else None
        self._store = ImageStore(training, self.config.patch_size, folder)
        held_out = ImageStore(validation, self.config.patch_size, folder)
        degradation = self._degradation
        if degradation is not None:
            degradation = degradation.fixed()
        groups = [held_out[index] for index in range(min(len(held_out), 32))]
        self._validation = validation_batches(groups, degradation)
        self._restore_image = None

    # --- optimizer, checkpoint, log ---

    def _compile(self):
        import keras

        config = self.config
        total = max(1, config.epochs * config.epoch_steps // config.accumulation)
        warmup = min(config.warmup_steps, total // 2)
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=config.learning_rate / 100 if warmup else config.learning_rate,
            decay_steps=total - warmup,
            alpha=0.01,
            warmup_target=config.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
        optimizer = keras.optimizers.AdamW(
            schedule,
            weight_decay=config.weight_decay,
            global_clipnorm=1.0,
            use_ema=config.ema > 0,
            ema_momentum=config.ema,
            gradient_accumulation_steps=config.accumulation if config.accumulation > 1 else None,
        )
        self.distiller.compile(
            optimizer=optimizer,
            jit_compile=config.jit_compile,
            steps_per_execution=config.steps_per_execution,
        )
        # The distiller's, which mixed_float16 wraps for loss scaling.
        self.distiller.optimizer.build(self.distiller.trainable_variables)

    def _state_variables(self):
        # By position: Keras numbers the names of layers by how many the process made before.
        variables = [*self.distiller.weights, *self.distiller.optimizer.variables]
        return {f"{index:04d}": variable for index, variable in enumerate(variables)}

    def _callback(self):
        """Looks at every step's losses, and validates, logs and saves after every epoch."""
        import keras

        def start(epoch, logs=None):
            self._epoch = epoch

        return keras.callbacks.LambdaCallback(
            on_epoch_begin=start,
            on_train_batch_end=lambda batch, logs: self._check_losses(batch, logs),
            on_epoch_end=self._end_of_epoch,
        )

    def _check_losses(self, batch, logs):
        # The logs are means since the epoch began, which stay what they are once they are no
        # number. The sum is no number whenever a term is, so the terms are named first.
        bad = [name for name, value in logs.items() if not math.isfinite(float(value))]
        if bad:
            step = self._epoch * self.config.epoch_steps + batch + 1
            terms = [name for name in bad if name != "loss"] or bad
            self._diverged(f"step {step}", terms, logs)

    def _diverged(self, when, terms, logs):
        what = ", ".join(f"{name} is {float(logs[name]):g}" for name in terms)
        last = "there is no checkpoint yet"
        if self._epoch:
            last = (
                f"the last good checkpoint is {self._files.checkpoint}, after epoch {self._epoch} "
                f"(step {self._epoch * self.config.epoch_steps})"
            )
        raise TrainingDivergedError(
            f"the training diverged at {when}: {what}; {last}. Try a smaller --learning-rate, or "
            "--precision float32."
        )

    def _end_of_epoch(self, epoch, logs):
        from keras_skd.run_folder import BEST, LAST

        files, step = self._files, (epoch + 1) * self.config.epoch_steps
        with self.distiller.averaged_weights():
            scores, sample = self._validate()
            logs.update(scores)  # the progress bar and the history, which come later, show them
            bad = [name for name, value in scores.items() if not math.isfinite(value)]
            if bad:
                self._diverged(f"the validation after step {step}", bad, scores)
            files.write_sample(epoch + 1, sample)
            files.write_events(step, logs, sample)
            self._exported.set_weights(self.student.get_weights())
            if scores["val_psnr"] > files.best("val_psnr", epoch):
                files.save_student(self._exported, BEST)
            files.save_student(self._exported, LAST)
        files.write_log(epoch, logs)
        files.save_checkpoint(
            epoch + 1, {name: v.numpy() for name, v in self._state_variables().items()}
        )

    def _validate(self):
        """``val_reconstruction`` and ``val_psnr`` (dB), and a picture of the first images.

        Every worker does it by itself, with the same weights and images.
        """
        import numpy as np
        import tensorflow as tf

        if self._restore_image is None:
            self._restore_image = tf.function(lambda image: self.student(image, training=False))
        differences, scores, rows = [], [], []
        for degraded, clean in self._validation:
            restored = self._restore_image(degraded)
            differences.append(float(tf.reduce_mean(tf.abs(restored - clean))))
            inside = tf.clip_by_value(restored, 0.0, 1.0)
            scores.append(float(tf.image.psnr(inside, clean, 1.0)[0]))
            if len(rows) < 4:
                images = (degraded, restored, clean)
                rows.append(np.concatenate([image[0] for image in images], axis=1))
        means = {"val_reconstruction": np.mean(differences), "val_psnr": np.mean(scores)}
        sample = np.clip(np.concatenate(rows), 0.0, 1.0)
        return {name: float(value) for name, value in means.items()}, sample

    def _check_resumable(self):
        earlier = self._files.config()
        if earlier is None:
            return
        now = json.loads(json.dumps(dataclasses.asdict(self.config)))
        defaults = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
        differing = [
            f"{name} {earlier.get(name, defaults[name])!r}, now {value!r}"
            for name, value in now.items()
            if name not in _FREE_SETTINGS and earlier.get(name, defaults[name]) != value
        ]
        if differing:
            raise InputError(
                f"{self.folder} holds a run of other settings ({'; '.join(differing)}); choose "
                "another --run, or remove the folder."
            )


def parser():
    """The command's arguments; every default is :class:`TrainingConfig`'s."""
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.train",
        description="Distils a light student from a teacher on a folder of images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(result)
    return result


def add_arguments(parser, leave_out=()):
    """Adds an argument for every setting of a run.

    Args:
        parser: An :class:`argparse.ArgumentParser`.
        leave_out: Names of settings to leave out.
    """
    from keras_skd.distillation import METHODS, SKDConfig
    from keras_skd.models import PRESETS
    from keras_skd.strategy import STRATEGIES

    presets = ", ".join(PRESETS)
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}

    def add(name, **options):
        if name in leave_out:
            return
        default = defaults[name]
        required = default is dataclasses.MISSING
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            required=required,
            default=None if required else default,
            **options,
        )

    add("run", metavar="DIR", help="folder of the run; an interrupted run in it is resumed")
    add("task", choices=TASK_NAMES, help="what the student removes")
    add(
        "data",
        metavar="DIR",
        help="a data set as it is unpacked, clean photos (degraded on the fly), or input/ and "
        "target/; without it the embedded photos",
    )
    add("validation", metavar="DIR", help="the same for validation; else 1 image in 20 of --data")
    add("teacher", metavar="NAME_OR_FILE", help=f"preset ({presets}) or .keras file")
    add("student", metavar="NAME_OR_FILE", help="preset or .keras file")
    methods = "; ".join(f"{name}: {method.description}" for name, method in METHODS.items())
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
    add("ema", type=float, metavar="MOMENTUM", help="of the average of weights; 0 for none")
    add("accumulation", type=int, metavar="STEPS", help="whose gradients make one update")
    add("steps_per_execution", type=int, metavar="STEPS", help="between looks at the losses")
    add("jit_compile", action="store_true", help="XLA; slower on a CPU")
    add("strategy", choices=STRATEGIES, help="devices; multi-worker needs TF_CONFIG")
    weights = parser.add_argument_group("weights and temperatures of the methods")
    for field in dataclasses.fields(SKDConfig):
        if isinstance(field.default, float):
            weights.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=float,
                default=field.default,
                metavar="NUMBER",
                help=_DISTILLATION_HELP[field.name],
            )


def config_of(options):
    """The :class:`TrainingConfig` of parsed arguments, a dict."""
    from keras_skd.distillation import SKDConfig

    options = dict(options)
    names = [field.name for field in dataclasses.fields(SKDConfig) if field.name in options]
    distillation = SKDConfig(**{name: options.pop(name) for name in names})
    # None is how a run says that it has the defaults, whatever they will be.
    return TrainingConfig(
        **options, distillation=None if distillation == SKDConfig() else distillation
    )


def main(arguments=None):
    """Runs the command; returns the exit code."""
    from keras_skd.command import FAILED_CHECK, reported_errors, resumable
    from keras_skd.quiet import import_tensorflow, quiet
    from keras_skd.strategy import make_strategy

    with quiet():
        command = parser()
    options = command.parse_args(arguments)
    with reported_errors("keras_skd.train"), quiet():
        # Before TensorFlow's first operation, which the next line runs.
        strategy = make_strategy(options.strategy)
    import_tensorflow()
    make_deterministic(options.jit_compile)
    with resumable():
        with reported_errors("keras_skd.train"):
            training = Training(config_of(vars(options)), strategy)
        try:
            print(training.fit())
        except TrainingDivergedError as error:
            print(f"keras_skd.train: failed check: {error}", file=sys.stderr)
            return FAILED_CHECK
    return 0


def make_deterministic(jit_compile):
    """On CPUs the same --seed gives the same bits. GPUs would pay for it with much of their speed,
    and XLA does not support it."""
    import tensorflow as tf

    if not jit_compile and not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


if __name__ == "__main__":
    sys.exit(main())
