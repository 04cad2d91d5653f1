import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.models import with_image_size
from keras_skd.quantisation.replay import Replay
from tests.quantisation.conftest import lively, make_restormer, make_uformer


@pytest.mark.parametrize("make", [make_restormer, make_uformer])
@pytest.mark.parametrize("for_integers", [False, True])
def test_a_replay_gives_what_the_model_gives_and_its_gradient(make, for_integers):
    model = lively(make)
    exported = with_image_size(model, (64, 64), for_integers=for_integers)
    replay = Replay(exported, list(exported.taps.values()))
    image = tf.random.stateless_uniform((1, 64, 64, 3), (0, 0))
    weights = [variable.value for variable in model.weights]

    @tf.function(autograph=False)
    def run(image):
        with tf.GradientTape() as tape:
            values = replay.run(image, replay.prepared(weights))
            loss = tf.reduce_mean(values[replay.outputs[0]] ** 2)
        return [values[name] for name in replay.outputs], tape.gradient(loss, weights)

    outputs, gradient = run(image)
    expected = keras.Model(exported.input, [exported.output, *exported.taps.values()])(image)
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(image) ** 2)
    for one, other in zip(gradient, tape.gradient(loss, weights), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3 * np.abs(other).max() + 1e-8)


def test_values_pass_through_what_is_put_between():
    exported = with_image_size(lively(make_restormer), (64, 64))
    replay = Replay(exported)
    image = tf.random.stateless_uniform((1, 64, 64, 3), (0, 0))
    weights = [variable.value for variable in exported.weights]

    def run(edges=None, results=None):
        values = replay.run(image, replay.prepared(weights, edges), edges, results)
        return values[replay.outputs[0]].numpy()

    plain = run()
    (last,) = (each for each in replay.of_image if replay.outputs[0] in each.outputs)
    doubled = run(results={last.outputs[0]: lambda value: 2 * value})
    np.testing.assert_allclose(doubled, 2 * plain, rtol=1e-6)
    # A weight on its way into the convolution that reads the image.
    first = next(each for each in replay.of_image if each.kind == "Conv2D")
    edge = (first.name, 1)
    assert np.abs(run(edges={edge: lambda value: 0 * value}) - plain).max() > 1e-3
    np.testing.assert_array_equal(run(edges={edge: lambda value: value}), plain)
