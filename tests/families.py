"""What every family of models must hold, checked by one call of :func:`check_family`.

Each check takes ``make(**options)``, which builds the same small model at every call; ``dtype`` is
the one option that it is given. Their negative controls are in ``test_third_family.py``.
"""

import inspect

import keras
import numpy as np
import tensorflow as tf

from keras_skd.models.family import size_multiple, taps_of, with_image_size

# Any image, down to one pixel; no multiple of anything, and taller or wider.
ODD_SIZES = ((1, 1), (17, 33), (40, 6))
# The order of summation changes with the layout of batch and blocks: a few float32 roundings of
# outputs up to about 5.
ROUNDING = 1e-5
# Half the step between numbers near one: the error of a single rounding.
FORMAT_ERRORS = {"mixed_bfloat16": 2.0**-8, "mixed_float16": 2.0**-11}
# Of the residual's RMS error over its RMS, in roundings. Measured 1.5 to 4.8 for Restormer and
# Uformer over four seeds, the same for both formats.
MOST_FORMAT_ERRORS = 8


def check_family(make, folder):
    """All checks, on a model that can be exported.

    Args:
        make: Builds the model; the same weights at every call.
        folder: An empty folder for the model's files.
    """
    check_serialisation(make, folder)
    check_symbolic_call(make)
    check_training_step(make)
    for policy in FORMAT_ERRORS:
        check_mixed_precision(make, policy)
    check_sizes(make)
    check_fixed_size(make)


def image_for(model, height, width, batch=2):
    """A random image that the model takes, float32 in 0..1."""
    shape = (batch, height, width, model.input_shape[-1])
    return np.random.default_rng(2).uniform(size=shape).astype("float32")


def natural_image(model):
    """An image that needs no padding."""
    multiple = size_multiple(model)
    least = multiple * -(-16 // multiple)
    return image_for(model, least, 2 * least if multiple < 64 else least)


def check_serialisation(make, folder):
    """Every argument is in the configuration; a rebuilt and a loaded model are the same one."""
    model = make()
    # Initial values would come back from a file that holds nothing.
    random = np.random.default_rng(4)
    for variable in model.weights:
        variable.assign(variable + random.normal(0, 0.01, variable.shape))
    config, image = model.get_config(), natural_image(model)
    parameters = inspect.signature(type(model).__init__).parameters.values()
    arguments = {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"}
    assert arguments <= set(config), f"not in get_config: {sorted(arguments - set(config))}"
    for name in arguments:
        assert getattr(model, name) == config[name], name

    rebuilt = type(model).from_config(config)
    assert rebuilt.get_config() == config
    rebuilt.set_weights(model.get_weights())
    np.testing.assert_array_equal(rebuilt(image), model(image))

    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.get_config() == config
    assert list(taps_of(loaded)) == list(taps_of(model))
    np.testing.assert_array_equal(loaded(image), model(image))

    model.save_weights(folder / "model.weights.h5")
    for variable in rebuilt.weights:
        variable.assign(variable + 1.0)
    rebuilt.load_weights(folder / "model.weights.h5")
    for ours, theirs in zip(model.get_weights(), rebuilt.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def check_symbolic_call(make):
    """Shapes are known without numbers: of the output, of every stage and of every layer."""
    model = make()
    channels = model.input_shape[-1]
    image = image_for(model, 17, 33)  # padding changes it
    for shape in ((None, None, None, channels), (None, None, 33, channels), image.shape):
        spec = model(keras.KerasTensor(shape, dtype="float32"))
        assert spec.shape == (*shape[:3], model.output_shape[-1])
        assert spec.dtype == "float32"
    layers = [each for each in model.layers if not isinstance(each, keras.layers.InputLayer)]
    tensors = [*taps_of(model).values(), *(layer.output for layer in layers)]
    probe = keras.Model(model.input, tensors)
    names = [*taps_of(model), *(layer.name for layer in layers)]
    shapes, results = probe.compute_output_shape(image.shape), probe(image)
    for name, shape, result in zip(names, shapes, results, strict=True):
        assert tuple(shape) == tuple(result.shape), name


def gradients_of(model, image):
    """The gradient of a squared error by weight, at which no weight is idle."""
    with tf.GradientTape() as tape:
        restored = model(image, training=True)
        loss = tf.reduce_mean(tf.square(restored - 0.5))
    variables = model.trainable_weights
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    return restored, list(zip(variables, gradients, strict=True))


def check_training_step(make):
    """Every weight has a finite gradient, and one step changes it."""
    model = make()
    image = natural_image(model)
    for variable, gradient in gradients_of(model, image)[1]:
        assert gradient is not None, f"{variable.path} has no gradient"
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), f"the gradient of {variable.path} is zero"
    before = [np.copy(weight) for weight in model.get_weights()]
    # Eagerly, because tracing takes longer than all the rest; the distiller's tests run graphs.
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse", run_eagerly=True)
    loss = model.train_on_batch(image, np.full_like(model(image), 0.5))
    assert np.isfinite(loss)
    for variable, weight in zip(model.weights, before, strict=True):
        assert np.isfinite(variable).all(), variable.path
        assert np.any(variable != weight), f"{variable.path} has not changed"


def check_mixed_precision(make, policy):
    """The residual is that of float32 but for a few roundings of the format; gradients are finite.

    The residual alone: of an output that is nearly its input, any tolerance would do.
    """
    model, full = make(dtype=policy), make(dtype="float32")
    full.set_weights(model.get_weights())
    assert policy.removeprefix("mixed_") in {layer.compute_dtype for layer in model.layers}
    image = natural_image(model)
    restored, gradients = gradients_of(model, image)
    assert restored.dtype == "float32"
    for variable, gradient in gradients:
        assert variable.dtype == "float32", variable.path
        assert np.isfinite(gradient).all(), variable.path
    expected = np.asarray(full(image))
    residual = expected - image if expected.shape == image.shape else expected
    error = root_mean_square(restored - expected) / root_mean_square(residual)
    assert error <= MOST_FORMAT_ERRORS * FORMAT_ERRORS[policy], f"{policy}: {error:.2e}"
    # Norms and normalisations divide by what is zero here.
    restored, gradients = gradients_of(model, 0 * image)
    assert np.isfinite(restored).all()
    # Each norm of nothing multiplies the gradient by 1 / sqrt(epsilon): 4e10 in all for a small
    # Uformer, which only float16 cannot hold.
    if policy != "mixed_float16":
        assert all(np.isfinite(gradient).all() for _, gradient in gradients)


def root_mean_square(values):
    """Of an array, in float64."""
    return np.sqrt(np.mean(np.square(np.asarray(values, np.float64))))


def check_sizes(make):
    """An image of any size keeps it, and is computed as if reflected to the stated multiple."""
    model = make()
    multiple = size_multiple(model)
    for size in (*ODD_SIZES, (multiple, 2 * multiple)):
        image = image_for(model, *size)
        restored = model(image)
        assert restored.shape == (*image.shape[:3], model.output_shape[-1])
        padding = [(0, -side % multiple) for side in size]
        padded = np.pad(image, ((0, 0), *padding, (0, 0)), mode="reflect")
        expected = np.asarray(model(padded))[:, : size[0], : size[1]]
        np.testing.assert_allclose(restored, expected, rtol=0, atol=ROUNDING, err_msg=str(size))


def check_fixed_size(make):
    """The graph for export computes the same, in float32 whatever the model was trained in."""
    model = make()
    multiple = size_multiple(model)
    for size, for_integers in (
        *((size, False) for size in (*ODD_SIZES, (multiple, 2 * multiple))),
        ((17, 33), True),
    ):
        image = image_for(model, *size, batch=1)
        sized = with_image_size(model, size, for_integers=for_integers)
        assert sized.input_shape == image.shape
        np.testing.assert_allclose(
            sized(image), model(image), rtol=0, atol=ROUNDING, err_msg=f"{size}, {for_integers}"
        )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        sized = with_image_size(make(dtype="mixed_bfloat16"), (multiple, multiple))
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in sized.layers} == {"float32"}
