import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.distillation import losses, streaming

ATTENTIONS = (losses.channel_cross_attention, losses.spatial_cross_attention)


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


def matrix(sample):
    """(height, width, channels) as the paper's C x N."""
    return sample.reshape(-1, sample.shape[-1]).T


def per_sample(function):
    """A formula on the two C x N matrices of a sample, as a function of batches."""

    def batched(student, teacher, *more):
        return np.stack(
            [function(matrix(s), matrix(t), *more) for s, t in zip(student, teacher, strict=True)]
        )

    return batched


@per_sample
def numpy_channel(s, t, temperature):
    mixed = softmax(unit(t, 1) @ unit(s, 1).T / temperature, 1) @ s
    return mixed.T.reshape(4, 6, -1)


@per_sample
def numpy_spatial(s, t, temperature):
    logits = unit(t, 0).T @ unit(s, 0) / temperature  # rows: teacher positions
    return (s @ softmax(logits, 1).T).T.reshape(4, 6, -1)


@per_sample
def numpy_kernel(s, t, bandwidth):
    return np.mean(1 - np.exp(-np.mean((s - t) ** 2, axis=0) / (2 * bandwidth**2)))


@per_sample
def numpy_divergence(s, t, temperature):
    p, q = softmax(t / temperature, 1), softmax(s / temperature, 1)
    return np.mean(np.sum(p * np.log(p / q), axis=1))


@per_sample
def numpy_affinity(s, t):
    s, t = unit(s, 0), unit(t, 0)
    return np.mean(np.abs(s.T @ s - t.T @ t))


def numpy_contrast(anchors, positives, negatives, epsilon=1e-6):
    total = 0.0
    for layer, anchor in enumerate(anchors):
        near = np.mean([np.abs(anchor - p[layer]).mean((1, 2, 3)) for p in positives], axis=0)
        far = np.abs(anchor - negatives[layer]).mean((1, 2, 3))
        between = np.mean(
            [np.abs(p[layer] - negatives[layer]).mean((1, 2, 3)) for p in positives], 0
        )
        scale = (far + between) / 2 + epsilon
        total += 2**layer / (2 ** len(anchors) - 1) * near / scale
    return total


FORMULAS = [
    (losses.channel_cross_attention, numpy_channel, (0.1,)),
    (losses.channel_cross_attention, numpy_channel, (1.0,)),
    (losses.spatial_cross_attention, numpy_spatial, (0.1,)),
    (losses.spatial_cross_attention, numpy_spatial, (1.0,)),
    (losses.gaussian_kernel_distance, numpy_kernel, (0.7,)),
    (losses.image_kl_divergence, numpy_divergence, (0.5,)),
    (losses.feature_affinity_distance, numpy_affinity, ()),
]
NAMES = [f"{ours.__name__}{options}" for ours, _, options in FORMULAS]


@pytest.mark.parametrize(("ours", "reference", "options"), FORMULAS, ids=NAMES)
def test_values_are_the_formula(features, ours, reference, options):
    expected = reference(*features.astype(np.float64), *options)
    np.testing.assert_allclose(ours(*features, *options), expected, atol=1e-5)
    # In float64 as well, so that the tolerance is float32's and not the formula's.
    double = ours(*features.astype(np.float64), *options)
    np.testing.assert_allclose(double, expected, atol=1e-12)


def test_contrastive_loss_is_the_formula(features):
    generator = np.random.default_rng(1)
    anchor, positive, other, negative = generator.normal(size=(4, 2, 2, 3, 3, 4))
    anchor, positive, other, negative = map(list, (anchor, positive, other, negative))
    expected = numpy_contrast(anchor, [positive, other], negative)
    actual = losses.contrastive_loss(anchor, [positive, other], negative)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_contrastive_loss_repels_only_as_far_as_asked(features):
    """Without repulsion the negative is a constant to the gradient."""
    anchor, positive, negative = map(
        tf.constant, np.random.default_rng(1).normal(size=(3, 2, 3, 3, 4))
    )

    def gradient(repulsion):
        with tf.GradientTape() as tape:
            tape.watch(anchor)
            value = losses.contrastive_loss([anchor], [[positive]], [negative], repulsion)
        return tape.gradient(value, anchor).numpy()

    scale = losses.mean_absolute_difference(anchor, positive) / losses.contrastive_loss(
        [anchor], [[positive]], [negative]
    )
    size = np.prod(anchor.shape[1:])
    attraction = np.sign(anchor - positive) / size / scale.numpy()[:, None, None, None]
    np.testing.assert_allclose(gradient(0.0), attraction, atol=1e-12)
    assert np.abs(gradient(1.0) - attraction).max() > 1e-3
    np.testing.assert_allclose(gradient(0.5), (gradient(1.0) + attraction) / 2, atol=1e-12)


def with_contrast(student, teacher):
    """The contrastive loss as a function of two features, at two layers."""
    negative = [teacher + 2.0, teacher - 1.0]
    return losses.contrastive_loss([student, 2 * student], [[teacher, teacher]], negative, 1.0)


GRADIENTS = [
    *(
        (name, ours, options)
        for name, (ours, _, options) in zip(NAMES, FORMULAS, strict=True)
        if options != (1.0,)
    ),
    ("contrastive_loss", with_contrast, ()),
    ("mean_absolute_difference", losses.mean_absolute_difference, ()),
]


@pytest.mark.parametrize(
    ("ours", "options"), [case[1:] for case in GRADIENTS], ids=[case[0] for case in GRADIENTS]
)
def test_gradients_are_finite_differences(features, ours, options):
    """Along random directions of student and teacher, in float64."""
    student, teacher = map(tf.constant, features.astype(np.float64))
    generator = np.random.default_rng(2)
    directions = [tf.constant(generator.normal(size=student.shape)) for _ in range(2)]
    if ours in (losses.feature_affinity_distance, losses.spatial_cross_attention):
        directions[1] = tf.zeros_like(student)  # its teacher is a constant
    mix = np.cos(np.arange(student.shape[0] * 4 * 6 * 5))

    def loss(step):
        value = ours(student + step * directions[0], teacher + step * directions[1], *options)
        return tf.reduce_sum(tf.reshape(value, [-1]) * mix[: tf.size(value)])

    step = tf.Variable(0.0, dtype=tf.float64)
    with tf.GradientTape() as tape:
        value = loss(step)
    analytic = tape.gradient(value, step).numpy()
    numeric = (loss(1e-5) - loss(-1e-5)).numpy() / 2e-5
    # Central differences at 1e-5 are off by about 1e-10 of the third derivative.
    assert analytic == pytest.approx(numeric, rel=1e-5)
    assert abs(analytic) > 1e-3


@pytest.mark.parametrize(
    ("ours", "options"), [case[1:] for case in GRADIENTS], ids=[case[0] for case in GRADIENTS]
)
def test_eager_graph_and_xla_agree_on_values_and_gradients(features, ours, options):
    def run(student, teacher):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = ours(student, teacher, *options)
            score = tf.reduce_sum(tf.square(value))
        return value, tape.gradient(score, student)

    inputs = [tf.constant(x) for x in features]
    unknown = [tf.TensorSpec((None, None, None, 5), tf.float32)] * 2
    eager = run(*inputs)
    graph = tf.function(run, input_signature=unknown)(*inputs)
    compiled = tf.function(run, input_signature=unknown, jit_compile=True)(*inputs)
    for other in (graph, compiled):
        for expected, actual in zip(eager, other, strict=True):
            # XLA fuses and reorders float32 sums.
            np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("ours", "options"), [case[1:] for case in GRADIENTS], ids=[case[0] for case in GRADIENTS]
)
def test_half_precision_features_are_computed_with_in_float32(features, ours, options, dtype):
    student, teacher = (tf.cast(x, dtype) for x in features)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = ours(student, teacher, *options)
    expected = ours(tf.cast(student, "float32"), tf.cast(teacher, "float32"), *options)
    if ours is not with_contrast:  # whose own arithmetic is in the features' precision
        assert value.dtype == tf.float32
        np.testing.assert_array_equal(value, expected)
    gradient = tape.gradient(value, student)
    assert gradient.dtype == dtype
    assert np.isfinite(gradient.numpy().astype(np.float32)).all()


@pytest.mark.parametrize(
    "distance",
    [
        losses.gaussian_kernel_distance,
        losses.mean_absolute_difference,
        losses.image_kl_divergence,
        losses.feature_affinity_distance,
    ],
)
def test_distance_of_equal_features_is_zero_and_of_others_positive(features, distance):
    student, teacher = features
    np.testing.assert_array_equal(distance(student, student), 0)
    assert (distance(student, teacher).numpy() > 1e-2).all()


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_attention_of_identical_features_at_low_temperature_is_the_identity(features, scale):
    """Each channel and position is most like itself, so that an argmax finds it."""
    same = scale * features[0]
    for attention in ATTENTIONS:
        np.testing.assert_allclose(attention(same, same, 1e-4), same, rtol=1e-5)


@pytest.mark.parametrize(("attention", "axes"), list(zip(ATTENTIONS, [(-1,), (1, 2)], strict=True)))
def test_at_infinite_temperature_attention_is_the_mean(features, attention, axes):
    student, teacher = features
    mean = student.mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(
        attention(student, teacher, 1e6), np.broadcast_to(mean, student.shape), atol=1e-5
    )


def test_kernel_tends_to_the_squared_distance_and_saturates_at_one(features):
    student, teacher = features
    squared = ((student - teacher) ** 2).mean((1, 2, 3))
    wide = losses.gaussian_kernel_distance(student, teacher, 1e3)
    np.testing.assert_allclose(wide, squared / 2e6, rtol=1e-5)
    np.testing.assert_allclose(losses.gaussian_kernel_distance(student, teacher, 1e-3), 1.0)


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
    generator = np.random.default_rng(1)
    channels = student[..., generator.permutation(5)]
    positions = student.reshape(2, 24, 5)[:, generator.permutation(24)].reshape(student.shape)
    for attention, shuffled in zip(ATTENTIONS, (channels, positions), strict=True):
        np.testing.assert_allclose(
            attention(shuffled, teacher), attention(student, teacher), atol=1e-5
        )


def test_attention_follows_the_order_of_the_teacher(features):
    student, teacher = features
    generator = np.random.default_rng(1)
    channels, positions = generator.permutation(5), generator.permutation(24)

    def rearranged(x):
        return x.reshape(2, 24, 5)[:, positions].reshape(x.shape)

    np.testing.assert_allclose(
        losses.channel_cross_attention(student, teacher[..., channels]),
        losses.channel_cross_attention(student, teacher).numpy()[..., channels],
        atol=1e-5,
    )
    np.testing.assert_allclose(
        losses.spatial_cross_attention(student, rearranged(teacher)),
        rearranged(losses.spatial_cross_attention(student, teacher).numpy()),
        atol=1e-5,
    )


def test_affinity_does_not_depend_on_scale_or_rotation_of_the_channels(features):
    student, teacher = features
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0].astype(np.float32)
    expected = losses.feature_affinity_distance(student, teacher)
    turned = losses.feature_affinity_distance(3 * student @ rotation, teacher)
    np.testing.assert_allclose(turned, expected, atol=1e-5)
    wider = np.concatenate([teacher, np.zeros_like(teacher)], axis=-1)
    np.testing.assert_allclose(
        losses.feature_affinity_distance(student, wider), expected, atol=1e-5
    )


def test_divergence_does_not_see_the_mean_of_a_channel(features):
    student, teacher = features
    shifted = student + np.arange(5, dtype=np.float32)
    np.testing.assert_allclose(
        losses.image_kl_divergence(shifted, teacher),
        losses.image_kl_divergence(student, teacher),
        rtol=1e-4,  # float32 of logits of up to 40
    )


def test_normalisation_makes_distances_independent_of_scale(features):
    student, teacher = features

    def distance(scale):
        pair = losses.normalise_by_teacher(scale * student, scale * teacher)
        return losses.gaussian_kernel_distance(*pair).numpy()

    np.testing.assert_allclose(distance(100.0), distance(1.0), rtol=1e-4)
    _, teacher = losses.normalise_by_teacher(student, 100 * teacher)
    np.testing.assert_allclose(np.mean(np.square(teacher), axis=(1, 2, 3)), 1.0, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 24, 1024])
@pytest.mark.parametrize(
    "function", [losses.spatial_cross_attention, losses.feature_affinity_distance]
)
def test_tiles_change_neither_values_nor_gradients(features, rows, function, monkeypatch):
    """24 positions: tiles of 1, of 7 (a shorter last one), of 24 (one) and of more rows."""
    student, teacher = map(tf.constant, features)

    def value_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = function(student, teacher)
            score = tf.reduce_sum(tf.sin(value))
        return value, tape.gradient(score, student)

    expected = value_and_gradient()
    monkeypatch.setattr(streaming, "TILE_VALUES", 2 * 24 * rows)
    for actual, reference in zip(value_and_gradient(), expected, strict=True):
        np.testing.assert_allclose(actual, reference, atol=2e-6)


def test_spatial_attention_has_the_gradient_of_the_direct_form(features):
    student, teacher = map(tf.constant, features)

    def direct(s, t):
        s, t = tf.reshape(s, (2, 24, 5)), tf.reshape(t, (2, 24, 5))
        logits = tf.matmul(
            tf.math.l2_normalize(t, -1), tf.math.l2_normalize(s, -1), transpose_b=True
        )
        return tf.reshape(tf.matmul(tf.nn.softmax(logits / 0.1), s), (2, 4, 6, 5))

    def gradients(attention):
        with tf.GradientTape() as tape:
            tape.watch([student, teacher])
            score = tf.reduce_sum(attention(student, teacher) * tf.sin(tf.range(5.0)))
        return tape.gradient(score, [student, teacher])

    of_student, of_teacher = gradients(losses.spatial_cross_attention)
    np.testing.assert_allclose(of_student, gradients(direct)[0], atol=2e-5)
    assert of_teacher is None  # a constant, and nothing is computed for it


@pytest.mark.parametrize(
    ("size", "positions", "kept"),
    [
        ((32, 32), 256, (16, 16)),
        ((32, 32), 255, (11, 11)),  # the smallest step that keeps no more
        ((8, 8), 256, (8, 8)),
        ((8, 8), None, (8, 8)),
        ((5, 7), 9, (3, 4)),
        ((1, 400), 100, (1, 200)),
        ((6, 6), 1, (1, 1)),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_part_of_the_positions_asks(size, positions, kept, known):
    height, width = size
    grid = np.arange(height * width, dtype="float32").reshape(1, height, width, 1)
    signature = tf.TensorSpec((1, *size, 1) if known else (None, None, None, 1))
    thin = tf.function(lambda x: losses.thinned(x, positions), input_signature=[signature])
    rows = thin(grid)[0, :, :, 0].numpy()
    assert rows.shape == kept
    # A regular grid, in the middle of what it stands for.
    step = rows[0, 1] - rows[0, 0] if kept[1] > 1 else max(size)
    assert set(np.diff(rows, axis=1).ravel()) <= {step}
    if kept[0] > 1:
        assert set(np.diff(rows, axis=0).ravel()) == {step * width}


def test_thinned_attention_is_the_attention_at_those_positions(features):
    student, teacher = map(tf.constant, features)
    everywhere = losses.spatial_cross_attention(student, teacher)
    part = losses.spatial_cross_attention(student, losses.thinned(teacher, 6))
    np.testing.assert_allclose(part, losses.thinned(everywhere, 6), atol=1e-6)
    assert part.shape[1] * part.shape[2] == 6


def test_printed_forms_are_the_formulas(features):
    """Dot products as logits, one kernel over the map, the plain ratio; in NumPy."""
    student, teacher = (each.astype("float64") for each in features)
    by_channel = losses.channel_cross_attention(student, teacher, 0.5, cosines=False).numpy()
    by_position = losses.spatial_cross_attention(student, teacher, 0.5, cosines=False).numpy()
    kernel = losses.gaussian_kernel_distance(student, teacher, 9.0, by_position=False).numpy()
    for sample in range(2):
        s, t = matrix(student[sample]), matrix(teacher[sample])
        channels = softmax(t @ s.T / 0.5, 1) @ s
        positions = s @ softmax(t.T @ s / 0.5, 1).T
        np.testing.assert_allclose(matrix(by_channel[sample]), channels, atol=1e-9)
        np.testing.assert_allclose(matrix(by_position[sample]), positions, atol=1e-9)
        expected = 1 - np.exp(-np.sum((s - t) ** 2) / (2 * 9.0**2))
        assert kernel[sample] == pytest.approx(expected)
    ratio = losses.contrastive_ratio([student], [[teacher]], [teacher + 3], epsilon=0.0)
    near = np.abs(student - teacher).mean(axis=(1, 2, 3))
    far = np.abs(student - teacher - 3).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(ratio, near / far, rtol=1e-6)


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


@pytest.mark.parametrize(
    ("loss", "attention"),
    [
        (losses.GaussianKernelLoss(0.7), lambda s, t: s),
        (
            losses.ChannelCrossAttentionLoss(0.3, 0.7),
            lambda s, t: losses.channel_cross_attention(s, t, 0.3),
        ),
        (
            losses.SpatialCrossAttentionLoss(0.3, 0.7),
            lambda s, t: losses.spatial_cross_attention(s, t, 0.3),
        ),
    ],
)
def test_keras_losses_are_the_functions_and_survive_serialisation(features, loss, attention):
    student, teacher = features
    s, t = losses.normalise_by_teacher(student, teacher)
    expected = losses.gaussian_kernel_distance(attention(s, t), t, 0.7)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    for each in (loss, again):
        assert float(each(teacher, student)) == pytest.approx(np.mean(expected), rel=1e-6)
    unreduced = type(loss)(**loss.get_config() | {"reduction": "none"})
    np.testing.assert_allclose(unreduced(teacher, student), expected, rtol=1e-6)


def test_keras_losses_teach_the_student_only(features):
    student, teacher = map(tf.constant, features)
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        loss = losses.GaussianKernelLoss()(teacher, student)
    of_student, of_teacher = tape.gradient(loss, [student, teacher])
    assert np.abs(of_student).max() > 0
    assert of_teacher is None


@pytest.mark.parametrize("options", [{}, {"epsilon": 0.5}, {"repulsion": 0.7, "epsilon": 0.01}])
def test_the_contrastive_keras_loss_is_the_function(features, options):
    anchor, positive = (tf.constant(each) for each in features)
    negative = positive + 1
    loss = losses.ContrastiveLoss(**options)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()

    def value_and_gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(anchor)
            value = tf.reduce_mean(function([anchor] * 2, [[positive] * 2], [negative] * 2))
        return float(value), tape.gradient(value, anchor).numpy()

    expected = value_and_gradient(lambda *each: losses.contrastive_loss(*each, **options))
    for each in (loss, again):
        value, gradient = value_and_gradient(
            lambda a, p, n, each=each: each({"positives": p, "negatives": n}, a)
        )
        assert value == pytest.approx(expected[0], rel=1e-6)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-5)
