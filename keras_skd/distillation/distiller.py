"""Distillation as a Keras model with its own ``train_step``."""

from contextlib import contextmanager

import keras
import tensorflow as tf

from keras_skd.distillation import losses, stages
from keras_skd.distillation.methods import METHODS, SKDConfig, Step
from keras_skd.errors import InputError


@keras.saving.register_keras_serializable("keras_skd")
class Distiller(keras.Model):
    """Trains a student against ground truth and a frozen teacher.

    ``L = L_REC + sum over the method's terms of weight * term``, for ``skd``::

        L     = L_REC + alpha2 L_GK + alpha3 L_CL
        L_REC = mean |G - S_r|                          G ground truth, S_r the student's image
        L_GK  = mean over stages of GK(S, T) + alpha1 (GK(S_c, T) + GK(S_s, T))
        L_CL  = contrastive_loss of the student's image

    Stages are averaged rather than summed, so that alpha2 does not depend on how many are tapped.
    See :mod:`keras_skd.losses` for the terms and :mod:`keras_skd.distillation.methods` for the
    methods. Where the widths of a stage differ, a learned 1x1 convolution (the adapter) brings the
    student's features to the teacher's width; it belongs to the distiller, and ``save`` writes the
    student alone.

    The student runs once a step: image and stages come from one pass. The teacher runs in inference
    mode, has no gradient, and is in neither the student's file nor the distiller's weights.

    Call ``compile(optimizer=...)`` and ``fit(dataset)`` with pairs ``(degraded, clean)``, float32
    ``(batch, height, width, channels)``. Metrics are ``loss`` and each term; in validation ``psnr``
    (dB, of images clipped to 0..1) as well. The optimizer's own loss scaling (added under
    ``mixed_float16``), gradient accumulation and averaging of weights (``use_ema``) apply, and so
    do ``jit_compile``, ``steps_per_execution`` and ``run_eagerly``.

    Under a ``tf.distribute`` strategy, make models, distiller and optimizer within its scope. The
    gradient is that of the mean over the global batch, on every replica, and the optimizer clips
    that one.

    Args:
        student: A functional model of one image. Of keras_skd, or any other with ``student_taps``.
        teacher: Another, or None for the method ``none``.
        method: A key of ``keras_skd.distillation.METHODS``.
        config: Weights, temperatures and stages; None is ``SKDConfig()``.
        student_taps: For a model without an attribute ``taps``: stage name to layer name or
            symbolic tensor, in order of computation, or a list of layer names.
        teacher_taps: The same for the teacher.

    Attributes:
        student: The student.
        stages: The matched :class:`~keras_skd.distillation.stages.Stage` pairs.
        adapters: Stage name (the teacher's) to 1x1 convolution, where widths differ.

    Raises:
        ValueError: The method is unknown, the teacher is missing, or a stage is missing or of
            different resolution on one side; both sides are named.
    """

    def __init__(
        self,
        student,
        teacher=None,
        method="skd",
        config=None,
        student_taps=None,
        teacher_taps=None,
        **kwargs,
    ):
        # The policy decides whether compile() wraps the optimizer for loss scaling. Images keep
        # float32 on their way to the student, which casts them itself.
        kwargs.setdefault("dtype", _policy(student))
        super().__init__(autocast=False, **kwargs)
        if method not in METHODS:
            raise InputError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
        if method != "none" and teacher is None:
            raise InputError(f"method {method!r} needs a teacher; give one, or use method 'none'.")
        self.student = student
        self.method = method
        self.config = config or SKDConfig()
        self._terms = METHODS[method].terms
        ours = stages.TappedModel(student, "student", student_taps)
        self.stages, self.adapters = [], {}
        self._check_size = lambda height, width: None
        # The teacher is reached through closures: Keras would track, count and save an attribute.
        self._run_teacher = lambda degraded: (None, [], [])
        self._extract = None
        if method != "none":
            self._add_teacher(stages.TappedModel(teacher, "teacher", teacher_taps), ours)
        self._run_student = ours.with_outputs([stage.student_name for stage in self.stages])
        self._trackers = {
            name: keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", *self._terms)
        }
        self._psnr = keras.metrics.Mean(name="psnr")
        self.built = True

    def _add_teacher(self, theirs, ours):
        method, config = METHODS[self.method], self.config
        if method.needs("stages"):
            names = config.stages or stages.default_stages(theirs, ours)
            self.stages = stages.match(names, theirs, ours)
            self._check_size = lambda height, width: stages.check_image_size(
                self.stages, theirs, ours, height, width
            )
        if method.needs("adapters"):
            for stage in self.stages:
                if stage.student.shape[-1] != stage.teacher.shape[-1]:
                    adapter = keras.layers.Conv2D(
                        stage.teacher.shape[-1],
                        1,
                        name=f"adapter_{stage.teacher_name}",
                        dtype=self.dtype_policy,
                    )
                    adapter.build(stage.student.shape)
                    self.adapters[stage.teacher_name] = adapter
        pixels, extracted = False, ()
        if method.needs("extractor"):
            extracted = config.contrastive_stages or stages.default_extractor_stages(theirs)
            pixels, extracted = stages.split_pixels(extracted)
            self._extract = self._extractor(theirs, pixels, extracted)
        teacher = theirs.with_outputs([*(stage.teacher_name for stage in self.stages), *extracted])
        compared = len(self.stages)

        def run(degraded):
            image, *features = _as_list(teacher(degraded, training=False))
            # The pass over the degraded image has its features for the contrast too.
            shallowest = [degraded] if pixels else []
            return image, features[:compared], shallowest + features[compared:]

        self._run_teacher = run

    @staticmethod
    def _extractor(teacher, pixels, names):
        """From an image to itself, if ``pixels``, and to the teacher's features of it."""
        if not names:
            return lambda image: [image]
        extractor = keras.Model(teacher.model.input, [teacher.tap(name) for name in names])

        def extract(image):
            features = _as_list(extractor(image, training=False))
            return [image, *features] if pixels else features

        return extract

    def check_image_size(self, height, width):
        """Checks that the compared stages of both models are of one size for an image.

        Args:
            height: Of the images to train on, in pixels.
            width: The same.

        Raises:
            ValueError: The models pad images of this size to different ones; the message names
                both stages and a size that will do.
        """
        self._check_size(height, width)

    def compile(self, optimizer="rmsprop", **kwargs):
        """As :meth:`keras.Model.compile`, without a loss: the losses are the method's.

        Raises:
            ValueError: A loss is given, or XLA is asked for across machines.
        """
        if kwargs.get("loss") is not None:
            raise InputError("a Distiller has its own losses; choose them with method=, not loss=.")
        if kwargs.get("jit_compile") is True and self._across_workers():
            raise InputError(
                "jit_compile=True: XLA cannot compile a step that communicates between machines; "
                "leave it out under MultiWorkerMirroredStrategy."
            )
        super().compile(optimizer=optimizer, **kwargs)
        _divide_clipping(self.optimizer, self.distribute_strategy.num_replicas_in_sync)

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
        targets = self._run_teacher(degraded)
        with tf.GradientTape() as tape:
            outputs = _as_list(self._run_student(degraded, training=True))
            terms = self.compute_terms(degraded, clean, outputs, targets)
            scaled = self.optimizer.scale_loss(terms["loss"])
        gradients = self._of_global_batch(tape.gradient(scaled, self.trainable_variables))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for name, value in terms.items():
            self._trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def test_step(self, data):
        """PSNR and reconstruction loss on ``(degraded, clean)``."""
        degraded, clean = _pair(data)
        restored = self.student(degraded, training=False)
        # By image, so that a replica without one adds nothing.
        self._trackers["reconstruction"].update_state(
            losses.mean_absolute_difference(restored, clean)
        )
        self._psnr.update_state(tf.image.psnr(tf.clip_by_value(restored, 0.0, 1.0), clean, 1.0))
        return {
            "reconstruction": self._trackers["reconstruction"].result(),
            "psnr": self._psnr.result(),
        }

    def compute_terms(self, degraded, clean, outputs=None, targets=None):
        """Every term of a batch's loss.

        Args:
            degraded: ``(batch, height, width, channels)``.
            clean: The ground truth, same shape, in 0..1.
            outputs: What the student gave, if it was run: its image and its stages.
            targets: What the teacher gave, if it was run.

        Returns:
            A dict of scalars: ``loss``, the weighted sum; ``reconstruction``; and the method's
            terms, not weighted.
        """
        if outputs is None:
            outputs = _as_list(self._run_student(degraded, training=True))
        teacher_image, teacher_stages, degraded_features = targets or self._run_teacher(degraded)
        restored, *student_stages = outputs
        pairs = []
        for stage, student, teacher in zip(
            self.stages, student_stages, teacher_stages, strict=True
        ):
            self._check_sizes(degraded, stage, student, teacher)
            adapter = self.adapters.get(stage.teacher_name)
            pairs.append((adapter(student) if adapter else student, teacher))
        step = Step(clean, restored, teacher_image, pairs, degraded_features, self._extract)
        terms = {"reconstruction": tf.reduce_mean(losses.mean_absolute_difference(restored, clean))}
        total = terms["reconstruction"]
        for name, term in self._terms.items():
            terms[name] = tf.reduce_mean(term.value(step, self.config))
            total += getattr(self.config, term.weight) * terms[name]
        return {"loss": total, **terms}

    def _check_sizes(self, degraded, stage, student, teacher):
        ours, theirs = student.shape[1:3], teacher.shape[1:3]
        if ours.is_fully_defined() and ours == theirs:
            return
        # In a graph, padding leaves the stages' sizes unknown where the images' are known.
        if degraded.shape[1:3].is_fully_defined():
            self.check_image_size(*degraded.shape[1:3])
        if ours.is_compatible_with(theirs):
            return
        raise InputError(
            f"the teacher's stage {stage.teacher_name!r} is {tuple(teacher.shape[1:3])} and the "
            f"student's {stage.student_name!r} {tuple(student.shape[1:3])}."
        )

    def save(self, filepath, overwrite=True, **kwargs):
        """Saves the student, without teacher and adapters, as :meth:`keras.Model.save` does.

        So ``keras.callbacks.ModelCheckpoint`` writes students.
        """
        self.student.save(filepath, overwrite=overwrite, **kwargs)

    @contextmanager
    def averaged_weights(self):
        """Evaluate or save within this context to use the optimizer's moving average of weights.

        Afterwards the weights are what they were, to the bit. Without ``use_ema`` it changes
        nothing.
        """
        variables = self.trainable_variables
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if not optimizer.use_ema:
            yield
            return
        trained = [variable.numpy() for variable in variables]
        optimizer.finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(variables, trained, strict=True):
                variable.assign(value)

    # --- more than one device or machine ---

    def _of_global_batch(self, gradients):
        """The mean of all replicas' gradients, over their number, because Keras sums them.

        Summed by the optimizer alone, every replica would clip its own gradient.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        context = tf.distribute.get_replica_context()
        if replicas == 1 or context is None:
            return gradients
        used = [gradient for gradient in gradients if gradient is not None]
        summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, used))
        return [None if each is None else next(summed) / replicas**2 for each in gradients]

    def _across_workers(self):
        return isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: models, metrics and adapters are built, and the optimizer at its first step.

        Keras's takes a batch apart that, across workers, is distributed.
        """

    def make_train_function(self, force=False):
        """As in Keras, but across workers with a reduction of the logs that works there."""
        if not self._across_workers():
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = self._across_workers_function(self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        """As in Keras, but across workers with a reduction of the logs that works there."""
        if not self._across_workers():
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = self._across_workers_function(self.test_step)
        return self.test_function

    def _across_workers_function(self, step):
        strategy = self.distribute_strategy

        def one_step(iterator):
            logs = strategy.run(step, args=(next(iterator),))
            # Keras reduces along axis 0, which a scalar has not.
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        def steps(iterator):
            if self.steps_per_execution > 1:
                for _ in tf.range(self.steps_per_execution - 1):
                    one_step(iterator)
            return one_step(iterator)

        return steps if self.run_eagerly else tf.function(steps)


def _policy(student):
    """The student's dtype policy, also where only its layers have it."""
    policies = {layer.dtype_policy.name: layer.dtype_policy for layer in student.layers}
    return policies.get("mixed_float16", student.dtype_policy)


def _divide_clipping(optimizer, replicas):
    """The optimizer sees the gradient over the number of replicas, so it must clip at that."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    already = getattr(optimizer, "_clipping_divided_by", 1)
    for name in ("clipnorm", "global_clipnorm", "clipvalue"):
        value = getattr(optimizer, name, None)
        if value is not None:
            setattr(optimizer, name, value * already / replicas)
    optimizer._clipping_divided_by = replicas


def _as_list(outputs):
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _pair(data):
    degraded, clean, weights = keras.utils.unpack_x_y_sample_weight(data)
    if clean is None or weights is not None:
        raise InputError("a Distiller trains on pairs (degraded, clean), without sample weights.")
    return degraded, clean
