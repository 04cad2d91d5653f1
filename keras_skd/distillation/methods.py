"""The methods of distillation: which terms are added to the reconstruction loss.

A method is a few terms on one machinery, the :class:`~keras_skd.distillation.Distiller`: one pass
of the student, one of the teacher, matched stages.

Naming the methods loads no TensorFlow, so that ``--help`` answers at once; the losses are imported
when a step is built.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field

from keras_skd.errors import InputError

POSITIVES = ("clean", "teacher")


@dataclass(frozen=True)
class SKDConfig:
    """The numbers of soft knowledge distillation, which the paper does not publish.

    Attributes:
        alpha1: Weight of the cross-attention terms within the kernel loss.
        alpha2: Weight of the kernel loss. Its gradient for the student is 8 to 16 times the
            reconstruction's (``benchmarks/term_gradients.csv``), so this makes it 0.15 to 0.3.
        alpha3: Weight of the contrastive loss. Its gradient is 19 to 28 times the
            reconstruction's and points where that points, so this makes it 2 to 3.
        bandwidth: sigma of the Gaussian kernel, in units of the teacher's RMS.
        temperature: lambda of both attentions.
        queries: About how many positions of the teacher ask in the spatial attention, at most, of
            every stage; None lets all ask. A quarter of the positions costs a quarter.
        stages: The teacher's stages to compare, by name, or pairs ``(teacher's, student's)``; None
            takes the last one of every resolution below full that both models have.
        contrastive_stages: Stages of the teacher that serve as extractor of the contrastive loss,
            shallow to deep; ``"pixels"``, the image itself, may come first. None takes the first
            of its two finest resolutions. Features cost PSNR (``results/README.md``).
        contrastive_positives: What the contrastive loss draws the student's image to:
            ``"teacher"``, the teacher's image, ``"clean"``, the ground truth, or both. The ground
            truth has its own term, and the teacher's image holds less that cannot be predicted.
        repulsion: How far the contrastive loss pushes away from the degraded input; 1 is the
            ratio's own gradient.
        output_weight: Weight of the L1 to the teacher's image, in the methods that have it.
        kl_weight: Weight of the divergence of the method ``kl``.
        kl_temperature: Its temperature, in units of the image.
        feature_weight: Weight of the L1 on features of the method ``feature``: with it the gradient
            is as large as that of the kernel loss.
        affinity_weight: Weight of the affinity of the method ``fakd``. Its authors' code has 10 for
            images of 0..255 and halves the two image losses: 2 * 10 / 255.
    """

    alpha1: float = 1.0
    alpha2: float = 0.02
    alpha3: float = 0.1
    repulsion: float = 0.0
    bandwidth: float = 1.0
    temperature: float = 0.1
    queries: int | None = 256
    stages: tuple | None = None
    contrastive_stages: tuple | None = ("pixels",)
    contrastive_positives: tuple = ("teacher",)
    output_weight: float = 1.0
    kl_weight: float = 1.0
    kl_temperature: float = 0.1
    feature_weight: float = 0.015
    affinity_weight: float = 0.08

    def __post_init__(self) -> None:
        """Checks every number and name.

        Raises:
            InputError: One is out of range; the message names it as ``train`` does.
        """
        for each in dataclasses.fields(self):
            if isinstance(each.default, float):
                self._check_number(each.name)
        queries = self.queries
        if queries is not None and (
            isinstance(queries, bool) or not isinstance(queries, int) or queries < 1
        ):
            raise InputError(f"--queries must be a number of positions, at least 1; got {queries}.")
        for name in ("stages", "contrastive_stages", "contrastive_positives"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, tuple | list | None):
                raise InputError(f"{name} must be a tuple of names; got {value!r}.")
            if value is not None:
                # Frozen, hashable and equal to what a config.json gives back.
                frozen = tuple(tuple(x) if isinstance(x, list) else x for x in value)
                object.__setattr__(self, name, frozen)
            if value is not None and not value:
                raise InputError(f"{name} must name at least one.")
        wrong = [name for name in self.contrastive_positives or () if name not in POSITIVES]
        if wrong or self.contrastive_positives is None:
            raise InputError(
                f"contrastive_positives must be of {', '.join(POSITIVES)}; "
                f"got {self.contrastive_positives!r}."
            )

    def _check_number(self, name):
        value, option = getattr(self, name), f"--{name.replace('_', '-')}"
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputError(f"{option} must be a number; got {value!r}.")
        if name in _POSITIVE:
            if not 0 < value < math.inf:
                raise InputError(f"{option} must be a number above 0; got {value}.")
        elif name == "repulsion":
            if not 0 <= value <= 1:
                raise InputError(f"--repulsion must be within 0 and 1; got {value}.")
        elif not 0 <= value < math.inf:
            raise InputError(f"{option} is a weight, 0 or above; got {value}.")


# What the losses divide by.
_POSITIVE = ("bandwidth", "temperature", "kl_temperature")


@dataclass(frozen=True)
class Step:
    """What one pass of student and teacher over a batch gives.

    Attributes:
        clean: The ground truth, ``(batch, height, width, channels)`` in 0..1.
        restored: The student's image.
        teacher_image: The teacher's image, or None without a teacher.
        stages: Pairs of the student's and the teacher's features, adapted to the teacher's width
            if the method wants that.
        degraded_features: The extractor's features of the input, shallow to deep.
        extract: From an image to the extractor's features.
    """

    clean: object
    restored: object
    teacher_image: object | None
    stages: list
    degraded_features: list
    extract: Callable


@dataclass(frozen=True)
class Term:
    """One term of a loss.

    Attributes:
        value: From a :class:`Step` and an :class:`SKDConfig` to ``(batch,)``.
        weight: Name of the attribute of :class:`SKDConfig` that weighs it.
        settings: Names of the other attributes of :class:`SKDConfig` that it reads.
        stages: Whether it compares stages.
        adapters: Whether it needs both of one width.
        extractor: Whether it needs the teacher's features of images: of ``contrastive_stages``
            where that is among ``settings``, else of the encoder.
    """

    value: Callable
    weight: str
    settings: tuple = ()
    stages: bool = False
    adapters: bool = False
    extractor: bool = False


@dataclass(frozen=True)
class Method:
    """A way to distil: reconstruction, and these terms.

    Attributes:
        description: One line for ``--help``.
        terms: Name, under which the term is logged, to :class:`Term`.
    """

    description: str
    terms: dict = field(default_factory=dict)

    def needs(self, what: str) -> bool:
        """Whether any term needs ``stages``, ``adapters`` or an ``extractor``."""
        return any(getattr(term, what) for term in self.terms.values())

    @property
    def settings(self) -> tuple[str, ...]:
        """The attributes of :class:`SKDConfig` that make a difference, in its order."""
        used = {name for term in self.terms.values() for name in (term.weight, *term.settings)}
        if self.needs("stages"):
            used.add("stages")
        return tuple(each.name for each in dataclasses.fields(SKDConfig) if each.name in used)


def _losses():
    from keras_skd.distillation import losses

    return losses


def _over_stages(distance, mean=True):
    """A term of all stages: their mean, whose weight does not depend on their number, or sum."""

    def value(step, config):
        import tensorflow as tf

        per_stage = [
            distance(student, tf.stop_gradient(teacher), config) for student, teacher in step.stages
        ]
        return tf.add_n(per_stage) / (len(per_stage) if mean else 1)

    return value


def _gaussian(x, y, config):
    return _losses().gaussian_kernel_distance(x, y, config.bandwidth)


def _absolute(x, y, config):
    return _losses().mean_absolute_difference(x, y)


def _kernel(distance=_gaussian, channel=True, spatial=True):
    """``L_GK`` with a distance, and which of its two attentions."""

    def of_stage(student, teacher, config):
        losses = _losses()
        s, t = losses.normalise_by_teacher(student, teacher)
        loss = distance(s, t, config)
        if channel:
            attended = losses.channel_cross_attention(s, t, config.temperature)
            loss += config.alpha1 * distance(attended, t, config)
        if spatial:
            asking = losses.thinned(t, config.queries)
            attended = losses.spatial_cross_attention(s, asking, config.temperature)
            loss += config.alpha1 * distance(attended, asking, config)
        return loss

    settings = ["bandwidth"] if distance is _gaussian else []
    settings += ["alpha1", "temperature"] if channel or spatial else []
    settings += ["queries"] if spatial else []
    return Term(_over_stages(of_stage), "alpha2", tuple(settings), stages=True, adapters=True)


def _published_kernel(student, teacher, config):
    """``L_GK`` of a stage as the abstract prints it: dot products, one kernel over the map."""
    losses = _losses()
    attended = [
        attention(student, teacher, config.temperature, cosines=False)
        for attention in (losses.channel_cross_attention, losses.spatial_cross_attention)
    ]
    distances = [
        losses.gaussian_kernel_distance(each, teacher, config.bandwidth, by_position=False)
        for each in (student, *attended)
    ]
    return distances[0] + config.alpha1 * (distances[1] + distances[2])


def _positives(step, config):
    images = {"clean": step.clean, "teacher": step.teacher_image}
    return [step.extract(images[name]) for name in config.contrastive_positives]


def _contrastive_value(step, config):
    return _losses().contrastive_loss(
        step.extract(step.restored),
        _positives(step, config),
        step.degraded_features,
        config.repulsion,
    )


def _published_contrast(step, config):
    return _losses().contrastive_ratio(
        step.extract(step.restored), _positives(step, config), step.degraded_features
    )


def _teacher_image_value(step, config):
    return _losses().mean_absolute_difference(step.restored, step.teacher_image)


def _divergence_value(step, config):
    return _losses().image_kl_divergence(step.restored, step.teacher_image, config.kl_temperature)


def _feature_value(student, teacher, config):
    losses = _losses()
    return losses.mean_absolute_difference(*losses.normalise_by_teacher(student, teacher))


def _affinity_value(student, teacher, config):
    return _losses().feature_affinity_distance(student, teacher)


_TEACHER_IMAGE = Term(_teacher_image_value, "output_weight")
_CONTRASTIVE = Term(
    _contrastive_value,
    "alpha3",
    ("repulsion", "contrastive_stages", "contrastive_positives"),
    extractor=True,
)
_DIVERGENCE = Term(_divergence_value, "kl_weight", ("kl_temperature",))
_FEATURES = Term(_over_stages(_feature_value), "feature_weight", stages=True, adapters=True)
_AFFINITY = Term(_over_stages(_affinity_value), "affinity_weight", stages=True)

_PUBLISHED = {
    "kernel": Term(
        _over_stages(_published_kernel, mean=False),
        "alpha2",
        ("alpha1", "bandwidth", "temperature"),
        stages=True,
        adapters=True,
    ),
    "contrastive": Term(_published_contrast, "alpha3", ("contrastive_positives",), extractor=True),
}

METHODS = {
    "skd": Method(
        "soft knowledge distillation, L_REC + alpha2 L_GK + alpha3 L_CL; with the default weights "
        "L_CL pulls as a scaled L1 to the teacher's image does",
        {"kernel": _kernel(), "contrastive": _CONTRASTIVE},
    ),
    "none": Method("ground truth alone, L_REC"),
    "output": Method("L_REC + L1 to the teacher's image", {"teacher": _TEACHER_IMAGE}),
    "kl": Method(
        "L_REC + KL divergence from the teacher's image",
        {"divergence": _DIVERGENCE},
    ),
    "feature": Method("L_REC + L1 between features, direct mimicry", {"feature": _FEATURES}),
    "fakd": Method(
        "L_REC + L1 to the teacher's image + feature affinity (He et al. 2020)",
        {"teacher": _TEACHER_IMAGE, "affinity": _AFFINITY},
    ),
    "skd_without_channel": Method(
        "skd less its channel attention",
        {"kernel": _kernel(channel=False), "contrastive": _CONTRASTIVE},
    ),
    "skd_without_spatial": Method(
        "skd less its spatial attention",
        {"kernel": _kernel(spatial=False), "contrastive": _CONTRASTIVE},
    ),
    "skd_without_kernel": Method(
        "skd with L1 for the kernel distance",
        {"kernel": _kernel(_absolute), "contrastive": _CONTRASTIVE},
    ),
    "skd_without_contrastive": Method(
        "skd with L1 to the teacher's image for the contrastive loss",
        {"kernel": _kernel(), "teacher": _TEACHER_IMAGE},
    ),
    "skd_as_published": Method(
        "skd by the formulas of the paper's abstract as printed; other scales and contrast",
        _PUBLISHED,
    ),
}
