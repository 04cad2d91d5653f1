"""Every tensor reaches its variable, or nothing is loaded and the message says what differs."""

import numpy as np
import pytest

from keras_skd.models import (
    PRESETS,
    CheckpointError,
    Preset,
    Restormer,
    Uformer,
    load_pytorch_checkpoint,
)


def small_restormer():
    return Restormer(dim=4, num_blocks=(1, 0, 0, 0), num_refinement_blocks=0, heads=(1, 1, 1, 1))


def deeper_restormer():
    return Restormer(dim=4, num_blocks=(3, 0, 0, 0), num_refinement_blocks=0, heads=(1, 1, 1, 1))


def problem(model, path):
    before = model.get_weights()
    with pytest.raises(CheckpointError) as caught:
        load_pytorch_checkpoint(model, path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return str(caught.value)


def test_every_tensor_reaches_its_variable(write_checkpoint, official_tensors, file_format):
    model = small_restormer()
    tensors = official_tensors(model)
    load_pytorch_checkpoint(model, write_checkpoint(tensors, file_format=file_format))
    kernel = model.get_layer("patch_embed").kernel.numpy()
    expected = tensors["patch_embed.proj.weight"]
    np.testing.assert_array_equal(kernel[1, 2, 0], expected[:, 0, 1, 2])
    assert len(tensors) == len(model.weights)
    for variable, name, convert in model.pytorch_names():
        np.testing.assert_array_equal(variable.numpy(), convert(tensors[name]))


def test_half_precision_weights_load_as_float32(write_checkpoint, official_tensors):
    model = small_restormer()
    half = {name: a.astype("float16") for name, a in official_tensors(model).items()}
    load_pytorch_checkpoint(model, write_checkpoint(half))
    for variable, name, convert in model.pytorch_names():
        assert variable.dtype == "float32"
        np.testing.assert_array_equal(variable.numpy(), convert(half[name]).astype("float32"))


@pytest.mark.parametrize("prefix", ["restorer.", "my_model.core.", "module.restormer.module."])
def test_a_prefix_that_all_names_share(write_checkpoint, official_tensors, prefix):
    model = small_restormer()
    tensors = official_tensors(model)
    saved = {prefix + name: array for name, array in tensors.items()}
    load_pytorch_checkpoint(model, write_checkpoint(saved))
    expected = tensors["output.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("output").kernel.numpy(), expected)


def test_a_prefix_that_some_names_have_is_kept(write_checkpoint, official_tensors):
    model = small_restormer()
    saved = {f"restorer.{name}": array for name, array in official_tensors(model).items()}
    saved["loss.weight"] = np.ones(2, "float32")
    message = problem(model, write_checkpoint(saved))
    assert f"{len(saved) - 1} missing patch_embed.proj.weight" in message
    assert f"{len(saved)} unexpected restorer.patch_embed.proj.weight (4, 3, 3, 3)" in message


def test_each_kind_of_problem_is_listed(write_checkpoint, official_tensors):
    model = small_restormer()
    tensors = official_tensors(model)
    del tensors["patch_embed.proj.weight"], tensors["output.weight"]
    tensors["encoder_level1.0.norm1.body.weight"] = np.ones(5, "float32")
    tensors["encoder_level1.0.norm2.body.weight"][1] = np.nan
    tensors["encoder_level1.0.norm1.body.bias"] = np.ones(4, "int64")
    tensors["encoder_level1.0.norm2.body.bias"] = np.full(4, 1e300)
    tensors["surplus.one"] = tensors["surplus.two"] = np.ones(2, "float32")
    message = problem(model, write_checkpoint(tensors))
    for expected in (
        f"does not fit {model.name} (8 tensors)",
        "2 missing patch_embed.proj.weight, output.weight.",
        "1 of wrong shape encoder_level1.0.norm1.body.weight (5,) for encoder_level1_0/norm1/",
        "3 unusable ",
        "encoder_level1.0.norm2.body.weight holds NaN or infinity",
        "encoder_level1.0.norm1.body.bias holds int64 numbers",
        "encoder_level1.0.norm2.body.bias holds NaN or infinity",
        "2 unexpected surplus.one (2,), surplus.two (2,).",
        "It fits no preset",
    ):
        assert expected in message


def test_only_the_first_ten_names_of_each_kind_are_listed(write_checkpoint, official_tensors):
    deep, shallow = deeper_restormer(), small_restormer()
    surplus = len(deep.weights) - len(shallow.weights)
    message = problem(shallow, write_checkpoint(official_tensors(deep)))
    assert f"{surplus} unexpected encoder_level1.1.norm1.body.weight (4,)" in message
    assert f", and {surplus - 10} more." in message
    assert message.count("encoder_level1.") == 10
    message = problem(deep, write_checkpoint(official_tensors(shallow)))
    assert f"{surplus} missing encoder_level1.1.norm1.body.weight" in message
    assert f", and {surplus - 10} more." in message


def test_the_message_names_the_presets_that_fit(write_checkpoint, official_tensors):
    tensors = official_tensors(PRESETS["restormer_light"].build(load_weights=False))
    path = write_checkpoint({"params": {f"module.{name}": a for name, a in tensors.items()}})
    message = problem(small_restormer(), path)
    assert message.endswith("It fits the preset restormer_light.")
    # Of another family.
    assert "It fits the preset restormer_light." in problem(
        Uformer(img_size=32, embed_dim=4, depths=(1, 0, 0, 0, 0, 0, 0, 0, 0)), path
    )


def test_norms_with_and_without_bias_are_told_apart(
    write_checkpoint, official_tensors, monkeypatch
):
    """The commonest mistake: a denoiser's checkpoint with the preset of the derainer."""
    arguments = {
        "dim": 4,
        "num_blocks": (1, 0, 0, 0),
        "num_refinement_blocks": 0,
        "heads": (1,) * 4,
    }
    presets = {
        "with_bias": Preset(Restormer, arguments, ""),
        "bias_free": Preset(Restormer, {**arguments, "LayerNorm_type": "BiasFree"}, ""),
        "wider": Preset(Restormer, {**arguments, "dim": 8}, ""),
        "deeper": Preset(Restormer, {**arguments, "num_blocks": (2, 0, 0, 0)}, ""),
    }
    monkeypatch.setattr("keras_skd.models.checkpoints.loading.PRESETS", presets)
    models = {name: preset.build() for name, preset in presets.items()}
    for preset, other in (("bias_free", "with_bias"), ("with_bias", "bias_free")):
        message = problem(models[other], write_checkpoint(official_tensors(models[preset])))
        assert ("missing" if other == "with_bias" else "unexpected") in message
        assert message.endswith(f"It fits the preset {preset}.")
    message = problem(models["wider"], write_checkpoint(official_tensors(models["deeper"])))
    assert message.endswith("It fits the preset deeper.")


def test_names_in_the_message_are_printable(write_checkpoint):
    message = problem(small_restormer(), write_checkpoint({"a\x1b[31m\n": np.ones(2, "float32")}))
    assert r"a\x1b[31m\n (2,)" in message
    assert "\x1b" not in message
