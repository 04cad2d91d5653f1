"""Which images show the same scene, so that none of them is trained on and validated on at once.

Other renderings of a clean image, frames of a video, and exposures or crops of a scene are nearly
one image: a model that has seen one scores too well on the others. Images of the same scene are
recognised by their files, without decoding them:

* targets that are one file, or equal byte by byte (Rain1400, Rain13K);
* names and folders (:func:`scene_of`): the video of GoPro, REDS and HIDE, the scene of RealBlur,
  SIDD and PolyU, and for any other names the part before a second number, as ``901`` of ``901_14``.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_skd.data.layouts import common_name, normalised, paired_set, read_folder_name
from keras_skd.errors import InputError
from keras_skd.files import sha256
from keras_skd.hints import Group

# Scenes as the data sets name them, in file names ...
_IN_FILES = (
    r".*?(GOPR\d+_\d+_\d+)",  # GoPro's videos, also of crops such as GOPR0372_07_00-000047-3
    r"\d+from(.+?)(?:\.MP4)?$",  # HIDE: 7fromGOPR0950.MP4
    r"\d{4}_(\d{3})_(?:GP|IP|S6|N6|G4)_",  # SIDD: 0052_002_S6_... is a shot of scene 002
    r"(?:Canon|Nikon|Sony)[A-Z\d]*_[\d.-]+_\d+_\d+_([a-z]+)",  # PolyU: ..._3200_plug_11
    r"((?:scene|video|vid|clip|seq|sequence)[-_]?\d+)(?!\d)",  # RealBlur and others
)
# ... and in names of folders.
_IN_FOLDERS = (
    r"(GOPR\d+_\d+_\d+)$",
    r"\d{4}_(\d{3})_(?:GP|IP|S6|N6|G4)_",
    r"((?:scene|video|vid|clip|seq|sequence)[-_]?\d+)$",
)
# SIDD's file names hold only the shot; they are used if the folder does not name the scene.
_IN_FILES_AT_LAST = (r"(\d{4})_(?:NOISY|GT)_(?:SRGB|RAW)",)
_VIDEO_SETS = ("NTURain", "REDS")  # a folder of frames that are called by their number is a video
# 901_14, 000_00000013, 0801_s001: a number, and that of a frame, crop or rendering.
_NUMBERED = re.compile(r"(.*\d)[-_](?:[a-z]|crop|patch)?\d+", re.IGNORECASE)
_DATE = re.compile(r"(19|20)\d\d((0\d|1[0-2])[0-3]\d)?")
_SAMPLE = 1 << 16  # bytes that are compared before whole files are


def scene_of(group: Group, root: Path | None = None) -> str:
    """What scene a group shows, by the names of its files and folders.

    Args:
        group: ``(clean,)`` or ``(input, target)``, as :func:`keras_skd.data.find_groups` gives.
        root: The folder of the data set: folders with a number below it are scenes, such as
            ``000/`` of REDS. None for the folder that the target lies in.

    Returns:
        A string; groups of one scene of a data set have the same. It is the image's own name if
        nothing names a scene.
    """
    target = group[-1]
    if not isinstance(target, Path):
        # In a .mat file: 0003_07 is block 7 of scene 3. An array stands for itself.
        name = getattr(target, "name", None)
        return name.rpartition("_")[0] if name else f"array {id(target)}"
    named = _named_scene(target) or _named_scene(group[0])
    return named or _by_number(target, root)[0]


def held_out(
    groups: Sequence[Group], share: int = 20, report: Callable[[str], object] | None = None
) -> tuple[list[Group], list[Group]]:
    """Splits groups into those to train on and those to validate with, by scene.

    The same groups are split in the same way every time and in every place. About one image of
    ``share`` is held out and at least one scene, never all.

    Args:
        groups: As :func:`keras_skd.data.find_groups` gives them, of one data set.
        share: The inverse of the part that is held out.
        report: Called with one line of what is held out, such as ``print``.

    Returns:
        ``(training, validation)``, two lists in the order of ``groups``.

    Raises:
        InputError: All show one scene.
    """
    scenes = same_scenes(groups)
    members = defaultdict(list)
    for index, scene in enumerate(scenes):
        members[scene].append(index)
    if len(members) < 2:
        what = "one image" if len(groups) == 1 else f"all {len(groups)} images are of one scene"
        raise InputError(
            f"{_place(groups)}: {what} (the same target, video or folder by their names), so none "
            "can be held out; name a folder of other images with --validation."
        )
    chosen = _chosen(list(members.values()), max(1, round(len(groups) / share)))
    validation = {index for indices in chosen for index in indices}
    if report is not None:
        scenes_held = f"{len(chosen)} of {len(members)} scenes"
        report(f"held out for validation: {scenes_held}, {len(validation)} of {len(groups)} images")
    return (
        [group for index, group in enumerate(groups) if index not in validation],
        [group for index, group in enumerate(groups) if index in validation],
    )


def spread(groups: Sequence[Group], count: int) -> list[Group]:
    """At most ``count`` groups, evenly from the whole list, so that they are not of one scene.

    Args:
        groups: Any list.
        count: How many are wanted.

    Returns:
        A list in the order of ``groups``.
    """
    count = min(count, len(groups))
    return [groups[place * len(groups) // count] for place in range(count)]


def same_scenes(groups: Sequence[Group]) -> list[int]:
    """Which groups show the same scene, by their names and by equal targets.

    Args:
        groups: As for :func:`held_out`.

    Returns:
        A list of one integer a group: the index of the first group of the same scene.
    """
    parents = list(range(len(groups)))

    def first(index):
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for keys in (_scenes_by_name(groups), _equal_targets([group[-1] for group in groups])):
        seen = {}
        for index, key in enumerate(keys):
            if key is None:
                continue
            one, other = sorted((first(seen.setdefault(key, index)), first(index)))
            parents[other] = one
    return [first(index) for index in range(len(groups))]


def _scenes_by_name(groups):
    targets = [group[-1] for group in groups if isinstance(group[-1], Path)]
    folders = {target.parent for target in targets}
    root = Path(os.path.commonpath(folders)) if folders else None
    unsure, scenes = set(), []
    for group in groups:
        if isinstance(group[-1], Path) and not (_named_scene(group[-1]) or _named_scene(group[0])):
            scene, sure = _by_number(group[-1], root)
            if not sure:
                unsure.add(scene)
        else:
            scene = scene_of(group, root)
        scenes.append(scene)
    # urban100_001, urban100_002, ...: what all begin with is the set's name, and no scene's.
    if len(set(scenes)) == 1 and unsure:
        return [None] * len(groups)
    return scenes


def _named_scene(path):
    """The scene by the way in which a known data set names its files and folders, or None."""
    parents = list(reversed(path.parts))[1:4]
    for patterns, names in (
        (_IN_FILES, [path.stem]),
        (_IN_FOLDERS, parents),
        (_IN_FILES_AT_LAST, [path.stem]),
    ):
        for name in names:
            for pattern in patterns:
                match = re.match(pattern, normalised(name), re.IGNORECASE)
                if match is not None:
                    return match[1].casefold()
    if path.stem.isdecimal() and paired_set(path.parent)[0] in _VIDEO_SETS:
        return str(path.parent)
    return None


def _by_number(target, root):
    """``(scene, sure)`` by numbered folders, else by the first of two numbers of the name."""
    below = target.parent.relative_to(root).parts if root is not None else ()
    folders = [part for part in map(_without_side, below) if part]
    numbered = [part for part in folders if re.search(r"\d", part)]
    if numbered:
        return "/".join(numbered).casefold(), True
    own = _without_side(target.parent.name) or target.parent.parent.name
    if own.isdecimal() and own.startswith("0"):  # 000, and neither 256 nor 2019
        return own, True
    place = "/".join([*folders, ""]).casefold()
    match = _NUMBERED.fullmatch(common_name(target.stem))
    if match is None or _DATE.fullmatch(match[1].rpartition("_")[2]):
        return place + normalised(target.stem), True
    return place + match[1], match[1].isdecimal()


def _without_side(name):
    """A folder's name but for what says its side: ``a1`` of ``a1_GT``, nothing of ``GT``."""
    read = read_folder_name(name)
    return "_".join(read.rest) if read.side else name


def _equal_targets(targets):
    """A key a target, the same for one file and for files of equal content; None if unlike all."""
    keys = [target if isinstance(target, Path) else None for target in targets]
    paths = list(dict.fromkeys(key for key in keys if key is not None))
    alike = {}
    for digest in (_size, _sample, sha256):
        found = defaultdict(list)
        for path in paths:
            found[digest(path)].append(path)
        found = [same for same in found.values() if len(same) > 1]
        alike = {path: same[0] for same in found for path in same}
        paths = list(alike)
    return [alike.get(key, key) for key in keys]


def _size(path):
    return path.stat().st_size


def _sample(path):
    """Size, beginning and end: of photographs that differ, one of them does nearly always."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        begin = file.read(_SAMPLE)
        file.seek(max(0, size - _SAMPLE))
        return size, hashlib.sha256(begin + file.read(_SAMPLE)).digest()


def _chosen(scenes, wanted):
    """Scenes whose images are about ``wanted``, spread over the data set; never all scenes."""
    # From everywhere in turn: every n-th scene first, as many as it takes if each is one image.
    step = max(1, len(scenes) // wanted)
    order = [scenes[place] for start in range(step) for place in range(start, len(scenes), step)]
    chosen, count = [], 0
    for scene in order:
        if count + len(scene) <= wanted and len(chosen) < len(scenes) - 1:
            chosen.append(scene)
            count += len(scene)
    # Where scenes are large, one too many rather than a handful of images.
    taken = {scene[0] for scene in chosen}
    others = sorted((scene for scene in order if scene[0] not in taken), key=len)
    if count < wanted / 2 and len(others) > 1:
        total = sum(map(len, scenes))
        if not chosen or count + len(others[0]) <= total / 2:
            chosen.append(others[0])
    return chosen


def _place(groups):
    targets = [group[-1] for group in groups]
    if not all(isinstance(target, Path) for target in targets):
        return str(targets[0]) if hasattr(targets[0], "path") else "the images"
    place = Path(os.path.commonpath([target.parent for target in targets]))
    return place.parent if read_folder_name(place.name).side else place
