"""The safetensors format: a JSON table of names, types, shapes and places, then the numbers.

The table's length is in the first eight bytes; all numbers are little-endian.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import BinaryIO

import ml_dtypes
import numpy as np

from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.tensors import COMPLEX, UnreadableTensor, checked_shape, elements

_LARGEST_TABLE = 4 * 2**20
_TYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        "BOOL": np.bool_,
        "U8": np.uint8,
        "I8": np.int8,
        "U16": np.uint16,
        "I16": np.int16,
        "U32": np.uint32,
        "I32": np.int32,
        "U64": np.uint64,
        "I64": np.int64,
        "F16": np.float16,
        "F32": np.float32,
        "F64": np.float64,
        "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
    }.items()
}


@dataclass(frozen=True, slots=True, eq=False)
class PlainTensor:
    """A contiguous tensor in the file."""

    file: BinaryIO
    start: int
    size: int
    dtype: np.dtype
    shape: tuple

    def nbytes(self) -> int:
        return self.size

    def read(self) -> np.ndarray:
        self.file.seek(self.start)
        data = self.file.read(self.size)
        if len(data) != self.size:
            raise CheckpointError("it is truncated; download or copy the file again.")
        return elements(data, self.dtype, "little").reshape(self.shape).copy()


def read_safetensors(file: BinaryIO, size: int) -> dict[str, PlainTensor | UnreadableTensor]:
    """Name to description of the tensors.

    Args:
        file: The file, open for reading; it has to stay open until the tensors are read.
        size: Its size in bytes.

    Raises:
        CheckpointError: It is truncated or damaged.
    """
    file.seek(0)
    table_size = int.from_bytes(file.read(8), "little")
    if table_size > _LARGEST_TABLE:
        raise CheckpointError(
            f"a safetensors file with a table of {table_size:,} bytes, which no weights need."
        )
    first = 8 + table_size
    if first > size:
        raise CheckpointError(
            f"a truncated safetensors file: {size:,} bytes are there, its table alone has "
            f"{table_size:,}. Download or copy it again."
        )
    try:
        table = json.loads(file.read(table_size), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        reason = printable(error)
        raise CheckpointError(f"a damaged safetensors file (its table: {reason}).") from None
    if not isinstance(table, dict):
        raise CheckpointError("a damaged safetensors file (its table is no table).")
    table.pop("__metadata__", None)
    places = {name: _place(name, entry) for name, entry in table.items()}
    needed = first + max((end for _, end in places.values()), default=0)
    if needed > size:
        raise CheckpointError(
            f"a truncated safetensors file: {size:,} bytes are there, {needed:,} are needed. "
            "Download or copy it again."
        )
    # Overlapping tensors would make more memory of a file than it has bytes.
    if sum(end - start for start, end in places.values()) > size:
        raise CheckpointError("a damaged safetensors file (its tensors overlap).")
    return {
        name: _tensor(name, entry, file, first + places[name][0], *places[name])
        for name, entry in table.items()
    }


def _without_repetition(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name twice")
    return result


def _place(name, entry):
    place = entry.get("data_offsets") if isinstance(entry, dict) else None
    if (
        not isinstance(place, list)
        or len(place) != 2
        or not all(type(offset) is int for offset in place)
        or not 0 <= place[0] <= place[1]
        or place[1] >= 2**62
    ):
        raise CheckpointError(f"a damaged safetensors file (the place of {printable(name)}).")
    return tuple(place)


def _tensor(name, entry, file, position, start, end):
    known = entry.get("dtype")
    if not isinstance(known, str) or known not in _TYPES:
        complex_ = isinstance(known, str) and known.startswith("C")
        kind = printable(known if isinstance(known, str) else "no text", 20)
        return UnreadableTensor(COMPLEX if complex_ else f"is of a type that is not read ({kind})")
    dtype = _TYPES[known]
    try:
        shape, count = checked_shape(entry.get("shape"))
    except CheckpointError as error:
        raise CheckpointError(f"{printable(name)}: {error}") from None
    if count * dtype.itemsize != end - start:
        raise CheckpointError(
            f"a damaged safetensors file ({printable(name)} has another size than its shape)."
        )
    return PlainTensor(file, position, end - start, dtype, shape)
