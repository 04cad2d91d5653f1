"""The command that turns an official checkpoint into a Keras file."""

import pickle
import zipfile

import keras
import numpy as np
import pytest

from keras_skd.models import PRESETS
from keras_skd.models.convert_checkpoint import main


@pytest.fixture
def official(official_tensors):
    """A random state dict of the preset ``restormer_small``, named as PyTorch names it."""
    return official_tensors(PRESETS["restormer_small"].build())


def test_the_keras_file_computes_with_the_weights(write_checkpoint, official, tmp_path, capsys):
    checkpoint = write_checkpoint({"params": official})
    output = tmp_path / "made" / "teacher.keras"
    assert main([str(checkpoint), "--preset", "restormer_small", "--output", str(output)]) == 0
    model = keras.saving.load_model(output)
    assert f"{model.count_params():,} parameters" in capsys.readouterr().out
    kernel = model.get_layer("patch_embed").kernel.numpy()
    expected = official["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize(
    ("preset", "name", "message"),
    [
        ("restormer_huge", "teacher.keras", "preset must be one of restormer, "),
        ("restormer_small", "teacher.h5", "the output is a Keras file"),
        ("restormer_tiny", "teacher.keras", "does not fit"),
    ],
)
def test_wrong_input_is_one_line(
    write_checkpoint, official, tmp_path, capsys, preset, name, message
):
    checkpoint, output = write_checkpoint(official), tmp_path / "made" / name
    with pytest.raises(SystemExit) as exit_:
        main([str(checkpoint), "--preset", preset, "--output", str(output)])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not output.parent.exists()


def test_a_missing_or_untrusted_file_is_one_line(tmp_path, capsys):
    class Malicious:
        def __reduce__(self):
            return print, ("executed",)

    untrusted = tmp_path / "untrusted.pth"
    with zipfile.ZipFile(untrusted, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malicious()))
    for checkpoint, message in ((tmp_path / "no.pth", "no such"), (untrusted, "refused")):
        with pytest.raises(SystemExit) as exit_:
            main([str(checkpoint), "--preset", "restormer_tiny", "--output", "teacher.keras"])
        assert exit_.value.code == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert "executed" not in captured.out
