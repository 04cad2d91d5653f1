"""Data sets by the layout that people have on disk.

:func:`recognise` looks at the names of folders and files alone and decodes nothing;
``docs/data.md`` lists the layouts, the licences and where to get each data set.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from keras_skd.data.folder_tree import DEPTH, by_name, read_tree
from keras_skd.data.images import IMAGE_SUFFIXES
from keras_skd.data.layouts import (
    PAIRED_TARGETS,
    TASK_TITLES,
    clean_set,
    is_known_set,
    layouts,
    paired_set,
    read_folder_name,
)
from keras_skd.data.mat_files import dnd_crops, sidd_blocks
from keras_skd.data.matching import flat_pairs, match_sides, natural, some
from keras_skd.errors import InputError, MissingFileError
from keras_skd.hints import Group, PathLike
from keras_skd.tasks import TASK_NAMES, Task

_LISTED = 8  # folders that a message lists
BLURS = ("blur", "blur_gamma")


@dataclass(frozen=True)
class DataSet:
    """What a folder was recognised as.

    Attributes:
        name: The data set's name, or ``"pairs"`` or ``"clean photographs"``.
        folder: Where its images are.
        kind: ``"pairs"`` of ``(input, target)``, ``"clean"`` images ``(target,)``, or ``"noisy"``
            ones without ground truth ``(input,)``.
        groups: The images: paths, or what has ``read()`` (:class:`keras_skd.data.MatImage`).
        task: The task that its pairs are of; None for any.
        note: What else the user should know of how it was read, or ``""``.
    """

    name: str
    folder: Path
    kind: str
    groups: list = field(repr=False)
    task: str | None = None
    note: str = ""

    def __str__(self) -> str:
        count = len(self.groups)
        what = {
            "pairs": f"{count} pairs of input and target",
            "clean": f"{count} clean photographs",
            "noisy": f"{count} degraded photographs without ground truth",
        }[self.kind]
        title = "" if self.name in ("pairs", "clean photographs") else f"{self.name}, "
        return f"{self.folder}: {title}{what}" + (f" ({self.note})" if self.note else "")


def recognise(
    folder: PathLike, split: str = "test", task: str | None = None, *, blur: str = "blur"
) -> DataSet:
    """Finds out what a folder holds.

    Args:
        folder: A data set's folder, as it is unpacked; pairs in two folders, such as ``input/`` and
            ``target/``, ``blur/`` and ``sharp/``; or clean images.
        split: ``"train"`` or ``"test"``: which one where the folder holds both.
        task: ``denoise``, ``derain`` or ``deblur``: chooses among data sets of several tasks, and
            refuses one of another task. None takes any.
        blur: ``"blur"``, or ``"blur_gamma"`` for the inputs of GoPro that were averaged with a
            gamma curve.

    Returns:
        A :class:`DataSet`.

    Raises:
        MissingFileError: The folder does not exist, or half a pair of folders is missing.
        InputError: It holds no images, several data sets, images without a partner, two files for
            one image, a data set of another task, or its layout is not known.
    """
    folder = Path(folder)
    if split not in ("train", "test") or blur not in BLURS:
        raise InputError(f"got split {split} and blur {blur}; expected train or test, and {BLURS}.")
    if task not in (None, *TASK_NAMES):
        raise InputError(f"got task {task!r}; expected one of {', '.join(TASK_NAMES)}.")
    tree = read_tree(folder)
    if not tree.count and not tree.has_mat:
        raise InputError(
            f"{folder}: no images in it (looked for {', '.join(IMAGE_SUFFIXES)}, {DEPTH} folders "
            "deep); give a folder of images, or one with input/ and target/ (docs/data.md lists "
            "the layouts)."
        )
    found = _Search(split, blur).below(tree)
    if len(found) > 1:
        fitting = [data for data in found if task is not None and data.task == task]
        if len(fitting) != 1:
            raise InputError(_several(tree, found))
        found = fitting
    if not found:
        raise InputError(_unknown(tree))
    data = found[0]
    if task is not None and data.task not in (None, task):
        raise InputError(_other_task(data, task))
    if data.kind == "clean":
        _refuse_half(data.folder)
    if blur != "blur" and not data.name.endswith(blur):
        raise InputError(f"{data.folder}: has no folders {blur}/, which only GoPro has.")
    return data


def find_groups(
    folder: PathLike,
    task: str,
    split: str = "test",
    report: Callable[[str], object] | None = None,
    *,
    blur: str = "blur",
) -> list[Group]:
    """The images of a folder, for training or measuring.

    Args:
        folder: As for :func:`recognise`.
        task: ``denoise``, ``derain`` or ``deblur``.
        split: As for :func:`recognise`.
        report: Called with one line of what was recognised, such as ``print``.
        blur: As for :func:`recognise`.

    Returns:
        A list of ``(input, target)``, or of ``(clean,)`` where the input is to be made by a
        degradation.

    Raises:
        MissingFileError: As :func:`recognise`.
        InputError: As :func:`recognise`, or the data set has no ground truth.
    """
    data = recognise(folder, split, task, blur=blur)
    if data.kind == "noisy":
        raise InputError(
            f"{data.folder}: {data.name} has no public ground truth, so that {task} can be neither "
            "trained nor measured on it; restore it, or write what its authors' server takes "
            "with evaluate --submission."
        )
    if report is not None:
        added = f"; {Task.of(task).removes} is added" if data.kind == "clean" else ""
        report(f"{data}{added}")
    return data.groups


class _Search:
    """Looks for data sets, from a folder downwards."""

    def __init__(self, split, blur):
        self.split, self.blur = split, blur

    def below(self, tree):
        """The data sets whose roots are this folder or, where it is none, folders below it."""
        found = self._here(tree)
        if found is not None:
            return [found]
        inner = [folder for folder in tree.folders if folder.count or folder.has_mat]
        inner, note = self._of_split(inner)
        found = [data for folder in inner for data in self.below(folder)]
        return [replace(data, note=data.note or note) for data in found]

    def _of_split(self, folders):
        """Those of the split, if the names tell; and a note where only the other one is there."""
        named = [(read_folder_name(folder.name), folder) for folder in folders]
        splits = {name.split for name, _ in named if name.split}
        wanted = _wanted(self.split, splits)
        if wanted is None:
            note = f"there is no {self.split}/ beside it" if splits and len(folders) == 1 else ""
            return folders, note
        chosen = [(name, folder) for name, folder in named if name.split == wanted]
        # DPDD: the views of the left and right half-pixels beside the image, train_c.
        middle = [folder for name, folder in chosen if name.rest == ("c",)]
        views = {name.rest for name, _ in chosen} <= {("c",), ("l",), ("r",)}
        return (middle if middle and views else [folder for _, folder in chosen]), ""

    def _here(self, tree):
        """The data set whose root is this very folder, or None."""
        for read in (sidd_blocks, dnd_crops):
            found = read(tree.path)
            if found is not None:
                name, kind, groups = found
                return DataSet(name, tree.path, kind, groups, "denoise")
        if not tree.count:
            return None
        for find in (self._listed, self._known, self._sided, self._scenes, self._flat, self._clean):
            data = find(tree)
            if data is not None:
                return data
        return None

    def _listed(self, tree):
        if (tree.path / "real_world.txt").is_file():
            groups = _listed_pairs(tree.path, "real_world.txt")
            return DataSet("SPA", tree.path, "pairs", groups, "derain")
        return None

    def _known(self, tree):
        files = list(tree.walk())
        for layout in layouts(self.split, self.blur):
            groups = _layout_pairs(tree.path, files, layout)
            if not groups:
                continue
            name, task = layout.name, layout.task
            if name == "RealBlur":
                name, groups = _realblur_split(tree.path, groups, self.split)
            called, called_task = paired_set(tree.path)
            name = called if called_task == task and not name.startswith("RealBlur-") else name
            name += " blur_gamma" if name == "GoPro" and self.blur == "blur_gamma" else ""
            return DataSet(name, tree.path, "pairs", groups, task)
        return None

    def _sided(self, tree):
        """Pairs in two folders, one of inputs and one of targets."""
        pairs = self._side_folders(tree)
        if not pairs:
            return None
        if len(pairs) > 1 and not _alike(" ".join(rest) for rest, *_ in pairs):
            names = ", ".join(f"{one[1].name} and {one[2].name}" for one in pairs[:_LISTED])
            raise InputError(
                f"{tree.path}: holds several pairs of folders: {names}; put the one that is meant "
                "into input/ and target/ of a folder of its own."
            )
        return self._of_pairs(tree, pairs)

    def _scenes(self, tree):
        """Folders of one kind, each with its two sides: the videos or scenes of one set."""
        inner = [folder for folder in tree.folders if folder.count]
        names = [folder.name for folder in inner]
        if len(inner) < 2 or not _alike(names) or any(map(is_known_set, names)):
            return None
        pairs = [self._side_folders(folder) for folder in inner]
        if not all(len(one) == 1 for one in pairs):
            return None
        return self._of_pairs(tree, [one[0] for one in pairs])

    def _of_pairs(self, tree, folders):
        groups, note = [], ""
        words = {read_folder_name(inputs.name).word for _, inputs, _, _ in folders}
        name, called_task = paired_set(tree.path)
        if name is None and len(folders) > 1:
            name, called_task = paired_set(folders[0][1].path.parent)
        if words == {"inputc"} or read_folder_name(tree.name).rest == ("c",):
            name, called_task = "DPDD", "deblur"
        for _, inputs, targets, _ in folders:
            sides = inputs.images(), targets.images()
            try:
                groups += match_sides(*sides)
            except InputError:
                # DPDD's files are called after the camera's counter, input and target apart; its
                # authors pair them in order.
                apart = len(sides[0]) == len(sides[1]) and not set(sides[0]) & set(sides[1])
                if name != "DPDD" or not apart:
                    raise
                groups += zip(*map(_in_order, sides), strict=True)
                note = "names differ: paired in order, as DPDD is"
        groups = self._split_of_pairs(groups, folders)
        tasks = {task for *_, task in folders if task}
        task = tasks.pop() if len(tasks) == 1 else None
        if name is None or task not in (None, called_task):
            return DataSet("pairs", tree.path, "pairs", groups, task, note)
        name += " blur_gamma" if name == "GoPro" and words == {"blurgamma"} else ""
        return DataSet(name, tree.path, "pairs", groups, called_task, note)

    def _split_of_pairs(self, groups, folders):
        """Of ``input/train/1``, ``input/test/2`` those of the split."""
        if len(folders) > 1:
            return groups
        inputs = folders[0][1].path
        tops = [group[0].relative_to(inputs).parts[:-1] for group in groups]
        splits = [read_folder_name(parts[0]).split if parts else None for parts in tops]
        wanted = _wanted(self.split, set(splits) - {None})
        if wanted is None or None in splits:
            return groups
        return [group for group, split in zip(groups, splits, strict=True) if split == wanted]

    def _side_folders(self, tree):
        """Pairs of folders directly in this one: ``(rest, inputs, targets, task)``.

        Raises:
            InputError: One side is there and the other is not, or there are two of one side.
        """
        found = defaultdict(lambda: {"input": [], "target": []})
        for folder in tree.folders:
            name = read_folder_name(folder.name)
            if name.side and folder.count and not _has_sides(folder):
                found[name.rest, name.split][name.side].append((name, folder))
        complete = {key: sides for key, sides in found.items() if all(sides.values())}
        wanted = _wanted(self.split, {split for _, split in complete if split})
        if wanted is not None:
            complete = {key: sides for key, sides in complete.items() if key[1] == wanted}
        if not complete:
            _refuse_alone(tree, found)
            return []
        pairs = []
        for (rest, _), sides in complete.items():
            inputs = self._one_of(tree, sides["input"])
            targets = self._one_of(tree, sides["target"])
            tasks = [name.task for name, _ in (inputs, targets) if name.task]
            pairs.append((rest, inputs[1], targets[1], tasks[0] if tasks else None))
        return pairs

    def _one_of(self, tree, named):
        """The folder that is meant among several of one side."""
        words = [name.word for name, _ in named]
        if set(words) == {"blur", "blurgamma"}:
            return named[words.index(self.blur.replace("_", ""))]
        if "inputc" in words and set(words) <= {"inputc", "inputl", "inputr"}:
            return named[words.index("inputc")]
        if set(words) <= {"inputl", "inputr"}:
            raise InputError(
                f"{tree.path}: only the left and right views of a dual-pixel camera; the images of "
                "one view are read, in inputC/ and target/."
            )
        if len(named) > 1:
            names = ", ".join(folder.name for _, folder in named)
            side = named[0][0].side
            raise InputError(
                f"{tree.path}: several folders of {side}s: {names}; leave one of them in a folder "
                "with its partner."
            )
        return named[0]

    def _flat(self, tree):
        if not tree.files:
            return None
        found = flat_pairs(tree.path, tree.here())
        if found is None:
            return None
        groups, task = found
        name, called_task = paired_set(tree.path)
        if name is None or task not in (None, called_task):
            return DataSet("pairs", tree.path, "pairs", groups, task)
        return DataSet(name, tree.path, "pairs", groups, called_task)

    def _clean(self, tree):
        if not tree.files:
            return None
        images = tree.here()
        inner = [folder for folder in tree.folders if folder.count]
        sets = [data for folder in inner for data in self.below(folder) if data.kind == "pairs"]
        if sets:
            raise InputError(
                f"{tree.path}: holds {len(images)} images and, in folders, {sets[0]}; give the "
                "folder that is meant."
            )
        left = sum(folder.count for folder in inner)
        note = f"{left} more in folders below it are not used" if left else ""
        name = clean_set(tree.path, list(images)) or "clean photographs"
        groups = [(images[stem],) for stem in sorted(images, key=natural)]
        return DataSet(name, tree.path, "clean", groups, note=note)


def _wanted(split, splits):
    """Which of the splits that are there serves; None where they leave no choice."""
    order = ("train",) if split == "train" else ("test", "val")
    return next((name for name in order if name in splits), None)


def _alike(names):
    """Whether names differ in their numbers only (``a1``, ``b2`` too), as those of scenes do."""
    return len({re.sub(r"\b[a-z]?\d+|\d+", "#", name.casefold()) for name in names}) == 1


def _has_sides(tree):
    """Whether a folder holds both sides itself, as a set that is called ``rain`` may."""
    return {read_folder_name(folder.name).side for folder in tree.folders} >= {"input", "target"}


def _in_order(images):
    return [images[name] for name in sorted(images, key=natural)]


def _layout_pairs(folder, files, layout):
    """Pairs of a known layout; ``[]`` where there is none."""
    wanted, inputs = {}, []
    pattern = re.compile(layout.input, re.IGNORECASE)
    for name, path in files:
        match = pattern.fullmatch(name)
        if match is not None:
            inputs.append((name, path))
            wanted[name] = match.expand(layout.target).casefold()
    if not inputs:
        return []
    needed = set(wanted.values())
    targets = by_name((n.casefold(), p) for n, p in files if n.casefold() in needed)
    alone = [name for name in wanted if wanted[name] not in targets]
    if len(alone) == len(wanted) and not layout.is_sure:
        return []
    if alone:
        raise InputError(
            f"{folder}: looks like {layout.name}, but {len(alone)} images have no target: "
            f"{some(alone)}."
        )
    inputs = by_name(inputs)
    return [(inputs[name], targets[wanted[name]]) for name in sorted(inputs, key=natural)]


def _listed_pairs(folder, name):
    """Pairs of a text file: two paths a line, below the folder or its parent."""
    groups = []
    text = (folder / name).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        parts = [part.lstrip("/") for part in line.split()]
        if not parts:
            continue
        paths = [
            next((root / part for root in (folder, folder.parent) if (root / part).is_file()), None)
            for part in parts
        ]
        if len(paths) != 2 or None in paths:
            raise InputError(
                f"{folder / name}: line {number} does not name two files below it: {line[:80]!r}."
            )
        groups.append(tuple(paths))
    if not groups:
        raise InputError(f"{folder / name}: names no files.")
    return groups


def _realblur_split(folder, groups, split):
    """J or R by the folder's name, and the split by the list beside it, where there is one."""
    letter = "R" if re.search(r"real_?blur[-_]?r", folder.resolve().as_posix().lower()) else "J"
    for place in (folder, folder.parent):
        names = place / f"RealBlur_{letter}_{split}_list.txt"
        if names.is_file():
            # A line names the ground truth and the blurred image, below the list's folder.
            listed = {tuple(Path(part).parts[-3:]) for part in names.read_text().split()}
            groups = [group for group in groups if group[0].parts[-3:] in listed]
            if not groups:
                raise InputError(f"{names}: names none of the images in {folder}.")
    return f"RealBlur-{letter}", groups


# --- what is refused, and how it is said ---


def _refuse_half(folder):
    """The inputs of pairs alone would pass for clean photographs."""
    place = folder.resolve()
    name = read_folder_name(place.name)
    if name.side != "input" or not os.access(place.parent, os.R_OK):
        return
    for beside in sorted(place.parent.iterdir()):
        other = read_folder_name(beside.name)
        if beside.is_dir() and other.side == "target" and other.rest == name.rest:
            raise InputError(
                f"{folder}: holds the inputs of pairs, whose targets are in {beside.name}/ beside "
                f"it; give the folder of both, {folder.parent}."
            )


def _refuse_alone(tree, found):
    for (rest, _), sides in found.items():
        for name, folder in (*sides["input"], *sides["target"]):
            if rest or (name.side == "target" and name.word not in PAIRED_TARGETS):
                continue
            missing = "target" if name.side == "input" else "input"
            raise MissingFileError(
                f"{folder.path}: {folder.count} images without partners; there is no folder "
                f"{missing}/ beside it ({_listing(tree)}). Call the folder of its partners so, or "
                "give a folder of clean images alone."
            )


def _other_task(data, task):
    what = "holds pairs" if data.name == "pairs" else f"{data.name} is a data set"
    return (
        f"{data.folder}: {what} for {TASK_TITLES[data.task]}, not for {TASK_TITLES[task]}; use "
        f"--task {data.task}, or give --data for {TASK_TITLES[task]}. (Pairs in input/ and target/ "
        "are taken for any task.)"
    )


def _several(tree, found):
    clean = all(data.kind == "clean" for data in found)
    listed = [
        f"{data.folder} ({len(data.groups)} images)" if clean else str(data.folder)
        for data in found[:_LISTED]
    ]
    names = ", ".join(listed) + (" ..." if len(found) > _LISTED else "")
    if clean:
        return (
            f"{tree.path}: holds several folders of images: {names}. If they are pairs, rename the "
            "folder of degraded images to input/ and the one of clean images to target/, with "
            "equal file names; if they are photographs, give one of them."
        )
    return f"{tree.path}: holds several data sets; give one of them: {names}."


def _unknown(tree):
    return (
        f"{tree.path}: its layout is not known; it holds {_listing(tree)}. For pairs, rename the "
        "folder of degraded images to input/ and the one of clean images to target/, with equal "
        "file names; docs/data.md lists the layouts."
    )


def _listing(tree):
    """The first folders with the number of their images, for a message."""
    inner = [f"{folder.name}/ ({folder.count} images)" for folder in tree.folders[:_LISTED]]
    if len(tree.folders) > _LISTED:
        inner.append("...")
    if tree.files:
        inner.append(
            f"{len(tree.files)} images beside them" if inner else f"{len(tree.files)} images"
        )
    if tree.has_mat:
        inner.append("MATLAB files other than those of SIDD and DND")
    return ", ".join(inner)
