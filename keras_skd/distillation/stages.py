"""Stages: which features of the teacher are compared with which of the student.

A tap is a named feature map of a model. The families of keras_skd name their stages in an attribute
``taps``; for any other functional model, names of layers serve. Stages of different families are
matched by resolution.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import keras

from keras_skd.errors import InputError
from keras_skd.hints import Tensor
from keras_skd.models.family import size_multiple, taps_of


@dataclass(frozen=True)
class StagePair:
    """A pair of feature maps of one resolution.

    Attributes:
        teacher_name: The teacher's tap.
        student_name: The student's tap.
        teacher: Symbolic tensor ``(batch, height, width, channels of the teacher)``.
        student: Symbolic tensor ``(batch, height, width, channels of the student)``.
    """

    teacher_name: str
    student_name: str
    teacher: object
    student: object


def check_model(model: Any, side: str) -> None:
    """Checks that a model can be distilled: functional, from one image to one image.

    Args:
        model: What the user gave.
        side: ``"student"`` or ``"teacher"``, for the error message.

    Raises:
        InputError: It is no Keras model, is not functional, has several inputs or outputs, or
            wants its channels first.
    """
    if not isinstance(model, keras.Model):
        given = repr(model) if isinstance(model, str) else f"a {type(model).__name__}"
        raise InputError(
            f"the {side} must be a Keras model, not {given}; load one with keras_skd.load_model."
        )
    if not getattr(model, "inputs", None):
        raise InputError(
            f"the {side} {model.name} must be a functional Keras model of one input image; rebuild "
            "it with keras.Input and keras.Model(image, restored)."
        )
    for name, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise InputError(
                f"the {side} {model.name} has {len(tensors)} {name}s, and one image is expected; "
                f"make keras.Model(image, restored) of the {name} that is meant."
            )
        if len(tensors[0].shape) != 4 or tensors[0].shape[-1] is None:
            raise InputError(
                f"the {side} {model.name} has an {name} of shape {tensors[0].shape}; images are "
                "(batch, height, width, channels), with the number of channels known."
            )
    first = [
        layer.name
        for layer in model._flatten_layers(include_self=False)
        if getattr(layer, "data_format", None) == "channels_first"
    ]
    if first:
        raise InputError(
            f"the {side} {model.name} has channels first (layer {first[0]!r}); images are (batch, "
            "height, width, channels), so build it with data_format='channels_last'."
        )


class TappedModel:
    """A functional model with named feature maps.

    Args:
        model: A functional :class:`keras.Model` of one image, of a family or any other.
        side: ``"student"`` or ``"teacher"``, for error messages.
        taps: Stage name to layer name or symbolic tensor, or a list of layer names; None takes the
            model's attribute ``taps`` (:func:`keras_skd.models.family.taps_of`).

    Attributes:
        taps: Stage name to symbolic tensor, in the order given.

    Raises:
        InputError: The model has no layer of a given name.
    """

    def __init__(
        self,
        model: keras.Model,
        side: str,
        taps: Mapping[str, str | Tensor] | Sequence[str] | None = None,
    ):
        self.model, self.side = model, side
        if taps is None:
            taps = taps_of(model)
        if not isinstance(taps, dict):
            taps = {name: name for name in taps}
        self.taps = {name: self._tensor(tap) for name, tap in taps.items()}

    def _tensor(self, tap):
        if not isinstance(tap, str):
            return tap
        names = [layer.name for layer in self.model.layers]
        if tap not in names:
            raise InputError(
                f"the {self.side} {self.model.name} has no layer {tap!r}; it has "
                f"{', '.join(names)}."
            )
        return self.model.get_layer(tap).output

    def with_outputs(self, names: Sequence[str]) -> keras.Model:
        """A model of the image and the named taps, from one pass; a list of ``1 + len(names)``."""
        return keras.Model(
            self.model.input, [self.model.output, *(self.tap(name) for name in names)]
        )

    def tap(self, name: str) -> Tensor:
        """The feature map of a stage.

        Raises:
            ValueError: There is none of that name; the message lists those there are.
        """
        if name not in self.taps:
            raise InputError(
                f"the {self.side} {self.model.name} has no stage {name!r}; it has "
                f"{', '.join(self.taps) or 'none'}."
            )
        return self.taps[name]

    def scales(self) -> dict[str, Fraction]:
        """Image height over stage height, by stage, as :class:`fractions.Fraction`."""
        side = self.model.input.shape[1] or math.lcm(128, size_multiple(self.model))
        sizes = self.sizes(side, self.model.input.shape[2] or side)
        return {name: Fraction(side, height) for name, (height, _) in sizes.items()}

    def sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """``(height, width)`` of every stage for an image of a size, all in pixels."""
        if not self.taps:
            return {}
        probe = keras.Model(self.model.input, list(self.taps.values()))
        shapes = probe.compute_output_shape((1, height, width, self.model.input.shape[-1]))
        return {name: tuple(shape[1:3]) for name, shape in zip(self.taps, shapes, strict=True)}


def default_stages(teacher: TappedModel, student: TappedModel) -> tuple[str, ...]:
    """The last stage of every resolution that both have, below the full one where there is any.

    Full resolution is left out: its spatial attention would cost several times the rest of the
    step, and the image-level losses already act there.

    Args:
        teacher: A :class:`TappedModel`.
        student: Another.

    Returns:
        Names of the teacher's stages, in its order.

    Raises:
        ValueError: They have no resolution in common; both sides are listed.
    """
    scales, available = teacher.scales(), set(student.scales().values())
    last = {scale: name for name, scale in scales.items() if scale in available}
    if not last:
        raise InputError(f"no stages of one resolution: {_listed(teacher)}; {_listed(student)}.")
    below = {name for scale, name in last.items() if scale > 1}
    return tuple(name for name in scales if name in (below or set(last.values())))


PIXELS = "pixels"  # the image itself, as the shallowest stage of the contrastive loss's extractor


def split_pixels(names: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    """Whether :data:`PIXELS` is the first of an extractor's stages, and the others.

    Raises:
        ValueError: It stands elsewhere, where stages go from shallow to deep.
    """
    pixels = names[:1] == (PIXELS,)
    others = tuple(names[pixels:])
    if PIXELS in others:
        raise InputError(f"{PIXELS!r} must be the first of the contrastive stages; got {names}.")
    return pixels, others


def default_extractor_stages(teacher: TappedModel) -> tuple[str, ...]:
    """The first stages of the teacher's two finest resolutions, shallow to deep."""
    first = {}
    for name, scale in teacher.scales().items():
        first.setdefault(scale, name)
    return tuple(first[scale] for scale in sorted(first)[:2])


def match(
    stages: Sequence[str | tuple[str, str]], teacher: TappedModel, student: TappedModel
) -> list[StagePair]:
    """Finds the student's stage for each of the teacher's.

    It is the one of the same name if there is one. Otherwise it is the last one of the same
    resolution on the same side of the network (down to the coarsest stage, or up from it), or the
    last one of that resolution if that side has none.

    Args:
        stages: Names of the teacher's stages, or pairs ``(teacher's, student's)``.
        teacher: A :class:`TappedModel`.
        student: Another.

    Returns:
        A list of :class:`StagePair`.

    Raises:
        ValueError: A name is unknown, or resolutions differ; both sides are named.
    """
    teacher_scales, student_scales = teacher.scales(), student.scales()
    matched = []
    for stage in stages:
        theirs, ours = (stage, None) if isinstance(stage, str) else stage
        teacher_tap = teacher.tap(theirs)
        scale = teacher_scales[theirs]
        if ours is None and theirs in student.taps:
            ours = theirs
        if ours is None:
            ours = _by_resolution(theirs, teacher_scales, student_scales)
        if ours is None:
            raise InputError(
                f"the teacher's stage {theirs!r} is at 1/{scale} of the resolution, and no stage "
                f"of the student is: {_listed(student)}."
            )
        student_tap = student.tap(ours)
        if student_scales[ours] != scale:
            raise InputError(
                f"the teacher's stage {theirs!r} is at 1/{scale} of the resolution, the student's "
                f"{ours!r} at 1/{student_scales[ours]}; {_listed(teacher)}; {_listed(student)}."
            )
        matched.append(StagePair(theirs, ours, teacher_tap, student_tap))
    return matched


def check_image_size(
    stages: Sequence[StagePair], teacher: TappedModel, student: TappedModel, height: int, width: int
) -> None:
    """Checks that matched stages are of one size for an image, whatever the models pad it to.

    Args:
        stages: What :func:`match` returned.
        teacher: The :class:`TappedModel` of the teacher.
        student: That of the student.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Raises:
        ValueError: They are not; both sides are named, and what size would do.
    """
    if not stages:
        return
    teacher_sizes, student_sizes = (model.sizes(height, width) for model in (teacher, student))
    for stage in stages:
        theirs, ours = teacher_sizes[stage.teacher_name], student_sizes[stage.student_name]
        if theirs != ours:
            multiples = [size_multiple(side.model) for side in (teacher, student)]
            raise InputError(
                f"images of {height}x{width} make the teacher's stage {stage.teacher_name!r} "
                f"{theirs[0]}x{theirs[1]} and the student's {stage.student_name!r} "
                f"{ours[0]}x{ours[1]}, because they pad to multiples of {multiples[0]} and "
                f"{multiples[1]}; train on images (patches) of a multiple of "
                f"{math.lcm(*multiples)}."
            )


def _by_resolution(name, teacher_scales, student_scales):
    candidates = [other for other, scale in student_scales.items() if scale == teacher_scales[name]]
    if not candidates:
        return None
    side = _sides(teacher_scales)[name]
    same_side = [other for other in candidates if _sides(student_scales)[other] == side]
    return (same_side or candidates)[-1]


def _sides(scales):
    """Whether a stage comes before, at or after the coarsest one: -1, 0 or 1."""
    names = list(scales)
    coarsest = max(range(len(names)), key=lambda index: scales[names[index]], default=0)
    return {name: (index > coarsest) - (index < coarsest) for index, name in enumerate(names)}


def _listed(side):
    listed = ", ".join(f"{name} at 1/{scale}" for name, scale in side.scales().items())
    return f"the {side.side} {side.model.name} has {listed or 'no stages'}"
