"""Import of the official PyTorch checkpoints, without PyTorch and without executing anything.

A ``.pth`` file is a zip archive of a pickle and raw tensor storages. A pickle can run any code when
it is loaded, so this unpickler resolves an exact list of names and refuses every other.
"""

import collections
import math
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_skd.errors import InputError, MissingFileError

_STORAGE_DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_WRAPPER_KEYS = ("params_ema", "params", "state_dict")


class CheckpointError(InputError):
    """A checkpoint that cannot be read, is not trusted or does not fit the model."""


def _rebuild_tensor(storage, offset, size, stride, *_):
    """``torch._utils._rebuild_tensor_v2`` for NumPy: a copy of a strided view of a storage."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    # A tensor larger than its storage repeats values (stride 0): no weight does, and a forged one
    # would exhaust the memory.
    too_large = math.prod(size) > storage.size
    if offset < 0 or min((*stride, 0)) < 0 or last >= storage.size or too_large:
        raise CheckpointError("a tensor reaches outside its storage; the file is damaged.")
    return np.lib.stride_tricks.as_strided(
        storage[offset:], size, [step * storage.itemsize for step in stride]
    ).copy()


class _StorageType:
    def __init__(self, dtype):
        self.dtype = dtype


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, stream, read_storage):
        super().__init__(stream)
        self._read_storage = read_storage

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
        raise CheckpointError(
            f"the file asks for {module}.{name}, which no weight file needs; it was refused and "
            "nothing was executed. Save the state_dict alone: torch.save(model.state_dict(), path)."
        )

    def persistent_load(self, saved_id):
        kind, storage_type, key, _location, count = saved_id
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise CheckpointError(f"unknown object {saved_id!r} in the file.")
        return self._read_storage(str(key), storage_type.dtype, count)


def read_pytorch_checkpoint(path):
    """Reads the tensors of a ``.pth`` file as NumPy arrays.

    Understands the keys ``params_ema``, ``params`` and ``state_dict`` around the tensors and the
    prefix ``module.`` that ``DataParallel`` adds.

    Args:
        path: A file written by ``torch.save`` of PyTorch 1.6 or later.

    Returns:
        A dict of tensor name to array.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is no such archive, is damaged, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such checkpoint.")
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise CheckpointError("no data.pkl in the archive; it was not made by torch.save.")
            root = pickles[0].removesuffix("data.pkl")
            storages = {}

            def read_storage(key, dtype, count):
                if key not in storages:
                    storages[key] = np.frombuffer(archive.read(f"{root}data/{key}"), dtype)
                if storages[key].size != count:
                    raise CheckpointError(f"storage {key} is truncated.")
                return storages[key]

            with archive.open(pickles[0]) as stream:
                loaded = _TensorUnpickler(stream, read_storage).load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except zipfile.BadZipFile:
        raise CheckpointError(
            f"{path}: not a zip archive. Files of PyTorch before 1.6 have to be saved again with "
            "torch.save of a later version."
        ) from None
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, IndexError) as error:
        raise CheckpointError(f"{path}: damaged checkpoint ({error}).") from None
    return _state_dict(loaded, path)


def _state_dict(loaded, path):
    for key in _WRAPPER_KEYS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors; got {type(loaded).__name__}.")
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in loaded.items()
        if isinstance(value, np.ndarray)
    }
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors; its keys are {list(loaded)[:8]}.")
    return tensors


def load_pytorch_checkpoint(model, path):
    """Loads the weights of an official PyTorch checkpoint into ``model``, in place.

    Args:
        model: A model with a method ``pytorch_names()``, which gives, for each of its variables,
            the PyTorch name and a function from the PyTorch array to ours
            (:class:`keras_skd.Restormer`), and, where the official model has buffers,
            ``pytorch_constants()``, which gives their names and values
            (:class:`keras_skd.Uformer`).
        path: The ``.pth`` file.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file cannot be read or is refused, or tensors are missing, left over or
            of another shape; all of them are listed, and the model is left as it was.
    """
    tensors = read_pytorch_checkpoint(path)
    problems, converted = [], []
    for variable, name, convert in model.pytorch_names():
        array = tensors.pop(name, None)
        if array is None:
            problems.append(f"missing {name} for {variable.path} {tuple(variable.shape)}")
            continue
        ours = convert(array)
        if tuple(ours.shape) != tuple(variable.shape):
            problems.append(
                f"shape of {name} {tuple(array.shape)} does not fit {variable.path} "
                f"{tuple(variable.shape)}"
            )
        converted.append((variable, ours))
    constants = getattr(model, "pytorch_constants", dict)()
    for name, expected in constants.items():
        array = tensors.pop(name, None)
        if array is None:
            problems.append(f"missing {name} {expected.shape}")
        elif not np.array_equal(array, expected):
            problems.append(f"{name} {array.shape} is not the table of this architecture")
    problems += [f"left over {name} {tuple(array.shape)}" for name, array in tensors.items()]
    if problems:
        raise CheckpointError(
            f"{path}: does not fit {model.name} ({len(problems)} tensors; check the constructor's "
            "arguments):\n  " + "\n  ".join(problems)
        )
    for variable, array in converted:
        variable.assign(array.astype("float32"))
