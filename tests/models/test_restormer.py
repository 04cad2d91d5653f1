"""Restormer computes what the official implementation computes, at any size and precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.models import Restormer, load_pytorch_checkpoint, with_image_size

# The project's requirement; the ports agree to about 5e-7.
GOLDEN_TOLERANCE = 1e-4
NAMES = ("restormer_withbias", "restormer_biasfree")


def small_restormer(**arguments):
    keras.utils.set_random_seed(0)
    return Restormer(
        **{
            "dim": 8,
            "num_blocks": (1, 1, 1, 1),
            "num_refinement_blocks": 1,
            "heads": (1, 2, 2, 4),
            **arguments,
        }
    )


def random_image(*shape):
    return np.random.default_rng(2).uniform(size=shape).astype("float32")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["training", "export"])
def test_output_and_every_feature_are_the_official_ones(golden, name, form):
    reference = golden(name)
    model = Restormer(**reference.arguments)
    load_pytorch_checkpoint(model, reference.checkpoint)
    assert model.count_params() == reference.parameters
    images = [reference.image]
    if form == "export":
        model = with_image_size(model, reference.image.shape[1:3])
        images = np.split(reference.image, len(reference.image))
    assert set(reference.features) <= set(model.taps)
    outputs = {"output": model.output, **model.taps}
    runs = [keras.Model(model.input, outputs)(image) for image in images]
    computed = {key: np.concatenate([run[key] for run in runs]) for key in outputs}
    np.testing.assert_allclose(computed["output"], reference.output, rtol=0, atol=GOLDEN_TOLERANCE)
    for key, expected in reference.features.items():
        expected = np.transpose(expected, (0, 2, 3, 1))  # NCHW -> NHWC
        np.testing.assert_allclose(
            computed[key], expected, rtol=0, atol=GOLDEN_TOLERANCE, err_msg=key
        )


def test_a_wrong_weight_is_noticed(golden):
    """The negative control of the comparison above."""
    reference = golden("restormer_withbias")
    model = Restormer(**reference.arguments)
    load_pytorch_checkpoint(model, reference.checkpoint)
    down = model.get_layer("down1_2").kernel
    down.assign(down[..., ::-1])
    assert np.abs(model(reference.image) - reference.output).max() > 10 * GOLDEN_TOLERANCE


def test_the_published_model_has_the_published_parameters():
    assert Restormer().count_params() == 26_126_644


@pytest.mark.parametrize(
    "arguments",
    [{}, {"LayerNorm_type": "BiasFree", "bias": True}, {"inp_channels": 1, "out_channels": 1}],
    ids=["with bias", "bias-free", "grey"],
)
def test_training_and_export_form_are_equal(arguments):
    model = small_restormer(**arguments)
    # 40 x 24 = 15 blocks of 64 pixels at level 1, one of 15 pixels in the latent.
    image = random_image(1, 40, 24, model.inp_channels)
    exported = with_image_size(model, (40, 24))
    assert exported.get_layer("latent_0").attention.export_form
    assert not model.get_layer("latent_0").attention.export_form
    np.testing.assert_allclose(exported(image), model(image), rtol=0, atol=1e-5)


def test_dual_pixel_has_no_image_residual():
    model = small_restormer(inp_channels=6, dual_pixel_task=True)
    image = random_image(1, 16, 24, 6)
    restored = model(image)
    assert restored.shape == (1, 16, 24, 3)
    exported = with_image_size(model, (16, 24))
    np.testing.assert_allclose(exported(image), restored, rtol=0, atol=1e-5)
    model.get_layer("output").kernel.assign(0 * model.get_layer("output").kernel)
    np.testing.assert_array_equal(model(image), 0)


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (8, 8), (9, 24), (33, 2)])
def test_any_image_size(size):
    model = small_restormer()
    image = random_image(2, *size, 3)
    restored = model(image)
    assert restored.shape == image.shape
    padding = [(0, -side % 8) for side in size]
    padded = np.pad(image, ((0, 0), *padding, (0, 0)), mode="reflect")
    # The convolutions' order of summation may change with the batch's layout.
    expected = np.asarray(model(padded))[:, : size[0], : size[1]]
    np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        with_image_size(model, size)(image[:1]), expected[:1], rtol=0, atol=1e-5
    )


def test_keras_file_round_trip(tmp_path):
    model = small_restormer(LayerNorm_type="BiasFree", ffn_expansion_factor=2.0)
    image = random_image(1, 16, 8, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, Restormer)
    assert loaded.get_config() == model.get_config()
    assert list(loaded.taps) == list(model.taps)
    np.testing.assert_array_equal(loaded(image), model(image))


def test_weights_round_trip(tmp_path):
    model, other = small_restormer(), small_restormer()
    for variable in other.weights:
        variable.assign(variable + 1.0)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for saved, loaded in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(saved, loaded)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("brightness", [1.0, 0.0])
def test_mixed_precision_is_finite(policy, brightness):
    model = small_restormer(dtype=policy)
    image = tf.constant(random_image(2, 16, 24, 3) * brightness)
    with tf.GradientTape() as tape:
        restored = model(image)
        loss = tf.reduce_mean(tf.square(restored - 0.5))
    assert model.get_layer("latent_0").compute_dtype == policy.removeprefix("mixed_")
    assert restored.dtype == "float32"
    assert np.isfinite(restored).all()
    for variable, gradient in zip(
        model.trainable_weights,
        tape.gradient(loss, [weight.value for weight in model.trainable_weights]),
        strict=True,
    ):
        assert variable.dtype == "float32"
        assert np.isfinite(gradient).all(), variable.path
    full = small_restormer()
    full.set_weights(model.get_weights())
    # bfloat16 keeps 8 bits: features of about 1 carry errors of 1 / 256, some of which add up.
    np.testing.assert_allclose(restored, full(image), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": (1, 1, 1)}, "num_blocks needs four"),
        ({"heads": (1, 1, 1, 1, 1)}, "heads needs four"),
        ({"dim": 7}, "dim must be even.*got 7"),
        ({"LayerNorm_type": "RMS"}, "LayerNorm_type.*'RMS'"),
        ({"inp_channels": 6}, "must be equal; got 6 and 3"),
        ({"heads": (3, 1, 1, 1)}, "num_heads=3"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_restormer(**arguments)
