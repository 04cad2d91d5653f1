"""A file that is no whole checkpoint is called by its name, in one sentence each."""

import gzip
import io
import os
import tarfile
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_skd.errors import InputError, MissingFileError
from keras_skd.models import CheckpointError, read_pytorch_checkpoint

TENSORS = {"a.weight": np.arange(60, dtype="float32"), "b": np.ones((4, 4), "float32")}


def archive(**entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name, data in entries.items():
            target.writestr(name, data)
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as target:
        target.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return file.getvalue()


HTML = b"<!DOCTYPE html><html><head><title>Drive - Virus scan\n warning</title></head></html>"
LFS = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0\n"
    b"size 104619285\n"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty (0 bytes)"),
        (HTML, "a web page (HTML, 'Drive - Virus scan warning'), not a checkpoint"),
        (b"\xef\xbb\xbf\n <html lang=en>" + b"<p>" * 3000, "a web page (HTML)"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (LFS, "a Git LFS pointer, not the file of 104,619,285 bytes"),
        (b'{"message": "Not Found"}', 'a JSON text, not a checkpoint: {"message": "Not Found"}'),
        (b"404: Not Found\n", "a text, not a checkpoint: 404: Not Found"),
        (bytes(5000), "5,000 bytes that begin with nothing but zeros: an interrupted download"),
        (b"\x89HDF\r\n\x1a\n" + bytes(range(100)), "an HDF5 file"),
        (gzip.compress(b"weights"), "a compressed file (gzip); unpack it first"),
        (npy(), "a NumPy array (.npy)"),
        (npz(), "a NumPy archive (.npz)"),
        (tar(), "a tar archive. Unpack it first"),
        (b"\x1c\0\0\0TFL3" + bytes(50), "a TensorFlow Lite model"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.", "a pickle, but not one that torch.save"),
        (b"\x9d\x01\xfe\x00\xaa\xbb\xcc\xdd\xee", "of an unknown kind (it begins with 9d 01 fe 00"),
        (archive(**{"model.pth": b"1"}), "a zip archive around model.pth; unpack it first"),
        (archive(**{"a.txt": b"1"}), "a zip archive without data.pkl"),
        (archive(), "a zip archive without data.pkl"),
        (archive(**{"a/data.pkl": b"N.", "b/data.pkl": b"N."}), "several data.pkl"),
        (archive(**{"a/data.pkl": b"N.", "a/constants.pkl": b"N."}), "a TorchScript program"),
        (archive(**{"a/models/model.json": b"", "a/archive_format": b"pt2"}), "torch.export"),
    ],
)  # fmt: skip
def test_the_kind_of_a_file(tmp_path, content, message):
    path = tmp_path / "wrong.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_pytorch_checkpoint(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_files_of_keras(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(CheckpointError, match="a Keras model file already"):
        read_pytorch_checkpoint(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(CheckpointError, match="an HDF5 file"):
        read_pytorch_checkpoint(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["a"] = np.ones(3)
    with pytest.raises(CheckpointError, match="an HDF5 file"):
        read_pytorch_checkpoint(tmp_path / "data.h5")


@pytest.mark.parametrize("kept", [0.97, 0.5, 0.1])
def test_truncated_files_say_so(checkpoint_bytes, tmp_path, file_format, kept):
    whole = checkpoint_bytes(TENSORS, file_format)
    path = tmp_path / "partial.pth"
    path.write_bytes(whole[: int(kept * len(whole))])
    # A pickle that ends early is told by the pickle.
    expected = "truncated" if file_format != "legacy" or kept == 0.97 else "damaged|a pickle"
    with pytest.raises(CheckpointError, match=expected):
        read_pytorch_checkpoint(path)


def test_every_length_of_a_truncated_file(checkpoint_bytes, tmp_path, file_format):
    whole = checkpoint_bytes(TENSORS, file_format)
    path = tmp_path / "partial.pth"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"partial\.pth: "):
            read_pytorch_checkpoint(path)


def test_a_flipped_bit_of_the_numbers_is_noticed_in_a_zip_archive(checkpoint_bytes, tmp_path):
    content = bytearray(checkpoint_bytes(TENSORS))
    place = content.index(TENSORS["a.weight"].tobytes())
    content[place + 17] ^= 4
    path = tmp_path / "flipped.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="another checksum"):
        read_pytorch_checkpoint(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="a folder, not a checkpoint"):
        read_pytorch_checkpoint(tmp_path)
    with pytest.raises(MissingFileError, match=r"absent\.pth: no such checkpoint"):
        read_pytorch_checkpoint(tmp_path / "absent.pth")
    for name in ("a" * 5000, "null\0byte"):
        with pytest.raises(InputError):
            read_pytorch_checkpoint(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(write_checkpoint):
    path = write_checkpoint(TENSORS)
    path.chmod(0)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pytorch_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gdrive.pth", "a web page"),
        ("truncated.pth", "truncated"),
        ("compile.pth", None),
        ("legacy.pth", None),
        ("lightning.ckpt", None),
        ("nested_params.pth", None),
        ("sd_namespace.pth", None),
        ("weights.safetensors", None),
    ],
)
def test_the_collected_cases(shared_folder, name, message):
    path = shared_folder / "cases" / "pth" / name
    if not path.exists():
        pytest.skip("there are no ../shared/cases/pth")
    if message:
        with pytest.raises(CheckpointError, match=message):
            read_pytorch_checkpoint(path)
    else:
        tensors = read_pytorch_checkpoint(path)
        assert len(tensors) == 54
        assert tensors["patch_embed.proj.weight"].shape == (4, 3, 3, 3)
