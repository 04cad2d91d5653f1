"""Restormer computes what the official implementation computes, at any size and precision."""

import keras
import numpy as np
import pytest

from keras_skd.models import Restormer, load_pytorch_checkpoint, with_image_size
from tests.families import check_family

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


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_blocks": (0, 1, 0, 1)},
        {
            "num_blocks": (1, 0, 0, 0),
            "LayerNorm_type": "BiasFree",
            "bias": True,
            "ffn_expansion_factor": 2.0,
        },
    ],
    ids=["with bias", "bias-free"],
)
def test_it_is_a_family(tmp_path, arguments):
    check_family(lambda **options: small_restormer(**arguments, **options), tmp_path)


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
