"""The profile's numbers: the published ones, a hand count, and the students' budgets."""

import dataclasses

import keras
import pytest

from keras_skd.models import PRESETS, Restormer, with_image_size
from keras_skd.profile import main, profile

BUDGETS = {"tiny": 1e9, "small": 4e9, "base": 10e9}  # MACs at 256x256


def small_restormer(**arguments):
    return Restormer(
        dim=4, num_blocks=(1, 0, 0, 0), num_refinement_blocks=0, heads=(2, 1, 1, 1), **arguments
    )


def test_restormer_costs_what_is_published():
    result = profile(PRESETS["restormer"].build(), (256, 256))
    assert result.parameters == 26_126_644
    assert result.convolution_macs == pytest.approx(140.99e9, rel=0.01)
    assert result.total_macs == pytest.approx(154.88e9, rel=0.01)


@pytest.mark.parametrize(
    "name", [name for name in PRESETS if name.rpartition("_")[2] in BUDGETS], ids=str
)
def test_students_keep_their_budget(name):
    result = profile(PRESETS[name].build(load_weights=False), (256, 256))
    assert 0.5 < result.total_macs / BUDGETS[name.rpartition("_")[2]] < 1


def test_counts_of_a_small_model_are_those_by_hand():
    result = profile(small_restormer(), (16, 24))
    stages = {stage.name: stage for stage in result.stages}
    pixels = 16 * 24
    hidden = int(4 * 2.66)
    block = 4 * 12 + 9 * 12 + 4 * 4 + 4 * 2 * hidden + 9 * 2 * hidden + hidden * 4
    assert stages["patch_embed"].convolution_macs == pixels * 9 * 3 * 4
    assert stages["encoder_level1"].convolution_macs == pixels * block
    assert stages["encoder_level1"].attention_macs == pixels * 2 * 4 * 2  # two heads of 2 channels
    assert stages["encoder_level1"].parameters == block + 2 + 4 * 4  # temperature, two norms
    assert stages["down1_2"].convolution_macs == pixels * 9 * 4 * 2
    assert stages["up2_1"].convolution_macs == pixels // 4 * 9 * 8 * 16
    assert stages["down1_2"].output_shape == (8, 12, 8)
    assert "pad" not in stages
    assert "concat_level1" not in stages
    assert sum(stage.parameters for stage in result.stages) == result.parameters
    # In the decoder's block: the image and its padded copy, the block's input and output (8
    # channels each), and the wider of its pairs of tensors inside.
    assert result.peak_activation_bytes == 4 * pixels * (3 + 3 + 8 + 8 + 2 * 2 * 21)


def test_sizes_are_padded_as_the_model_does():
    model = small_restormer()
    padded, whole = profile(model, (9, 17)), profile(model, (16, 24))
    assert padded.total_macs == whole.total_macs
    assert padded.image_size == (9, 17)


def test_the_export_graph_costs_the_same():
    model = small_restormer()
    sized = with_image_size(model, (16, 24))
    expected, found = profile(model, (16, 24)), profile(sized, (16, 24))

    def costs(result):
        # Without shapes: an export graph upsamples where it merges with the skip connection.
        return [dataclasses.replace(stage, output_shape=()) for stage in result.stages]

    assert costs(found) == costs(expected)
    same = {"model": expected.model, "stages": expected.stages}
    assert dataclasses.replace(found, **same) == expected
    with pytest.raises(ValueError, match="built for images of 16x24; got 8x8"):
        profile(sized, (8, 8))


def test_what_cannot_be_counted_is_an_error():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Dense(4, name="mixer")(inputs))
    with pytest.raises(ValueError, match=r"mixer \(Dense\)"):
        profile(model, (8, 8))
    with pytest.raises(ValueError, match="must be positive; got 0x8"):
        profile(small_restormer(), (0, 8))


def test_command(capsys, tmp_path):
    small_restormer().save(tmp_path / "small.keras")
    assert main([str(tmp_path / "small.keras"), "--size", "16x24"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["stage", "output", "parameters"]
    assert lines[-2].split()[:2] == ["total", "16x24"]
    assert lines[-1].startswith("peak activation memory")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["restormer_huge"], "'restormer_huge' is neither a preset"),
        (["absent.keras"], "absent.keras: no such model file"),
        (["restormer_tiny", "--size", "0"], "'0' is not a size"),
        (["restormer_tiny", "--size", "2x3x4"], "'2x3x4' is not a size"),
    ],
)
def test_command_with_wrong_input(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
