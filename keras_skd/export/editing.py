"""A ``.tflite`` file's graph as objects that can be exchanged."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any


class EditedGraph:
    """A file's main graph, to change.

    Args:
        content: The file, bytes.

    Attributes:
        model: The schema's object; :func:`~keras_skd.export.flatbuffer.packed` writes it.
        subgraph: Its main graph.
    """

    def __init__(self, content: bytes):
        from ai_edge_litert.tools import flatbuffer_utils

        self.model = flatbuffer_utils.read_model_from_bytearray(content)
        self.subgraph = self.model.subgraphs[0]

    def kind(self, operator: Any) -> str | None:
        from ai_edge_litert.tools import flatbuffer_utils

        return operator and flatbuffer_utils.opcode_to_name(self.model, operator.opcodeIndex)

    def of_kinds(self, kinds: Collection[str]) -> list[Any]:
        return [each for each in self.subgraph.operators if self.kind(each) in kinds]

    def producer(self, tensor: int) -> Any:
        """The operator that gives a tensor; None for inputs and constants."""
        return next((each for each in self.subgraph.operators if tensor in each.outputs), None)

    def consumers(self, tensor: int) -> list[Any]:
        return [each for each in self.subgraph.operators if tensor in each.inputs]

    def activated(self, operator: Any) -> bool:
        """Whether an activation is fused into an operator."""
        return bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0))

    def name(self, tensor: int) -> str:
        return self.subgraph.tensors[tensor].name.decode()

    def add_tensor(self, shaped: int, scaled: int | None = None, name: str | None = None) -> int:
        """A new tensor as large as one, and with the type and scale of that or another."""
        tensor = copy.copy(self.subgraph.tensors[shaped])
        like = self.subgraph.tensors[shaped if scaled is None else scaled]
        tensor.type, tensor.quantization = like.type, copy.deepcopy(like.quantization)
        tensor.name = tensor.name if name is None else name.encode()
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def values(self, constant: int) -> np.ndarray:
        """Those of a float constant, as an array."""
        tensor = self.subgraph.tensors[constant]
        data = bytes(self.model.buffers[tensor.buffer].data)
        return np.frombuffer(data, np.float32).reshape(tensor.shape)

    def add_constant(self, like: int, values: np.ndarray, name: str) -> int:
        """A new float constant, otherwise like another one."""
        index = self.add_tensor(like, name=name)
        tensor, buffer = self.subgraph.tensors[index], copy.copy(self.model.buffers[0])
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.shape, tensor.buffer = list(values.shape), len(self.model.buffers)
        self.model.buffers.append(buffer)
        return index

    def add_integers(self, values: np.ndarray, name: str) -> int:
        """A new constant of int32, as axes and sizes are."""
        from ai_edge_litert import schema_py_generated as schema

        tensor, buffer = schema.TensorT(), schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.name, tensor.type = name.encode(), schema.TensorType.INT32
        tensor.shape, tensor.buffer = list(values.shape), len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def set_values(self, constant: int, values: np.ndarray) -> None:
        """Gives a constant other values, and their type, in a buffer of its own."""
        from ai_edge_litert import schema_py_generated as schema

        tensor, buffer = self.subgraph.tensors[constant], schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.type = getattr(schema.TensorType, values.dtype.name.upper())
        tensor.buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)

    def operator_code(self, builtin: int) -> int:
        """The index of a built-in operation's code, which is added if the file has none."""
        from ai_edge_litert import schema_py_generated as schema

        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, 1
        code.deprecatedBuiltinCode = min(builtin, 127)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def terms(self, tensor: int, most: int) -> list[tuple[int, slice]]:
        """What a tensor is the sum of.

        Returns:
            A list of tensors, each with the slice of the channels where it goes; the earlier ones
            of a sum are taken apart last.
        """
        channels = self.subgraph.tensors[tensor].shape[-1]
        found, stuck = [(tensor, slice(0, channels))], []
        while found and len(found) + len(stuck) < most:
            term, place = found.pop(0)
            producer = self.producer(term)
            shape = list(self.subgraph.tensors[term].shape)
            if producer is None or self.activated(producer):
                stuck.append((term, place))
            elif self.kind(producer) == "ADD" and all(
                list(self.subgraph.tensors[each].shape) == shape for each in producer.inputs
            ):
                found += [(each, place) for each in producer.inputs]
            elif self.kind(producer) == "CONCATENATION" and shape[:-1] == list(
                self.subgraph.tensors[producer.inputs[0]].shape[:-1]
            ):
                start = place.start
                for each in producer.inputs:
                    end = start + self.subgraph.tensors[each].shape[-1]
                    found.append((each, slice(start, end)))
                    start = end
            else:
                stuck.append((term, place))
        return stuck + found

    def same_scale(self, one: int, other: int) -> bool:
        one, other = (self.subgraph.tensors[each].quantization for each in (one, other))
        return (one.scale[0], one.zeroPoint[0]) == (other.scale[0], other.zeroPoint[0])

    def replace(self, old: int, new: int) -> None:
        """Lets all who take the old tensor take the new one."""
        for operator in self.consumers(old):
            operator.inputs = [new if each == old else each for each in operator.inputs]

    def remove_unused(self) -> None:
        """Drops operators whose results nobody takes."""
        for operator in reversed(self.subgraph.operators):
            if not any(
                self.consumers(each) or each in self.subgraph.outputs for each in operator.outputs
            ):
                self.remove(operator)

    def remove(self, operator: Any) -> None:
        # By identity: the schema's objects compare by value.
        self.subgraph.operators = [each for each in self.subgraph.operators if each is not operator]
