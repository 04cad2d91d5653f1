"""The gated feed-forward network and the written-out gradient of its gate."""

import numpy as np
import pytest
import tensorflow as tf

from keras_skd.layers import GatedFeedForward
from keras_skd.layers.gated_feed_forward import gelu_gate


def plain_gate(x):
    gate, value = tf.split(x, 2, axis=-1)
    return tf.nn.gelu(gate, approximate=False) * value


def test_gradient_is_that_of_the_plain_form():
    random = np.random.default_rng(5)
    x = tf.constant(random.normal(scale=2, size=(2, 3, 4, 8)).astype("float32"))
    upstream = tf.constant(random.normal(size=(2, 3, 4, 4)).astype("float32"))
    results = []
    for function in (gelu_gate, plain_gate):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        results.append((y, tape.gradient(y, x, output_gradients=upstream)))
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_gradient_is_that_of_finite_differences():
    x = tf.constant(np.random.default_rng(6).normal(size=(3, 6)))  # float64
    theoretical, numerical = tf.test.compute_gradient(gelu_gate, [x])
    # Central differences at the default step of 1/1024 err by the third derivative times 1e-6.
    np.testing.assert_allclose(theoretical[0], numerical[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
def test_training_and_export_form_are_equal(use_bias):
    x = np.random.default_rng(7).normal(size=(1, 6, 10, 8)).astype("float32")
    training, export = (GatedFeedForward(2.66, use_bias) for _ in range(2))
    training.build((None, None, None, 8))
    export.build(x.shape)
    assert export.export_form
    export.set_weights(training.get_weights())
    assert training.hidden == 21
    np.testing.assert_allclose(export(x), training(x), rtol=0, atol=1e-5)
