import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.distillation import METHODS, Distiller, SKDConfig, losses
from keras_skd.errors import InputError
from keras_skd.models import Restormer, Uformer


def restormer(dim, **options):
    options = {"num_blocks": (0, 0, 0, 1), "num_refinement_blocks": 0, "heads": (1, 1, 1, 1)} | (
        options
    )
    return Restormer(dim=dim, **options)


def convolutions(width, counter=None, activation="relu", seed=0):
    """A small model with the taps ``fine`` (full resolution) and ``coarse`` (half)."""

    def convolution(x, filters, strides=1, **options):
        initializer = keras.initializers.GlorotUniform(seed + len(layers))
        layers.append(None)
        return keras.layers.Conv2D(
            filters, 3, strides, padding="same", kernel_initializer=initializer, **options
        )(x)

    layers = []
    image = keras.Input((None, None, 3))
    fine = convolution(counter(image) if counter else image, width, activation=activation)
    coarse = convolution(fine, 2 * width, strides=2, activation=activation, name="coarse")
    x = keras.layers.UpSampling2D(interpolation="bilinear")(coarse)
    x = convolution(keras.layers.Concatenate()([x, fine]), 3)
    model = keras.Model(image, keras.layers.Add(dtype="float32")([x, image]))
    model.taps = {"fine": fine, "coarse": coarse}
    return model


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    clean = generator.uniform(size=(2, 16, 24, 3)).astype(np.float32)
    return clean + generator.normal(0, 0.1, clean.shape).astype(np.float32), clean


def compiled(student, teacher=None, method="skd", config=None, optimizer=None, **options):
    distiller = Distiller(student, teacher, method, config)
    distiller.compile(optimizer=optimizer or keras.optimizers.AdamW(1e-3), **options)
    return distiller


def fit(distiller, batch, steps=4, **options):
    untuned = tf.data.Options()
    untuned.autotune.enabled = False  # or the end of every fit waits for tf.data's tuner
    data = tf.data.Dataset.from_tensors(batch).repeat(steps).with_options(untuned)
    return distiller.fit(data, verbose=0, shuffle=False, **options).history


def weights_after(batch, steps=4, optimizer=None, model=convolutions, method="skd", **options):
    distiller = compiled(model(4), model(8, seed=50), method, optimizer=optimizer, **options)
    fit(distiller, batch, steps)
    return distiller.student.get_weights()


def assert_close(one, other, atol=1e-6):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize(
    ("extractor", "positives"),
    [(None, ("clean", "teacher")), (("pixels",), ("teacher",)), (("pixels", "coarse"), ("clean",))],
)
def test_skd_is_its_formula(batch, extractor, positives):
    """The loss of a batch, put together from the models and the functions by hand."""
    degraded, clean = batch
    student, teacher = convolutions(8), convolutions(8, seed=50)  # one width: no adapter
    config = SKDConfig(
        alpha1=0.5,
        alpha2=0.3,
        alpha3=0.7,
        bandwidth=0.8,
        temperature=0.2,
        contrastive_stages=extractor,
        contrastive_positives=positives,
    )
    distiller = Distiller(student, teacher, "skd", config)
    terms = distiller.compute_terms(degraded, clean)

    def run(model, image):
        return keras.Model(model.input, [model.output, *model.taps.values()])(image)

    restored, _, coarse = run(student, degraded)
    taught, _, teacher_coarse = run(teacher, degraded)
    s, t = losses.normalise_by_teacher(coarse, teacher_coarse)
    kernel = losses.gaussian_kernel_distance(s, t, 0.8)
    for attention in (losses.channel_cross_attention, losses.spatial_cross_attention):
        kernel += 0.5 * losses.gaussian_kernel_distance(attention(s, t, 0.2), t, 0.8)
    features = [
        {"pixels": image, **dict(zip(teacher.taps, run(teacher, image)[1:], strict=True))}
        for image in (restored, clean, taught, degraded)
    ]
    features = [[each[name] for name in extractor or teacher.taps] for each in features]
    anchor, negative = features[0], features[3]
    taken = [features[1 + ("clean", "teacher").index(name)] for name in positives]
    contrastive = losses.contrastive_loss(anchor, taken, negative)
    reconstruction = np.mean(np.abs(restored - clean))
    expected = {
        "reconstruction": reconstruction,
        "kernel": np.mean(kernel),
        "contrastive": np.mean(contrastive),
        "loss": reconstruction + 0.3 * np.mean(kernel) + 0.7 * np.mean(contrastive),
    }
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        expected, rel=1e-5
    )


def test_skd_as_published_is_its_formula(batch):
    """Sums over map and stages, dot products, the ratio between features of both resolutions."""
    degraded, clean = batch
    student, teacher = convolutions(8), convolutions(8, seed=50)
    config = SKDConfig(alpha1=0.5, bandwidth=20.0, temperature=3.0, stages=("fine", "coarse"))
    distiller = Distiller(student, teacher, "skd_as_published", config)
    terms = distiller.compute_terms(degraded, clean)

    def run(model, image):
        return keras.Model(model.input, [model.output, *model.taps.values()])(image)

    restored, *ours = run(student, degraded)
    taught, *theirs = run(teacher, degraded)
    kernel = 0
    for s, t in zip(ours, theirs, strict=True):
        kernel += losses.gaussian_kernel_distance(s, t, 20.0, by_position=False)
        for attention in (losses.channel_cross_attention, losses.spatial_cross_attention):
            attended = attention(s, t, 3.0, cosines=False)
            kernel += 0.5 * losses.gaussian_kernel_distance(attended, t, 20.0, by_position=False)
    anchor, positive, negative = (run(teacher, x)[1:] for x in (restored, taught, degraded))
    assert distiller.extractor_stages == ("fine", "coarse")
    contrast = losses.contrastive_ratio(anchor, [positive], negative)
    assert float(terms["kernel"]) == pytest.approx(np.mean(kernel), rel=1e-5)
    assert float(terms["contrastive"]) == pytest.approx(np.mean(contrast), rel=1e-5)


def test_ablations_leave_out_what_they_say(batch):
    student, teacher = convolutions(4), convolutions(8, seed=50)

    def terms(method, **config):
        keras.utils.set_random_seed(0)  # of the adapter
        distiller = Distiller(student, teacher, method, SKDConfig(**config))
        values = distiller.compute_terms(*batch)
        return {name: float(value) for name, value in values.items()}

    whole, direct = terms("skd"), terms("skd", alpha1=0.0)
    no_channel, no_spatial = terms("skd_without_channel"), terms("skd_without_spatial")
    of_attentions = whole["kernel"] - direct["kernel"]
    without = no_channel["kernel"] + no_spatial["kernel"] - 2 * direct["kernel"]
    assert without == pytest.approx(of_attentions, rel=1e-4)
    assert terms("skd_without_kernel")["kernel"] != pytest.approx(whole["kernel"], rel=0.01)
    assert terms("skd_without_kernel")["contrastive"] == pytest.approx(whole["contrastive"])
    assert terms("skd_without_contrastive")["kernel"] == pytest.approx(whole["kernel"])
    assert terms("skd_without_contrastive")["teacher"] == pytest.approx(terms("output")["teacher"])


class Counter(keras.layers.Layer):
    """Counts how often it is executed with and without ``training``, in graphs too."""

    def __init__(self):
        super().__init__()
        self.counts = {flag: tf.Variable(0) for flag in (True, False)}

    def call(self, x, training=None):
        with tf.control_dependencies([self.counts[bool(training)].assign_add(1)]):
            return tf.identity(x)

    def since(self, action):
        before = {flag: int(count) for flag, count in self.counts.items()}
        action()
        return {flag: int(count) - before[flag] for flag, count in self.counts.items()}


WEIGHTS = {
    "alpha2": 0.3,
    "alpha3": 0.7,
    "output_weight": 0.9,
    "kl_weight": 2.0,
    "feature_weight": 0.4,
    "affinity_weight": 0.6,
}


@pytest.mark.parametrize("method", METHODS)
def test_methods(batch, method):
    """Student once a step; teacher never in training and unchanged; terms logged; loss falls."""
    ours, theirs = Counter(), Counter()
    student, teacher = convolutions(4, ours), convolutions(8, theirs, seed=50)
    before = [w.copy() for w in teacher.get_weights()]
    optimizer = keras.optimizers.Adam(3e-3)
    distiller = compiled(student, teacher, method, SKDConfig(**WEIGHTS), optimizer)
    training_calls = int(theirs.counts[True])
    histories = []

    def train():
        histories.append(fit(distiller, batch, 12, epochs=2, steps_per_epoch=6))

    assert ours.since(train) == {True: 12, False: 0}
    assert int(theirs.counts[True]) == training_calls
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))

    (history,) = histories
    terms = METHODS[method].terms
    assert history.keys() == {"loss", "reconstruction", *terms, "gradient_norm"}
    assert history["loss"][1] < history["loss"][0]
    logs = {name: values[0] for name, values in history.items()}
    expected = logs["reconstruction"]
    expected += sum(WEIGHTS[term.weight] * logs[name] for name, term in terms.items())
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert all(logs[name] > 0 for name in terms)


def test_the_counter_sees_that_keras_runs_the_student_twice(batch):
    """The negative control of the test above."""
    counter = Counter()
    student, teacher = convolutions(8, counter), convolutions(8, seed=50)
    distiller = keras.distillation.Distiller(
        teacher,
        student,
        keras.distillation.FeatureDistillation(
            "mae", teacher_layer_name="coarse", student_layer_name="coarse"
        ),
    )
    distiller.compile(keras.optimizers.Adam(), loss="mae")
    data = tf.data.Dataset.from_tensors(batch).repeat(5)
    assert counter.since(lambda: distiller.fit(data, verbose=0, shuffle=False))[True] == 10


def test_adapters_only_where_widths_differ_and_not_in_the_student(batch, tmp_path):
    student = restormer(8)
    names = [w.path for w in student.weights]
    distiller = compiled(student, restormer(16))
    assert set(distiller.adapters) == {"latent", "decoder_level3", "decoder_level2"}
    assert not compiled(restormer(8), restormer(8)).adapters
    assert not compiled(restormer(8), restormer(16), "fakd").adapters
    assert len(distiller.trainable_variables) == len(names) + 2 * 3
    distiller.train_on_batch(*batch)
    for save in (student.save, distiller.save):
        save(tmp_path / "student.keras")
        loaded = keras.saving.load_model(tmp_path / "student.keras")
        assert [w.path for w in loaded.weights] == names
        np.testing.assert_allclose(loaded(batch[0]), student(batch[0]), atol=1e-6)
        with zipfile.ZipFile(tmp_path / "student.keras") as archive:
            assert b"adapter" not in b"".join(map(archive.read, archive.namelist()))


def test_model_checkpoint_writes_students(batch, tmp_path):
    distiller = compiled(convolutions(4), convolutions(8))
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss")
    fit(distiller, batch, callbacks=[checkpoint])
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    assert loaded.count_params() == distiller.student.count_params()


def test_adapters_are_trained(batch):
    distiller = compiled(restormer(8), restormer(16))
    before = distiller.adapters["latent"].kernel.numpy()
    distiller.train_on_batch(*batch)
    assert not np.array_equal(before, distiller.adapters["latent"].kernel.numpy())


def test_validation_reports_psnr_and_predict_the_students_image(batch):
    degraded, clean = batch
    distiller = compiled(restormer(8), method="none")
    logs = distiller.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    restored = np.clip(distiller.student(degraded), 0, 1)
    expected = np.mean([-10 * np.log10(np.mean((restored[i] - clean[i]) ** 2)) for i in (0, 1)])
    assert logs["psnr"] == pytest.approx(expected, abs=1e-3)
    predicted = distiller.predict(degraded, verbose=0)
    np.testing.assert_allclose(np.clip(predicted, 0, 1), restored, atol=1e-6)


# --- families and other models ---


def uformer(**options):
    depths = (0, 0, 0, 1, 1, 0, 0, 0, 1)
    return Uformer(img_size=32, embed_dim=4, depths=depths, num_heads=(1,) * 9, **options)


def test_families_are_matched_by_resolution(batch):
    distiller = compiled(uformer(), restormer(8))
    matched = {stage.teacher_name: stage.student_name for stage in distiller.stages}
    assert matched == {
        "latent": "decoderlayer_0",
        "decoder_level3": "decoderlayer_1",
        "decoder_level2": "decoderlayer_2",
    }
    back = Distiller(restormer(8), uformer())
    assert {stage.teacher_name: stage.student_name for stage in back.stages} == {
        "decoderlayer_0": "latent",
        "decoderlayer_1": "decoder_level3",
        "decoderlayer_2": "decoder_level2",
    }
    # The encoder's stage goes to the encoder's.
    config = SKDConfig(stages=("encoder_level2",))
    (stage,) = Distiller(uformer(), restormer(8), config=config).stages
    assert stage.student_name == "encoderlayer_1"
    degraded, clean = (np.resize(image, (1, 64, 64, 3)) for image in batch)
    logs = distiller.train_on_batch(degraded, clean, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())


def test_padding_of_different_families_is_an_error_that_says_what_to_do(batch):
    distiller = compiled(uformer(), restormer(8))  # a Uformer pads to a multiple of 32 here
    expected = (
        r"images of 16x24 make the teacher's stage 'latent' 2x3 and the student's "
        r"'decoderlayer_0' .*a multiple of 32"
    )
    with pytest.raises(ValueError, match=expected):
        distiller.train_on_batch(*batch)
    with pytest.raises(ValueError, match=expected):
        distiller.check_image_size(16, 24)
    distiller.check_image_size(32, 64)


def test_any_model_serves_with_named_taps(batch):
    student, teacher = convolutions(4), convolutions(8)
    student.taps = teacher.taps = {}
    with pytest.raises(ValueError, match=r"no stages of one resolution: the teacher .* no stages"):
        Distiller(student, teacher)
    options = {"student_taps": ["coarse"], "teacher_taps": {"half": "coarse"}}
    distiller = Distiller(student, teacher, **options)
    ((theirs, ours),) = [(each.teacher_name, each.student_name) for each in distiller.stages]
    assert (theirs, ours) == ("half", "coarse")
    with pytest.raises(ValueError, match=r"the student .* has no layer 'thin'; it has"):
        Distiller(student, teacher, student_taps=["thin"], teacher_taps=["coarse"])


def test_errors_name_what_is_wrong():
    student, teacher = restormer(8), restormer(16)
    with pytest.raises(ValueError, match=r"method must be one of .*skd.*; got 'magic'"):
        Distiller(student, teacher, "magic")
    with pytest.raises(ValueError, match="needs a teacher"):
        Distiller(student, None, "skd")
    with pytest.raises(ValueError, match=r"the teacher .* has no stage 'level9'; it has"):
        Distiller(student, teacher, config=SKDConfig(stages=("level9",)))
    with pytest.raises(ValueError, match=r"the student .* has no stage 'level9'; it has"):
        Distiller(student, teacher, config=SKDConfig(stages=(("latent", "level9"),)))
    with pytest.raises(ValueError, match="own losses"):
        Distiller(student, method="none").compile(loss="mae")
    pair = ("latent", "decoder_level3")
    with pytest.raises(ValueError, match=r"'latent' is at 1/8 .*'decoder_level3' at 1/4"):
        Distiller(student, teacher, config=SKDConfig(stages=(pair,)))
    del student.taps["latent"]
    with pytest.raises(ValueError, match=r"teacher's stage 'latent' is at 1/8 .* no stage of the"):
        Distiller(student, teacher, config=SKDConfig(stages=("latent",)))
    subclassed = type("Subclassed", (keras.Model,), {})(name="mine")
    with pytest.raises(ValueError, match="the student mine must be a functional Keras model"):
        Distiller(subclassed, teacher)


@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("name", "must be a Keras model, not 'restormer_tiny'; load one with"),
        ("layer", "must be a Keras model, not a Conv2D"),
        ("two inputs", r"has 2 inputs, and one image is expected"),
        ("two outputs", r"has 2 outputs, and one image is expected"),
        ("vector", r"has an input of shape \(None, 7\); images are"),
        ("channels first", r"has channels first \(layer 'first'\)"),
        ("unknown channels", r"has an input of shape \(None, None, None, None\)"),
        ("subclassed", "must be a functional Keras model of one input image"),
    ],
)
def test_a_wrong_model_is_an_error_of_one_sentence(side, wrong, message):
    image = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(3, 3, padding="same")
    other, vector = keras.Input((None, None, 3)), keras.Input((7,))
    channels_first = keras.Input((3, 16, 16))
    first = keras.layers.Conv2D(3, 3, padding="same", data_format="channels_first", name="first")
    unknown = keras.Input((None, None, None))
    model = {
        "name": lambda: "restormer_tiny",
        "layer": lambda: convolution,
        "two inputs": lambda: keras.Model([image, other], convolution(image)),
        "two outputs": lambda: keras.Model(image, [convolution(image), image]),
        "vector": lambda: keras.Model(vector, keras.layers.Dense(7)(vector)),
        "channels first": lambda: keras.Model(channels_first, first(channels_first)),
        "unknown channels": lambda: keras.Model(unknown, keras.layers.ReLU()(unknown)),
        "subclassed": lambda: type("Subclassed", (keras.Model,), {})(name="mine"),
    }[wrong]()
    models = {"student": convolutions(4), "teacher": convolutions(8), side: model}
    with pytest.raises(InputError, match=f"^the {side} .*{message}") as error:
        Distiller(**models)
    assert "\n" not in str(error.value)
    if side == "student":
        with pytest.raises(InputError, match=message):
            Distiller(model, method="none")


@pytest.mark.parametrize(
    ("scale", "shift", "dtype"),
    [(255, 0, "float32"), (255, 0, "uint8"), (2, -1, "float32"), (1, np.nan, "float32")],
)
@pytest.mark.parametrize("side", ["clean", "both"])
def test_images_that_are_not_within_0_and_1_are_noticed(batch, scale, shift, dtype, side):
    degraded, clean = batch
    wrong = (clean * scale + shift).astype(dtype)
    degraded = degraded * scale if side == "both" else degraded
    for eager in (False, True):
        distiller = compiled(convolutions(4), method="none", run_eagerly=eager)
        with pytest.raises(InputError, match=r"images must be float32 within 0\.\.1"):
            fit(distiller, (degraded, wrong))


def test_noisy_inputs_may_leave_0_and_1_and_clean_ones_by_the_tolerance(batch):
    degraded, clean = batch
    clean = np.clip(clean, 0, 1) * 1.018 - 0.009
    fit(compiled(convolutions(4), method="none"), (degraded * 3 - 1, clean))


def test_an_error_of_tensorflow_keeps_its_type(batch):
    distiller = compiled(convolutions(4), method="none")
    data = tf.data.Dataset.from_tensors(batch).map(
        lambda *pair: tf.cond(tf.reduce_sum(pair[0]) > -1e9, lambda: broken(*pair), lambda: pair)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="of another kind"):
        distiller.fit(data, verbose=0, shuffle=False)


def broken(degraded, clean):
    with tf.control_dependencies([tf.debugging.Assert(tf.constant(False), ["of another kind"])]):
        return tf.identity(degraded), clean


# --- what Keras users expect of a model ---


def test_validation_has_the_loss_of_training_so_that_keras_callbacks_find_it(batch, tmp_path):
    distiller = compiled(convolutions(4), convolutions(8, seed=50), "skd", SKDConfig(**WEIGHTS))
    data = tf.data.Dataset.from_tensors(batch)
    stops = keras.callbacks.EarlyStopping(patience=1, min_delta=100.0)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    history = fit(distiller, batch, epochs=9, validation_data=data, callbacks=[stops, best])
    assert len(history["val_loss"]) == 2  # stopped: it could not fall by 100
    assert keras.saving.load_model(tmp_path / "best.keras").count_params() > 0
    logs = distiller.evaluate(data, verbose=0, return_dict=True)
    assert logs.keys() == {"loss", "reconstruction", "kernel", "contrastive", "psnr"}
    # Of a student that does the same in training and inference, as this one.
    terms = {name: float(value) for name, value in distiller.compute_terms(*batch).items()}
    assert {name: logs[name] for name in terms} == pytest.approx(terms, rel=1e-5)
    expected = logs["reconstruction"] + 0.3 * logs["kernel"] + 0.7 * logs["contrastive"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_losses_are_means_over_images_also_of_a_smaller_last_batch(batch):
    images = [np.concatenate([image, image[:1] * 0.5]) for image in batch]
    distiller = compiled(convolutions(4), convolutions(8), optimizer=keras.optimizers.SGD(0.0))
    expected = {k: float(v) for k, v in distiller.compute_terms(*images).items()}
    data = tf.data.Dataset.from_tensor_slices(tuple(images)).batch(2)
    history = distiller.fit(data, validation_data=data, verbose=0, shuffle=False).history
    for prefix in ("", "val_"):
        values = {name: history[prefix + name][0] for name in expected}
        assert values == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"log_every": 3}])
def test_metrics_of_compile_are_computed_in_training_and_validation(batch, options):
    metrics = ["mae", keras.metrics.MeanSquaredError(name="squared")]
    distiller = compiled(
        convolutions(4),
        method="none",
        optimizer=keras.optimizers.SGD(0.0),
        metrics=metrics,
        **options,
    )
    data = tf.data.Dataset.from_tensors(batch)
    history = fit(distiller, batch, epochs=2, steps_per_epoch=2, validation_data=data)
    difference = distiller.student(batch[0]).numpy() - batch[1]
    expected = {"mae": np.mean(np.abs(difference)), "squared": np.mean(difference**2)}
    for name, value in expected.items():
        assert history[name] == pytest.approx([value] * 2, rel=1e-5)
        assert history[f"val_{name}"] == pytest.approx([value] * 2, rel=1e-5)
    assert history["mae"] == pytest.approx(history["reconstruction"], rel=1e-6)


class AddsLoss(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.convert_to_tensor(0.25))
        return x


def test_the_students_own_regularisers_count(batch):
    def student(regularizer, add=False):
        image = keras.Input((None, None, 3))
        x = AddsLoss()(image) if add else image
        initializer = keras.initializers.GlorotUniform(3)
        convolution = keras.layers.Conv2D(
            3, 3, padding="same", kernel_regularizer=regularizer, kernel_initializer=initializer
        )
        return keras.Model(image, convolution(x))

    plain, decayed = student(None), student(keras.regularizers.L2(0.5), add=True)
    squares = float(tf.reduce_sum(decayed.layers[-1].kernel ** 2))
    data = tf.data.Dataset.from_tensors(batch)
    gradients = {}
    for name, model in (("plain", plain), ("decayed", decayed)):
        before = model.layers[-1].kernel.numpy()
        distiller = compiled(model, method="none", optimizer=keras.optimizers.SGD(1.0))
        first = distiller.evaluate(data, verbose=0, return_dict=True)
        logs = {k: v[0] for k, v in fit(distiller, batch, 1).items()}
        gradients[name] = before - model.layers[-1].kernel.numpy()
        for each in (first, logs):
            assert each["loss"] - each["reconstruction"] == pytest.approx(
                0.5 * squares + 0.25 if name == "decayed" else 0.0, rel=1e-5, abs=1e-7
            )
        assert ("regularization" in logs) == (name == "decayed")
    # d/dW of 0.5 |W|^2 is W.
    np.testing.assert_allclose(gradients["decayed"] - gradients["plain"], before, atol=1e-6)


def test_a_distiller_is_not_registered_as_what_could_not_be_rebuilt():
    assert keras.saving.get_registered_object("keras_skd>Distiller") is None


def test_weights_of_a_distiller_are_saved_and_loaded(batch, tmp_path):
    distiller = compiled(convolutions(4), convolutions(8))
    fit(distiller, batch)
    distiller.save_weights(tmp_path / "state.weights.h5")
    saved = [w.numpy() for w in distiller.weights]
    fit(distiller, batch)
    distiller.load_weights(tmp_path / "state.weights.h5")
    assert_close([w.numpy() for w in distiller.weights], saved, 0)


@pytest.mark.parametrize("wrong", ["auto", None, 2])
def test_xla_is_chosen_by_hand(wrong):
    distiller = Distiller(convolutions(4), method="none")
    with pytest.raises(InputError, match="jit_compile must be True or False"):
        distiller.compile(jit_compile=wrong)
    distiller.compile()
    assert distiller.jit_compile is False


def test_gradient_norm_is_that_of_the_step_before_clipping(batch):
    model = convolutions(4)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(model(batch[0], training=True) - batch[1]))
    expected = float(tf.linalg.global_norm(tape.gradient(loss, model.trainable_variables)))
    optimizer = keras.optimizers.SGD(1e-9, global_clipnorm=1e-3)
    history = fit(compiled(model, method="none", optimizer=optimizer), batch, 3)
    assert history["gradient_norm"] == pytest.approx([expected], rel=1e-4)
    assert expected > 1e-2  # so that clipping would have shown


def test_gradient_norm_is_without_loss_scaling_and_skips_what_overflowed(batch):
    norms = {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            model = convolutions(4)
        finally:
            keras.config.set_dtype_policy("float32")
        distiller = compiled(model, method="none", optimizer=keras.optimizers.SGD(1e-9))
        if policy == "mixed_float16":
            distiller.optimizer.build(distiller.trainable_variables)
            distiller.optimizer.dynamic_scale.assign(2.0**40)  # overflows in the first steps
        norms[policy] = fit(distiller, batch, 80)["gradient_norm"][0]
        assert distiller.first_divergence() is None
    assert norms["mixed_float16"] == pytest.approx(norms["float32"], rel=0.02)  # float16's error


def test_the_first_divergence_is_remembered_however_late_it_is_read(batch, monkeypatch):
    real, step = losses.contrastive_loss, tf.Variable(0)

    def breaks(*features, **options):
        factor = tf.where(step.assign_add(1) > 7, np.inf, 1.0)
        return real(*features, **options) * factor

    monkeypatch.setattr(losses, "contrastive_loss", breaks)
    distiller = compiled(convolutions(4), convolutions(8))
    fit(distiller, batch, 6, epochs=2, steps_per_epoch=3)
    assert distiller.first_divergence() is None
    fit(distiller, batch, 40, epochs=2, steps_per_epoch=20)  # counted from this fit on
    step_of, values = distiller.first_divergence()
    assert (step_of, values) == (2, {"contrastive": np.inf})
    assert not np.isfinite(distiller.student.get_weights()[0]).all()
    monkeypatch.undo()
    fit(compiled(convolutions(4), convolutions(8)), batch)


def test_losses_are_read_every_so_many_steps_and_an_epochs_logs_are_exact(batch):
    class Seen(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(logs["loss"])

    histories, seen = {}, {}
    for every in (1, 4):
        keras.utils.set_random_seed(0)
        distiller = compiled(convolutions(4), convolutions(8), log_every=every)
        seen[every] = Seen()
        histories[every] = fit(
            distiller, batch, 20, epochs=2, steps_per_epoch=10, callbacks=[seen[every]]
        )
    assert histories[1] == histories[4]
    assert len(set(seen[1].losses)) == 20
    first, then = seen[1].losses[0], seen[1].losses[4]
    assert seen[4].losses[:8] == [first] * 4 + [then] * 4
    # train_on_batch is always read.
    values = [float(distiller.train_on_batch(*batch, return_dict=True)["loss"]) for _ in range(3)]
    assert len(set(values)) == 3


# --- what Keras optimizers and compile() offer ---


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("method", ["skd", "fakd"])
def test_mixed_precision_stays_finite(batch, policy, method):
    keras.config.set_dtype_policy(policy)
    try:
        models = restormer(8), restormer(16)
    finally:
        keras.config.set_dtype_policy("float32")
    distiller = compiled(*models, method)
    scaled = isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    for _ in range(3):
        logs = distiller.train_on_batch(*batch, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert all(np.isfinite(w).all() for w in distiller.student.get_weights())


def test_loss_scaling_skips_a_step_that_overflows_and_halves_the_scale(batch):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        distiller = compiled(convolutions(4), convolutions(8))
    finally:
        keras.config.set_dtype_policy("float32")
    distiller.train_on_batch(*batch)
    scale, before = distiller.optimizer.dynamic_scale, distiller.student.get_weights()
    scale.assign(1e30)  # overflows every gradient of float16
    distiller.train_on_batch(*batch)
    assert float(scale) == pytest.approx(5e29)
    assert_close(before, distiller.student.get_weights(), 0)
    scale.assign(2.0**10)
    distiller.train_on_batch(*batch)
    assert not np.array_equal(before[0], distiller.student.get_weights()[0])


def test_accumulated_gradients_are_those_of_the_whole_batch(batch):
    """Two steps of one image each, accumulated, are one of both: every term is a mean."""
    whole = compiled(convolutions(4), convolutions(8), optimizer=keras.optimizers.SGD(0.1))
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    parts = compiled(convolutions(4), convolutions(8), optimizer=optimizer)
    for adapter, other in zip(whole.adapters.values(), parts.adapters.values(), strict=True):
        adapter.set_weights(other.get_weights())
    before = parts.student.get_weights()
    whole.train_on_batch(*batch)
    parts.train_on_batch(*(image[:1] for image in batch))
    assert_close(before, parts.student.get_weights(), 0)
    parts.train_on_batch(*(image[1:] for image in batch))
    assert_close(whole.student.get_weights(), parts.student.get_weights())
    assert not np.array_equal(before[0], parts.student.get_weights()[0])


@pytest.mark.parametrize("options", [{"steps_per_execution": 2}, {"run_eagerly": True}])
def test_compile_options_change_no_weights(batch, options):
    keras.utils.set_random_seed(0)
    expected = weights_after(batch)
    keras.utils.set_random_seed(0)
    assert_close(weights_after(batch, **options), expected)


@pytest.fixture
def xla():
    """Keras compiles with XLA only where determinism is off, which a test before may have set."""
    from tensorflow.python.framework import config

    was_on = config.is_op_determinism_enabled()
    config.disable_op_determinism()
    yield
    if was_on:
        config.enable_op_determinism()


@pytest.mark.parametrize("method", ["skd", "fakd", "kl"])
def test_xla_changes_no_weights(batch, method, xla):
    def run(jit_compile):
        keras.utils.set_random_seed(0)
        optimizer = keras.optimizers.SGD(0.01)
        return weights_after(batch, 2, optimizer, method=method, jit_compile=jit_compile)

    assert_close(run(True), run(False), 1e-5)  # XLA fuses and reorders float32 sums


def test_moving_average_is_used_where_asked_for_and_leaves_no_trace(batch, tmp_path):
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    distiller = compiled(convolutions(4), convolutions(8), optimizer=optimizer)
    student, seen = distiller.student, []
    for _ in range(3):
        distiller.train_on_batch(*batch)
        seen.append([w.copy() for w in student.get_weights()])
    expected = [0.25 * a + 0.25 * b + 0.5 * c for a, b, c in zip(*seen, strict=True)]
    with distiller.averaged_weights():
        assert_close(student.get_weights(), expected)
        distiller.save(tmp_path / "average.keras")
    assert_close(student.get_weights(), seen[-1], 0)
    assert_close(keras.saving.load_model(tmp_path / "average.keras").get_weights(), expected)
    # Keras's own callback, and its own rule that fit() ends on the average.
    fit(distiller, batch, callbacks=[keras.callbacks.SwapEMAWeights()])
    with distiller.averaged_weights():
        average = student.get_weights()
    assert_close(student.get_weights(), average)


def test_without_moving_average_the_context_changes_nothing(batch):
    distiller = compiled(convolutions(4), convolutions(8))
    before = distiller.student.get_weights()
    with distiller.averaged_weights():
        assert_close(distiller.student.get_weights(), before, 0)
