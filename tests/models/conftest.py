"""A writer of checkpoints in PyTorch's formats and in safetensors, without PyTorch."""

import collections
import io
import json
import pickle
import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

_STORAGE_NAMES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.bool_): "BoolStorage",
    np.dtype(np.complex64): "ComplexFloatStorage",
}
_SAFETENSORS_NAMES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float64): "F64",
    np.dtype(np.float16): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.int64): "I64",
    np.dtype(np.bool_): "BOOL",
}
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


class Name:
    """A function or class, pickled by its name whether it exists or not."""

    def __init__(self, text):
        self.text = text


class Call:
    """Pickles as a call of ``function``, with the object's state where one is given."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state


class Storage:
    """Pickles as the storage of an array; arrays that share memory share it.

    The format before PyTorch 1.6 has views ``(key, first element, elements)`` of storages.
    """

    def __init__(self, array, name=None, view=None):
        self.array, self.name, self.view = array, name, view


def tensor(array):
    """The call that pickles an array, or a view of one, as a tensor."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    if not base.flags.c_contiguous:
        array = base = np.ascontiguousarray(array)
    offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    strides = tuple(step // array.itemsize for step in array.strides)
    return Call(
        "torch._utils._rebuild_tensor_v2",
        Storage(base),
        offset // array.itemsize,
        array.shape,
        strides,
        False,
        collections.OrderedDict(),
    )


class _Pickler(pickle._Pickler):
    """Pickles names and storages as PyTorch does, and lists the storages' arrays."""

    def __init__(self, stream, protocol=2, legacy=False):
        super().__init__(stream, protocol)
        self.arrays, self._legacy = [], legacy

    def save(self, value, save_persistent_id=True):
        if isinstance(value, np.ndarray):
            value = tensor(value)
        if isinstance(value, Name):
            module, _, name = value.text.rpartition(".")
            self.write(f"c{module}\n{name}\n".encode())
        elif isinstance(value, Call):
            self.save(Name(value.function))
            self.save(value.arguments)
            self.write(pickle.REDUCE)
            if value.state is not None:
                self.save(value.state)
                self.write(pickle.BUILD)
        elif isinstance(value, Storage):
            array = value.array
            known = [index for index, other in enumerate(self.arrays) if other is array]
            key = known[0] if known else len(self.arrays)
            self.arrays += [] if known else [array]
            name = Name(f"torch.{value.name or _STORAGE_NAMES[array.dtype]}")
            saved_id = ("storage", name, str(key), "cpu", array.size)
            self.save(saved_id + ((value.view,) if self._legacy else ()))
            self.write(pickle.BINPERSID)
        else:
            super().save(value, save_persistent_id)


def _bytes(array, byteorder):
    data = array.tobytes()
    if byteorder != sys.byteorder and array.itemsize > 1:
        data = np.frombuffer(data, f"u{array.itemsize}").byteswap().tobytes()
    return data


def zip_bytes(value, byteorder="little", protocol=2, record=True):
    """The file of PyTorch 1.6 and later; ``record`` False leaves the byte order out."""
    pickled, file = io.BytesIO(), io.BytesIO()
    pickler = _Pickler(pickled, protocol)
    pickler.dump(value)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        if record:
            archive.writestr("archive/byteorder", byteorder)
        for key, array in enumerate(pickler.arrays):
            archive.writestr(f"archive/data/{key}", _bytes(array, byteorder))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def legacy_bytes(value, byteorder="little", protocol=2):
    """The file before PyTorch 1.6: five pickles and the storages."""
    file = io.BytesIO()
    machine = {"protocol_version": 1001, "little_endian": byteorder == "little", "type_sizes": {}}
    for item in (MAGIC_NUMBER, 1001, machine):
        pickle.dump(item, file, protocol)
    pickler = _Pickler(file, protocol, legacy=True)
    pickler.dump(value)
    pickle.dump([str(key) for key in range(len(pickler.arrays))], file, protocol)
    for array in pickler.arrays:
        file.write(array.size.to_bytes(8, byteorder) + _bytes(array, byteorder))
    return file.getvalue()


def safetensors_bytes(tensors, metadata=None):
    """A safetensors file."""
    table, data = {} if metadata is None else {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        end = len(data) + array.nbytes
        kind = _SAFETENSORS_NAMES[array.dtype]
        shape, place = list(array.shape), [len(data), end]
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": place}
        data += _bytes(array, "little")
    encoded = json.dumps(table).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


WRITERS = {"zip": zip_bytes, "legacy": legacy_bytes, "safetensors": safetensors_bytes}


@pytest.fixture(params=list(WRITERS))
def file_format(request):
    """Each format's name in turn."""
    return request.param


@pytest.fixture
def checkpoint_bytes():
    """``checkpoint_bytes(value, file_format, ...)``: a file's content, see the writers."""
    return lambda value, file_format="zip", **options: WRITERS[file_format](value, **options)


@pytest.fixture
def write_checkpoint(tmp_path, checkpoint_bytes):
    """``write_checkpoint(value)`` writes nested dicts of arrays as ``torch.save`` would."""

    def write(value, path=tmp_path / "checkpoint.pth", **options):
        path.write_bytes(checkpoint_bytes(value, **options))
        return path

    return write


@pytest.fixture
def torch_names():
    """``(Name, Call, Storage)``: objects of PyTorch and others, which are pickled by name alone."""
    return Name, Call, Storage
