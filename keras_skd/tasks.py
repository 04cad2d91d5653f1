"""What a task is: how clean images are degraded, which channel is measured, who teaches it.

To add a task, add its row to :data:`_KINDS`. The commands' flags and checks derive from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from keras_skd.errors import InputError

if TYPE_CHECKING:
    from typing import Any

    from keras_skd.hints import Degradation, Group

RECORDED = "recorded"  # noise of a data set of pairs: it can be learnt and measured, not made
DEFAULT_SIGMA = "25"
CHANNELS = ("rgb", "y")  # what PSNR and SSIM are measured on


@dataclass(frozen=True)
class _Kind:
    """The facts of a task that do not depend on the model.

    Attributes:
        removes: What it takes out of a photograph, for messages.
        channel: What papers measure: ``rgb``, or ``y`` of MATLAB's rgb2ycbcr.
        degradations: Kind of noise (None where there is but one) to a function of sigma that gives
            the degradation of :mod:`keras_skd.data.degradations`. The first is the default.
        teachers: The same to the bundled preset that teaches it.
        upright: Whether a degraded image that is turned by 90 degrees is not one of the task: rain
            falls.
    """

    removes: str
    channel: str
    degradations: dict[str | None, Callable]
    teachers: dict[str | None, str] = field(default_factory=dict)
    upright: bool = False


def _gaussian(sigma):
    from keras_skd.data.degradations import GaussianNoise

    return GaussianNoise(*sigma_range(sigma))


def _camera(sigma):
    from keras_skd.data.degradations import CameraNoise

    return CameraNoise()


def _rain(sigma):
    from keras_skd.data.degradations import Rain

    return Rain()


def _motion_blur(sigma):
    from keras_skd.data.degradations import MotionBlur

    return MotionBlur()


_KINDS = {
    "denoise": _Kind(
        "noise",
        "rgb",
        {"gaussian": _gaussian, "camera": _camera},
        {"gaussian": "restormer_denoise", "camera": "restormer_camera"},
    ),
    "derain": _Kind("rain", "y", {None: _rain}, {None: "restormer_derain"}, upright=True),
    "deblur": _Kind("motion blur", "rgb", {None: _motion_blur}, {None: "restormer_deblur"}),
}

TASK_NAMES = tuple(_KINDS)
NOISES = tuple(noise for noise in _KINDS["denoise"].degradations)


@dataclass(frozen=True)
class Task:
    """One task as one model does it. Models remember it; see :meth:`as_dict`.

    Attributes:
        name: One of :data:`TASK_NAMES`.
        noise: Of ``denoise``: one of :data:`NOISES`, or ``recorded`` for a model that was trained
            on a data set of pairs. None for other tasks.
        sigma: Of Gaussian noise: a level such as ``"25"`` or a range such as ``"0-50"`` (blind), in
            8-bit units. None otherwise.

    Raises:
        InputError: A name is unknown, or a setting does not belong to the task.
    """

    name: str
    noise: str | None = None
    sigma: str | None = None

    def __post_init__(self) -> None:
        """Checks that the three belong together."""
        if self.name not in _KINDS:
            raise InputError(f"--task must be one of {', '.join(TASK_NAMES)}; got {self.name!r}.")
        if self.name != "denoise":
            for flag, value in (("--noise", self.noise), ("--sigma", self.sigma)):
                if value is not None:
                    raise InputError(f"{flag} belongs to --task denoise; leave it out.")
            return
        if self.noise not in (*NOISES, RECORDED):
            raise InputError(f"--noise must be one of {', '.join(NOISES)}; got {self.noise!r}.")
        if self.noise == "gaussian":
            sigma_range(self.sigma)
        elif self.sigma is not None:
            raise InputError(
                f"--sigma is the level of Gaussian noise; leave it out with {self.noise} noise."
            )

    @classmethod
    def of(cls, name: str, noise: str | None = None, sigma: str | float | None = None) -> Task:
        """A task with defaults for what is None: Gaussian noise of sigma 25."""
        if name == "denoise":
            noise = noise or NOISES[0]
            if noise == "gaussian" and sigma is None:
                sigma = DEFAULT_SIGMA
        return cls(name, noise, None if sigma is None else _text(sigma))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Task | None:
        """The task that a model's file remembers, or None."""
        name = metadata.get("task")
        if name is None:
            return None
        if name == "denoise" and not metadata.get("noise"):
            return cls(name, RECORDED)
        return cls(name, metadata.get("noise"), metadata.get("sigma"))

    def as_dict(self) -> dict[str, str | None]:
        """``task``, ``noise`` and ``sigma``, as files remember them."""
        values = asdict(self)
        return {"task": values.pop("name"), **values}

    @property
    def removes(self) -> str:
        """What it takes out of a photograph, for messages."""
        return _KINDS[self.name].removes

    @property
    def channel(self) -> str:
        """What is measured unless something else is asked for: ``rgb`` or ``y``."""
        return _KINDS[self.name].channel

    @property
    def upright(self) -> bool:
        """Whether a degraded image that is turned by 90 degrees is not one of the task."""
        return _KINDS[self.name].upright

    @property
    def teacher(self) -> str | None:
        """Name of the bundled preset that teaches it, or None."""
        return _KINDS[self.name].teachers.get(self.noise)

    def degradation(self) -> Degradation:
        """What makes degraded images from clean ones; see :mod:`keras_skd.data.degradations`.

        Raises:
            InputError: The noise is that of recorded pairs, which nothing here can make.
        """
        if self.noise == RECORDED:
            raise InputError(
                "noise that was learnt from recorded pairs cannot be added to clean images; give "
                "a folder of pairs (input/ and target/), or name a noise with --noise."
            )
        return _KINDS[self.name].degradations[self.noise](self.sigma)

    def for_groups(self, groups: Iterable[Group]) -> tuple[Task, Degradation | None]:
        """The task on some images: that of pairs, or of clean ones.

        Pairs bring their own noise, so a noise or level that was asked for would do nothing where
        all are pairs. Where some images are clean, the task is that of what is made from them.

        Args:
            groups: What :func:`keras_skd.data.find_groups` found; pairs and clean images may be
                mixed.

        Returns:
            The task, and its degradation, or None where all groups are pairs.
        """
        if all(len(group) == 2 for group in groups):
            return (Task(self.name, RECORDED) if self.name == "denoise" else self), None
        return self, self.degradation()

    def __str__(self) -> str:
        """Such as ``denoise (gaussian, sigma 0-50)``."""
        details = [self.noise, self.sigma and f"sigma {self.sigma}"]
        details = ", ".join(filter(None, details))
        return f"{self.name} ({details})" if details else self.name


def resolved(
    known: Task | None,
    name: str | None = None,
    noise: str | None = None,
    sigma: str | float | None = None,
    source: object = "the model",
) -> Task:
    """The task of a command: what the model remembers, and what the user said.

    Args:
        known: The model's :class:`Task`, or None if it remembers none.
        name: The user's ``--task``, or None.
        noise: The user's ``--noise``, or None.
        sigma: The user's ``--sigma``, or None.
        source: What the model is called in messages.

    Returns:
        A :class:`Task`.

    Raises:
        InputError: Nobody names the task, or the two contradict each other.
    """
    if known is None:
        if name is None:
            raise InputError(
                f"{source} does not say what it was trained for; name it with --task "
                f"{'|'.join(TASK_NAMES)}."
            )
        return Task.of(name, noise, sigma)
    if name not in (None, known.name):
        raise InputError(
            f"{source} was trained for {known}, not for --task {name}; leave --task out, or take "
            f"another model."
        )
    if known.name != "denoise":
        return Task.of(known.name, noise, sigma)
    if known.noise == RECORDED:
        return Task.of("denoise", noise, sigma) if noise or sigma else known
    if noise not in (None, known.noise):
        raise InputError(
            f"{source} was trained for {known}, not for --noise {noise}; leave --noise out, or "
            "take another model."
        )
    if sigma is None:
        return known
    asked = Task.of("denoise", known.noise, sigma)
    low, high = sigma_range(known.sigma)
    least, greatest = sigma_range(asked.sigma)
    if least < low or greatest > high:
        raise InputError(
            f"{source} was trained for {known}, not for --sigma {asked.sigma}; choose a level "
            "within that, or take another model."
        )
    return replace(asked)


def sigma_range(text: str | float | None) -> tuple[float, float]:
    """``"25"`` or ``"0-50"`` as ``(least, greatest)``, in 8-bit units.

    Raises:
        InputError: It is neither, or outside 0..255.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)(?:\s*-\s*(\d+\.?\d*|\.\d+))?\s*", str(text))
    if match is None:
        raise InputError(f"--sigma must be a level such as 25 or a range 0-50; got {text!r}.")
    low, high = float(match[1]), float(match[2] or match[1])
    if not low <= high <= 255:
        raise InputError(
            f"--sigma must be a level or a range within 0..255 in 8-bit units; got {text!r}."
        )
    return low, high


def _text(sigma):
    return f"{sigma:g}" if isinstance(sigma, int | float) else str(sigma)
