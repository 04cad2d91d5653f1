"""Distillation as a Keras model with its own ``train_step``."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from keras_skd.distillation import losses

METHODS = {
    "skd": "soft knowledge distillation: L_REC + alpha2 L_GK + alpha3 L_CL",
    "output": "L_REC + L1 to the teacher's image",
    "none": "L_REC alone: ground truth only",
}


@dataclass(frozen=True)
class SKDConfig:
    """The numbers of soft knowledge distillation, which the paper does not publish.

    Attributes:
        alpha1: Weight of the cross-attention terms within the kernel loss.
        alpha2: Weight of the kernel loss. At 0.1 it was five times the reconstruction loss and cost
            0.13 dB against 0.01.
        alpha3: Weight of the contrastive loss.
        bandwidth: sigma of the Gaussian kernel, in units of the teacher's RMS.
        temperature: lambda of both attentions.
        stages: Names of the tapped stages. The full-resolution ones are left out: their spatial
            attention would cost several times the rest of the step, and the image-level losses
            already act there.
        contrastive_stages: Stages of the teacher that serve as extractor of the contrastive loss.
    """

    alpha1: float = 1.0
    alpha2: float = 0.01
    alpha3: float = 0.02
    bandwidth: float = 1.0
    temperature: float = 0.1
    stages: tuple = ("latent", "decoder_level3", "decoder_level2")
    contrastive_stages: tuple = ("encoder_level1", "encoder_level2")


@keras.saving.register_keras_serializable("keras_skd")
class Distiller(keras.Model):
    """Trains a student against ground truth and a frozen teacher.

    ``L = L_REC + alpha2 L_GK + alpha3 L_CL`` with::

        L_REC = mean |G - S_r|                          G ground truth, S_r the student's image
        L_GK  = mean over stages of GK(S, T) + alpha1 (GK(S_c, T) + GK(S_s, T))
        L_CL  = contrastive_loss of the student's image

    Stages are averaged rather than summed, so that alpha2 does not depend on how many are tapped.
    See :mod:`keras_skd.losses` for the terms. Where the widths of a stage differ, a learned 1x1
    convolution (the adapter) brings the student's features to the teacher's width; it belongs to
    the distiller and is gone when ``distiller.student`` is saved.

    The student runs once a step: image and stages come from one pass. The teacher runs in inference
    mode, has no gradient, and is in neither the student's file nor the distiller's weights.

    Call ``compile(optimizer=...)`` and ``fit(dataset)`` with pairs ``(degraded, clean)``, float32
    ``(batch, height, width, channels)``. Metrics are ``loss`` and each term; in validation
    ``psnr`` (dB, of images clipped to 0..1) as well.

    Args:
        student: A model with an attribute ``taps`` (stage name to symbolic tensor).
        teacher: Another, or None for the method ``none``.
        method: A key of ``METHODS``.
        config: The weights and temperatures.

    Raises:
        ValueError: The method is unknown, the teacher is missing, or a stage is missing or of
            different resolution on one side; both sides are named.
    """

    def __init__(self, student, teacher=None, method="skd", config=SKDConfig(), **kwargs):
        super().__init__(**kwargs)
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
        if method != "none" and teacher is None:
            raise ValueError(f"method {method!r} needs a teacher; give one, or use method 'none'.")
        self.student = student
        self.method = method
        self.config = config
        stages = config.stages if method == "skd" else ()
        self._student_outputs = _with_taps(student, stages, "student")
        self.adapters = {}
        # The teacher is reached through closures: Keras would track, count and save an attribute.
        self._teacher_outputs = self._extract = lambda degraded: None
        if method != "none":
            extracted = config.contrastive_stages if method == "skd" else ()
            teacher_model = _with_taps(teacher, (*stages, *extracted), "teacher")
            self._teacher_outputs = lambda degraded: teacher_model(degraded, training=False)
        if method == "skd":
            extractor = keras.Model(teacher.input, [teacher.taps[name] for name in extracted])
            self._extract = lambda image: _as_list(extractor(image, training=False))
            self._build_adapters(teacher, stages)
        terms = {"none": (), "output": ("teacher",), "skd": ("kernel", "contrastive")}[method]
        self._trackers = {
            name: keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", *terms)
        }
        self._psnr = keras.metrics.Mean(name="psnr")
        self.built = True

    def _build_adapters(self, teacher, stages):
        for name in stages:
            ours, theirs = self.student.taps[name], teacher.taps[name]
            if _scale(self.student, ours) != _scale(teacher, theirs):
                raise ValueError(
                    f"stage {name!r}: the student's is at 1/{_scale(self.student, ours):g} of the "
                    f"resolution, the teacher's at 1/{_scale(teacher, theirs):g}."
                )
            if ours.shape[-1] != theirs.shape[-1]:
                adapter = keras.layers.Conv2D(theirs.shape[-1], 1, name=f"adapter_{name}")
                adapter.build(ours.shape)
                self.adapters[name] = adapter

    @property
    def metrics(self):
        """The trackers of every loss term, and the validation's PSNR."""
        return [*self._trackers.values(), self._psnr]

    def call(self, degraded, training=False):
        """The student's image."""
        return self.student(degraded, training=training)

    def train_step(self, data):
        """One step on ``(degraded, clean)``."""
        degraded, clean = _pair(data)
        targets = self._teacher_outputs(degraded)
        with tf.GradientTape() as tape:
            outputs = _as_list(self._student_outputs(degraded, training=True))
            terms = self._terms(degraded, clean, outputs, targets)
            scaled = self.optimizer.scale_loss(terms["loss"])
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for name, value in terms.items():
            self._trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def test_step(self, data):
        """PSNR and reconstruction loss on ``(degraded, clean)``."""
        degraded, clean = _pair(data)
        restored = self.student(degraded, training=False)
        self._trackers["reconstruction"].update_state(_l1(restored, clean))
        self._psnr.update_state(tf.image.psnr(tf.clip_by_value(restored, 0.0, 1.0), clean, 1.0))
        return {
            "reconstruction": self._trackers["reconstruction"].result(),
            "psnr": self._psnr.result(),
        }

    def _terms(self, degraded, clean, outputs, targets):
        """Every loss term of a batch, by name; ``loss`` is their weighted sum."""
        restored = outputs[0]
        terms = {"reconstruction": _l1(restored, clean)}
        total = terms["reconstruction"]
        if self.method == "output":
            terms["teacher"] = _l1(restored, _as_list(targets)[0])
            total = total + terms["teacher"]
        elif self.method == "skd":
            # The teacher's pass over the degraded image has its features for the contrast too.
            teacher_image, *features = targets
            teacher_stages = features[: len(self.config.stages)]
            degraded_features = features[len(self.config.stages) :]
            terms["kernel"] = self._kernel_loss(outputs[1:], teacher_stages)
            terms["contrastive"] = tf.reduce_mean(
                losses.contrastive_loss(
                    self._extract(restored),
                    [self._extract(clean), self._extract(teacher_image)],
                    degraded_features,
                )
            )
            total += self.config.alpha2 * terms["kernel"]
            total += self.config.alpha3 * terms["contrastive"]
        return {"loss": total, **terms}

    def _kernel_loss(self, student_stages, teacher_stages):
        config = self.config
        loss = 0.0
        for name, ours, theirs in zip(config.stages, student_stages, teacher_stages, strict=True):
            if name in self.adapters:
                ours = self.adapters[name](ours)
            s, t = losses.normalise_by_teacher(ours, tf.stop_gradient(theirs))
            by_channel = losses.channel_cross_attention(s, t, config.temperature)
            by_position = losses.spatial_cross_attention(s, t, config.temperature)
            direct, channel, spatial = (
                tf.reduce_mean(losses.gaussian_kernel_distance(x, t, config.bandwidth))
                for x in (s, by_channel, by_position)
            )
            loss += direct + config.alpha1 * (channel + spatial)
        return loss / len(config.stages)


def _with_taps(model, stages, side):
    """A model of the image and the named stages, from one pass."""
    return keras.Model(model.input, [model.output, *(_tap(model, name, side) for name in stages)])


def _tap(model, name, side):
    taps = getattr(model, "taps", {})
    if name not in taps:
        raise ValueError(
            f"the {side} {model.name} has no stage {name!r}; it has {', '.join(taps) or 'none'}."
        )
    return taps[name]


def _scale(model, tap):
    """Image width over stage width, found by running the shapes of a 128-pixel image."""
    probe = keras.Model(model.input, tap)
    return 128 / probe.compute_output_shape((1, 128, 128, model.input.shape[-1]))[1]


def _as_list(outputs):
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _pair(data):
    degraded, clean, weights = keras.utils.unpack_x_y_sample_weight(data)
    if clean is None or weights is not None:
        raise ValueError("a Distiller trains on pairs (degraded, clean), without sample weights.")
    return degraded, clean


def _l1(x, y):
    return tf.reduce_mean(tf.abs(tf.cast(x, tf.float32) - tf.cast(y, tf.float32)))
