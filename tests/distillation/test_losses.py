import numpy as np
import pytest
import tensorflow as tf

from keras_skd.distillation import losses


@pytest.fixture
def features():
    """Student and teacher features of 2 samples, 4 x 6 positions, 5 channels."""
    generator = np.random.default_rng(0)
    return generator.normal(size=(2, 2, 4, 6, 5)).astype(np.float32)


def softmax(x, axis):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def unit(x, axis):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def numpy_channel(student, teacher, temperature):
    """Straight from the formula, on C x N matrices."""
    out = np.empty_like(teacher)
    for i in range(len(student)):
        s, t = student[i].reshape(-1, 5).T, teacher[i].reshape(-1, 5).T
        out[i] = (softmax(unit(t, 1) @ unit(s, 1).T / temperature, 1) @ s).T.reshape(4, 6, 5)
    return out


def numpy_spatial(student, teacher, temperature):
    out = np.empty_like(teacher)
    for i in range(len(student)):
        s, t = student[i].reshape(-1, 5).T, teacher[i].reshape(-1, 5).T
        logits = unit(t, 0).T @ unit(s, 0) / temperature  # rows: teacher positions
        out[i] = (s @ softmax(logits, 1).T).T.reshape(4, 6, 5)
    return out


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (losses.channel_cross_attention, numpy_channel),
        (losses.spatial_cross_attention, numpy_spatial),
    ],
)
def test_attention_is_the_formula(features, ours, reference, temperature):
    expected = reference(*features, temperature)
    np.testing.assert_allclose(ours(*features, temperature), expected, atol=1e-5)


def test_kernel_distance_is_the_formula(features):
    student, teacher = features
    squared = ((student - teacher) ** 2).mean(axis=-1)
    expected = (1 - np.exp(-squared / (2 * 0.7**2))).mean(axis=(1, 2))
    actual = losses.gaussian_kernel_distance(student, teacher, 0.7)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_kernel_distance_of_equal_features_is_zero(features):
    assert losses.gaussian_kernel_distance(features[0], features[0]).numpy().max() == 0


@pytest.mark.parametrize(
    ("attention", "axes"),
    [(losses.channel_cross_attention, (-1,)), (losses.spatial_cross_attention, (1, 2))],
)
def test_at_infinite_temperature_attention_is_the_mean(features, attention, axes):
    student, teacher = features
    mean = student.mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(
        attention(student, teacher, 1e6), np.broadcast_to(mean, student.shape), atol=1e-5
    )


def test_attention_is_a_convex_combination(features):
    """Outputs stay within the student's range whatever the teacher's scale."""
    student, teacher = features
    by_channel = losses.channel_cross_attention(student, 1000 * teacher).numpy()
    by_position = losses.spatial_cross_attention(student, 1000 * teacher).numpy()
    slack = 1e-5
    assert (by_channel <= student.max(-1, keepdims=True) + slack).all()
    assert (by_channel >= student.min(-1, keepdims=True) - slack).all()
    assert (by_position <= student.max((1, 2), keepdims=True) + slack).all()
    assert (by_position >= student.min((1, 2), keepdims=True) - slack).all()


def test_attention_does_not_depend_on_the_order_it_contracts(features):
    student, teacher = features
    shuffled = student[..., np.random.default_rng(1).permutation(5)]
    np.testing.assert_allclose(
        losses.channel_cross_attention(shuffled, teacher),
        losses.channel_cross_attention(student, teacher),
        atol=1e-5,
    )


def test_normalisation_makes_distances_independent_of_scale(features):
    student, teacher = features

    def distance(scale):
        pair = losses.normalise_by_teacher(scale * student, scale * teacher)
        return losses.gaussian_kernel_distance(*pair).numpy()

    np.testing.assert_allclose(distance(100.0), distance(1.0), rtol=1e-4)


@pytest.mark.parametrize("block", [7, 24, 1024])
def test_blocks_change_neither_attention_nor_gradient(features, block, monkeypatch):
    """24 positions in blocks of 7 (a shorter last block), 24 (one) and 1024 (shorter)."""
    monkeypatch.setattr(losses, "_QUERY_BLOCK", block)
    student, teacher = (tf.constant(x) for x in features)

    def direct(s, t):
        s, t = tf.reshape(s, (2, 24, 5)), tf.reshape(t, (2, 24, 5))
        logits = tf.matmul(
            tf.math.l2_normalize(t, -1), tf.math.l2_normalize(s, -1), transpose_b=True
        )
        return tf.reshape(tf.matmul(tf.nn.softmax(logits / 0.1), s), (2, 4, 6, 5))

    def value_and_gradient(attention):
        with tf.GradientTape() as tape:
            tape.watch([student, teacher])
            out = attention(student, teacher)
            score = tf.reduce_sum(out * tf.sin(tf.range(5.0)))
        return [out, *tape.gradient(score, [student, teacher])]

    graph = tf.function(losses.spatial_cross_attention)
    expected = value_and_gradient(direct)
    for run in (losses.spatial_cross_attention, graph):
        for actual, reference in zip(value_and_gradient(run), expected, strict=True):
            np.testing.assert_allclose(actual, reference, atol=2e-5)


@pytest.mark.parametrize(
    "attention", [losses.channel_cross_attention, losses.spatial_cross_attention]
)
def test_gradient_agrees_with_finite_differences(features, attention):
    student, teacher = (tf.constant(x) for x in features)
    direction = tf.constant(np.random.default_rng(2).normal(size=student.shape), tf.float32)

    def loss(step):
        out = attention(student + step * direction, teacher)
        return tf.reduce_sum(losses.gaussian_kernel_distance(out, teacher))

    step = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        value = loss(step)
    analytic = tape.gradient(value, step).numpy()
    numeric = (loss(1e-2).numpy() - loss(-1e-2).numpy()) / 2e-2
    # Central differences of float32 values of order one: an error of about 1e-4.
    assert analytic == pytest.approx(numeric, abs=2e-3)
    assert abs(analytic) > 1e-2


def test_contrastive_loss_falls_towards_the_positive_and_rises_towards_the_negative(features):
    negative, positive = features

    def loss(mix):
        anchor = mix * positive + (1 - mix) * negative
        return losses.contrastive_loss([anchor], [[positive]], [negative]).numpy()

    assert (loss(1.0) < 1e-6).all()
    assert (loss(0.9) < loss(0.5)).all()
    assert (loss(0.5) < loss(0.1)).all()
    assert np.isfinite(loss(0.0)).all()


def test_contrastive_weights_grow_with_depth_and_sum_to_one(features):
    negative, positive = features
    middle = (negative + positive) / 2
    # Every layer at the same ratio gives that ratio whatever the number of layers.
    one = losses.contrastive_loss([middle], [[positive]], [negative])
    three = losses.contrastive_loss([middle] * 3, [[positive] * 3], [negative] * 3)
    np.testing.assert_allclose(one, three, rtol=1e-5)
    deep_wrong = losses.contrastive_loss([positive, middle], [[positive] * 2], [negative] * 2)
    shallow_wrong = losses.contrastive_loss([middle, positive], [[positive] * 2], [negative] * 2)
    assert (deep_wrong > shallow_wrong).numpy().all()
