"""Reading of PyTorch checkpoints: complete, strict and without executing anything."""

import collections
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from keras_skd.models import (
    CheckpointError,
    Restormer,
    load_pytorch_checkpoint,
    read_pytorch_checkpoint,
)


def small_restormer():
    return Restormer(dim=4, num_blocks=(1, 0, 0, 0), num_refinement_blocks=0, heads=(1, 1, 1, 1))


@pytest.fixture
def tensors():
    random = np.random.default_rng(1)
    return {
        "a.weight": random.normal(size=(3, 2)).astype("float32"),
        "b.bias": random.normal(size=(5,)).astype("float32"),
    }


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapper_keys_and_prefix(write_checkpoint, tensors, wrapper, prefix):
    saved = collections.OrderedDict((prefix + name, array) for name, array in tensors.items())
    saved = saved if wrapper is None else {wrapper: saved, "epoch": 7}
    read = read_pytorch_checkpoint(write_checkpoint(saved))
    assert list(read) == list(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)


def test_the_averaged_weights_win(write_checkpoint, tensors):
    averaged = {name: array + 1 for name, array in tensors.items()}
    read = read_pytorch_checkpoint(write_checkpoint({"params": tensors, "params_ema": averaged}))
    np.testing.assert_array_equal(read["b.bias"], averaged["b.bias"])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int64])
def test_other_number_types(write_checkpoint, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    read = read_pytorch_checkpoint(write_checkpoint({"x": array}))["x"]
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array)


def test_half_precision_weights_load_as_float32(write_checkpoint, official_tensors):
    model = small_restormer()
    tensors = official_tensors(model)
    half = {name: array.astype("float16") for name, array in tensors.items()}
    load_pytorch_checkpoint(model, write_checkpoint(half))
    for variable, name, convert in model.pytorch_names():
        assert variable.dtype == "float32"
        np.testing.assert_array_equal(variable.numpy(), convert(half[name]).astype("float32"))


def test_non_contiguous_strides(write_checkpoint):
    array = np.arange(24, dtype="float32").reshape(2, 3, 4).transpose(2, 0, 1)
    assert not array.flags.c_contiguous
    read = read_pytorch_checkpoint(write_checkpoint({"x": array}))["x"]
    np.testing.assert_array_equal(read, array)


def test_every_tensor_reaches_its_variable(write_checkpoint, official_tensors):
    model = small_restormer()
    tensors = official_tensors(model)
    load_pytorch_checkpoint(model, write_checkpoint({"params": tensors}))
    kernel = model.get_layer("patch_embed").kernel.numpy()
    expected = tensors["patch_embed.proj.weight"]
    np.testing.assert_array_equal(kernel[1, 2, 0], expected[:, 0, 1, 2])
    assert len(tensors) == len(model.weights)


def test_all_problems_are_listed_and_the_model_is_left_alone(write_checkpoint, official_tensors):
    model = small_restormer()
    before = model.get_weights()
    tensors = official_tensors(model)
    del tensors["patch_embed.proj.weight"], tensors["output.weight"]
    tensors["encoder_level1.0.norm1.body.weight"] = np.ones(5, "float32")
    tensors["surplus.one"] = tensors["surplus.two"] = np.ones(2, "float32")
    with pytest.raises(CheckpointError) as caught:
        load_pytorch_checkpoint(model, write_checkpoint(tensors))
    for expected in (
        "5 tensors",
        "missing patch_embed.proj.weight",
        "missing output.weight",
        "shape of encoder_level1.0.norm1.body.weight (5,)",
        "left over surplus.one (2,)",
        "left over surplus.two (2,)",
    ):
        assert expected in str(caught.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write_pickle(path, value):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=2))
    return path


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "open", "numpy"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, name):
    witness = tmp_path / "executed"
    call = {
        "os.system": Malicious(os.system, f"touch {witness}"),
        "builtins.eval": Malicious(eval, f"open({str(witness)!r}, 'w').close()"),
        "open": Malicious(open, str(witness), "w"),
        "numpy": Malicious(np.save, str(witness), [1.0]),
    }[name]
    path = write_pickle(tmp_path / "evil.pth", {"state_dict": {"weight": call}})
    with pytest.raises(CheckpointError, match="nothing was executed"):
        read_pytorch_checkpoint(path)
    assert not list(tmp_path.glob("executed*"))
    # The negative control: a plain unpickler does run it.
    pickle.loads(zipfile.ZipFile(path).read("archive/data.pkl"))
    assert list(tmp_path.glob("executed*"))


def test_truncated_file(write_checkpoint, tensors, tmp_path):
    whole = write_checkpoint(tensors).read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path = tmp_path / "truncated.pth"
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"truncated\.pth"):
            read_pytorch_checkpoint(path)


def rewritten(path, change):
    """A copy of the archive with ``change(name, data) -> data or None`` applied to each entry."""
    copy = path.with_name("rewritten.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return copy


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: data[:-4] if name.endswith("/0") else data,
        lambda name, data: data[:-3] if name.endswith("/0") else data,
        lambda name, data: None if name.endswith("/0") else data,
        lambda name, data: data[: len(data) // 2] if name.endswith(".pkl") else data,
        lambda name, data: b"\xff" + data if name.endswith(".pkl") else data,
        lambda name, data: b"" if name.endswith(".pkl") else data,
        lambda name, data: None if name.endswith(".pkl") else data,
    ],
    ids=["short", "odd", "no storage", "half pickle", "no pickle", "empty pickle", "pickle gone"],
)
def test_damaged_archive(write_checkpoint, tensors, change):
    path = rewritten(write_checkpoint(tensors), change)
    with pytest.raises(CheckpointError, match=r"rewritten\.pth"):
        read_pytorch_checkpoint(path)


def test_a_tensor_may_not_reach_outside_its_storage(write_checkpoint):
    path = write_checkpoint({"x": np.zeros((2, 2), "float32")})
    pickled = zipfile.ZipFile(path).read("archive/data.pkl")
    # BININT1 2, BININT1 2, TUPLE2: the shape, made (2, 200).
    assert pickled.count(b"K\x02K\x02\x86") == 1
    forged = pickled.replace(b"K\x02K\x02\x86", b"K\x02K\xc8\x86")
    path = rewritten(path, lambda name, data: forged if name.endswith(".pkl") else data)
    with pytest.raises(CheckpointError, match="outside its storage"):
        read_pytorch_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}])
def test_a_file_without_tensors(tmp_path, content):
    with pytest.raises(CheckpointError, match="tensors"):
        read_pytorch_checkpoint(write_pickle(tmp_path / "none.pth", content))


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_pytorch_checkpoint(tmp_path / "absent.pth")
