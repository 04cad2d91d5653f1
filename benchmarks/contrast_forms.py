"""Do negatives help? Forms of the contrastive loss in which they pull, against L1 to the teacher.

    python benchmarks/contrast_forms.py --run DIR --data DIR --test DIR --teacher-cache DIR ...

Takes the arguments of ``python -m keras_skd.compare``, whose methods it adds these to. Each is the
kernel loss of ``skd`` and, in place of its contrastive loss:

``contrast_past``     the student's own past (weights averaged over the last thousand steps) is
                      the negative: ``d(a, p) / (d(a, p) + d(a, n))``, with all its gradient
``contrast_light``    the same with the ground truth, degraded lightly: a little blur and noise
``contrast_patches``  L1 to the teacher's image, and InfoNCE between features: the positive is the
                      teacher's vector at the same position, negatives those elsewhere in the batch

``a`` is the student's image, ``p`` the teacher's, ``d`` the mean absolute difference of an image.
Weights make a term's gradient about as long as that of today's contrastive loss, or a tenth of the
reconstruction's for InfoNCE, as ``benchmarks/term_gradients.py`` measures it. What came out is in
``results/README.md``.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from keras_skd import compare, distillation, losses
from keras_skd.distillation.methods import METHODS, Method, Term

PAST_MOMENTUM = 0.999
INFONCE_TEMPERATURE = 0.1
ASKING = 64  # positions of a stage and image that InfoNCE compares
WEIGHTS = {
    "contrast_past": 1.0,
    "contrast_light": 1.0,
    "contrast_patches": 0.01,
}

_now = {}  # what the step that is being traced has beside its images


class DistillerWithPast(distillation.Distiller):
    """A distiller that also holds the average of the student's past weights, and runs it."""

    def __init__(self, student, *arguments, **options):
        super().__init__(student, *arguments, **options)
        past = keras.models.clone_model(student)
        past.set_weights(student.get_weights())
        past.trainable = False
        self._run_past = lambda image: past(image, training=False)
        self._past_variables = lambda: past.weights

    def train_step(self, data):
        logs = super().train_step(data)
        for past, present in zip(self._past_variables(), self.student.weights, strict=True):
            past.assign(PAST_MOMENTUM * past + (1 - PAST_MOMENTUM) * present)
        return logs

    def _term_values(self, degraded, *arguments):
        _now["past"] = self._run_past
        return super()._term_values(degraded, *arguments)


def _distance(x, y):
    return losses.mean_absolute_difference(x, tf.stop_gradient(y))


def _light(clean):
    """The ground truth, a third of it blurred, with noise of level 3."""
    blurred = tf.nn.avg_pool2d(clean, 3, 1, "SAME")
    return clean + 0.3 * (blurred - clean) + tf.random.normal(tf.shape(clean)) * (3 / 255)


def _past(step):
    return tf.stop_gradient(_now["past"](step.degraded_features[0]))


def _ratio(negative):
    def value(step, config):
        near = _distance(step.restored, step.teacher_image)
        far = _distance(step.restored, negative(step))
        return near / (near + far + 1e-6)

    return value


def _patches(step, config):
    total = 0.0
    for student, teacher in step.stages:
        s, t = (
            tf.math.l2_normalize(
                tf.reshape(losses.thinned(x, ASKING), (-1, teacher.shape[-1])), axis=-1
            )
            for x in (student, tf.stop_gradient(teacher))
        )
        logits = tf.matmul(s, t, transpose_b=True) / INFONCE_TEMPERATURE
        same = tf.range(tf.shape(s)[0])
        total += tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(same, logits))
    return total / len(step.stages) * tf.ones_like(step.restored[:, 0, 0, 0])


def _weighed(name, value):
    return lambda step, config: WEIGHTS[name] * value(step, config)


FORMS = {
    "contrast_past": _ratio(_past),
    "contrast_light": _ratio(lambda step: _light(step.clean)),
}
_KERNEL = METHODS["skd"].terms["kernel"]
for _name, _value in FORMS.items():
    _term = Term(_weighed(_name, _value), "alpha3", ("contrastive_stages",), extractor=True)
    METHODS[_name] = Method(_name, {"kernel": _KERNEL, "contrast": _term})
METHODS["contrast_patches"] = Method(
    "contrast_patches",
    {
        "kernel": _KERNEL,
        "teacher": METHODS["output"].terms["teacher"],
        "contrast": Term(
            _weighed("contrast_patches", _patches), "alpha3", stages=True, adapters=True
        ),
    },
)
distillation.Distiller = DistillerWithPast


if __name__ == "__main__":
    sys.exit(compare.main())
