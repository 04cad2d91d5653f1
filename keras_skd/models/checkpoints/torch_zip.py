"""The format of PyTorch 1.6 and later: a zip archive of a pickle and of raw storages."""

import io
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.pickles import read_pickle
from keras_skd.models.checkpoints.stand_ins import storage_of

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_END_SIGNATURE = b"PK\x05\x06"
_END_SEARCH = 2**16 + 22  # the end record with the longest comment
# What zipfile raises for damaged archives.
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OverflowError)


def read_zip(file: BinaryIO, size: int) -> Any:
    """What ``torch.save`` was given, with descriptions of the tensors.

    Args:
        file: The file, open for reading; it has to stay open until the tensors are read.
        size: Its size in bytes.

    Raises:
        CheckpointError: It is truncated, damaged, no archive of ``torch.save``, or refused.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (*_DAMAGED, struct.error) as error:
        file.seek(max(0, size - _END_SEARCH))
        if _END_SIGNATURE in file.read(_END_SEARCH):
            raise CheckpointError(f"a damaged zip archive ({printable(error)}).") from None
        raise CheckpointError(
            f"truncated: the end of the zip archive is missing, {size:,} bytes are there. Download "
            "or copy it again."
        ) from None
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) != len(archive.infolist()):
        raise CheckpointError("a damaged zip archive (two entries of one name).")
    root = _root(entries)
    if sum(entry.file_size for entry in entries.values()) > size:
        raise CheckpointError(
            "its entries are larger than the file: compressed, which torch.save never does, or "
            "damaged. Unpack the archive, or download it again."
        )
    storages = _ZipStorages(file, size, entries, root)
    pickled = io.BytesIO(storages.entry("data.pkl"))
    return read_pickle(pickled, lambda saved_id: storage_of(saved_id, storages))


def _root(entries):
    """The folder of the pickle in the archive; its name is free."""
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    names = {name.rpartition("/")[2] for name in entries}
    if "constants.pkl" in names:
        raise CheckpointError(
            "a TorchScript program (torch.jit.save). Save its weights: "
            "torch.save(torch.jit.load(path).state_dict(), other)."
        )
    if len(pickles) == 1:
        return pickles[0].removesuffix("data.pkl")
    if pickles:
        raise CheckpointError("a zip archive with several data.pkl, not made by torch.save.")
    if "model.weights.h5" in names:
        raise CheckpointError(
            "a Keras model file already, not a PyTorch checkpoint; it needs no conversion."
        )
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError("a NumPy archive (.npz), not a PyTorch checkpoint.")
    if "archive_format" in names:
        raise CheckpointError("a program of torch.export, not a checkpoint; save its state_dict.")
    inner = next((n for n in entries if n.lower().endswith((".pth", ".pt", ".ckpt"))), None)
    if inner:
        raise CheckpointError(f"a zip archive around {printable(inner)}; unpack it first.")
    raise CheckpointError("a zip archive without data.pkl; it was not made by torch.save.")


class _ZipStorages:
    """Reads storages from the archive, each once."""

    def __init__(self, file, size, entries, root):
        self._file, self._size, self._entries, self._root = file, size, entries, root
        self._data = {}
        self._byteorder = None

    def read(self, key, size):
        if self._byteorder is None:
            self._byteorder = self._read_byteorder()
        if key not in self._data:
            self._data[key] = self.entry(f"data/{key}")
        if len(self._data[key]) != size:
            raise CheckpointError(
                f"its storage is truncated or damaged ({len(self._data[key]):,} of {size:,} bytes)."
            )
        return self._data[key], self._byteorder

    def _read_byteorder(self):
        # PyTorch 2.1 and later write the record; files without it come from little-endian machines.
        if f"{self._root}byteorder" not in self._entries:
            return "little"
        order = self.entry("byteorder").decode("ascii", "replace").strip()
        if order not in ("little", "big"):
            raise CheckpointError(f"the byte order {printable(order)!r} is unknown; it is damaged.")
        return order

    def entry(self, name):
        """The bytes of an entry, which is stored as it is: ``torch.save`` does not compress."""
        entry = self._entries.get(self._root + name)
        if entry is None:
            raise CheckpointError(f"{printable(name)} is missing in the archive; it is damaged.")
        if entry.flag_bits & 1:
            raise CheckpointError("the archive is encrypted; unpack it first.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise CheckpointError(
                "the archive is compressed, which torch.save never does; save the weights again."
            )
        start, length = entry.header_offset, entry.file_size
        if not 0 <= start <= self._size - _LOCAL_HEADER.size:
            raise CheckpointError(f"{printable(name)} lies outside the file; it is damaged.")
        self._file.seek(start)
        signature, name_size, extra_size = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
        start += _LOCAL_HEADER.size + name_size + extra_size
        if signature != b"PK\x03\x04" or start + length > self._size:
            raise CheckpointError(f"{printable(name)} lies outside the file; it is damaged.")
        self._file.seek(start)
        data = self._file.read(length)
        # PyTorch can leave the checksum out, and writes zero then.
        if len(data) != length or (entry.CRC and zlib.crc32(data) != entry.CRC):
            raise CheckpointError(
                f"{printable(name)} has another checksum than the archive says: it is damaged. "
                "Download or copy it again."
            )
        return data
