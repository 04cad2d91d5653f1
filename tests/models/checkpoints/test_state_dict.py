"""The model's tensors are found under every usual key and by their own names."""

import collections

import numpy as np
import pytest

from keras_skd.models import CheckpointError, read_pytorch_checkpoint

WRAPPERS = [
    "params_ema",
    "params",
    "model",
    "net",
    "net_g",
    "network_g",
    "generator",
    "weights",
    "model_state_dict",
    "state_dict",
    "state_dict_ema",
]


@pytest.fixture
def tensors():
    return {"a.weight": np.ones((3, 2), "float32"), "b.bias": np.arange(5, dtype="float32")}


def assert_same(read, expected):
    assert list(read) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("wrapper", [*WRAPPERS, "a_key_of_ones_own"])
@pytest.mark.parametrize("inner", [None, "params", "state_dict", "another_key"])
def test_keys_around_the_tensors(write_checkpoint, tensors, wrapper, inner):
    saved = tensors if inner is None else {"epoch": 1, inner: tensors}
    path = write_checkpoint({"epoch": 7, wrapper: collections.OrderedDict(saved)})
    assert_same(read_pytorch_checkpoint(path), tensors)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module.module.",
        "net.",
        "model.",
        "net_g.",
        "generator.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "model.net.module._orig_mod.model.",
    ],
)
def test_prefixes_of_wrappers(write_checkpoint, tensors, prefix, file_format):
    saved = {prefix + name: array for name, array in tensors.items()}
    read = read_pytorch_checkpoint(write_checkpoint(saved, file_format=file_format))
    assert_same(read, tensors)


def test_wrapped_parts_of_a_model(write_checkpoint):
    x = np.ones(2, "float32")
    read = read_pytorch_checkpoint(write_checkpoint({"encoder._orig_mod.0.weight": x}))
    assert list(read) == ["encoder.0.weight"]


def test_names_that_only_begin_like_a_prefix_are_kept(write_checkpoint):
    x = np.ones(2, "float32")
    saved = {"network3.weight": x, "models.a": x, "net": x}
    assert list(read_pytorch_checkpoint(write_checkpoint(saved))) == list(saved)


def test_two_tensors_of_one_name_are_an_error(write_checkpoint):
    x = np.ones(2, "float32")
    with pytest.raises(CheckpointError, match="several tensors that are a"):
        read_pytorch_checkpoint(write_checkpoint({"net_g.a": x, "model.a": x}))


@pytest.mark.parametrize(
    ("averaged", "raw"),
    [("params_ema", "params"), ("state_dict_ema", "state_dict"), ("model_ema", "model")],
)
def test_the_averaged_weights_win(write_checkpoint, tensors, averaged, raw):
    average = {name: array + 1 for name, array in tensors.items()}
    assert_same(
        read_pytorch_checkpoint(write_checkpoint({raw: tensors, averaged: average})), average
    )
    assert_same(
        read_pytorch_checkpoint(write_checkpoint({averaged: average, raw: tensors})), average
    )


def test_empty_averages_do_not_win(write_checkpoint, tensors):
    path = write_checkpoint({"ema": {"decay": 0.9}, "params_ema": None, "net": tensors})
    assert_same(read_pytorch_checkpoint(path), tensors)


def test_the_generator_is_taken_of_two_networks(write_checkpoint, tensors):
    other = {"discriminator.weight": np.zeros(9, "float32")}
    path = write_checkpoint({"net_d": other, "net_g": tensors, "loss": np.ones((), "float32")})
    assert_same(read_pytorch_checkpoint(path), tensors)


def test_two_unknown_networks_are_an_error(write_checkpoint, tensors):
    with pytest.raises(CheckpointError, match="several sets of tensors, under first, second"):
        read_pytorch_checkpoint(write_checkpoint({"first": tensors, "second": dict(tensors)}))


def test_moments_of_an_optimizer_are_no_weights(write_checkpoint, tensors):
    moments = {"state": {"exp_avg": {**tensors, "more": np.ones(2, "float32")}}}
    path = write_checkpoint({"my_network": tensors, "optimizer": moments})
    assert_same(read_pytorch_checkpoint(path), tensors)


def module(Call, parameters=None, buffers=None, modules=None, passing=()):
    state = {
        "training": False,
        "_parameters": collections.OrderedDict(parameters or {}),
        "_buffers": buffers or {},
        "_non_persistent_buffers_set": set(passing),
        "_modules": collections.OrderedDict(modules or {}),
    }
    return Call("my_project.models.Restormer", state=state)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_module(write_checkpoint, torch_names, protocol, wrapped):
    Call = torch_names[1]
    x, y, z = (np.full(2, value, "float32") for value in (1, 2, 3))
    child = module(Call, {"weight": x, "bias": None}, {"table": y, "mask": z}, passing=["mask"])
    whole = module(Call, {"scale": z}, modules={"body": child, "nothing": None})
    path = write_checkpoint({"model": whole} if wrapped else whole, protocol=protocol)
    read = read_pytorch_checkpoint(path)
    assert_same(dict(sorted(read.items())), {"body.table": y, "body.weight": x, "scale": z})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "was given a list instead of a dict of tensors"),
        ({"epoch": 3}, "holds no tensors by name; its keys are epoch"),
        ({}, "holds no tensors by name; it has no keys"),
        (np.ones(3, "float32"), "one tensor without a name"),
        ({"a": np.float32(3)}, "holds no tensors"),
    ],
)
def test_a_file_without_tensors(write_checkpoint, content, message):
    with pytest.raises(CheckpointError, match=message):
        read_pytorch_checkpoint(write_checkpoint(content))
