"""A traced model whose operations are run again, one by one, with something between them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    import keras

# An operation's name, and which of its inputs.
Edge = tuple[str, int]
Values = dict[str | Edge, tf.Tensor]


class Replay:
    """The operations of a model of fixed size, to be run again in eager code or in another graph.

    The model is traced once. A run repeats every operation on an image, on weights that are given
    and not the model's own, so gradients reach those; and it can pass any value through a function
    on its way from one operation to the next.

    Args:
        model: A Keras model of fixed size and batch 1.
        taps: Further symbolic tensors of the model that a run gives.

    Attributes:
        image: Name of the image's tensor.
        outputs: Names of the tensors of the model's output and of the taps.
        of_image: The operations that the image has an influence on, in order.
        of_weights: The others that the weights have an influence on, in order.
        producers: Tensor's name to the operation that gives it, one of these.
        shown: Names of the tensors that the image has an influence on.
        constants: Name to values of the tensors that neither has an influence on.
    """

    def __init__(self, model: keras.Model, taps: Sequence[Any] = ()):
        import keras

        traced = keras.Model(model.input, [model.output, *taps])
        function = tf.function(lambda image: traced(image)).get_concrete_function(
            tf.TensorSpec(model.input_shape, tf.float32)
        )
        graph = function.graph
        self.image = function.inputs[0].name
        handles = {id(variable.value.handle): index for index, variable in enumerate(model.weights)}
        # The placeholder of a captured variable to its place among the model's weights.
        self._weights = {
            inner.name: handles[id(outer)]
            for outer, inner in graph.captures
            if id(outer) in handles
        }
        self.outputs = [tensor.name for tensor in graph.outputs]
        if len(self._weights) + 1 != len(function.inputs):
            raise ValueError(f"{model.name}: captures what is not one of its weights")
        self._sort(graph)
        self._by_name = {each.name: each for each in (*self.of_weights, *self.of_image)}

    def _sort(self, graph):
        """Tells operations apart by what has an influence on them."""
        influenced, shown = {*self._weights, self.image}, {self.image}
        self.of_weights, self.of_image, self.producers = [], [], {}
        constants = {}
        for operation in graph.get_operations():
            if operation.type in ("Placeholder", "NoOp"):
                continue
            names = {tensor.name for tensor in operation.inputs}
            outputs = [tensor.name for tensor in operation.outputs]
            repeated = _Repeated(operation)
            if influenced.isdisjoint(names):
                with tf.init_scope():
                    repeated.run(constants)
                continue
            influenced.update(outputs)
            self.producers.update(dict.fromkeys(outputs, repeated))
            if shown.isdisjoint(names):
                self.of_weights.append(repeated)
            else:
                shown.update(outputs)
                self.of_image.append(repeated)
        self.shown = frozenset(shown)
        needed = {name for each in (*self.of_weights, *self.of_image) for name in each.inputs}
        self.constants = {
            name: value.numpy() for name, value in constants.items() if name in needed
        }

    def prepared(
        self, weights: Sequence[tf.Tensor], edges: Mapping[Edge, Callable] | None = None
    ) -> Values:
        """What an image has no influence on: it is the same for every image of a batch.

        Args:
            weights: Values for the model's weights, in their order.
            edges: As for :meth:`run`.

        Returns:
            Values by the name of their tensor, and by edge for those that were changed.
        """
        values = {name: tf.constant(value) for name, value in self.constants.items()}
        for name, index in self._weights.items():
            values[name] = tf.convert_to_tensor(weights[index])
        for operation in self.of_weights:
            operation.run(values)
        for (name, index), change in (edges or {}).items():
            tensor = self._by_name[name].inputs[index]
            if tensor not in self.shown:
                values[name, index] = change(values[tensor])
        needed = {name for each in self.of_image for name in each.inputs}
        return {
            key: value for key, value in values.items() if key in needed or isinstance(key, tuple)
        }

    def run(
        self,
        image: tf.Tensor,
        prepared: Values,
        edges: Mapping[Edge, Callable] | None = None,
        results: Mapping[str, Callable] | None = None,
    ) -> Values:
        """Runs the operations on an image.

        Args:
            image: float32 of the model's input shape.
            prepared: Of :meth:`prepared`.
            edges: ``(operation, input)`` to a function that the value goes through on its way in.
            results: Tensor's name to a function that it goes through where it comes from.

        Returns:
            Every value by the name of its tensor.
        """
        values = {**prepared, self.image: image}
        for operation in self.of_image:
            operation.run(values, edges, results)
        return values


class _Repeated:
    """One operation: its kind, the names of its tensors and its attributes."""

    def __init__(self, operation):
        self.name, self.kind = operation.name, operation.type
        self.inputs = [tensor.name for tensor in operation.inputs]
        self.outputs = [tensor.name for tensor in operation.outputs]
        self.shapes = [tuple(tensor.shape.as_list()) for tensor in operation.outputs]
        self._function = getattr(tf.raw_ops, self.kind)
        parameters = inspect.signature(self._function).parameters
        definition = operation.op_def
        attributes = {attribute.name for attribute in definition.attr}
        # Python's names are the definition's, but for a few (axis for reduction_indices).
        own = [name for name in parameters if name not in attributes and name != "name"]
        renamed = [name for name in own if name not in {arg.name for arg in definition.input_arg}]
        # How many tensors each argument takes; None for one that is no list.
        self._arguments = [
            (
                argument.name if argument.name in parameters else renamed.pop(0),
                operation.get_attr(argument.number_attr) if argument.number_attr else None,
            )
            for argument in definition.input_arg
        ]
        self._attributes = {
            name: operation.get_attr(name) for name in attributes if name in parameters
        }

    def run(self, values, edges=None, results=None):
        edges, results = edges or {}, results or {}
        if self.kind == "Const":
            values[self.outputs[0]] = tf.constant(tf.make_ndarray(self._attributes["value"]))
            return
        if self.kind == "ReadVariableOp":
            # What was given for a weight is its value.
            values[self.outputs[0]] = values[self.inputs[0]]
            return
        inputs = []
        for index, name in enumerate(self.inputs):
            change = edges.get((self.name, index))
            if change is None:
                inputs.append(values[name])
            elif (self.name, index) in values:
                inputs.append(values[self.name, index])
            else:
                inputs.append(change(values[name]))
        arguments = dict(self._attributes)
        for name, count in self._arguments:
            arguments[name] = (
                inputs.pop(0) if count is None else [inputs.pop(0) for _ in range(count)]
            )
        given = self._function(**arguments)
        if len(self.outputs) == 1:
            given = [given]
        for name, value in zip(self.outputs, given, strict=True):
            change = results.get(name)
            values[name] = value if change is None else change(value)
