"""A pickle read as data: its stack machine, with values instead of objects and calls.

The format is documented in Python's :mod:`pickletools`, which splits the instructions here.
"""

import pickletools
import warnings
from collections.abc import Callable
from typing import Any

from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.stand_ins import Name, StandIn, name_of, result_of

# A state dict takes about forty instructions a tensor. The limit bounds time and memory for files
# that are made of nothing but instructions.
MOST_INSTRUCTIONS = 1_000_000

_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_NOTHING = {"PROTO", "FRAME"}


def read_pickle(stream: Any, storage_of: Callable[[Any], Any]) -> Any:
    """The value of the pickle that starts at the stream's position; leaves it after its end.

    Args:
        stream: A binary file, whose ``read`` and ``readline`` never give more than it holds.
        storage_of: Gives the value for a persistent id.

    Returns:
        Numbers, strings, bytes, lists, tuples, dicts and what
        :mod:`keras_skd.models.checkpoints.stand_ins` makes. Dicts keep their string keys only, and
        sets are stand-ins: what a file chooses is never hashed, except strings.

    Raises:
        CheckpointError: It is damaged, too long, or asks for what is refused.
    """
    machine = _Machine(storage_of)
    try:
        with warnings.catch_warnings():
            # pickletools passes on the warnings of what it decodes texts with.
            warnings.simplefilter("ignore")
            for opcode, argument, _ in pickletools.genops(stream):
                machine.spend(1)
                machine.run(opcode.name, argument)
        return machine.stack.pop()
    except CheckpointError:
        raise
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"damaged: no whole pickle ({printable(error, 120)}).") from None


class _Machine:
    def __init__(self, storage_of):
        self.stack = []
        self._outer = []  # the stacks below the marks
        self._memo = {}
        self._names = {}
        self._storage_of = storage_of
        self._spent = 0

    def spend(self, instructions):
        self._spent += instructions
        if self._spent > MOST_INSTRUCTIONS:
            raise CheckpointError(
                f"more than {MOST_INSTRUCTIONS:,} pickle instructions, which no weight file needs. "
                "Save the state_dict alone: torch.save(model.state_dict(), path)."
            )

    def run(self, name, argument):
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _PUT:
            self._remember(argument)
        elif name in _GET:
            if argument not in self._memo:
                raise ValueError("a value that was never stored")
            stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._join(tuple, stack[-_TUPLES[name] :], _TUPLES[name])
        elif name in _NOTHING:
            pass
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name != "STOP":
            raise CheckpointError(f"the pickle instruction {name}, which torch.save never writes.")

    # --- memo and marks ---

    def _remember(self, index):
        # Picklers number what they store one by one.
        if not 0 <= index <= self._spent:
            raise ValueError("a value stored under an impossible number")
        self._memo[index] = self.stack[-1]

    def _memoize(self, _):
        self._remember(len(self._memo))

    def _mark(self, _):
        self._outer.append(self.stack)
        self.stack = []

    def _since_mark(self):
        items, self.stack = self.stack, self._outer.pop()
        return items

    def _pop(self, _):
        if self.stack:
            self.stack.pop()
        else:
            self._since_mark()

    def _duplicate(self, _):
        self.stack.append(self.stack[-1])

    # --- containers ---

    def _join(self, kind, items, count):
        if len(items) != count:
            raise ValueError("too few values")
        del self.stack[-count:]
        self.stack.append(kind(items))

    def _tuple(self, _):
        items = tuple(self._since_mark())
        self.stack.append(items)

    def _list(self, _):
        items = self._since_mark()
        self.stack.append(items)

    def _append(self, _):
        item = self.stack.pop()
        self._extend([item])

    def _appends(self, _):
        self._extend(self._since_mark())

    def _extend(self, items):
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, StandIn):
            raise ValueError("items for what is no list")

    def _empty_list(self, _):
        self.stack.append([])

    def _empty_dict(self, _):
        self.stack.append({})

    def _dict(self, _):
        items = self._since_mark()
        self.stack.append({})
        self._update(items)

    def _set_item(self, _):
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _set_items(self, _):
        self._update(self._since_mark())

    def _update(self, items):
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target.items = {} if target.items is None else target.items
            target = target.items
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("entries for what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                target[key] = value

    def _empty_set(self, _):
        self.stack.append(StandIn("set"))

    def _add_items(self, _):
        items = self._since_mark()
        if not isinstance(self.stack[-1], StandIn):
            raise ValueError("items for what is no set")
        if self.stack[-1].name == "set" and not self.stack[-1].arguments:
            self.stack[-1].arguments = (items,)

    def _frozen_set(self, _):
        items = self._since_mark()
        self.stack.append(StandIn("frozenset", (items,)))

    # --- names and calls, none of which is looked up or made ---

    def _name(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        if (module, name) not in self._names:
            self._names[module, name] = name_of(module, name)
        return self._names[module, name]

    def _global(self, argument):
        self.stack.append(self._name(*self._split(argument)))

    def _stack_global(self, _):
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self._name(module, name))

    @staticmethod
    def _split(argument):
        module, _, name = argument.partition(" ")
        return module, name

    def _call(self, function, arguments):
        if not isinstance(function, Name | StandIn):
            raise ValueError("a call of what is no function")
        self.stack.append(result_of(function, arguments, self.spend))

    def _reduce(self, _):
        arguments, function = self.stack.pop(), self.stack.pop()
        self._call(function, arguments)

    def _new_with_keywords(self, _):
        _keywords, arguments, function = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(function, arguments)

    def _instance(self, argument):
        arguments = tuple(self._since_mark())
        self._call(self._name(*self._split(argument)), arguments)

    def _object(self, _):
        function, *arguments = self._since_mark() or [None]
        self._call(function, tuple(arguments))

    def _build(self, _):
        state = self.stack.pop()
        if isinstance(self.stack[-1], StandIn):
            self.stack[-1].state = state
        # A state_dict's _metadata and a tensor's attributes are not needed.

    def _persistent(self, _):
        self.stack.append(self._storage_of(self.stack.pop()))


_INSTRUCTIONS = {
    "MEMOIZE": _Machine._memoize,
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": lambda machine, _: machine._since_mark(),
    "DUP": _Machine._duplicate,
    "TUPLE": _Machine._tuple,
    "LIST": _Machine._list,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "EMPTY_LIST": _Machine._empty_list,
    "EMPTY_DICT": _Machine._empty_dict,
    "DICT": _Machine._dict,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "EMPTY_SET": _Machine._empty_set,
    "ADDITEMS": _Machine._add_items,
    "FROZENSET": _Machine._frozen_set,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._reduce,
    "NEWOBJ_EX": _Machine._new_with_keywords,
    "INST": _Machine._instance,
    "OBJ": _Machine._object,
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._persistent,
}
