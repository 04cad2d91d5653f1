"""Files made to run something, to exhaust the machine, or with bytes changed at random.

Whatever is in them, reading gives tensors or a CheckpointError, soon and in little memory.
"""

import builtins
import io
import json
import os
import pickle
import random
import struct
import subprocess
import time
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from keras_skd.models import CheckpointError, read_pytorch_checkpoint

MUTATIONS = 1500
# Far more than any file of these tests, far less than what they ask for.
MOST_MEMORY = 256 * 2**20
# The slowest takes about six seconds where memory is traced: a million instructions.
MOST_SECONDS = 60


@contextmanager
def bounded():
    """Fails where the block takes much memory or time."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY
    assert time.perf_counter() - start < MOST_SECONDS


def refused(path, message=None):
    with bounded(), pytest.raises(CheckpointError, match=message) as caught:
        read_pytorch_checkpoint(path)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).replace("\n", "").isprintable()


def archive(pickled, path, compression=zipfile.ZIP_STORED, **storages):
    with zipfile.ZipFile(path, "w", compression) as target:
        target.writestr("archive/data.pkl", pickled)
        for key, data in storages.items():
            target.writestr(f"archive/data/{key.removeprefix('_')}", data)
    return path


# --- code ---


class Call:
    """Pickles as the call of a function that exists."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def legacy(pickled, path):
    start = [pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {})]
    path.write_bytes(b"".join([*start, pickled, pickle.dumps([], 2)]))
    return path


@pytest.mark.parametrize("write", [archive, legacy])
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ["os.system", "eval", "exec", "open", "numpy", "subprocess"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, name, protocol, write):
    witness = tmp_path / "executed"
    call = {
        "os.system": Call(os.system, f"touch {witness}"),
        "eval": Call(eval, f"open({str(witness)!r}, 'w').close()"),
        "exec": Call(exec, f"open({str(witness)!r}, 'w').close()"),
        "open": Call(open, str(witness), "w"),
        "numpy": Call(np.save, str(witness), [1.0]),
        "subprocess": Call(subprocess.check_call, ["touch", str(witness)]),
    }[name]
    pickled = pickle.dumps({"state_dict": {"weight": call}}, protocol)
    refused(write(pickled, tmp_path / "evil.pth"), "nothing was executed")
    assert not list(tmp_path.glob("executed*"))
    # The negative control: a plain unpickler does run it.
    pickle.loads(pickled)
    assert list(tmp_path.glob("executed*"))


@pytest.mark.parametrize(
    "name",
    [
        "posix system",
        "commands getoutput",
        "popen2 popen3",
        "nt system",
        "os execv",
        "builtins __import__",
        "__builtin__ eval",
        "importlib import_module",
        "runpy run_path",
        "pty spawn",
        "pickle loads",
        "socket socket",
        "shutil rmtree",
        "ctypes CDLL",
        "operator attrgetter",
        "code InteractiveInterpreter",
        "numpy load",
        "numpy.f2py.crackfortran getlincoef",
        "torch load",
        "torch.hub load",
        "torch.utils.cpp_extension load",
        "torch.jit load",
    ],
)
@pytest.mark.parametrize("opcode", ["global", "stack", "instance"])
def test_names_that_could_act_are_refused(tmp_path, name, opcode):
    module, function = name.split()
    pickled = {
        "global": f"c{module}\n{function}\n.",
        "stack": f"V{module}\nV{function}\n\x93.",
        "instance": f"(i{module}\n{function}\n.",
    }[opcode]
    pickled = b"\x80\x04" + pickled.encode("latin-1")
    refused(archive(pickled, tmp_path / "evil.pth"), f"asks for {module}.{function}")


@pytest.mark.parametrize(
    "pickled",
    [
        # getattr(a, "system")("x"), with a class of another package
        b"c__builtin__\ngetattr\n(cpip._internal\nmain\nX\x06\x00\x00\x00systemtRX\x01\x00\x00\x00x\x85R.",
        # a partial of a function of another package
        b"cfunctools\npartial\ncpip._internal\nmain\n\x85R(lR.",
        # __setstate__, and attributes of a function
        b"ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01sb.",
        b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.",
    ],
    ids=["getattr", "partial", "state of a function", "state of a dict"],
)
def test_what_is_taken_as_data_is_inert(tmp_path, pickled):
    before = dict(vars(builtins))
    refused(archive(pickled, tmp_path / "odd.pth"), "holds no tensors|damaged")
    assert vars(builtins) == before


# --- sizes ---


def tensor_pickle(torch_names, **changes):
    """A dict with one tensor whose description can be changed."""
    _, Call, Storage = torch_names
    described = {"offset": 0, "shape": (2, 2), "strides": (2, 1), **changes}
    storage = Storage(np.ones((2, 2), "float32"))
    return {"x": Call("torch._utils._rebuild_tensor_v2", storage, *described.values(), False, {})}


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (2, 200)},
        {"shape": (2**40, 2**40), "strides": (0, 0)},
        {"shape": (2**62,), "strides": (0,)},
        {"shape": (10**30, 0), "strides": (1, 1)},
        {"shape": (2**47, 0, 2**47), "strides": (0, 0, 0)},
        {"shape": (2**20, 2**20), "strides": (0, 0)},
        {"shape": (1,) * 100, "strides": (1,) * 100},
        {"shape": (-1, 2)},
        {"shape": (2.0, 2)},
        {"shape": (True, 2)},
        {"shape": 4},
        {"shape": None},
        {"shape": ((2, 2), 2)},
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**70},
        {"offset": None},
        {"strides": (2, -1)},
        {"strides": (2,)},
        {"strides": (2**63, 1)},
        {"strides": (2**300, 1)},
        {"strides": "ab"},
    ],
    ids=str,
)
@pytest.mark.parametrize("format_", ["zip", "legacy"])
def test_impossible_tensors(write_checkpoint, torch_names, changes, format_):
    path = write_checkpoint(tensor_pickle(torch_names, **changes), file_format=format_)
    refused(path, "the tensor x")


def test_strides_of_axes_of_one_element_do_not_matter(write_checkpoint, torch_names):
    saved = tensor_pickle(torch_names, shape=(1, 4), strides=(2**200, 1))
    read = read_pytorch_checkpoint(write_checkpoint(saved))
    np.testing.assert_array_equal(read["x"], np.ones((1, 4)))


@pytest.mark.parametrize("format_", ["zip", "legacy"])
def test_one_storage_read_a_thousand_times(write_checkpoint, format_):
    array = np.ones(2**18, "float32")
    saved = {f"x{index}": array for index in range(1000)}
    refused(write_checkpoint(saved, file_format=format_), "its tensors take 1,048,576,000 bytes")


@pytest.mark.parametrize(
    ("format_", "count"),
    [("zip", count) for count in (3, 5, -1, 2**62, 2**80, None, 4.0)]
    # Eight bytes before the storage have its size too, and what follows the last one is ignored.
    + [("legacy", count) for count in (5, 2**46, 2**62)],
)
def test_storages_of_another_size(write_checkpoint, torch_names, count, format_):
    class Array:
        dtype, itemsize = np.dtype("float32"), 4
        size = count

        @staticmethod
        def tobytes():
            return np.ones(4, "float32").tobytes()

    _, Call, Storage = torch_names
    call = Call("torch._utils._rebuild_tensor_v2", Storage(Array), 0, (2,), (1,), False, {})
    refused(write_checkpoint({"x": call}, file_format=format_))


def test_a_zip_bomb(tmp_path):
    storage = bytes(256 * 2**20)
    path = archive(b"N.", tmp_path / "bomb.pth", zipfile.ZIP_DEFLATED, _0=storage)
    assert path.stat().st_size < 2**20
    refused(path, "compressed")
    path = archive(b"(" + b"0" * 2**26 + b".", path, zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


def test_overlapping_entries(tmp_path):
    """Many entries of the central directory that are one and the same megabyte."""
    path = archive(b"N.", tmp_path / "overlap.pth", _0=bytes(2**20))
    with zipfile.ZipFile(path, "a") as target:
        first = target.getinfo("archive/data/0")
        for index in range(1, 300):
            copy = zipfile.ZipInfo(f"archive/data/{index}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(copy, field, getattr(first, field))
            target.filelist.append(copy)
            target.NameToInfo[copy.filename] = copy
        target._didModify = True
    refused(path, "larger than the file")


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: data[:-4] if name.endswith("/0") else data,
        lambda name, data: data[:-3] if name.endswith("/0") else data,
        lambda name, data: data + data if name.endswith("/0") else data,
        lambda name, data: None if name.endswith("/0") else data,
        lambda name, data: data[: len(data) // 2] if name.endswith(".pkl") else data,
        lambda name, data: b"\xff" + data if name.endswith(".pkl") else data,
        lambda name, data: b"" if name.endswith(".pkl") else data,
        lambda name, data: None if name.endswith(".pkl") else data,
    ],
    ids=[
        "short", "odd", "long", "no storage", "half pickle", "no pickle", "empty pickle",
        "pickle gone",
    ],
)  # fmt: skip
def test_damaged_archives(write_checkpoint, change):
    path = write_checkpoint({"x": np.ones(8, "float32"), "y": np.ones(3, "float32")})
    other = path.with_name("rewritten.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    refused(other, r"rewritten\.pth: ")


# --- pickles made to exhaust ---


def pickle_of(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


BOMBS = {
    # ten to the power of a hundred lists, by reference
    "billion laughs": pickle_of(b"]", *[b"(" + b"2" * 9 + b"l"] * 100),
    "a key of nested tuples": pickle_of(b")", *[b"2\x86"] * 200, b"}2N0s"),
    "a list of itself": pickle_of(b"]q\x00h\x00a"),
    "a dict of itself": pickle_of(b"}q\x00X\x05\x00\x00\x00modelh\x00s"),
    "deep lists": pickle_of(b"]" * 300_000, b"a" * 299_999),
    "deep dicts": pickle_of(
        b"}X\x03\x00\x00\x00net" * 50_000, b"N", b"s" * 50_000,
    ),
    "deep tuples": pickle_of(b"N", b"\x85" * 500_000),
    "deep calls": pickle_of(b"N", *[b"\x85ccollections\nOrderedDict\nN0" ] * 3, b"0N"),
    "instructions": pickle_of(b"]0" * 600_000),
    "marks": pickle_of(b"(" * 900_000, b"N"),
    "a huge place in the memo": pickle_of(b"Nr\xff\xff\xff\x7f"),
    "a huge textual place": pickle_of(b"Np" + b"9" * 4000 + b"\n"),
    "a negative place": pickle_of(b"Np-1\n"),
    "a huge string": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"abc.",
    "huge bytes": b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"abc.",
    "a huge bytearray": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"abc.",
    "a huge frame": b"\x80\x04\x95" + (2**63 - 1).to_bytes(8, "little") + b"N.",
    "a huge number": pickle_of(b"\x8b\xff\xff\xff\x7fabc"),
    "a negative length": pickle_of(b"T\xff\xff\xff\xff"),
    "a long textual number": pickle_of(b"L" + b"9" * 60_000 + b"L\n"),
    "copies of a list": pickle_of(
        b"]q\x00(" + b"N" * 100_000 + b"e0", b"ccollections\nOrderedDict\nq\x010",
        *[b"h\x01h\x00\x85R0"] * 1000, b"N",
    ),
    "sets": pickle_of(b"\x8f0" * 450_000, b"N"),
    "colliding keys": pickle_of(
        b"}(",
        *[b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(99_999)],
        b"u",
    ),
    "a call of a number": pickle_of(b"K\x01)R"),
    "nothing": pickle_of(),
    "items for nothing": pickle_of(b"(NNu"),
    "an odd dict": pickle_of(b"(NNNd"),
    "an end without a mark": pickle_of(b"NNt"),
    "an extension": pickle_of(b"\x82\x01"),
    "a textual id": pickle_of(b"Pstorage\n"),
    "an id of a number": pickle_of(b"K\x01Q"),
    "an id without a type": pickle_of(b"(X\x07\x00\x00\x00storageNX\x01\x00\x00\x000NK\x01tQ"),
    "an outer buffer": b"\x80\x05\x97.",
    "a long name": pickle_of(b"c" + b"a" * 10**6 + b"\nb\n"),
    "control characters": pickle_of(b"}X\x08\x00\x00\x00\x1b[2J\n\r\x07\x00Ns"),
    "half a character": pickle_of(b"}X\x03\x00\x00\x00\xed\xa0\x80Ns"),
}  # fmt: skip


@pytest.mark.parametrize("pickled", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("write", [archive, legacy])
def test_pickles_made_to_exhaust(tmp_path, pickled, write):
    refused(write(pickled, tmp_path / "bomb.pth"))


def test_modules_that_hold_themselves(write_checkpoint, torch_names):
    Call = torch_names[1]
    for width in (1, 3):
        module = Call("a.B", state={"_parameters": {}, "_modules": {}})
        for _ in range(60):
            children = {str(index): module for index in range(width)}
            module = Call("a.B", state={"_parameters": {}, "_modules": children})
        refused(write_checkpoint(module), "holds no tensors|nested without end")


# --- safetensors ---


def safetensors(table, data=b""):
    encoded = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def entry(**changes):
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "content",
    [
        safetensors(entry(shape=[3]), bytes(8)),
        safetensors(entry(shape=[2**62, 4]), bytes(8)),
        safetensors(entry(shape=[-2]), bytes(8)),
        safetensors(entry(shape=[2.0]), bytes(8)),
        safetensors(entry(shape=None), bytes(8)),
        safetensors(entry(data_offsets=[0, 2**63]), bytes(8)),
        safetensors(entry(data_offsets=[8, 0]), bytes(8)),
        safetensors(entry(data_offsets=[-8, 0]), bytes(8)),
        safetensors(entry(data_offsets=[0]), bytes(8)),
        safetensors(entry(data_offsets=[0, 16], shape=[4]), bytes(8)),
        safetensors(entry(dtype="F33"), bytes(8)),
        safetensors(entry(dtype="C64"), bytes(8)),
        safetensors(entry(dtype=["F32"]), bytes(8)),
        safetensors({"x": 3}, bytes(8)),
        safetensors(b'{"a": 1, "a": 2}'),
        safetensors(b'{"a": ' + b"[" * 100_000),
        safetensors(b'{"a": ' + b"9" * 10_000 + b"}"),
        safetensors(b'{"a": NaN}'),
        safetensors(b'{"\xff": 1}'),
        safetensors(b"{}"),
        struct.pack("<Q", 2**63) + b'{"a": 1}',
        struct.pack("<Q", 100) + b'{"a": 1}',
        safetensors(b'{"a": [' + b"[]," * 3_000_000 + b"[]]}"),
        safetensors({str(i): entry(shape=[1000], data_offsets=[0, 4000])["x"] for i in range(999)},
                    bytes(4000)),
    ],
)  # fmt: skip
def test_damaged_safetensors(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    refused(path, "x.safetensors: ")


# --- bytes changed at random ---


def mutated(content, source):
    """A copy with bytes flipped, replaced, cut out, repeated or moved."""
    content = bytearray(content)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        place = source.randrange(len(content))
        end = min(len(content), place + source.choice((1, 2, 4, 8, 40)))
        kind = source.randrange(7)
        if kind == 0:
            content[place] ^= 1 << source.randrange(8)
        elif kind == 1:
            content[place] = source.randrange(256)
        elif kind == 2:
            del content[place:end]
        elif kind == 3:
            content[place:place] = content[place:end]
        elif kind == 4:
            content[place:end] = source.choice((b"\xff", b"\0", b"\x7f")) * (end - place)
        elif kind == 5:
            other = source.randrange(len(content))
            content[place:end] = content[other : other + end - place]
        else:
            content[place:place] = bytes(source.randrange(256) for _ in range(end - place))
        if not content:
            break
    return bytes(content)


def small_checkpoint(torch_names):
    """All kinds of objects in few bytes, so that most mutations hit what is interpreted."""
    Name, Call, _ = torch_names
    base = np.arange(6, dtype="float32").reshape(2, 3)
    return {
        "epoch": 1,
        "args": Call("argparse.Namespace", state={"lr": 0.1}),
        "size": Call("torch.Size", (1, 2)),
        "dtype": Name("torch.float32"),
        "seen": {1},
        "model": {"module.a": base, "module.b": base.T, "module.c": np.ones(2, "float16")},
    }


def read_or_refused(path):
    """1 if the file is read, 0 if it is refused as it should be."""
    try:
        read_pytorch_checkpoint(path)
    except CheckpointError:
        return 0
    return 1


@pytest.mark.parametrize(
    ("file_format", "protocol"),
    [
        ("zip", 2),
        ("legacy", 2),
        ("legacy", 4),
        ("safetensors", None),
        ("pickle in a zip", 2),
        ("pickle in a zip", 4),
    ],
)
def test_mutations_are_read_or_refused(
    checkpoint_bytes, torch_names, tmp_path, file_format, protocol
):
    source = random.Random(1)
    if file_format == "safetensors":
        tensors = small_checkpoint(torch_names)["model"]
        content = checkpoint_bytes(tensors, file_format, metadata={"format": "pt"})
    else:
        kind = "zip" if file_format.endswith("zip") else file_format
        content = checkpoint_bytes(small_checkpoint(torch_names), kind, protocol=protocol)
    path = tmp_path / "mutated.pth"
    path.write_bytes(content)
    assert len(read_pytorch_checkpoint(path)) == 3
    with (
        zipfile.ZipFile(io.BytesIO(content)) if "zip" in file_format else open(os.devnull) as whole
    ):
        entries = {n: whole.read(n) for n in whole.namelist()} if "zip" in file_format else {}
    read = 0
    with bounded():
        for _ in range(MUTATIONS):
            if file_format == "pickle in a zip":
                # With right checksums: the pickle itself is read.
                pickled = mutated(entries["archive/data.pkl"], source)
                with zipfile.ZipFile(path, "w") as target:
                    for name, data in entries.items():
                        target.writestr(name, pickled if name.endswith(".pkl") else data)
            else:
                path.write_bytes(mutated(content, source))
            read += read_or_refused(path)
    # The mutations reach both ends: some are harmless, most are not.
    assert 0 < read < MUTATIONS
