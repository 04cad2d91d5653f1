"""Uformer computes what the official implementation computes, at any size and precision."""

import keras
import numpy as np
import pytest

from keras_skd.models import (
    CheckpointError,
    Uformer,
    load_pytorch_checkpoint,
    read_pytorch_checkpoint,
    with_image_size,
)
from tests.families import check_family

# The project's requirement; the ports agree to about 3e-6.
GOLDEN_TOLERANCE = 1e-4


def small_uformer(**arguments):
    """Windows of 4, so that images of 32 x 48 have shifted windows at several levels."""
    keras.utils.set_random_seed(0)
    model = Uformer(
        **{
            "img_size": 64,
            "embed_dim": 4,
            "depths": (1, 2, 1, 2, 1, 1, 1, 2, 1),
            "num_heads": (1, 1, 2, 2, 4, 4, 2, 2, 1),
            "win_size": 4,
            "modulator": True,
            **arguments,
        }
    )
    # The initial tables and modulators are close to zero, where a wrong one would go unnoticed.
    for variable in model.weights:
        if "table" in variable.path or "modulator" in variable.path:
            variable.assign(50 * variable)
    return model


def random_image(*shape):
    return np.random.default_rng(2).uniform(size=shape).astype("float32")


@pytest.mark.parametrize("name", ["uformer_plain", "uformer_modulator"])
@pytest.mark.parametrize("form", ["training", "export"])
def test_output_and_every_feature_are_the_official_ones(golden, name, form):
    reference = golden(name)
    model = Uformer(**reference.arguments)
    load_pytorch_checkpoint(model, reference.checkpoint)
    assert model.count_params() == reference.parameters
    if form == "export":
        model = with_image_size(model, reference.image.shape[1:3])
    assert set(reference.features) == set(model.taps)
    outputs = {"output": model.output, **model.taps}
    computed = keras.Model(model.input, outputs)(reference.image)
    np.testing.assert_allclose(computed["output"], reference.output, rtol=0, atol=GOLDEN_TOLERANCE)
    for key, expected in reference.features.items():
        # (batch, pixels, channels), rows first.
        expected = expected.reshape(computed[key].shape)
        np.testing.assert_allclose(
            computed[key], expected, rtol=0, atol=GOLDEN_TOLERANCE, err_msg=key
        )


def test_a_missing_shift_is_noticed(golden):
    """The negative control of the comparison above."""
    reference = golden("uformer_modulator")
    model = Uformer(**reference.arguments, shift_flag=False)
    load_pytorch_checkpoint(model, reference.checkpoint)
    assert np.abs(model(reference.image) - reference.output).max() > 10 * GOLDEN_TOLERANCE


def test_checkpoint_buffers_are_checked(golden, write_checkpoint):
    reference = golden("uformer_plain")
    tensors = read_pytorch_checkpoint(reference.checkpoint)
    tensors["conv.blocks.0.attn.relative_position_index"] += 1
    del tensors["encoderlayer_0.blocks.0.attn.relative_position_index"]
    model = Uformer(**reference.arguments)
    with pytest.raises(CheckpointError) as caught:
        load_pytorch_checkpoint(model, write_checkpoint(tensors))
    assert "2 tensors" in str(caught.value)
    assert "missing encoderlayer_0.blocks.0.attn.relative_position_index" in str(caught.value)
    assert "conv.blocks.0.attn.relative_position_index (64, 64) is not" in str(caught.value)


def test_the_published_model_has_the_published_parameters():
    model = Uformer(img_size=128, depths=(1, 2, 8, 8, 2, 8, 8, 2, 1), modulator=True)
    assert model.count_params() == pytest.approx(50.88e6, abs=0.005e6)
    assert model.size_multiple == 128


def test_windows_shift_where_the_official_ones_do():
    """Not at a level that is no larger than a window; smaller levels have smaller windows."""
    model = Uformer(img_size=64, embed_dim=4, num_heads=(1,) * 9)
    attention = {
        layer.name: layer.attention for layer in model.layers if hasattr(layer, "attention")
    }
    assert len(attention) == 18
    shifts = {name: layer.shift_size for name, layer in attention.items() if layer.shift_size}
    assert shifts == {
        f"{stage}_1": 4
        for stage in (
            *("encoderlayer_0", "encoderlayer_1", "encoderlayer_2"),
            *("decoderlayer_1", "decoderlayer_2", "decoderlayer_3"),
        )
    }
    assert attention["conv_0"].window_size == 4
    assert attention["encoderlayer_3_0"].window_size == 8
    assert model.size_multiple == 64


@pytest.mark.parametrize(
    "arguments",
    [{}, {"in_chans": 1, "dd_in": 1, "qkv_bias": False, "qk_scale": 0.3, "mlp_ratio": 2.5}],
    ids=["colour", "grey"],
)
def test_training_and_export_form_are_equal(arguments):
    model = small_uformer(**arguments)
    # A level of 8 x 12 pixels has 2 x 3 windows; the bottleneck of 4 x 4 and its twin one each.
    image = random_image(1, 64, 128, model.dd_in)
    exported = with_image_size(model, (64, 128))
    block = exported.get_layer("encoderlayer_3_1")
    assert block.attention.export_form
    assert block.attention.shift_size
    restored = model(image)
    assert np.std(restored) > 0.1
    np.testing.assert_allclose(exported(image), restored, rtol=0, atol=1e-5)
    # A batch is as many single images.
    batch = np.concatenate([image[:, ::-1], image])
    np.testing.assert_allclose(model(batch)[1:], restored, rtol=0, atol=1e-5)


def test_only_colour_has_an_image_residual():
    model = small_uformer(in_chans=1, dd_in=1, depths=(0,) * 9)
    output = model.get_layer("output_proj")
    output.set_weights([np.zeros_like(weight) for weight in output.get_weights()])
    np.testing.assert_array_equal(model(random_image(1, 64, 64, 1)), 0)


def test_it_is_a_family(tmp_path):
    def make(**options):
        return small_uformer(
            depths=(1, 0, 0, 2, 0, 0, 0, 0, 1), qk_scale=0.5, mlp_ratio=2.0, **options
        )

    assert make().size_multiple == 64
    check_family(make, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (1,) * 8}, "depths needs nine"),
        ({"num_heads": (1,) * 10}, "num_heads needs nine"),
        ({"token_projection": "conv"}, "token_projection must be 'linear'.*'conv'"),
        ({"token_mlp": "ffn"}, "token_mlp must be 'leff'.*'ffn'"),
        ({"img_size": 100}, "multiple of 16.*got 100"),
        ({"img_size": 16}, "at least 32; got 16"),
        ({"in_chans": 1}, "in_chans must be 3; got 1"),
        ({"num_heads": (3, 1, 1, 1, 1, 1, 1, 1, 1)}, "num_heads=3"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_uformer(**arguments)
