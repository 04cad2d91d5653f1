"""Tensors as a checkpoint describes them: a place in a storage, read when they are wanted."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from keras_skd.models.checkpoints.errors import CheckpointError

_MOST_AXES = 32
_MOST_ELEMENTS = 2**48
QUANTISED = "is quantised; save dequantised weights (tensor.dequantize())"
COMPLEX = "holds complex numbers, which no weight of these models is"


@dataclass(frozen=True)
class ElementType:
    """What a storage holds.

    Attributes:
        itemsize: Bytes of one element.
        dtype: The NumPy type, or None where there is none.
        refusal: Why tensors of this type are not read, for types without ``dtype``.
    """

    itemsize: int
    dtype: np.dtype | None
    refusal: str = ""


def _element_type(dtype):
    dtype = np.dtype(dtype)
    return ElementType(dtype.itemsize, dtype)


# torch.FloatStorage and its like.
STORAGE_TYPES = {
    "FloatStorage": _element_type(np.float32),
    "DoubleStorage": _element_type(np.float64),
    "HalfStorage": _element_type(np.float16),
    "BFloat16Storage": _element_type(ml_dtypes.bfloat16),
    "LongStorage": _element_type(np.int64),
    "IntStorage": _element_type(np.int32),
    "ShortStorage": _element_type(np.int16),
    "CharStorage": _element_type(np.int8),
    "ByteStorage": _element_type(np.uint8),
    "BoolStorage": _element_type(np.bool_),
    "UntypedStorage": _element_type(np.uint8),
    "_UntypedStorage": _element_type(np.uint8),
    "ComplexFloatStorage": ElementType(8, None, COMPLEX),
    "ComplexDoubleStorage": ElementType(16, None, COMPLEX),
    "QInt8Storage": ElementType(1, None, QUANTISED),
    "QUInt8Storage": ElementType(1, None, QUANTISED),
    "QInt32Storage": ElementType(4, None, QUANTISED),
    "QUInt4x2Storage": ElementType(1, None, QUANTISED),
    "QUInt2x4Storage": ElementType(1, None, QUANTISED),
}

# torch.float32 and its like, which tensors of an untyped storage name.
TENSOR_TYPES = {
    "float32": _element_type(np.float32),
    "float64": _element_type(np.float64),
    "float16": _element_type(np.float16),
    "bfloat16": _element_type(ml_dtypes.bfloat16),
    "float8_e4m3fn": _element_type(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": _element_type(ml_dtypes.float8_e5m2),
    "float8_e4m3fnuz": _element_type(ml_dtypes.float8_e4m3fnuz),
    "float8_e5m2fnuz": _element_type(ml_dtypes.float8_e5m2fnuz),
    "int64": _element_type(np.int64),
    "int32": _element_type(np.int32),
    "int16": _element_type(np.int16),
    "int8": _element_type(np.int8),
    "uint64": _element_type(np.uint64),
    "uint32": _element_type(np.uint32),
    "uint16": _element_type(np.uint16),
    "uint8": _element_type(np.uint8),
    "bool": _element_type(np.bool_),
}


def elements(
    data: bytes | memoryview, dtype: np.dtype, byteorder: str = sys.byteorder
) -> np.ndarray:
    """Bytes as a vector of numbers in the order of this machine.

    Args:
        data: The bytes, a whole number of elements.
        dtype: Their :class:`numpy.dtype`.
        byteorder: ``"little"`` or ``"big"``, that of ``data``.
    """
    if dtype == np.bool_:
        return np.frombuffer(data, np.uint8) != 0
    if byteorder != sys.byteorder and dtype.itemsize > 1:
        # NumPy swaps its own types only; bfloat16 is none of them.
        return np.frombuffer(data, f"u{dtype.itemsize}").byteswap().view(dtype)
    return np.frombuffer(data, dtype)


def checked_shape(shape: Any) -> tuple[tuple[int, ...], int]:
    """A shape from an untrusted file as a tuple of Python integers, and its number of elements.

    Raises:
        CheckpointError: It is no shape, or one that no weight has.
    """
    if not isinstance(shape, tuple | list) or not all(type(length) is int for length in shape):
        raise CheckpointError("its shape is not a row of whole numbers; the file is damaged.")
    if len(shape) > _MOST_AXES or not all(0 <= length <= _MOST_ELEMENTS for length in shape):
        raise CheckpointError("no weight has such a shape; the file is damaged.")
    # With zeros left out: NumPy multiplies so too, and refuses what overflows.
    if math.prod(length for length in shape if length) > _MOST_ELEMENTS:
        raise CheckpointError("no weight has such a shape; the file is damaged.")
    return tuple(shape), math.prod(shape)


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of elements in the file.

    Attributes:
        source: Has ``read(key, size)``, which gives ``size`` bytes and their byte order.
        key: The storage's name in the file.
        type: The :class:`ElementType`.
        count: Elements of the whole storage.
        first: Where this view of it begins; views are of the format before PyTorch 1.6.
        length: Elements of this view.
    """

    source: Any
    key: str
    type: ElementType
    count: int
    first: int
    length: int

    @classmethod
    def checked(
        cls,
        source: Any,
        key: Any,
        element_type: ElementType,
        count: Any,
        first: Any = 0,
        length: Any = None,
    ) -> Storage:
        """A storage from an untrusted file."""
        length = count if length is None else length
        numbers = (count, first, length)
        if not isinstance(key, str) or not all(type(number) is int for number in numbers):
            raise CheckpointError("a storage is not described as PyTorch does; it is damaged.")
        if min(numbers) < 0 or count > _MOST_ELEMENTS or first + length > count:
            raise CheckpointError("a storage of impossible size; the file is damaged.")
        return cls(source, key, element_type, count, first, length)

    def size(self, dtype: np.dtype) -> int:
        """How many elements of ``dtype`` the view has; of its own type, unless it is untyped."""
        return self.length * self.type.itemsize // dtype.itemsize

    def read(self, dtype: np.dtype) -> np.ndarray:
        """The view's elements as a vector of ``dtype``, without a copy where that is possible."""
        data, byteorder = self.source.read(self.key, self.count * self.type.itemsize)
        first = self.first * self.type.itemsize
        view = memoryview(data)[first : first + self.size(dtype) * dtype.itemsize]
        return elements(view, dtype, byteorder)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor in the file: nothing of it is checked or read before it is wanted.

    Attributes:
        storage: Its :class:`Storage`, or what the file has in its place.
        offset: First element.
        shape: Elements along each axis.
        strides: Elements between neighbours along each axis.
        type: The :class:`ElementType` of a tensor in an untyped storage; else None.
    """

    storage: object
    offset: object
    shape: object
    strides: object
    type: ElementType | None = None

    def layout(self) -> tuple[np.dtype, int, tuple[int, ...], tuple[int, ...]]:
        """Type, first element, shape and strides, which lie inside the storage.

        Raises:
            CheckpointError: They do not, or the tensor is of a type without arrays.
        """
        if not isinstance(self.storage, Storage):
            raise CheckpointError("it has no storage; the file is damaged.")
        element_type = self.type or self.storage.type
        if element_type.dtype is None:
            raise CheckpointError(f"it {element_type.refusal}.")
        shape, count = checked_shape(self.shape)
        strides, offset = self.strides, self.offset
        if not isinstance(strides, tuple | list) or len(strides) != len(shape):
            raise CheckpointError("its strides do not fit its shape; the file is damaged.")
        if not all(type(number) is int and number >= 0 for number in (offset, *strides)):
            raise CheckpointError("its strides are no whole numbers; the file is damaged.")
        if count == 0:
            return element_type.dtype, 0, shape, (0,) * len(shape)
        # The stride of an axis of one element is never used, and may be any number.
        axes = list(zip(shape, strides, strict=True))
        strides = tuple(step if length > 1 else 0 for length, step in axes)
        last = offset + sum((length - 1) * step for length, step in axes)
        available = self.storage.size(element_type.dtype)
        if last >= available:
            raise CheckpointError("it reaches outside its storage; the file is damaged.")
        # It repeats values (stride 0): no weight does, and a forged one would exhaust the memory.
        if count > available:
            raise CheckpointError("it is larger than its storage; save its clone().")
        return element_type.dtype, offset, shape, strides

    def nbytes(self) -> int:
        """Bytes of the tensor as an array; raises as :meth:`layout` does."""
        dtype, _, shape, _ = self.layout()
        return math.prod(shape) * dtype.itemsize

    def read(self) -> np.ndarray:
        """The tensor as an array of its own.

        Raises:
            CheckpointError: As :meth:`layout`, or its storage is damaged.
        """
        dtype, offset, shape, strides = self.layout()
        if 0 in shape:
            return np.zeros(shape, dtype)
        vector = self.storage.read(dtype)[offset:]
        return np.lib.stride_tricks.as_strided(
            vector, shape, [step * dtype.itemsize for step in strides]
        ).copy()


@dataclass(frozen=True, slots=True)
class UnreadableTensor:
    """A tensor that is no plain array.

    Attributes:
        refusal: Why it is not read, to follow its name.
    """

    refusal: str
