"""Tensors come out of every format as they went in, whatever stands beside them."""

import argparse
import collections
import datetime
import pathlib
import pickle
import re

import ml_dtypes
import numpy as np
import pytest

from keras_skd.models import CheckpointError, read_pytorch_checkpoint

WRITTEN_BY_TORCH = pathlib.Path(__file__).parent / "written_by_torch"


@pytest.fixture
def tensors():
    random = np.random.default_rng(1)
    return {
        "a.weight": random.normal(size=(3, 2)).astype("float32"),
        "b.bias": random.normal(size=(5,)).astype("float32"),
    }


def assert_same(read, expected):
    assert set(read) == set(expected)
    for name, array in expected.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


# --- the formats ---


def test_the_tensors_of_every_format(write_checkpoint, tensors, file_format):
    read = read_pytorch_checkpoint(write_checkpoint(tensors, file_format=file_format))
    assert list(read) == list(tensors)
    assert_same(read, tensors)
    assert all(array.flags.writeable and array.flags.c_contiguous for array in read.values())


# Storages have tuples for ids, which protocol 0 cannot write.
@pytest.mark.parametrize("protocol", range(1, 6))
@pytest.mark.parametrize("format_", ["zip", "legacy"])
def test_every_pickle_protocol(write_checkpoint, tensors, format_, protocol):
    path = write_checkpoint(tensors, file_format=format_, protocol=protocol)
    assert_same(read_pytorch_checkpoint(path), tensors)


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int64, np.bool_], ids=str
)
def test_other_number_types(write_checkpoint, dtype, file_format):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    path = write_checkpoint({"x": array}, file_format=file_format)
    assert_same(read_pytorch_checkpoint(path), {"x": array})


@pytest.mark.parametrize("format_", ["zip", "legacy"])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int64, np.bool_], ids=str)
def test_files_of_big_endian_machines(write_checkpoint, format_, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    path = write_checkpoint({"x": array}, file_format=format_, byteorder="big")
    assert_same(read_pytorch_checkpoint(path), {"x": array})


def test_a_file_without_byte_order_is_little_endian(write_checkpoint, tensors):
    assert_same(read_pytorch_checkpoint(write_checkpoint(tensors, record=False)), tensors)


def test_an_unknown_byte_order_is_an_error(write_checkpoint, tensors):
    with pytest.raises(CheckpointError, match="byte order 'middle'"):
        read_pytorch_checkpoint(write_checkpoint(tensors, byteorder="middle"))


@pytest.mark.parametrize("format_", ["zip", "legacy"])
def test_views_and_strides(write_checkpoint, format_):
    base = np.arange(24, dtype="float32").reshape(2, 3, 4)
    views = {
        "permuted": base.transpose(2, 0, 1),
        "second": base[1],
        "stepped": base[:, ::2],
        "scalar": base[1, 1, 1:2].reshape(()),
        "tied": base,
        "empty": base[:, :0],
    }
    path = write_checkpoint(views, file_format=format_)
    assert_same(read_pytorch_checkpoint(path), views)
    # All of them share one storage, as PyTorch writes them.
    assert path.stat().st_size < 3 * base.nbytes + 2500


def test_views_of_storages_in_the_format_before_pytorch_1_6(write_checkpoint, torch_names):
    _, Call, Storage = torch_names
    array = np.arange(6, dtype="float32")
    view = Storage(array, view=("9", 3, 3))
    saved = {"whole": array, "x": Call("torch._utils._rebuild_tensor", view, 1, (2,), (1,))}
    path = write_checkpoint(saved, file_format="legacy")
    assert_same(read_pytorch_checkpoint(path), {"whole": array, "x": array[4:6]})
    # A tensor must stay inside its view.
    saved["x"] = Call("torch._utils._rebuild_tensor", view, 1, (3,), (1,))
    with pytest.raises(CheckpointError, match="outside its storage"):
        read_pytorch_checkpoint(write_checkpoint(saved, file_format="legacy"))


# --- really written by PyTorch ---


def numbers(*shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


@pytest.mark.parametrize(
    "name", ["state_dict", "protocol5", "legacy", "module", "no_checksums", "training"]
)
def test_weights_that_pytorch_wrote(name):
    expected = {
        "conv.weight": numbers(3, 2, 3, 3),
        "conv.bias": numbers(3),
        **{
            f"norm.{name}": numbers(3) for name in ("weight", "bias", "running_mean", "running_var")
        },
        "norm.num_batches_tracked": np.int64(0),
    }
    assert_same(read_pytorch_checkpoint(WRITTEN_BY_TORCH / f"{name}.pth"), expected)


@pytest.mark.parametrize("name", ["tensors.pth", "legacy_tensors.pth", "plain.safetensors"])
def test_tensors_that_pytorch_wrote(name):
    read = read_pytorch_checkpoint(WRITTEN_BY_TORCH / name)
    x = numbers(2, 3, 4)
    expected = {
        "view": x[1],
        "permuted": x.transpose(2, 0, 1),
        "stepped": x[:, ::2],
        **dict.fromkeys(("tied", "parameter", "parameter_with_attribute", "buffer", "subclass"), x),
        "float16": x.astype("float16"),
        "bfloat16": x.astype(ml_dtypes.bfloat16),
        "float64": x.astype("float64"),
        "int8": x.astype("int8"),
        "bool": x > 0,
        "scalar": np.float32(0),
        "empty": np.zeros((0, 3), "float32"),
        "float8": x.astype(ml_dtypes.float8_e4m3fn),
        "uint16": np.arange(5).astype("uint16"),
    }
    assert len(read) >= 8
    assert_same(read, {key: expected[key] for key in read})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("quantised", "is quantised; save dequantised weights"),
        ("sparse", "is sparse; save it dense"),
        ("sparse_csr", "is sparse; save it dense"),
        ("complex", "complex numbers"),
        ("conjugate", "is a conjugate or negative view"),
        ("meta", "has a shape but no values"),
        ("nested", "is a nested tensor"),
        ("expanded", "larger than its storage"),
    ],
)
def test_tensors_that_are_no_plain_arrays(name, reason):
    with pytest.raises(CheckpointError, match=rf"{name}\.pth: the tensor bad:? .*{reason}"):
        read_pytorch_checkpoint(WRITTEN_BY_TORCH / f"{name}.pth")


# --- what stands beside the tensors ---


def neighbours(Name, Call):
    return {
        "epoch": 7,
        "numpy": np.float64(1.5),
        "text": np.str_("a"),
        "array": Call("numpy.core.multiarray._reconstruct", Name("numpy.ndarray"), (0,), b"b"),
        "size": Call("torch.Size", (1, 2)),
        "device": Call("torch.device", "cuda", 0),
        "dtype": Name("torch.float16"),
        "namespace": argparse.Namespace(lr=1.0, path=pathlib.PurePosixPath("a/b")),
        "default": collections.defaultdict(list, a=[1]),
        "ordered": collections.OrderedDict(a=1),
        "counter": collections.Counter("aab"),
        "queue": collections.deque([1, 2]),
        "path": pathlib.PurePosixPath("runs/1"),
        "time": datetime.datetime(2024, 1, 2),
        "delta": datetime.timedelta(1),
        "sets": ({1, 2}, frozenset("ab")),
        "bytes": (b"abc", bytearray(b"abc")),
        "complex": 1j,
        "slice": slice(1),
        "settings": Call("omegaconf.dictconfig.DictConfig", state={"_content": {"lr": 1}}),
        "typing": Name("typing.Any"),
        "pattern": re.compile("a+"),
        "none": type(None),
        "own class": Call("__main__.Settings", state={"rate": 1}),
        7: "a key that is no text",
        (1, 2): "nor this",
    }


@pytest.mark.parametrize("format_", ["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_harmless_neighbours_are_skipped(write_checkpoint, torch_names, tensors, format_, protocol):
    saved = {**neighbours(*torch_names[:2]), "state_dict": tensors}
    path = write_checkpoint(saved, file_format=format_, protocol=protocol)
    assert_same(read_pytorch_checkpoint(path), tensors)


def test_a_state_dict_of_python_2(write_checkpoint, torch_names, tensors):
    """It gives an OrderedDict's entries as a list of lists."""
    _, Call, _ = torch_names
    pairs = [[name, array] for name, array in tensors.items()]
    path = write_checkpoint(Call("collections.OrderedDict", pairs), file_format="legacy")
    assert_same(read_pytorch_checkpoint(path), tensors)


def test_attributes_of_tensors_and_state_dicts(write_checkpoint, torch_names, tensors):
    Name, Call, Storage = torch_names
    x = np.arange(3, dtype="float32")
    plain = (Storage(x), 0, (3,), (1,), False, {})
    saved = Call("collections.OrderedDict", state={"_metadata": {"version": 1}})
    inner = {
        "parameter": Call("torch._utils._rebuild_parameter", x, True, {}),
        "with_state": Call("torch._utils._rebuild_parameter_with_state", x, True, {}, {"a": 1}),
        "subclass": Call(
            "torch._tensor._rebuild_from_type_v2",
            Name("torch._utils._rebuild_tensor_v2"),
            Name("my.Tensor"),
            plain,
            {"a": 1},
        ),
    }
    read = read_pytorch_checkpoint(write_checkpoint({"other": saved, "model": inner}))
    assert_same(read, dict.fromkeys(inner, x))


def test_nothing_of_a_stand_in_is_made(write_checkpoint, torch_names, tensors, tmp_path):
    """A class that exists here, whose making would leave a trace, is not even imported."""
    _, Call, _ = torch_names
    (tmp_path / "traces.py").write_text("raise SystemExit('imported')\n")
    saved = {"hyper_parameters": Call("traces.Settings", 1), "state_dict": tensors}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert_same(read_pytorch_checkpoint(write_checkpoint(saved)), tensors)
        # The negative control: a name that is looked up does run it.
        with pytest.raises(SystemExit, match="imported"):
            pickle.loads(b"ctraces\nSettings\n.")
