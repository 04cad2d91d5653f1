"""Data sets by the layout that people have on disk.

:func:`recognise` looks at the names of folders and files alone; ``docs/data.md`` lists the layouts,
the licences and where to get each data set.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from keras_skd.data.images import is_image
from keras_skd.data.mat_files import dnd_crops, sidd_blocks
from keras_skd.errors import InputError, MissingFileError

# What a split is called in the folders of the data sets.
_SPLIT_FOLDERS = {
    "train": ("train", "training", "Train", "Training"),
    "test": ("test", "testing", "Test", "Testing", "val", "validation"),
}
_DEPTH = 4  # folders below the one given


@dataclass(frozen=True)
class DataSet:
    """What a folder was recognised as.

    Attributes:
        name: The data set's name, or ``"pairs"`` or ``"clean photographs"``.
        folder: Where its images are.
        kind: ``"pairs"`` of ``(input, target)``, ``"clean"`` images ``(target,)``, or ``"noisy"``
            ones without ground truth ``(input,)``.
        groups: The images: paths, or what has ``read()`` (:class:`keras_skd.data.MatImage`).
        task: What the data set is usually used for; None for any.
    """

    name: str
    folder: Path
    kind: str
    groups: list = field(repr=False)
    task: str | None = None

    def __str__(self):
        count = len(self.groups)
        what = {
            "pairs": f"{count} pairs of input and target",
            "clean": f"{count} clean photographs",
            "noisy": f"{count} degraded photographs without ground truth",
        }[self.kind]
        title = "" if self.name in ("pairs", "clean photographs") else f"{self.name}, "
        return f"{self.folder}: {title}{what}"


@dataclass(frozen=True)
class _Layout:
    """Pairs by the names of their files, without suffix, relative to the data set's folder."""

    name: str
    task: str
    input: str  # regular expression of an input's name
    target: str  # the target's name, as a template of the expression's groups


_LAYOUTS = (
    _Layout(
        "Rain200 or Rain100", "derain", r"rain/(?:X2/)?norain-(\d+)(?:x2)?", r"norain/norain-\1"
    ),
    _Layout("Rain100", "derain", r"rainy/rain-(\d+)", r"norain-\1"),
    _Layout("Rain100", "derain", r"rain-(\d+)", r"norain-\1"),
    _Layout("Rain1400", "derain", r"rainy_image/(\d+)_(\d+)", r"ground_truth/\1"),
    _Layout("SPA", "derain", r"rain/(.+)", r"gt/\1gt"),
    _Layout("GoPro", "deblur", r"(GOPR[^/]+)/blur/([^/]+)", r"\1/sharp/\2"),
    _Layout("RealBlur", "deblur", r"(scene\d+)/blur/blur_(\d+)", r"\1/gt/gt_\2"),
    _Layout("SIDD", "denoise", r"((?:Data/)?[^/]+/(?:\d+_)?)NOISY_SRGB(.*)", r"\1GT_SRGB\2"),
)
_HIDE = {
    "train": _Layout("HIDE", "deblur", r"train/([^/]+)", r"GT/\1"),
    "test": _Layout("HIDE", "deblur", r"test/(?:[^/]+/)?([^/]+)", r"GT/\1"),
}

# Data sets that are handed on in the plain layouts too; by the folder's name then.
_NAMED = {
    "derain": (
        *("Rain13K", "Rain100L", "Rain100H", "Rain200L", "Rain200H", "Rain1400"),
        *("Test100", "Test1200", "Test2800", "SPA"),
    ),
    "deblur": ("GoPro", "HIDE", "RealBlur-J", "RealBlur-R"),
    "denoise": ("SIDD", "CBSD68", "Kodak24", "McMaster", "Urban100"),
}
# Clean sets by their files, whatever the folder is called: pattern and number.
_CLEAN = (
    ("Kodak24", r"kodim\d\d", 24),
    ("McMaster", r"\d{1,2}", 18),
    ("Urban100", r"img_\d{3}(?:_SRF_\d_HR)?", 100),
)


def recognise(folder, split="test"):
    """Finds out what a folder holds.

    Args:
        folder: A data set's folder, as it is unpacked; ``input/`` and ``target/`` with equal file
            names (suffixes may differ); or clean images.
        split: ``"train"`` or ``"test"``: which one where the folder holds both.

    Returns:
        A :class:`DataSet`.

    Raises:
        FileNotFoundError: The folder does not exist, or half a pair of folders is missing.
        ValueError: It holds no images, several data sets, or images without a partner.
    """
    folder = Path(folder)
    if not folder.exists():
        raise MissingFileError(f"{folder}: no such folder.")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the images.")
    found = _recognise_here(folder, split)
    if found is not None:
        return found
    inner = [folder / name for name in _SPLIT_FOLDERS[split] if (folder / name).is_dir()][:1]
    inner = inner or sorted(path for path in folder.iterdir() if _is_visible_folder(path))
    if len(inner) == 1:
        return recognise(inner[0], split)
    found = [data for data in (_recognise_here(path, split) for path in inner) if data is not None]
    if len(found) > 1:
        names = ", ".join(str(data.folder) for data in found[:8])
        raise InputError(f"{folder}: holds several data sets; give one of them: {names}.")
    if not found:
        raise InputError(
            f"{folder}: no images in it that are recognised; give a folder of images, or one with "
            "input/ and target/ (docs/data.md lists the layouts)."
        )
    return found[0]


def find_groups(folder, task, split="test", report=None):
    """The images of a folder, for training or measuring.

    Args:
        folder: As for :func:`recognise`.
        task: ``denoise``, ``derain`` or ``deblur``.
        split: As for :func:`recognise`.
        report: Called with one line of what was recognised, such as ``print``.

    Returns:
        A list of ``(input, target)``, or of ``(clean,)`` where the input is to be made by a
        degradation.

    Raises:
        FileNotFoundError: As :func:`recognise`.
        ValueError: As :func:`recognise`, or the data set has no ground truth.
    """
    data = recognise(folder, split)
    if data.kind == "noisy":
        raise InputError(
            f"{data.folder}: {data.name} has no public ground truth, so that {task} can be neither "
            "trained nor measured on it; restore it instead."
        )
    if report is not None:
        made = {"denoise": "noise", "derain": "rain", "deblur": "motion blur"}[task]
        report(f"{data}; {made} is added" if data.kind == "clean" else str(data))
    return data.groups


def _is_visible_folder(path):
    return path.is_dir() and not path.name.startswith(".")


def _recognise_here(folder, split):
    """The data set whose root is this very folder, or None."""
    for read in (sidd_blocks, dnd_crops):
        found = read(folder)
        if found is not None:
            name, kind, groups = found
            return DataSet(name, folder, kind, groups, "denoise")
    if (folder / "input").is_dir() or (folder / "target").is_dir():
        return _plain_pairs(folder)
    if (folder / "real_world.txt").is_file():
        return DataSet("SPA", folder, "pairs", _listed_pairs(folder, "real_world.txt"), "derain")
    files = _files(folder)
    for layout in (*_LAYOUTS, _HIDE[split]):
        groups = _pairs(folder, files, layout)
        if groups:
            name = layout.name
            if name == "RealBlur":
                name, groups = _realblur_split(folder, groups, split)
            return DataSet(
                _name_of(folder, layout.task) or name, folder, "pairs", groups, layout.task
            )
    clean = [path for name, path in sorted(files.items()) if "/" not in name]
    if not clean:
        return None
    name = _name_of(folder, "denoise") or "clean photographs"
    for known, pattern, count in _CLEAN:
        if len(clean) == count and all(re.fullmatch(pattern, path.stem) for path in clean):
            name = known
    return DataSet(name, folder, "clean", [(path,) for path in clean])


def _files(folder):
    """Image files by their path below the folder, without suffix."""
    files = {}
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(n for n in folders if not n.startswith(".")) if depth < _DEPTH else []
        for name in names:
            path = Path(place, name)
            if is_image(path):
                files[path.relative_to(folder).with_suffix("").as_posix()] = path
    return files


def _pairs(folder, files, layout):
    groups, alone = [], []
    for name in sorted(files, key=_natural):
        match = re.fullmatch(layout.input, name)
        if match is None:
            continue
        target = files.get(match.expand(layout.target))
        if target is None:
            alone.append(name)
        else:
            groups.append((files[name], target))
    if groups and alone:
        raise InputError(
            f"{folder}: looks like {layout.name}, but {len(alone)} images have no target: "
            f"{_some(alone)}."
        )
    return groups


def _plain_pairs(folder):
    from keras_skd.data.images import list_images

    input_folder, target_folder = folder / "input", folder / "target"
    sides = [
        {path.stem: path for path in list_images(side)} for side in (input_folder, target_folder)
    ]
    for side, other, missing in (
        (input_folder, target_folder, sides[0].keys() - sides[1].keys()),
        (target_folder, input_folder, sides[1].keys() - sides[0].keys()),
    ):
        if missing:
            raise InputError(
                f"{side}: {len(missing)} images have no partner of the same name in {other}: "
                f"{_some(sorted(missing))}."
            )
    groups = [(sides[0][stem], sides[1][stem]) for stem in sorted(sides[0], key=_natural)]
    for task in _NAMED:
        name = _name_of(folder, task)
        if name:
            return DataSet(name, folder, "pairs", groups, task)
    return DataSet("pairs", folder, "pairs", groups)


def _listed_pairs(folder, name):
    """Pairs of a text file: two paths a line, below the folder or its parent."""
    groups = []
    for number, line in enumerate((folder / name).read_text().splitlines(), 1):
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


def _name_of(folder, task):
    """The known data set after which the folder, or one of three above it, is called."""
    for part in reversed(folder.resolve().parts[-4:]):
        words = re.split(r"[-_ ]", part.lower())
        starts = {"".join(words[:count]) for count in (1, 2)}  # of RealBlur-J_ECC: realblur-j
        for name in _NAMED[task]:
            if name.replace("-", "").lower() in starts:
                return name
    return None


def _natural(name):
    """Sorts 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(name))]


def _some(names):
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
