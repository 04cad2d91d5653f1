"""The format before PyTorch 1.6: five pickles in a row, then the storages.

The pickles are a magic number, a version, facts of the machine that wrote it, the object, and the
keys of the storages in their order. Each storage is its number of elements in eight bytes and its
bytes.
"""

from typing import Any, BinaryIO

from keras_skd.models.checkpoints.errors import CheckpointError
from keras_skd.models.checkpoints.pickles import read_pickle
from keras_skd.models.checkpoints.stand_ins import storage_of
from keras_skd.models.checkpoints.tensors import Storage

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_LONGEST_LINE = 2**16


def read_legacy(file: BinaryIO, size: int) -> Any:
    """What ``torch.save`` was given, with descriptions of the tensors.

    Args:
        file: The file, open for reading; it has to stay open until the tensors are read.
        size: Its size in bytes.

    Raises:
        CheckpointError: It is truncated, damaged, a pickle of another kind, or refused.
    """
    file.seek(0)
    stream = _Stream(file, size)
    try:
        magic = read_pickle(stream, _no_storage)
    except CheckpointError:
        magic = None
    if type(magic) is not int or magic != MAGIC_NUMBER:
        raise CheckpointError(
            "a pickle, but not one that torch.save wrote; save the state_dict with torch.save."
        )
    version = read_pickle(stream, _no_storage)
    if type(version) is not int or version != _VERSION:
        raise CheckpointError("of an unknown version of the format before PyTorch 1.6.")
    read_pickle(stream, _no_storage)  # facts of the machine; storages are little-endian on all
    storages = _LegacyStorages(file, size)
    loaded = read_pickle(stream, storages.described)
    storages.locate(read_pickle(stream, _no_storage), file.tell())
    return loaded


def _no_storage(_):
    raise CheckpointError("a storage where none belongs; the file is damaged.")


class _Stream:
    """A file whose reads are cut to what it holds before memory is taken for them."""

    def __init__(self, file, size):
        self._file, self._size = file, size
        self.tell = file.tell

    def read(self, count):
        return self._file.read(max(0, min(count, self._size - self._file.tell())))

    def readline(self):
        return self._file.readline(_LONGEST_LINE)


class _LegacyStorages:
    """Reads storages that lie one after the other, each once."""

    def __init__(self, file, size):
        self._file, self._size = file, size
        self._sizes = {}  # key -> (elements, bytes)
        self._places = {}  # key -> (first byte, byte order)
        self._data = {}

    def described(self, saved_id):
        """The storage of a persistent id; its size tells where the next one begins."""
        storage = storage_of(saved_id, self)
        if isinstance(storage, Storage):
            sizes = (storage.count, storage.count * storage.type.itemsize)
            if self._sizes.setdefault(storage.key, sizes) != sizes:
                raise CheckpointError("a storage of two sizes; the file is damaged.")
        return storage

    def locate(self, keys, position):
        """Finds the storages, from the position after the last pickle on."""
        if not isinstance(keys, list) or not all(
            isinstance(key, str) and key in self._sizes for key in keys
        ):
            raise CheckpointError("its list of storages is damaged.")
        total = sum(8 + self._sizes[key][1] for key in set(keys))
        if len(set(keys)) != len(keys) or len(keys) != len(self._sizes):
            raise CheckpointError("its list of storages is damaged.")
        if position + total > self._size:
            raise CheckpointError(
                f"truncated: {self._size:,} bytes are there, {position + total:,} are needed. "
                "Download or copy it again."
            )
        for key in keys:
            elements, size = self._sizes[key]
            self._file.seek(position)
            header = self._file.read(8)
            # PyTorch writes little-endian on every machine. A file whose sizes are big-endian was
            # written otherwise, and so are its numbers.
            for order in ("little", "big"):
                if int.from_bytes(header, order) == elements:
                    self._places[key] = (position + 8, order)
                    break
            else:
                raise CheckpointError("a storage has another size than its tensors; it is damaged.")
            position += 8 + size

    def read(self, key, size):
        place, order = self._places[key]
        if key not in self._data:
            self._file.seek(place)
            self._data[key] = self._file.read(size)
        if len(self._data[key]) != size:
            raise CheckpointError("its storage is truncated; download or copy the file again.")
        return self._data[key], order
