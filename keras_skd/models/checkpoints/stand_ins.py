"""What the names and calls of a pickle stand for here. No name is looked up, nothing is called.

A pickle can name any function of any module and have it called. Here a name stays text. A call
becomes a tensor's description where the function is one that PyTorch builds tensors with, a dict
where it is a kind of dict, and a :class:`StandIn` otherwise, whose making does nothing.

So no file can run anything. A file that asks for what could is refused all the same, for it was
made to do harm: of Python's own library, NumPy and PyTorch, an exact list of plain data is taken.
Names of other packages, such as the settings that a training framework saves beside the weights,
are taken as stand-ins whatever they are.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.tensors import (
    QUANTISED,
    STORAGE_TYPES,
    TENSOR_TYPES,
    Storage,
    Tensor,
    UnreadableTensor,
)

_BUILTINS = (
    "bool bytearray bytes complex dict float frozenset getattr int list long object range set "
    "slice str tuple type unicode xrange Ellipsis NotImplemented"
)
_PLAIN_DATA = {
    f"{module}.{name}"
    for module, names in {
        "builtins": _BUILTINS,
        "__builtin__": _BUILTINS,
        "_codecs": "encode",  # bytes, in protocol 2
        "argparse": "Namespace",
        "array": "_array_reconstructor array",
        "collections": "Counter OrderedDict UserDict UserList defaultdict deque",
        "copy_reg": "_reconstructor __newobj__",
        "copyreg": "_reconstructor __newobj__",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "functools": "partial",
        "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
        "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
        "random": "Random",
        "re": "_compile",
        "time": "struct_time",
        "types": "MappingProxyType SimpleNamespace",
        "typing": "Any Dict List Optional Tuple Union",
        "uuid": "UUID",
        "zoneinfo": "ZoneInfo",
        "numpy": "bool bool_ complex128 complex64 datetime64 dtype float16 float32 float64 int16 "
        "int32 int64 int8 intc intp longlong longdouble ndarray object_ str_ timedelta64 uint16 "
        "uint32 uint64 uint8",
        "torch": "channels_last channels_last_3d complex128 complex32 complex64 contiguous_format "
        "device finfo iinfo jagged per_channel_affine per_channel_affine_float_qparams "
        "per_tensor_affine preserve_format qint32 qint8 quint8 sparse_bsc sparse_bsr sparse_coo "
        "sparse_csc sparse_csr strided",
        "torch.serialization": "_get_layout",
    }.items()
    for name in names.split()
}
_PLAIN_DATA |= {
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
}
_PLAIN_DATA |= {f"torch.{name}" for name in TENSOR_TYPES}
# Classes of PyTorch by their capital letter, tensors, and what models and optimizers hold.
_PLAIN_DATA_PATTERN = re.compile(
    r"numpy\.dtypes\.\w+"
    r"|numpy\.random\.(_pickle|bit_generator|mtrand|_\w+)\.(__\w+|[A-Z]\w*)"
    r"|torch\.([\w.]+\.)?[A-Z_]?[A-Z]\w*"
    r"|torch\.(_utils|_tensor|tensor)\._rebuild_\w+"
    r"|torch\.(nn|optim|_C)\.[\w.]+"
)
_LONGEST_NAME = 500
# Modules of Python's library under the names of Python 2 and of versions that still had them.
_FORMER = (
    "BaseHTTPServer Queue SimpleHTTPServer SocketServer StringIO Tkinter UserDict UserList "
    "__builtin__ anydbm asynchat asyncore cPickle cStringIO commands copy_reg dbhash "
    "distutils dl dumbdbm exceptions gdbm httplib imp pipes popen2 rexec smtpd "
    "telnetlib thread urllib2 urlparse whichdb xmlrpclib"
)
_GUARDED = {*sys.stdlib_module_names, *_FORMER.split(), "numpy", "torch"}

_DICTS = {
    f"{module}.{name}"
    for module, names in {
        "collections": ("Counter", "OrderedDict", "defaultdict"),
        "builtins": ("dict",),
        "__builtin__": ("dict",),
    }.items()
    for name in names
}


@dataclass(frozen=True, slots=True)
class Name:
    """A function or class that the file names; it is not looked up."""

    text: str


@dataclass(slots=True, eq=False)
class StandIn:
    """What takes the place of an object that this reader does not make.

    Attributes:
        name: Name of the class or function that PyTorch would call.
        arguments: What it would be called with.
        items: String key to value, where the file sets items.
        state: What the file sets as the object's attributes.
    """

    name: str
    arguments: object = ()
    items: dict | None = None
    state: object = None


def name_of(module: str, name: str) -> Name:
    """The :class:`Name` of a function or class.

    Raises:
        CheckpointError: It is no plain data of a package that could act on this machine.
    """
    if len(module) + len(name) > _LONGEST_NAME:
        raise CheckpointError("a name of impossible length; the file is damaged.")
    text = f"{module}.{name}"
    if (
        module.partition(".")[0] in _GUARDED
        and text not in _PLAIN_DATA
        and not _PLAIN_DATA_PATTERN.fullmatch(text)
    ):
        raise CheckpointError(
            f"the file asks for {printable(text)}, which no weight file needs; it was refused and "
            "nothing was executed. Save the state_dict alone: torch.save(model.state_dict(), path)."
        )
    return Name(text)


def result_of(function: Any, arguments: Any, spend: Callable[[int], object]) -> Any:
    """What stands for the result of a call; nothing is called.

    Args:
        function: A :class:`Name`, or another value that the file calls.
        arguments: Its arguments.
        spend: Called with the number of entries that are copied, so that a file cannot have the
            same list copied again and again.
    """
    # A tensor of a subclass is a call of another function, which the arguments name.
    while (
        isinstance(function, Name)
        and function.text in _OF_A_SUBCLASS
        and isinstance(arguments, tuple)
        and len(arguments) >= 3
    ):
        function, arguments = arguments[0], arguments[2]
    if not isinstance(arguments, tuple):
        raise CheckpointError("a call without a tuple of arguments; the file is damaged.")
    if not isinstance(function, Name):
        return StandIn(getattr(function, "name", "object"), arguments)
    text = function.text
    if text in _DICTS:
        return _dict(arguments, spend)
    if text == "torch.Size" and len(arguments) == 1:
        return arguments[0]
    if text.startswith(("torch._utils._rebuild_", "torch._tensor._rebuild_")):
        try:
            return _tensor(text.rpartition(".")[2], arguments)
        except IndexError:
            raise CheckpointError("a tensor without its arguments; the file is damaged.") from None
    return StandIn(text, arguments)


_OF_A_SUBCLASS = {
    "torch._tensor._rebuild_from_type_v2",
    "torch._tensor._rebuild_from_type",
    "torch.tensor._rebuild_from_type",
}
_UNREADABLE = {
    "_rebuild_qtensor": QUANTISED,
    "_rebuild_sparse_tensor": "is sparse; save it dense (tensor.to_dense())",
    "_rebuild_sparse_csr_tensor": "is sparse; save it dense (tensor.to_dense())",
    "_rebuild_nested_tensor": "is a nested tensor, which no weight of these models is",
    "_rebuild_meta_tensor_no_storage": "has a shape but no values (device meta)",
}


def _tensor(function, arguments):
    if function in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        math_bits = arguments[6] if len(arguments) > 6 else None
        element_type = None
    elif function == "_rebuild_tensor_v3":
        math_bits = arguments[7] if len(arguments) > 7 else None
        dtype = arguments[6]
        name = dtype.text.rpartition(".")[2] if isinstance(dtype, Name) else ""
        if name not in TENSOR_TYPES:
            return UnreadableTensor(f"is of a type that is not read ({printable(name)})")
        element_type = TENSOR_TYPES[name]
    elif function in (
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
        "_rebuild_device_tensor_from_cpu_tensor",
    ):
        return arguments[0]
    else:
        return UnreadableTensor(
            _UNREADABLE.get(function, f"is a tensor of another kind ({printable(function)})")
        )
    if isinstance(math_bits, dict) and any(value is True for value in math_bits.values()):
        return UnreadableTensor("is a conjugate or negative view; save its clone()")
    return Tensor(arguments[0], arguments[1], arguments[2], arguments[3], element_type)


def _dict(arguments, spend):
    """A dict, from nothing, a dict, or a list of pairs as Python 2 wrote them."""
    entries = arguments[0] if arguments else ()
    if isinstance(entries, dict):
        return entries  # the same, not a copy
    result = {}
    if isinstance(entries, list):
        spend(len(entries))
        for pair in entries:
            if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str):
                result[pair[0]] = pair[1]
    return result


def storage_of(saved_id: Any, source: Any) -> Any:
    """The storage that a persistent id of PyTorch describes.

    Args:
        saved_id: ``("storage", type, key, device, elements)``, and in the format before PyTorch 1.6
            the view that is meant.
        source: What reads the storage's bytes, see :class:`Storage`.

    Raises:
        CheckpointError: It is no such description.
    """
    if isinstance(saved_id, tuple) and len(saved_id) >= 2 and saved_id[0] == "module":
        return saved_id[1]  # a class with its source text, in the format before PyTorch 1.6
    if not isinstance(saved_id, tuple) or len(saved_id) not in (5, 6) or saved_id[0] != "storage":
        raise CheckpointError("an object that is neither data nor a storage; the file is damaged.")
    _, name, key, _, count, *view = saved_id
    package, _, storage_type = name.text.rpartition(".") if isinstance(name, Name) else ("", "", "")
    known = package in ("torch", "torch.cuda", "torch.storage") and storage_type in STORAGE_TYPES
    if not known:
        raise CheckpointError("a storage of an unknown type; the file is damaged.")
    first, length = 0, None
    if view and view[0] is not None:
        if not isinstance(view[0], tuple) or len(view[0]) != 3:
            raise CheckpointError("a view of a storage is damaged.")
        _, first, length = view[0]
    key = str(key) if type(key) is int and 0 <= key < 2**63 else key
    return Storage.checked(source, key, STORAGE_TYPES[storage_type], count, first, length)
