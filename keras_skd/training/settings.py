"""What defines a training run, and the command's arguments made of it.

Nothing here loads TensorFlow, so that ``--help`` and a mistyped setting are answered at once.
"""

import argparse
import dataclasses
import math
import numbers
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_skd.distillation.methods import METHODS, SKDConfig
from keras_skd.errors import InputError
from keras_skd.export import TILE_SIZES
from keras_skd.quantisation import SCHEMES
from keras_skd.tasks import DEFAULT_SIGMA, NOISES, TASK_NAMES, Task
from keras_skd.training.strategies import STRATEGIES

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
WARMUP_STEPS = 200
DEFAULT_WEIGHTS = SKDConfig()

# Settings that do not change what is trained, so that a run may be resumed with others.
_OF_TEACHER = ("teacher", "teacher_cache", "cache_size")
FREE_SETTINGS = ("run", "strategy", "steps_per_execution")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that defines a training run.

    None stands for what follows from the other settings; :meth:`resolved` has it. Every number and
    name is checked here; whether every setting makes a difference, by :meth:`check_used`, which
    :class:`~keras_skd.training.Training` calls.

    Attributes:
        run: Folder of the run. One that holds an interrupted run of the same settings is resumed.
        task: One of :data:`keras_skd.tasks.TASK_NAMES`.
        data: Folder of a data set (:func:`keras_skd.data.recognise`): clean images, which are
            degraded as the task asks, or pairs. A tuple of folders is mixed. None for the embedded
            photographs.
        shares: How much of what is trained on comes from each folder of ``data``, in proportion;
            None for equal shares.
        validation: The same for validation; None holds out a twentieth of ``data``, by
            scene.
        teacher: Preset name or ``.keras`` file; None for the bundled teacher of the task, or for
            no teacher with the method ``none``.
        teacher_cache: Folder of the teacher's outputs for a pool of crops, which are computed once
            and drawn from by every step (:mod:`keras_skd.training.teacher_cache`); built if it is
            missing. None runs the teacher in every step.
        cache_size: Space that a new cache may take, in 10^9 bytes.
        student: Preset name or ``.keras`` file.
        method: A key of :data:`keras_skd.distillation.METHODS`.
        steps: Training steps. Rounded up to whole epochs.
        steps_per_epoch: Steps between validations and checkpoints.
        batch_size: Patches a step.
        patch_size: Height and width of a patch in pixels, a multiple of 8.
        noise: Of ``denoise`` on clean images: ``"gaussian"``, or ``"camera"`` (signal-dependent,
            of all ISOs); None for Gaussian.
        sigma: Of Gaussian noise, in 8-bit units: ``"25"`` or ``"0-50"`` (blind); None for 25.
        learning_rate: Peak of the schedule: linear warm-up, then cosine decay to a hundredth.
        warmup_steps: Training steps of warm-up; None for 200, or half of ``steps`` if that is less.
        weight_decay: Of AdamW.
        precision: Keras dtype policy of student and teacher.
        seed: Seed of weights, patches and noise.
        ema: Momentum of the moving average of the student's weights, which is what is validated
            and saved; 0 for none.
        accumulation: Steps whose gradients are averaged before the optimizer's update. The
            schedule of the learning rate counts steps, not updates.
        steps_per_execution: Steps that TensorFlow runs in one call.
        jit_compile: Whether XLA compiles the step. On a CPU it is several times slower.
        quantise: A scheme of export (:data:`keras_skd.quantisation.SCHEMES`) whose integers are
            simulated in training; ``student`` is then a trained one. None trains in float.
        strategy: One of :data:`keras_skd.training.strategies.STRATEGIES`. ``batch_size`` is that of
            all replicas together, so that the strategy does not change what is trained.
        distillation: Weights and temperatures, an :class:`keras_skd.SKDConfig`.

    Raises:
        InputError: A setting is out of range, or unknown.
    """

    run: str
    task: str = "denoise"
    data: str | tuple | None = None
    shares: tuple | None = None
    validation: str | None = None
    teacher: str | None = None
    teacher_cache: str | None = None
    cache_size: float = 4.0
    student: str = "restormer_tiny"
    method: str = "skd"
    steps: int = 20000
    steps_per_epoch: int = 250
    batch_size: int = 8
    patch_size: int = 64
    noise: str | None = None
    sigma: str | None = None
    learning_rate: float = 1e-3
    warmup_steps: int | None = None
    weight_decay: float = 1e-4
    precision: str = "float32"
    seed: int = 0
    ema: float = 0.0
    accumulation: int = 1
    steps_per_execution: int = 1
    jit_compile: bool = False
    quantise: str | None = None
    strategy: str = "none"
    distillation: SKDConfig = DEFAULT_WEIGHTS

    def __post_init__(self) -> None:
        """Checks what can be checked without reading a file."""
        self.goal  # noqa: B018, raises for a task, noise or level that is unknown
        for name, known in (
            ("method", METHODS),
            ("precision", PRECISIONS),
            ("strategy", STRATEGIES),
        ):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{option(name)} must be one of {', '.join(known)}; "
                    f"got {getattr(self, name)!r}."
                )
        counts = ("steps", "steps_per_epoch", "batch_size", "accumulation", "steps_per_execution")
        for name in counts:
            self._check_whole(name, 1)
        self._check_whole("patch_size", 16)
        if self.patch_size % 8:
            raise InputError(
                f"--patch-size must be a multiple of 8, at least 16; got {self.patch_size}."
            )
        self._check_whole("seed", 0, 2**32 - 1)
        if self.warmup_steps is not None:
            self._check_whole("warmup_steps", 0)
        self._check_numbers()
        self._check_shares()
        if not 0 < self.cache_size < math.inf:
            raise InputError(f"--cache-size must be above 0; got {self.cache_size}.")
        self._check_steps()
        self._check_quantise()
        if not isinstance(self.distillation, SKDConfig):
            raise InputError(
                f"distillation must be a keras_skd.SKDConfig; got {self.distillation!r}."
            )

    def _check_whole(self, name, least, greatest=math.inf):
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise InputError(f"{option(name)} must be a whole number; got {value!r}.")
        if value < least:
            raise InputError(f"{option(name)} must be at least {least}; got {value}.")
        if value > greatest:
            raise InputError(f"{option(name)} must be at most {greatest}; got {value}.")

    def _check_numbers(self):
        for name in ("learning_rate", "weight_decay", "ema"):
            if not isinstance(getattr(self, name), numbers.Real):
                raise InputError(f"{option(name)} must be a number; got {getattr(self, name)!r}.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"--learning-rate must be a number above 0, such as 1e-3; got {self.learning_rate}."
            )
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"--weight-decay must be 0 or above; got {self.weight_decay}.")
        if not 0 <= self.ema < 1:
            raise InputError(f"--ema must be within 0 (none) and 1, such as 0.999; got {self.ema}.")

    def _check_shares(self):
        if self.shares is None:
            return
        if len(self.shares) != len(self.folders):
            raise InputError(
                f"--shares gives {len(self.shares)} numbers for {len(self.folders)} folders of "
                "--data; give one for each."
            )
        if not all(math.isfinite(share) and share > 0 for share in self.shares):
            raise InputError(f"--shares must be numbers above 0; got {list(self.shares)}.")

    def _check_steps(self):
        for name in ("accumulation", "warmup_steps"):
            if (getattr(self, name) or 0) > self.total_steps:
                raise InputError(
                    f"{option(name)} {getattr(self, name)} is more than the {self.total_steps} "
                    "steps of the run; choose fewer, or more --steps."
                )
        if self.epoch_steps % self.steps_per_execution:
            raise InputError(
                f"--steps-per-execution {self.steps_per_execution} does not divide the "
                f"{self.epoch_steps} steps of an epoch; choose a number that does."
            )

    def _check_quantise(self):
        if self.quantise is None:
            return
        if self.quantise not in SCHEMES:
            raise InputError(
                f"--quantise must be one of {', '.join(SCHEMES)}; got {self.quantise!r}."
            )
        for name, needed in (
            ("precision", "float32"),
            ("strategy", "none"),
            ("jit_compile", False),
        ):
            if getattr(self, name) != needed:
                raise InputError(
                    f"--quantise simulates integers in float32 on one device; leave out "
                    f"{option(name)}."
                )
        if self.patch_size not in TILE_SIZES:
            raise InputError(
                f"--quantise makes a file of the patches' size, which is {TILE_SIZES[0]} to "
                f"{TILE_SIZES[-1]} pixels; got --patch-size {self.patch_size}."
            )

    @property
    def goal(self) -> Task:
        """The :class:`~keras_skd.tasks.Task` on clean images; pairs bring their own noise."""
        return Task.of(self.task, self.noise, self.sigma)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of :attr:`data`, a tuple."""
        if self.data is None:
            return ()
        return self.data if isinstance(self.data, tuple) else (self.data,)

    @property
    def epochs(self) -> int:
        """Whole epochs that hold at least ``steps`` steps."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def epoch_steps(self) -> int:
        """Steps of each epoch: as equal as the epochs allow, at most ``steps_per_epoch``."""
        return -(-self.steps // self.epochs)

    @property
    def total_steps(self) -> int:
        """Steps of all epochs: ``steps``, or a few more."""
        return self.epochs * self.epoch_steps

    @property
    def warmup(self) -> int:
        """Training steps of warm-up."""
        if self.warmup_steps is None:
            return min(WARMUP_STEPS, self.total_steps // 2)
        return self.warmup_steps

    def teacher_for(self, task: Task) -> str | None:
        """The teacher's name or file, or None for the method ``none``.

        Args:
            task: The :class:`~keras_skd.tasks.Task` on the images that were found.

        Raises:
            InputError: The method needs one, none is given, and none is bundled for the task.
        """
        if self.method == "none":
            return None
        if self.teacher is None and task.teacher is None:
            raise InputError(
                f"no bundled model teaches {task}; name one with --teacher, or choose --method "
                "none."
            )
        return self.teacher or task.teacher

    def check_used(self) -> None:
        """Checks that every setting that differs from its default makes a difference.

        Raises:
            InputError: One does nothing; the message names it and what it would need.
        """
        check_used(changed(self), (self.method,))

    def for_run(self, **changes: Any) -> "TrainingConfig":
        """The settings of one run among several, as of a comparison.

        Args:
            **changes: Settings to replace, as for :func:`dataclasses.replace`.

        Returns:
            A :class:`TrainingConfig` without the settings that its method does not use.
        """
        result = dataclasses.replace(self, **changes)
        used = METHODS[result.method].settings
        kept = {name: getattr(result.distillation, name) for name in used}
        defaults = {each.name: each.default for each in dataclasses.fields(result)}
        if result.method == "none":
            result = dataclasses.replace(result, **{name: defaults[name] for name in _OF_TEACHER})
        return dataclasses.replace(result, distillation=SKDConfig(**kept))

    def resolved(self, task: Task | None = None) -> dict[str, Any]:
        """The settings as JSON holds them, with nothing left to a default.

        Args:
            task: The :class:`~keras_skd.tasks.Task` on the images that were found; None for
                :attr:`goal`.

        Returns:
            A dict of the attributes; ``distillation`` is a dict of what the method uses.
        """
        task = task or self.goal
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        used = {
            name: _as_json(getattr(self.distillation, name))
            for name in METHODS[self.method].settings
        }
        return {
            **{name: _as_json(value) for name, value in values.items()},
            **task.as_dict(),
            "teacher": self.teacher_for(task),
            "warmup_steps": self.warmup,
            "distillation": used,
        }


def option(name: str) -> str:
    """The command's flag of a setting."""
    return f"--{name.replace('_', '-')}"


def changed(config: TrainingConfig) -> tuple[str, ...]:
    """Names of the settings, those of ``distillation`` too, that differ from their defaults."""
    names = [
        each.name
        for each in dataclasses.fields(config)
        if each.name != "distillation" and getattr(config, each.name) != each.default
    ]
    weights = [
        each.name
        for each in dataclasses.fields(SKDConfig)
        if getattr(config.distillation, each.name) != each.default
    ]
    return (*names, *weights)


def check_used(given: Collection[str], methods: Sequence[str]) -> None:
    """Checks that every given setting makes a difference to at least one of the methods.

    A noise or level that does not belong to the task is found by
    :class:`~keras_skd.tasks.Task`.

    Args:
        given: Names of settings that the user chose.
        methods: Keys of :data:`keras_skd.distillation.METHODS`.

    Raises:
        InputError: One does nothing; the message names it and the methods that have it.
    """
    of_methods = {each.name for each in dataclasses.fields(SKDConfig)}
    trained = ", ".join(methods)
    for name in given:
        if name in _OF_TEACHER and set(methods) == {"none"}:
            raise InputError(
                f"{option(name)} does nothing with --method none; leave one of them out."
            )
        if name == "cache_size" and "teacher_cache" not in given:
            raise InputError("--cache-size does nothing without --teacher-cache; leave it out.")
        if name not in of_methods:
            continue
        users = [method for method in METHODS if name in METHODS[method].settings]
        if not set(users) & set(methods):
            raise InputError(
                f"{option(name)} does nothing with --method {trained}; leave it out, or choose "
                f"among {', '.join(users)}."
            )


def _as_json(value):
    if isinstance(value, tuple):
        return [_as_json(each) for each in value]
    return str(value) if hasattr(value, "__fspath__") else value


# --- arguments ---

_HELP = {
    "run": ("DIR", "folder of the run; an interrupted run in it is resumed"),
    "task": (None, "what the student removes"),
    "data": (
        "DIR",
        "a data set as it is unpacked, clean photos (degraded on the fly), or input/ and target/; "
        "several folders are mixed, pairs and clean photos too (default: the embedded photos)",
    ),
    "shares": ("NUMBER", "of the folders of --data in what is trained on (default: equal)"),
    "validation": ("DIR", "the same for validation (default: a twentieth of --data, by scene)"),
    "teacher": (
        "NAME_OR_FILE",
        "preset (keras_skd.presets) or .keras file (default: the bundled teacher of the task; of "
        f"Gaussian noise {Task.of('denoise').teacher})",
    ),
    "teacher_cache": (
        "DIR",
        "the teacher's outputs for a pool of crops, computed once and drawn from in every step, "
        "by other runs too (default: the teacher runs in every step)",
    ),
    "cache_size": ("GB", "space that a new teacher cache may take, in 10^9 bytes"),
    "student": ("NAME_OR_FILE", "preset (keras_skd.presets) or .keras file"),
    "method": (None, "; ".join(f"{key}: {method.description}" for key, method in METHODS.items())),
    "steps": ("STEPS", "training steps, rounded up to whole epochs"),
    "steps_per_epoch": ("STEPS", "training steps between validations and checkpoints"),
    "batch_size": ("PATCHES", "patches a step, of all devices together"),
    "patch_size": ("PIXELS", "side of a patch in pixels, a multiple of 8"),
    "noise": (None, f"denoise: of --sigma, or as of a sensor (default: {NOISES[0]})"),
    "sigma": (
        "LEVEL",
        "denoise: level of Gaussian noise in 8-bit units, or a range such as 0-50 (blind) "
        f"(default: {DEFAULT_SIGMA})",
    ),
    "learning_rate": (
        "RATE",
        "peak of the schedule, after warm-up; then cosine decay to a hundredth",
    ),
    "warmup_steps": (
        "STEPS",
        f"training steps of linear warm-up (default: {WARMUP_STEPS}, or half of --steps)",
    ),
    "weight_decay": ("RATE", "of AdamW, a share of the weights, times the learning rate"),
    "precision": (None, "dtype policy; mixed_bfloat16 is faster on CPUs with AVX512_BF16"),
    "seed": ("NUMBER", "of weights, patches and noise"),
    "ema": ("MOMENTUM", "of the moving average of weights, 0 to 1; 0 for none"),
    "accumulation": ("STEPS", "training steps whose gradients make one update"),
    "steps_per_execution": ("STEPS", "training steps that TensorFlow runs in one call"),
    "quantise": (
        None,
        "continue a trained --student under the integers of this scheme of convert "
        "(docs/export.md)",
    ),
    "jit_compile": (None, "compile the step with XLA, which is slower on a CPU"),
    "strategy": (None, "devices; multi-worker needs TF_CONFIG"),
    "alpha1": ("WEIGHT", "of the attention terms within the kernel loss"),
    "alpha2": ("WEIGHT", "of the kernel loss"),
    "alpha3": ("WEIGHT", "of the contrastive loss"),
    "repulsion": ("SHARE", "of the contrastive loss away from the degraded input, 0 to 1"),
    "bandwidth": ("NUMBER", "sigma of the Gaussian kernel, in units of the teacher's RMS"),
    "temperature": ("NUMBER", "lambda of both attentions, of cosines"),
    "queries": (
        "POSITIONS",
        "of the teacher that ask in the spatial attention, about, at most, of a stage",
    ),
    "output_weight": ("WEIGHT", "of L1 to the teacher's image"),
    "kl_weight": ("WEIGHT", "of the divergence of kl"),
    "kl_temperature": ("NUMBER", "of kl, in units of the image (0..1)"),
    "feature_weight": ("WEIGHT", "of L1 between features"),
    "affinity_weight": ("WEIGHT", "of the affinity of fakd"),
}
_CHOICES = {
    "task": TASK_NAMES,
    "method": tuple(METHODS),
    "noise": NOISES,
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
    "quantise": SCHEMES,
}
_KINDS = {int: int, float: float, int | None: int}
_SEVERAL = {"data": str, "shares": float}


def add_arguments(parser: argparse.ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """Adds an argument for every setting of a run.

    A setting that the user leaves out is not among the parsed ones, so that :func:`config_of` can
    tell what was asked for.

    Args:
        parser: An :class:`argparse.ArgumentParser`.
        leave_out: Names of settings to leave out.
    """
    from argparse import SUPPRESS

    weights = parser.add_argument_group("weights and temperatures of the methods")
    settings = [(parser, each) for each in dataclasses.fields(TrainingConfig)]
    settings += [(weights, each) for each in dataclasses.fields(SKDConfig)]
    for group, each in settings:
        if each.name not in _HELP or each.name in leave_out:
            continue  # such as stages, which are given from Python
        metavar, text = _HELP[each.name]
        options = {"default": SUPPRESS, "help": text}
        if each.default is dataclasses.MISSING:
            options["required"] = True
        elif each.default is not None:
            options["help"] += f" (default: {_default(each.default)})"
        if each.type is bool:
            options["action"] = "store_true"
        elif each.name in _CHOICES:
            options["choices"] = _CHOICES[each.name]
        elif each.name in _SEVERAL:
            options |= {"metavar": metavar, "type": _SEVERAL[each.name], "nargs": "+"}
        else:
            options |= {"metavar": metavar, "type": _KINDS.get(each.type, str)}
        group.add_argument(option(each.name), **options)


def _default(value):
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else value


def config_of(given: Mapping[str, Any], methods: Sequence[str] | None = None) -> TrainingConfig:
    """The :class:`TrainingConfig` of parsed arguments.

    Args:
        given: Setting to value, of those that the user chose.
        methods: All methods that the settings are for; None for the one of ``given``. The
            result's own is the first that has a teacher; see :meth:`TrainingConfig.for_run`.

    Raises:
        InputError: A setting is out of range, or makes no difference to any of the methods.
    """
    given = dict(given)
    for name in _SEVERAL:
        if name in given:
            values = tuple(given[name])
            given[name] = values[0] if name == "data" and len(values) == 1 else values
    if methods is None:
        methods = (given.get("method", TrainingConfig.method),)
    given.setdefault("method", next((each for each in methods if each != "none"), "none"))
    check_used(given, methods)
    names = [each.name for each in dataclasses.fields(SKDConfig) if each.name in given]
    distillation = SKDConfig(**{name: given.pop(name) for name in names})
    return TrainingConfig(**given, distillation=distillation)
