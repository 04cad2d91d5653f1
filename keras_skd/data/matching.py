"""Which input belongs to which target, by the names of their files."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_skd.data.layouts import common_name, read_file_name
from keras_skd.errors import InputError


def match_sides(inputs: Mapping[str, Path], targets: Mapping[str, Path]) -> list[tuple[Path, Path]]:
    """Pairs two folders by the names of their files.

    Tried in turn, and taken only where nothing is left over: equal names; names that differ in
    capitals; names that differ in what marks the side, as ``rain-1`` and ``norain-1``; several
    inputs of one target, as ``901_1`` and ``901_14`` of ``901``.

    Args:
        inputs: Files by their path below the folder of the inputs, without suffix.
        targets: The same of the targets.

    Returns:
        A list of ``(input, target)`` in the order of the inputs' names.

    Raises:
        InputError: Some images have no partner; it names them.
    """
    for rename in (str, str.casefold, _common, _common_by_number):
        pairs = _one_to_one(inputs, targets, rename)
        if pairs is not None:
            return pairs
    pairs = _many_to_one(inputs, targets)
    if pairs is not None:
        return pairs
    for side, other in ((inputs, targets), (targets, inputs)):
        missing = sorted(side.keys() - other.keys(), key=natural)
        if missing:
            raise InputError(
                f"{_folder_of(side)}: {len(missing)} images have no partner of the same name in "
                f"{_folder_of(other)}: {some(missing)}; rename or remove them (suffixes may "
                "differ)."
            )
    raise AssertionError("sides of equal names are pairs")


def flat_pairs(
    folder: Path, files: Mapping[str, Path]
) -> tuple[list[tuple[Path, Path]], str | None] | None:
    """Pairs whose inputs and targets lie in one folder, as ``7_in.png`` and ``7_gt.png``.

    Args:
        folder: The folder, for messages.
        files: Its files by their names without suffix.

    Returns:
        ``(pairs, task)``: a list of ``(input, target)`` and the task that the names tell, or None;
        or None where no two names are a pair.

    Raises:
        InputError: Some are pairs and others have no partner.
    """
    found = defaultdict(lambda: {"input": [], "target": []})
    tasks, others = set(), []
    for stem in files:
        side, task = read_file_name(stem)
        if side is None:
            others.append(stem)
        else:
            found[common_name(stem)][side].append(stem)
            tasks.add(task)
    sides = {side for one in found.values() for side, stems in one.items() if stems}
    if len(sides) == 1:
        # Only one side is marked, as in 7_noisy.png beside 7.png.
        (other,) = {"input", "target"} - sides
        for stem in [stem for stem in others if common_name(stem) in found]:
            found[common_name(stem)][other].append(stem)
            others.remove(stem)
    pairs = [one for one in found.values() if one["input"] and one["target"]]
    if not pairs:
        return None
    first = files[pairs[0]["input"][0]].name, files[pairs[0]["target"][0]].name
    looks = f"{folder}: looks like pairs in one folder, such as {first[0]} and {first[1]}, but"
    for one in pairs:
        for stems in one.values():
            if len(stems) > 1:
                raise InputError(f"{looks} {some(stems)} are the same side of one pair.")
    for one in found.values():
        if one not in pairs:
            others += one["input"] + one["target"]
    if others:
        raise InputError(
            f"{looks} {len(others)} images have no partner: {some(sorted(others, key=natural))}. "
            "Remove them, or move inputs to input/ and targets to target/ under equal names."
        )
    tasks.discard(None)
    groups = [(files[one["input"][0]], files[one["target"][0]]) for one in pairs]
    return (
        sorted(groups, key=lambda group: natural(group[0])),
        tasks.pop() if len(tasks) == 1 else None,
    )


def natural(name: str | Path) -> list[int | str]:
    """A key that sorts 2 before 10."""
    parts = re.split(r"(\d+)", str(name))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def some(names: Sequence[object]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(map(str, names[:5])) + (" ..." if len(names) > 5 else "")


def _one_to_one(inputs, targets, rename):
    if len(inputs) != len(targets):
        return None
    renamed = [{rename(name): name for name in side} for side in (inputs, targets)]
    if len(renamed[0]) < len(inputs) or renamed[0].keys() != renamed[1].keys():
        return None
    keys = sorted(renamed[0], key=lambda key: natural(renamed[0][key]))
    return [(inputs[renamed[0][key]], targets[renamed[1][key]]) for key in keys]


def _many_to_one(inputs, targets):
    pairs, used = [], set()
    for name in sorted(inputs, key=natural):
        target = next(
            # The longest first: of "1_2_3", "1_2" rather than "1".
            (name[:end] for end in range(len(name), 0, -1)
             if name[:end] in targets and name[end : end + 1] in ("", "_", "-")),
            None,
        )  # fmt: skip
        if target is None:
            return None
        used.add(target)
        pairs.append((inputs[name], targets[target]))
    return pairs if len(used) == len(targets) else None


def _common(name):
    folder, _, stem = name.rpartition("/")
    return f"{folder.casefold()}/{common_name(stem)}"


def _common_by_number(name):
    folder, _, stem = name.rpartition("/")
    return f"{folder.casefold()}/{common_name(stem, numbers=True)}"


def _folder_of(files):
    name, path = next(iter(files.items()))
    return path.parents[name.count("/")]
