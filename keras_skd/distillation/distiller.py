"""Distillation as a Keras model with its own ``train_step``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from keras_skd.distillation import losses, stages
from keras_skd.distillation.methods import METHODS, SKDConfig, Step
from keras_skd.errors import InputError
from keras_skd.hints import PathLike, Tensor

if TYPE_CHECKING:
    from keras_skd.quantisation import Simulation

# How far a clean image may leave 0..1: what resampling overshoots by, far from a range of 0..255
# or of -1..1. A noisy input leaves it further; its bound only tells 0..255 from it.
_TOLERANCE, _INPUT_BOUND = 0.01, 16.0
_RANGE_MESSAGE = "images must be float32 within 0..1"


class Distiller(keras.Model):
    """Trains a student against ground truth and a frozen teacher.

    ``L = L_REC + sum over the method's terms of weight * term + L_REG``, for ``skd``::

        L     = L_REC + alpha2 L_GK + alpha3 L_CL + L_REG
        L_REC = mean |G - S_r|                          G ground truth, S_r the student's image
        L_GK  = mean over stages of GK(S, T) + alpha1 (GK(S_c, T) + GK(S_s, T))
        L_CL  = contrastive_loss of the student's image
        L_REG = the student's own regularisers and add_loss(), where it has any

    Stages are averaged rather than summed, so that alpha2 does not depend on how many are tapped.
    See :mod:`keras_skd.losses` for the terms and :mod:`keras_skd.distillation.methods` for the
    methods. Where the widths of a stage differ, a learned 1x1 convolution (the adapter) brings the
    student's features to the teacher's width; it belongs to the distiller, and ``save`` writes the
    student alone.

    The student runs once a step: image and stages come from one pass. The teacher runs in inference
    mode, has no gradient, and is in neither the student's file nor the distiller's weights.

    Call ``compile(optimizer=...)`` and ``fit(dataset)`` with pairs ``(degraded, clean)``, float32
    ``(batch, height, width, channels)`` in 0..1. Batches of a
    :class:`~keras_skd.training.TeacherCache` bring what the teacher gave, which then does not run.
    The logs have ``loss``, each term, the gradient's global norm before clipping
    (``gradient_norm``, of a step's whole batch) and the metrics given to ``compile``. ``evaluate``
    and ``validation_data`` compute the same loss in inference mode, with the teacher, so that
    Keras's ``EarlyStopping`` and ``ModelCheckpoint`` find ``val_loss``, and ``psnr`` (dB, of images
    clipped to 0..1) as well. The optimizer's own loss scaling (added under ``mixed_float16``),
    gradient accumulation and averaging of weights (``use_ema``) apply, and so do ``jit_compile``,
    ``steps_per_execution`` and ``run_eagerly``. :mod:`keras_skd.training.callbacks` has callbacks
    that validate, log, save and name divergence.

    A distiller is not saved itself: ``save`` writes the student, ``save_weights`` its training
    state.

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
        simulation: A :class:`keras_skd.quantisation.Simulation` of this student: training, the loss
            and ``call`` are of what its integer file computes. Images are of the simulation's size.

    Attributes:
        student: The student.
        simulation: The simulation, or None.
        stages: The matched :class:`~keras_skd.distillation.stages.StagePair` objects.
        extractor_stages: Names of the stages of the contrastive loss's extractor.
        adapters: Stage name (the teacher's) to 1x1 convolution, where widths differ.

    Raises:
        InputError: The method is unknown, the teacher is missing, a model is not one of one image
            to one image, or a stage is missing or of different resolution on one side; both sides
            are named.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None = None,
        method: str = "skd",
        config: SKDConfig | None = None,
        student_taps: Mapping[str, str | Tensor] | Sequence[str] | None = None,
        teacher_taps: Mapping[str, str | Tensor] | Sequence[str] | None = None,
        simulation: Simulation | None = None,
        **kwargs: Any,
    ):
        if method not in METHODS:
            raise InputError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
        if method != "none" and teacher is None:
            raise InputError(f"method {method!r} needs a teacher; give one, or use method 'none'.")
        stages.check_model(student, "student")
        if method != "none":
            stages.check_model(teacher, "teacher")
        # The policy decides whether compile() wraps the optimizer for loss scaling. Images keep
        # float32 on their way to the student, which casts them itself.
        kwargs.setdefault("dtype", _policy(student))
        super().__init__(autocast=False, **kwargs)
        self.student = student
        self.method = method
        self.config = config or SKDConfig()
        self._terms = METHODS[method].terms
        ours = stages.TappedModel(student, "student", student_taps)
        self.stages, self.adapters, self.extractor_stages = [], {}, ()
        self._check_size = lambda height, width: None
        # The teacher is reached through closures: Keras would track, count and save an attribute.
        self._run_teacher = lambda degraded: (None, [], [])
        self._extract = None
        if method != "none":
            self._add_teacher(stages.TappedModel(teacher, "teacher", teacher_taps), ours)
        self._add_student(ours, simulation)
        terms = ("loss", "reconstruction", *self._terms, "regularization")
        names = (*terms, "gradient_norm", "psnr")
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self._watch = _FirstDivergence((*terms, "gradient_norm"))
        self._reading, self._since_reading, self._log_every, self._fitting = None, 0, 1, False
        self._trained_names = None
        self.built = True

    def _add_student(self, ours, simulation):
        names = [stage.student_name for stage in self.stages]
        self.simulation = simulation
        if simulation is None:
            self._run_student = ours.with_outputs(names)
            return
        if simulation.student is not self.student:
            raise InputError("the simulation is of another student; make one of this student.")
        if self.dtype_policy.name != "float32":
            raise InputError(
                f"integers are simulated in float32, and the student's policy is "
                f"{self.dtype_policy.name}; make it under float32."
            )
        # Its ranges belong to the state of the training.
        self.quantisers = simulation.quantisers
        self._run_student = lambda degraded, training=False: simulation(degraded, names)

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
            chosen = config.contrastive_stages if "contrastive_stages" in method.settings else None
            self.extractor_stages = tuple(chosen or stages.default_extractor_stages(theirs))
            pixels, extracted = stages.split_pixels(self.extractor_stages)
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

    def check_image_size(self, height: int, width: int) -> None:
        """Checks that the compared stages of both models are of one size for an image.

        Args:
            height: Of the images to train on, in pixels.
            width: The same.

        Raises:
            ValueError: The models pad images of this size to different ones; the message names
                both stages and a size that will do.
        """
        self._check_size(height, width)

    def compile(
        self,
        optimizer: str | dict[str, Any] | keras.optimizers.Optimizer = "rmsprop",
        loss: None = None,
        loss_weights: None = None,
        metrics: Sequence[Any] | None = None,
        *,
        jit_compile: bool = False,
        log_every: int = 1,
        **kwargs: Any,
    ) -> None:
        """As :meth:`keras.Model.compile`, without a loss: the losses are the method's.

        Args:
            optimizer: As in Keras.
            loss: None.
            loss_weights: None; the weights are those of ``config``.
            metrics: Computed on ``(clean, restored)`` in training and validation.
            jit_compile: Whether XLA compiles the step; True or False. Keras's ``"auto"`` is not
                taken, because XLA is several times slower for these models on a CPU.
            log_every: Steps of ``fit`` between readings of the losses. A reading waits for the
                device; in between, callbacks of a batch get the last one. The logs of an epoch are
                always exact.
            **kwargs: Further arguments of Keras.

        Raises:
            InputError: A loss is given, a number is out of range, or XLA is asked for across
                machines.
        """
        if loss is not None or loss_weights is not None:
            raise InputError("a Distiller has its own losses; choose them with method=, not loss=.")
        if jit_compile not in (True, False):
            raise InputError(f"jit_compile must be True or False; got {jit_compile!r}.")
        if isinstance(log_every, bool) or not isinstance(log_every, int) or log_every < 1:
            raise InputError(f"log_every must be a number of steps, at least 1; got {log_every!r}.")
        if jit_compile and self._across_workers():
            raise InputError(
                "jit_compile=True: XLA cannot compile a step that communicates between machines; "
                "leave it out under MultiWorkerMirroredStrategy."
            )
        super().compile(optimizer=optimizer, metrics=metrics, jit_compile=jit_compile, **kwargs)
        self._log_every = log_every
        if self._compile_metrics is not None:
            # Here, and not at the first step, whose graph could not make their variables.
            self._compile_metrics.build(self.student.output, self.student.output)
        _divide_clipping(self.optimizer, self.distribute_strategy.num_replicas_in_sync)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As :meth:`keras.Model.fit`.

        Raises:
            InputError: The images are not within 0..1. It is looked at in every step, except in
                those that XLA compiles.
        """
        self._watch.reset_state()
        self._fitting = True
        try:
            return super().fit(*args, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            if _RANGE_MESSAGE in str(error):
                raise InputError(
                    f"{_RANGE_MESSAGE}, and these are not (as after a division by 255); a clean "
                    f"image may leave the range by {_TOLERANCE}."
                ) from error
            raise
        finally:
            self._fitting = False

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers of every loss term, of the validation's PSNR and those of ``compile``."""
        given = [] if self._compile_metrics is None else [self._compile_metrics]
        return [*self._trackers.values(), *given]

    def get_metrics_result(self) -> dict[str, Tensor]:
        """The means of the epoch so far, of what training logs."""
        # Keras takes them for the logs of an epoch where the names are those of the last step.
        if self._trained_names is None or self._across_workers():
            return {}
        return self._results(self._trained_names)

    def reset_metrics(self) -> None:
        """Starts the means anew."""
        super().reset_metrics()
        self._reading = None

    def first_divergence(self) -> tuple[int, dict[str, float]] | None:
        """Where the last ``fit`` met a term that is not finite, or None.

        Reading it waits for the device.

        Returns:
            None; or ``(step, values)``: the first such step of that ``fit``, counted from 1, and a
            dict of the terms that were not finite in it. It has ``loss`` and ``gradient_norm`` only
            where no other term is the reason.
        """
        return self._watch.first(self.distribute_strategy.num_replicas_in_sync)

    def call(self, degraded: Tensor, training: bool = False) -> Tensor:
        """The student's image."""
        if self.simulation is not None:
            return self.simulation(degraded)[0]
        return self.student(degraded, training=training)

    def train_step(self, data: Tensor) -> dict[str, Tensor]:
        """One step on ``(degraded, clean)``."""
        degraded, clean, targets = self._unpack(data)
        with tf.GradientTape() as tape:
            outputs = _as_list(self._run_student(degraded, training=True))
            terms = self.compute_terms(degraded, clean, outputs, targets)
            scaled = self.optimizer.scale_loss(terms["loss"])
        gradients = self._of_global_batch(tape.gradient(scaled, self.trainable_variables))
        norm = self._gradient_norm(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        images = tf.shape(clean)[0]
        for name, value in terms.items():
            self._trackers[name].update_state(value, sample_weight=images)
        # With loss scaling a gradient may overflow: the step is skipped, the scale halved.
        overflows = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        finite = tf.math.is_finite(norm)
        self._trackers["gradient_norm"].update_state(
            tf.where(finite, norm, 0.0) if overflows else norm,
            sample_weight=tf.cast(finite, norm.dtype) if overflows else 1.0,
        )
        watched = {**terms, "gradient_norm": tf.zeros_like(norm) if overflows else norm}
        self._watch.update_state(watched)
        self._update_compiled_metrics(clean, outputs[0])
        self._trained_names = (*terms, "gradient_norm")
        return self._results(self._trained_names)

    def test_step(self, data: Tensor) -> dict[str, Tensor]:
        """Loss, terms, PSNR and the metrics of ``compile`` on ``(degraded, clean)``."""
        degraded, clean, targets = self._unpack(data)
        outputs = _as_list(self._run_student(degraded, training=False))
        regularization = self._regularization()
        values = self._term_values(degraded, clean, outputs, targets)
        values["loss"] = self._weighed(values)
        if regularization is not None:
            values["regularization"] = tf.zeros_like(values["loss"]) + regularization
            values["loss"] += regularization
        inside = tf.clip_by_value(outputs[0], 0.0, 1.0)
        values["psnr"] = tf.image.psnr(inside, clean, 1.0)
        for name, value in values.items():
            # By image, so that a replica without one adds nothing.
            self._trackers[name].update_state(value)
        self._update_compiled_metrics(clean, outputs[0])
        return self._results(name for name in self._trackers if name in values)

    def compute_terms(
        self,
        degraded: Tensor,
        clean: Tensor,
        outputs: Sequence[Tensor] | None = None,
        targets: tuple[Tensor, Sequence[Tensor], Sequence[Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Every term of a batch's loss.

        Args:
            degraded: ``(batch, height, width, channels)``.
            clean: The ground truth, same shape, in 0..1.
            outputs: What the student gave, if it was run: its image and its stages.
            targets: What the teacher gave, if it was run: its image, its stages, and the
                extractor's features of the input.

        Returns:
            A dict of scalars: ``loss``, the weighted sum; ``reconstruction``; the method's terms,
            not weighted; and ``regularization`` where the student has any.
        """
        if outputs is None:
            outputs = _as_list(self._run_student(degraded, training=True))
        regularization = self._regularization()
        values = self._term_values(degraded, clean, outputs, targets)
        terms = {name: tf.reduce_mean(value) for name, value in values.items()}
        terms = {"loss": self._weighed(terms), **terms}
        if regularization is not None:
            terms["regularization"] = regularization
            terms["loss"] += regularization
        return terms

    def _term_values(self, degraded, clean, outputs, targets):
        """``(batch,)`` of the reconstruction and of each of the method's terms."""
        if targets is None:
            targets = self._run_teacher(degraded)
        teacher_image, teacher_stages, degraded_features = targets
        restored, *student_stages = outputs
        pairs = []
        for stage, student, teacher in zip(
            self.stages, student_stages, teacher_stages, strict=True
        ):
            self._check_sizes(degraded, stage, student, teacher)
            adapter = self.adapters.get(stage.teacher_name)
            pairs.append((adapter(student) if adapter else student, teacher))
        step = Step(clean, restored, teacher_image, pairs, degraded_features, self._extract)
        values = {"reconstruction": losses.mean_absolute_difference(restored, clean)}
        for name, term in self._terms.items():
            values[name] = term.value(step, self.config)
        return values

    def _weighed(self, values):
        total = values["reconstruction"]
        for name, term in self._terms.items():
            total += getattr(self.config, term.weight) * values[name]
        return total

    def _regularization(self):
        """What the student's last pass added with add_loss(), and its regularisers; or None."""
        added = self.student.losses
        return tf.add_n([tf.cast(tf.reduce_sum(x), tf.float32) for x in added]) if added else None

    def _unpack(self, data):
        """A batch, and what the teacher gave for it where the data hold that (None: it is run)."""
        degraded, clean, weights = keras.utils.unpack_x_y_sample_weight(data)
        if clean is None or weights is not None:
            raise InputError(
                "a Distiller trains on pairs (degraded, clean), without sample weights."
            )
        targets = None
        if isinstance(clean, dict):
            clean, targets = clean["clean"], self._recorded(degraded, clean)
        degraded, clean = tf.cast(degraded, tf.float32), tf.cast(clean, tf.float32)
        lowest, highest = tf.reduce_min(clean), tf.reduce_max(clean)
        inside = (lowest >= -_TOLERANCE) & (highest <= 1.0 + _TOLERANCE)
        bounded = tf.reduce_max(tf.abs(degraded)) <= _INPUT_BOUND
        empty = tf.equal(tf.size(clean), 0)  # a replica without an image
        tf.debugging.Assert(empty | (inside & bounded), [_RANGE_MESSAGE, lowest, highest])
        return degraded, clean, targets

    def _recorded(self, degraded, data):
        """What the teacher gave, from a batch of a teacher cache, as running it would give it."""
        stages_ = [data["teacher_stages"][stage.teacher_name] for stage in self.stages]
        return data["teacher_image"], stages_, [degraded] * len(self.extractor_stages)

    def check_cacheable(self) -> None:
        """Checks that all that is needed of the teacher depends on the degraded image alone.

        Raises:
            InputError: The contrastive loss looks at the student's image through the teacher, which
                has to run in every step.
        """
        deep = [name for name in self.extractor_stages if name != stages.PIXELS]
        if deep:
            remedy = "leave the cache out"
            if "contrastive_stages" in METHODS[self.method].settings:
                remedy += f", or choose contrastive_stages=({stages.PIXELS!r},)"
            raise InputError(
                f"the contrastive loss compares the teacher's features of the student's image "
                f"({', '.join(deep)}), which no teacher cache can hold; {remedy}."
            )

    def _gradient_norm(self, gradients):
        """The global norm of the whole batch's gradient, without loss scaling."""
        used = [gradient for gradient in gradients if gradient is not None]
        scale = tf.cast(self.optimizer.scale_loss(1.0), tf.float32)
        return tf.linalg.global_norm(used) * self.distribute_strategy.num_replicas_in_sync / scale

    def _update_compiled_metrics(self, clean, restored):
        if self._compile_metrics is not None:
            self._compile_metrics.update_state(clean, restored)

    def _results(self, names):
        results = {name: self._trackers[name].result() for name in names}
        if self._compile_metrics is not None:
            results.update(self._compile_metrics.result())
        return results

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

    def save(self, filepath: PathLike, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the student, without teacher and adapters, as :meth:`keras.Model.save` does.

        So ``keras.callbacks.ModelCheckpoint`` writes students.
        """
        self.student.save(filepath, overwrite=overwrite, **kwargs)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
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

    def make_train_function(self, force: bool = False) -> None:
        """As in Keras, but across workers with a reduction of the logs that works there, and with
        the logs read as seldom as ``log_every`` says."""
        if self.train_function is not None and not force:
            return
        if self._across_workers():
            self.train_function = self._across_workers_function(self.train_step)
            return
        super().make_train_function(force)
        if self._log_every > 1:
            self.train_function = self._read_seldom(self.train_function)

    def _read_seldom(self, function):
        """Reads the logs every so many steps.

        Keras turns the logs of every step into floats, which waits for the device each time.
        """
        every = max(1, self._log_every // self.steps_per_execution)

        def read_seldom(iterator):
            logs = function(iterator)
            if not self._fitting:
                return logs
            self._since_reading += 1
            if self._reading is None or self._since_reading >= every:
                self._reading = {name: float(value) for name, value in logs.items()}
                self._since_reading = 0
            return dict(self._reading)

        return read_seldom

    def make_test_function(self, force: bool = False) -> None:
        """As in Keras, but across workers with a reduction of the logs that works there."""
        if not self._across_workers():
            super().make_test_function(force)
        elif self.test_function is None or force:
            self.test_function = self._across_workers_function(self.test_step)

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


class _FirstDivergence(keras.metrics.Metric):
    """Remembers, on the device, the first step whose terms are not all finite.

    So nothing has to be read between two looks at it, however far apart they are. Of every term it
    keeps the number of finite steps before the first other one, and that one's value.
    """

    def __init__(self, names):
        super().__init__(name="first_divergence")
        self.names = names
        options = {"shape": (len(names),), "initializer": "zeros"}
        self.steps = self.add_variable((), "zeros", dtype="int64", name="steps")
        self.good = self.add_variable(**options, dtype="int64", name="good")
        self.values = self.add_variable(**options, dtype="float32", name="values")

    def update_state(self, terms):
        """Takes the step's terms, scalars by name; a name that is missing is as good as zero."""
        values = tf.stack([tf.cast(terms.get(name, 0.0), tf.float32) for name in self.names])
        before = tf.equal(self.good, self.steps)  # nothing bad so far
        finite = tf.math.is_finite(values)
        self.values.assign(tf.where(before & ~finite, values, self.values))
        self.good.assign(self.good + tf.cast(before & finite, tf.int64))
        self.steps.assign(self.steps + 1)

    def result(self):
        """Finite steps of every term, summed over replicas."""
        return self.good

    def first(self, replicas):
        """See :meth:`Distiller.first_divergence`."""
        steps, good, values = (
            tf.convert_to_tensor(variable).numpy()
            for variable in (self.steps, self.good, self.values)
        )
        first = int(good.min()) // replicas
        if good.min() == steps:
            return None
        # Replicas that share their gradients differ by one step at most.
        bad = {
            name: float(value)
            for name, count, value in zip(self.names, good, values, strict=True)
            if count < steps and count // replicas == first
        }
        reasons = {name: bad[name] for name in bad if name not in ("loss", "gradient_norm")}
        return first + 1, reasons or bad


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
