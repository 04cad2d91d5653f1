"""Writes the files beside it with PyTorch, which the tests do not need.

``python write_files.py`` in an environment with torch and safetensors; the files here are of
PyTorch 2.15. Every tensor holds the numbers 0, 1, 2, ... so that the tests know what to expect.
"""

import argparse
import collections
import datetime
import functools
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = pathlib.Path(__file__).parent


class Net(nn.Module):
    """Has parameters, persistent buffers and one that a state_dict leaves out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("passing", torch.arange(4), persistent=False)
        with torch.no_grad():
            for tensor in self.state_dict().values():
                tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape))

    def forward(self, x):
        return self.norm(self.conv(x))


class Subclass(torch.Tensor):
    """A tensor's class that only its own program knows."""


def numbers(*shape):
    return torch.arange(float(np.prod(shape))).reshape(shape)


def main():
    net = Net()
    weights = net.state_dict()
    torch.save(weights, FOLDER / "state_dict.pth")
    torch.save(weights, FOLDER / "protocol5.pth", pickle_protocol=5)
    torch.save(weights, FOLDER / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(nn.DataParallel(net), FOLDER / "module.pth")
    torch.serialization.set_crc32_options(False)
    torch.save(weights, FOLDER / "no_checksums.pth")
    torch.serialization.set_crc32_options(True)

    optimizer = torch.optim.AdamW(net.parameters())
    # With gradients of nothing, the weights stay as they are.
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.param_groups[0]["weight_decay"] = 0.0
    optimizer.step()
    neighbours = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, 10).state_dict(),
        "args": argparse.Namespace(rate=1e-3, folder=pathlib.Path("runs")),
        "started": datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
        "duration": datetime.timedelta(1),
        "best": np.float64(31.5),
        "curve": np.arange(4),
        "objects": np.array(["a", None], object),
        "size": torch.Size([1, 2]),
        "device": torch.device("cuda:0"),
        "dtype": torch.float32,
        "layout": torch.strided,
        "log": collections.defaultdict(list, loss=[1.0]),
        "counts": collections.Counter("aab"),
        "queue": collections.deque([1]),
        "seen": {1, 2},
        "frozen": frozenset([1]),
        "rng": torch.get_rng_state(),
        "numpy_rng": np.random.default_rng(0),
        "norm_layer": functools.partial(nn.LayerNorm, eps=1e-6),
        "activation": torch.nn.functional.gelu,
        "loss": torch.tensor(0.5),
        "bytes": b"abc",
        "complex": 1 + 2j,
        "slice": slice(1, 2),
    }
    torch.save({**neighbours, "model": weights}, FOLDER / "training.pth")

    x = numbers(2, 3, 4)
    parameter = nn.Parameter(x.clone())
    parameter.attribute = 3
    tensors = {
        "view": x[1],
        "permuted": x.permute(2, 0, 1),
        "stepped": x[:, ::2],
        "tied": x,
        "parameter": nn.Parameter(x),
        "parameter_with_attribute": parameter,
        "buffer": nn.Buffer(x),
        "subclass": x.as_subclass(Subclass),
        "float16": x.half(),
        "bfloat16": x.bfloat16(),
        "float64": x.double(),
        "int8": x.to(torch.int8),
        "bool": x > 0,
        "scalar": torch.tensor(0.0),
        "empty": torch.zeros(0, 3),
    }
    torch.save(tensors, FOLDER / "legacy_tensors.pth", _use_new_zipfile_serialization=False)
    untyped = {"float8": x.to(torch.float8_e4m3fn), "uint16": numbers(5).to(torch.uint16)}
    torch.save({**tensors, **untyped}, FOLDER / "tensors.pth")
    plain = {
        name: tensor.contiguous()
        for name, tensor in tensors.items()
        if name.startswith(("float", "bfloat", "int", "bool", "scalar", "empty"))
    }
    save_file({**plain, "float8": untyped["float8"]}, FOLDER / "plain.safetensors", {"a": "b"})

    for name, tensor in {
        "quantised": torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "sparse": x[0].to_sparse(),
        "sparse_csr": x[0].to_sparse_csr(),
        "complex": torch.complex(x, x),
        "conjugate": torch.complex(x, x).conj().imag,
        "meta": torch.ones(2, device="meta"),
        "nested": torch.nested.nested_tensor([x[0], x[1]]),
        "expanded": torch.ones(1).expand(9),
    }.items():
        torch.save({"good": x, "bad": tensor}, FOLDER / f"{name}.pth")


if __name__ == "__main__":
    main()
