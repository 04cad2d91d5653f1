"""The LeFF network and the written-out gradient of its GELU."""

import numpy as np
import tensorflow as tf

from keras_skd.layers import LocallyEnhancedFeedForward
from keras_skd.layers.locally_enhanced_feed_forward import gelu


def test_gradient_is_that_of_the_plain_form():
    random = np.random.default_rng(14)
    x, upstream = (tf.constant(random.normal(scale=2, size=(4, 9)).astype("f4")) for _ in range(2))
    results = []
    for function in (gelu, lambda x: tf.nn.gelu(x, approximate=False)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        results.append((y, tape.gradient(y, x, output_gradients=upstream)))
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_training_and_export_form_are_equal():
    x = np.random.default_rng(15).normal(size=(1, 6, 10, 8)).astype("float32")
    training, export = (LocallyEnhancedFeedForward(2.66) for _ in range(2))
    training.build((None, None, None, 8))
    export.build(x.shape)
    export.set_weights(training.get_weights())
    assert training.hidden == 21
    np.testing.assert_allclose(export(x), training(x), rtol=0, atol=1e-5)
