"""From settings to what a run is made of: images, models, distiller, optimizer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from keras_skd.errors import InputError
from keras_skd.training.settings import option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    import keras
    import tensorflow as tf

    from keras_skd.data import ImageStore
    from keras_skd.distillation import Distiller
    from keras_skd.hints import Degradation, Group
    from keras_skd.quantisation import Simulation
    from keras_skd.tasks import Task
    from keras_skd.training.settings import TrainingConfig
    from keras_skd.training.teacher_cache import TeacherCache

MAX_VALIDATION = 32  # images; more would take longer than the steps between validations
LOG_EVERY = 50  # steps between readings of the losses, each of which waits for the device


def find_images(config: TrainingConfig) -> tuple[list[tuple[list[Group], float]], list[Group]]:
    """Finds the images of training and validation.

    Args:
        config: A :class:`~keras_skd.training.TrainingConfig`.

    Returns:
        A list of parts ``(groups, share)``, one a folder, whose groups are ``(clean,)`` or
        ``(input, target)``; and a list of groups for validation, at most :data:`MAX_VALIDATION`
        from all over what was found.

    Raises:
        InputError: A folder holds no images, or those of another task, or one only, or the two
            folders differ in kind.
        MissingFileError: A folder does not exist.
    """
    from keras_skd.data import find_groups, held_out, training_photos, validation_photos
    from keras_skd.data.scenes import same_scenes, spread

    if config.data is None:
        parts = [[(image,) for image in training_photos().values()]]
        validation = [(image,) for image in validation_photos().values()]
    else:
        parts = [find_groups(each, config.task, "train", report=print) for each in config.folders]
        validation = None
    if config.validation is not None:
        validation = find_groups(config.validation, config.task, "test", report=print)
    elif validation is None:
        validation, mixed = [], len(parts) > 1
        for number, groups in enumerate(parts):
            if mixed and len(set(same_scenes(groups))) < 2:
                print(f"{config.folders[number]}: one scene; all of it is trained on", flush=True)
                continue
            parts[number], kept = held_out(groups, report=print)
            validation += spread(kept, MAX_VALIDATION // len(parts))
        if not validation:
            raise InputError(
                "none of the folders of --data has more than one scene, so none can be held out; "
                "name a folder of other images with --validation."
            )
    if len(parts) == 1 and len(parts[0][0]) != len(validation[0]):
        raise InputError(
            f"{config.folders[0]} and {config.validation}: one holds pairs (input/, target/) and "
            "the other clean images; both must be of one kind."
        )
    shares = config.shares or (1.0,) * len(parts)
    return list(zip(parts, shares, strict=True)), spread(validation, MAX_VALIDATION)


def find_task(config: TrainingConfig, groups: Sequence[Group]) -> tuple[Task, Degradation | None]:
    """The task on the images that were found.

    Args:
        config: A :class:`~keras_skd.training.TrainingConfig`.
        groups: All groups to train on.

    Returns:
        The :class:`~keras_skd.tasks.Task`, and its degradation; None for pairs.

    Raises:
        InputError: A noise or a level is given, and pairs bring their own.
    """
    task, degradation = config.goal.for_groups(groups)
    if degradation is None:
        for name in ("noise", "sigma"):
            if getattr(config, name) is not None:
                raise InputError(
                    f"{option(name)} does nothing: {' '.join(config.folders)} holds pairs, which "
                    "bring their own noise; leave it out."
                )
    return task, degradation


def load_models(config: TrainingConfig, task: Task) -> tuple[keras.Model, keras.Model | None]:
    """Loads student and teacher, under the run's precision.

    The global dtype policy is afterwards what it was.

    Args:
        config: A :class:`~keras_skd.training.TrainingConfig`.
        task: The :class:`~keras_skd.tasks.Task` on the images that were found.

    Returns:
        The student, and the teacher or None.

    Raises:
        InputError: A model is unknown or damaged, the teacher was never trained or was trained for
            another task, or the two take different images.
        MissingFileError: A file does not exist.
    """
    from keras_skd.models import load_model

    teacher_name = config.teacher_for(task)
    with dtype_policy(config.precision):
        # Integers are trained for by a student that is good in float.
        student = load_model(config.student, trained=config.quantise is not None)
        teacher = None
        if teacher_name is not None:
            teacher = load_model(teacher_name, trained=True)
            _check_teacher(teacher_name, task)
    channels = [model.input.shape[-1] for model in (student, teacher) if model is not None]
    if channels[0] not in (1, 3):
        raise InputError(
            f"{config.student} takes images of {channels[0]} channels, and the images here have 3 "
            "(colour) or 1 (grey); dual-pixel images cannot be trained on."
        )
    if len(set(channels)) > 1:
        raise InputError(
            f"{config.student} takes images of {channels[0]} channels and the teacher "
            f"{teacher_name} of {channels[1]}; both must be of colour (3) or of grey (1)."
        )
    return student, teacher


def _check_teacher(name, task):
    from keras_skd.models import read_metadata
    from keras_skd.tasks import NOISES, Task, resolved

    known = Task.from_metadata(read_metadata(name))
    noise = task.noise if task.noise in NOISES else None  # pairs have a noise of their own
    resolved(known or task, task.name, noise, task.sigma, source=f"the teacher {name}")


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """A context in which layers are made with a dtype policy, globally."""
    import keras

    earlier = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(earlier)


def learning_rate_schedule(
    config: TrainingConfig,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then cosine decay to a hundredth, over the run's steps.

    Keras evaluates a schedule at the number of steps, not of updates, with accumulated gradients
    too.

    Args:
        config: A :class:`~keras_skd.training.TrainingConfig`.

    Returns:
        A :class:`keras.optimizers.schedules.LearningRateSchedule`.
    """
    import keras

    peak, warmup = config.learning_rate, config.warmup
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / 100 if warmup else peak,
        decay_steps=max(1, config.total_steps - warmup),
        alpha=0.01,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """AdamW as the settings ask, with clipping at a global norm of 1."""
    import keras

    return keras.optimizers.AdamW(
        learning_rate_schedule(config),
        weight_decay=config.weight_decay,
        global_clipnorm=1.0,
        use_ema=config.ema > 0,
        ema_momentum=config.ema,
        gradient_accumulation_steps=config.accumulation if config.accumulation > 1 else None,
    )


def make_simulation(config: TrainingConfig, task: Task, student: keras.Model) -> Simulation | None:
    """What the student's integer file computes, of patches; None where training is in float.

    It is calibrated and checked on tiles of the first folder of the data.

    Raises:
        InputError: The student was never trained, cannot be simulated, or the images are too few.
        FailedCheckError: The simulation is not near enough to LiteRT.
    """
    if config.quantise is None:
        return None
    from keras_skd.export.calibration import load_tiles
    from keras_skd.quantisation import Simulation

    folder = config.folders[0] if config.folders else None
    tiles = load_tiles(config.patch_size, task, folder, channels=student.input.shape[-1])
    print(f"{config.quantise}: the file of {config.patch_size}x{config.patch_size}", flush=True)
    simulation = Simulation(student, config.quantise, tiles)
    for name, scores in simulation.check.items():
        print(
            f"{name:>10}: {scores['task_psnr']:.3f} dB, residual {scores['residual_psnr']:.1f} dB "
            "from the float student",
            flush=True,
        )
    return simulation


def make_distiller(
    config: TrainingConfig,
    student: keras.Model,
    teacher: keras.Model | None,
    simulation: Simulation | None = None,
) -> Distiller:
    """A compiled :class:`~keras_skd.Distiller` whose optimizer is built.

    Raises:
        InputError: The models do not fit each other or the patches.
    """
    from keras_skd.distillation import Distiller

    distiller = Distiller(
        student, teacher, config.method, config.distillation, simulation=simulation
    )
    distiller.check_image_size(config.patch_size, config.patch_size)
    distiller.compile(
        optimizer=make_optimizer(config),
        jit_compile=config.jit_compile,
        steps_per_execution=config.steps_per_execution,
        log_every=LOG_EVERY,
    )
    # The distiller's, which mixed_float16 wraps for loss scaling.
    distiller.optimizer.build(distiller.trainable_variables)
    return distiller


def settings_of(config: TrainingConfig, task: Task, distiller: Distiller) -> dict[str, Any]:
    """What ``config.json`` records: the settings, with nothing left to a default.

    Args:
        config: A :class:`~keras_skd.training.TrainingConfig`.
        task: The :class:`~keras_skd.tasks.Task` on the images that were found.
        distiller: The run's :class:`~keras_skd.Distiller`, which knows the stages it compares.
    """
    settings = config.resolved(task)
    chosen = settings["distillation"]
    if "stages" in chosen:
        chosen["stages"] = [[each.teacher_name, each.student_name] for each in distiller.stages]
    if "contrastive_stages" in chosen:
        chosen["contrastive_stages"] = list(distiller.extractor_stages)
    return settings


def open_teacher_cache(
    config: TrainingConfig,
    task: Task,
    store: ImageStore,
    degradation: Degradation | None,
    teacher: keras.Model,
    distiller: Distiller,
) -> TeacherCache | None:
    """The run's teacher cache, built first if it is missing or incomplete; or None.

    A cache holds the stages that a run compares; for a method that compares none, those that
    others would by default, so that all methods share it.

    Args:
        config: A :class:`~keras_skd.training.TrainingConfig`.
        task: The :class:`~keras_skd.tasks.Task` on the images that were found.
        store: An :class:`~keras_skd.data.ImageStore`.
        degradation: Of clean images; None for pairs.
        teacher: The teacher.
        distiller: The run's :class:`~keras_skd.Distiller`.

    Raises:
        InputError: The folder holds a cache of another teacher, task, data or setting, or the
            method needs more of the teacher than a cache can hold.
        OutputError: The disk is too small.
    """
    from keras_skd.distillation import stages
    from keras_skd.training.teacher_cache import build_teacher_cache

    if config.teacher_cache is None:
        return None
    distiller.check_cacheable()
    names = [stage.teacher_name for stage in distiller.stages]
    if not names:
        sides = (teacher, "teacher"), (distiller.student, "student")
        names = stages.default_stages(*(stages.TappedModel(*side) for side in sides))
    return build_teacher_cache(
        config.teacher_cache,
        teacher,
        store,
        task=task,
        degradation=degradation,
        patch_size=config.patch_size,
        stages=names,
        gigabytes=config.cache_size,
    )


def make_batches(
    config: TrainingConfig,
    store: ImageStore,
    degradation: Degradation | None,
    channels: int,
    first_step: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    cache: TeacherCache | None = None,
) -> tf.data.Dataset:
    """The training batches from a step on, made ahead of when they are needed.

    Args:
        config: A :class:`~keras_skd.training.TrainingConfig`.
        store: An :class:`~keras_skd.data.ImageStore`.
        degradation: Of clean images; None for pairs.
        channels: Of the student's images.
        first_step: Number of the first batch. Batch ``i`` depends on the seed and ``i`` alone.
        strategy: The ``tf.distribute`` strategy, or None.
        cache: A :class:`~keras_skd.training.TeacherCache` to draw from instead, or None.

    Returns:
        A :class:`tf.data.Dataset`; see :func:`keras_skd.data.training_batches`.
    """
    import tensorflow as tf

    from keras_skd.data import training_batches

    drawn = {
        "batch_size": config.batch_size,
        "steps": config.total_steps,
        "seed": config.seed,
        "first_step": first_step,
    }
    if cache is not None:
        batches = cache.batches(**drawn)
    else:
        batches = training_batches(
            store,
            patch_size=config.patch_size,
            degradation=degradation,
            channels=channels,
            **drawn,
        )
    if strategy is not None:
        # Every worker makes every batch and takes its part, so all see the data of one process.
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return batches.with_options(options)
    devices = tf.config.list_logical_devices("GPU")
    if devices:
        # The next batches lie on the GPU before the step asks for them.
        return batches.apply(tf.data.experimental.prefetch_to_device(devices[0].name, 2))
    return batches
