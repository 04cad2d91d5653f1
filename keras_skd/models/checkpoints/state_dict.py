"""The model's tensors in what was saved: under which key, in which module, by which name."""

from typing import Any

from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.safetensors import PlainTensor
from keras_skd.models.checkpoints.stand_ins import StandIn
from keras_skd.models.checkpoints.tensors import Tensor, UnreadableTensor

# Keys around a state dict, the preferred first: the average of the training's weights is what
# papers report.
WRAPPER_KEYS = (
    "params_ema",
    "state_dict_ema",
    "model_ema",
    "net_g_ema",
    "ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "net_g",
    "network_g",
    "generator",
    "netG",
    "network",
    "weights",
    "module",
)
# What wrappers put in front of a model's names: parallel training, torch.compile, Lightning, GANs.
_PREFIXES = tuple(
    f"{name}."
    for name in (
        "_orig_mod",
        "_forward_module",
        "module",
        "model",
        "net",
        "net_g",
        "netG",
        "network",
        "network_g",
        "generator",
    )
)
# These come in the middle of names too, where a part of the model was wrapped.
_INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_DEEPEST = 12
_LONGEST_NAME = 1000
_MOST_ENTRIES = 200_000
_TENSORS = (Tensor, PlainTensor, UnreadableTensor)


def find_tensors(loaded: Any) -> dict[str, Tensor | PlainTensor | UnreadableTensor]:
    """The tensors of the model that a file holds, by their names in the model.

    Args:
        loaded: What the file's reader gave.

    Returns:
        A dict of name, without the prefixes of wrappers, to description.

    Raises:
        CheckpointError: There are none, there are several sets, or two of one name.
    """
    if isinstance(loaded, _TENSORS):
        raise CheckpointError("holds one tensor without a name, not a dict of tensors.")
    found = _search(loaded, 0, set())
    if not found:
        raise CheckpointError(f"holds no tensors by name; {_described(loaded)}.")
    tensors = {}
    for name, tensor in found.items():
        if len(name) > _LONGEST_NAME:
            raise CheckpointError("a tensor's name is of impossible length; the file is damaged.")
        short = _without_prefixes(name)
        if short in tensors:
            raise CheckpointError(
                f"holds several tensors that are {printable(short)} without the prefixes of "
                f"wrappers, among them {printable(name)}; keep one model's."
            )
        tensors[short] = tensor
    return tensors


def _search(value, depth, seen):
    """The state dict in a value, or None; looks at every dict once."""
    if isinstance(value, StandIn):
        module = _module_tensors(value)
        if module is not None:
            return module
        value = value.items
    if not isinstance(value, dict) or id(value) in seen or depth > _DEEPEST:
        return None
    seen.add(id(value))
    for key in WRAPPER_KEYS:
        found = _search(value.get(key), depth + 1, seen)
        if found:
            return found
    own = {key: item for key, item in value.items() if isinstance(item, _TENSORS)}
    inner = {}
    for key, item in value.items():
        # Moments of an optimizer have the names and shapes of weights.
        if key not in WRAPPER_KEYS and not key.lower().startswith("optim"):
            found = _search(item, depth + 1, seen)
            if found:
                inner[key] = found
    if len(inner) > 1 and not own:
        keys = ", ".join(printable(key, 40) for key in list(inner)[:10])
        raise CheckpointError(f"holds several sets of tensors, under {keys}; keep one model's.")
    # A tensor beside the weights, such as the last loss, is not the model.
    return max([own, *inner.values()], key=len) or None


def _module_tensors(module):
    """Parameters and buffers of a whole module, as its ``state_dict()`` has them, or None."""
    if not _is_module(module):
        return None
    tensors, waiting, seen_entries = {}, [("", module)], 0
    while waiting:
        prefix, module = waiting.pop()
        parameters, buffers, modules, passing = (
            module.state.get(f"_{key}")
            for key in ("parameters", "buffers", "modules", "non_persistent_buffers_set")
        )
        seen_entries += 1 + sum(map(_count, (parameters, buffers, modules, passing)))
        if seen_entries > _MOST_ENTRIES or len(prefix) > _LONGEST_NAME:
            raise CheckpointError("its modules are nested without end; the file is damaged.")
        passing = _strings(passing)
        persistent = [(name, tensor) for name, tensor in _entries(buffers) if name not in passing]
        for name, tensor in [*_entries(parameters), *persistent]:
            if isinstance(tensor, _TENSORS) and len(name) <= _LONGEST_NAME:
                tensors[f"{prefix}{name}"] = tensor
        for name, child in _entries(modules):
            if _is_module(child) and len(name) <= _LONGEST_NAME:
                waiting.append((f"{prefix}{name}.", child))
    return tensors


def _is_module(value):
    state = value.state if isinstance(value, StandIn) else None
    return isinstance(state, dict) and "_parameters" in state and "_modules" in state


def _entries(value):
    return value.items() if isinstance(value, dict) else ()


def _set_entries(value):
    """The list that a set was made of."""
    first = value.arguments[:1] if isinstance(value, StandIn) else ()
    return first[0] if first and isinstance(first[0], list) else []


def _strings(value):
    return {entry for entry in _set_entries(value) if isinstance(entry, str)}


def _count(value):
    return len(_entries(value)) + len(_set_entries(value))


def _without_prefixes(name):
    for part in _INNER:
        name = name.replace(part, "")
    while True:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        if not prefix:
            return name
        name = name[len(prefix) :]


def _described(loaded):
    if isinstance(loaded, dict):
        keys = ", ".join(printable(key, 40) for key in list(loaded)[:10])
        return f"its keys are {keys}" if keys else "it has no keys"
    kind = printable(loaded.name) if isinstance(loaded, StandIn) else type(loaded).__name__
    return f"torch.save was given a {kind} instead of a dict of tensors"
