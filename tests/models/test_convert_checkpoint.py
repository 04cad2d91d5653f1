"""The command that turns an official checkpoint into a Keras file."""

import errno
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

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


def test_every_format_gives_the_same_model(write_checkpoint, official, tmp_path, file_format):
    checkpoint = write_checkpoint(official, file_format=file_format)
    output = tmp_path / "teacher.keras"
    assert main([str(checkpoint), "--preset", "restormer_small", "--output", str(output)]) == 0
    model = keras.saving.load_model(output)
    for variable, name, convert in model.pytorch_names():
        np.testing.assert_array_equal(variable.numpy(), convert(official[name]))


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
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html>\n<title>Sign in</title>")
    output = tmp_path / "made" / "teacher.keras"
    for checkpoint, message in (
        (tmp_path / "no.pth", "no such"),
        (untrusted, "refused"),
        (page, "a web page (HTML, 'Sign in')"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main([str(checkpoint), "--preset", "restormer_tiny", "--output", str(output)])
        assert exit_.value.code == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert "executed" not in captured.out
        assert not output.parent.exists()


def test_a_mismatch_names_the_preset_that_fits(write_checkpoint, official, tmp_path, capsys):
    checkpoint = write_checkpoint(official)
    arguments = ["--preset", "uformer_tiny", "--output", str(tmp_path / "teacher.keras")]
    with pytest.raises(SystemExit) as exit_:
        main([str(checkpoint), *arguments])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith("It fits the preset restormer_small.\n")
    # The message is right: that preset takes the file.
    main([str(checkpoint), "--preset", "restormer_small", *arguments[2:]])


@pytest.mark.parametrize("failure", ["mismatch", "full disk", "fault"])
def test_a_failure_leaves_the_earlier_file(
    write_checkpoint, official, tmp_path, monkeypatch, failure
):
    output = tmp_path / "out" / "teacher.keras"
    output.parent.mkdir()
    output.write_bytes(b"earlier")
    preset = "restormer_tiny" if failure == "mismatch" else "restormer_small"
    errors = {
        "full disk": OSError(errno.ENOSPC, "No space left on device"),
        "fault": RuntimeError("a fault"),
    }
    if failure in errors:

        def save(self, path):
            path.write_bytes(b"half")
            raise errors[failure]

        monkeypatch.setattr(keras.Model, "save", save)
    expected = RuntimeError if failure == "fault" else SystemExit
    with pytest.raises(expected):
        main([str(write_checkpoint(official)), "--preset", preset, "--output", str(output)])
    assert output.read_bytes() == b"earlier"
    assert list(output.parent.iterdir()) == [output]


def test_an_output_that_is_a_folder(write_checkpoint, official, tmp_path, capsys):
    output = tmp_path / "teacher.keras"
    output.mkdir()
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                str(write_checkpoint(official)),
                "--preset",
                "restormer_small",
                "--output",
                str(output),
            ]
        )
    assert exit_.value.code == 2
    assert "a folder has this name" in capsys.readouterr().err


def test_in_a_process_of_its_own_an_error_is_one_line(tmp_path):
    """Neither TensorFlow's log nor a traceback stands beside it."""
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html></html>")
    command = [sys.executable, "-m", "keras_skd.models.convert_checkpoint", "page.pth"]
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [*command, "--preset", "restormer_tiny", "--output", "teacher.keras"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("keras_skd.models.convert_checkpoint: error: page.pth: a web")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "teacher.keras").exists()
