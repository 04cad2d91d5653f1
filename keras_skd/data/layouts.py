"""What the names of folders and files of data sets mean.

Everything here looks at names alone. A *side* is ``"input"`` (degraded) or ``"target"`` (clean);
the words below say which side a folder or a file is on, and some of them for which task.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

TASK_TITLES = {"denoise": "denoising", "derain": "deraining", "deblur": "deblurring"}

_INPUT_WORDS = {
    **dict.fromkeys(("input", "inputs", "lq", "degraded", "distorted", "source")),
    **dict.fromkeys(("noisy", "noise", "noised"), "denoise"),
    **dict.fromkeys(("rain", "rainy", "rained"), "derain"),
    **dict.fromkeys(("blur", "blurred", "blurry", "blurgamma"), "deblur"),
    **dict.fromkeys(("inputc", "inputl", "inputr"), "deblur"),  # DPDD: centre, left, right view
}
_TARGET_WORDS = {
    **dict.fromkeys(("target", "targets", "gt", "groundtruth", "groundtruths", "hq")),
    **dict.fromkeys(("clean", "cleaned", "clear", "original", "reference", "ref", "label")),
    **dict.fromkeys(("noisefree", "nonoise", "denoised"), "denoise"),
    **dict.fromkeys(("norain", "rainfree", "derained"), "derain"),
    **dict.fromkeys(("sharp", "deblurred"), "deblur"),
}
# Of files only: as names of folders they mean other things too often.
_FILE_INPUT_WORDS = {"in": None, "real": "denoise"}
_FILE_TARGET_WORDS = {"out": None, "mean": "denoise"}

_SIDES = {
    **{word: ("input", task) for word, task in _INPUT_WORDS.items()},
    **{word: ("target", task) for word, task in _TARGET_WORDS.items()},
}
_FILE_SIDES = {
    **_SIDES,
    **{word: ("input", task) for word, task in _FILE_INPUT_WORDS.items()},
    **{word: ("target", task) for word, task in _FILE_TARGET_WORDS.items()},
}
# Names of a folder of targets that say that a folder of inputs belongs beside it.
PAIRED_TARGETS = ("target", "targets", "gt", "groundtruth", "groundtruths")

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "eval"), "val"),
}
_NEUTRAL = {
    *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "frame"),
    *("frames", "crop", "crops", "cropped", "patch", "patches", "data", "set", "png", "rgb"),
}
_AROUND_SETS = {"datasets", "dataset", "downloads", "synthetic", "full"}


@dataclass(frozen=True)
class FolderName:
    """What the name of a folder says.

    Attributes:
        side: ``"input"``, ``"target"`` or None.
        word: The word that names the side, such as ``"blur"``; None without a side.
        task: The task of which the word is; None for any.
        split: ``"train"``, ``"test"``, ``"val"`` or None.
        rest: The other words, such as ``("a1",)`` of ``a1_Rain``.
    """

    side: str | None
    word: str | None
    task: str | None
    split: str | None
    rest: tuple


def normalised(name: str) -> str:
    """A name in composed Unicode, so that the same letters are equal however they were written."""
    return unicodedata.normalize("NFC", name)


def read_folder_name(name: str) -> FolderName:
    """What a folder's name says: a :class:`FolderName`."""
    words = _words(name)
    found = [word for word in words if word in _SIDES]
    sides = {_SIDES[word][0] for word in found}
    splits = {_SPLITS[word] for word in words if word in _SPLITS}
    known = (_SIDES, _SPLITS, _NEUTRAL)
    rest = tuple(word for word in words if not any(word in group for group in known))
    split = splits.pop() if len(splits) == 1 else None
    if len(sides) != 1:
        return FolderName(None, None, None, split, rest)
    tasks = [_SIDES[word][1] for word in found if _SIDES[word][1]]
    return FolderName(sides.pop(), found[0], tasks[0] if tasks else None, split, rest)


def read_file_name(stem: str) -> tuple[str | None, str | None]:
    """``(side, task)`` of a file's name without suffix; ``(None, None)`` if it names none."""
    marks = [_mark(word) for word in _words(stem)]
    found = [_FILE_SIDES[mark] for mark, _ in marks if mark]
    if len({side for side, _ in found}) != 1:
        return None, None
    return found[0][0], next((task for _, task in found if task), None)


def common_name(stem: str, numbers: bool = False) -> str:
    """A file's name without the words that mark it as input or target.

    ``rain-001`` and ``norain-001`` give ``001``, ``7_in`` and ``7_gt`` give ``7``, ``norain-1x2``
    gives ``1``.

    Args:
        stem: The name without suffix.
        numbers: Compare numbers by value, so that ``1`` is ``001``.
    """
    words = [word for _, word in map(_mark, _words(stem)) if word] or _words(stem)
    if numbers:
        words = [str(int(word)) if word.isdecimal() else word for word in words]
    return "_".join(words)


def _mark(word):
    """Splits ``norain1x2`` into its side word, or None, and what is left, ``1``."""
    word = re.sub(r"(?<=\d)x[2348]$", "", word)
    if word in _FILE_SIDES:
        return word, ""
    letters, digits = re.fullmatch(r"(\D*)(.*)", word, re.DOTALL).groups()
    if letters in _FILE_SIDES and digits.isdecimal():
        return letters, digits
    digits, letters = re.fullmatch(r"(\d*)(.*)", word, re.DOTALL).groups()
    if digits and letters in _FILE_SIDES:
        return letters, digits
    return None, word


def _words(name):
    """The words of a name in lower case; two that make one word together are joined."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", normalised(name))
    words = [word for word in re.split(r"[-_. ()]+", name.casefold()) if word]
    joined = []
    for word in words:
        # "no_rain", "Ground Truth", "blur_gamma", "inputC"; "rain" alone must not become "norain".
        if joined and joined[-1] + word in _SIDES:
            joined[-1] += word
        else:
            joined.append(word)
    return joined


@dataclass(frozen=True)
class Layout:
    """Pairs by the names of their files, without suffix, relative to the data set's folder."""

    name: str
    task: str
    input: str  # regular expression of an input's name; capitals do not matter
    target: str  # the target's name, as a template of the expression's groups
    is_sure: bool = False  # such inputs without targets are not clean photographs


def layouts(split: str, blur: str) -> tuple[Layout, ...]:
    """The known layouts, for a split (HIDE) and for GoPro's ``"blur"`` or ``"blur_gamma"``."""
    hide = {"train": r"train/([^/]+)", "test": r"test/(?:[^/]+/)?([^/]+)"}[split]
    sidd = r"(?:Data/)?(?:\d{4}_\d{3}_[^/]*/)?(?:\d+_)?"
    rows = (
        ("Rain200", "derain", r"rain/(?:X2/)?norain-(\d+)(?:x2)?", r"norain/norain-\1"),
        ("Rain100", "derain", r"rainy/rain-(\d+)", r"norain-\1"),
        ("Rain100", "derain", r"rain-(\d+)", r"norain-\1", True),
        ("Rain1400", "derain", r"rainy_image/(\d+)_(\d+)", r"ground_truth/\1"),
        ("SPA", "derain", r"rain/(.+)", r"gt/\1gt"),
        ("GoPro", "deblur", rf"(GOPR[^/]+)/{blur}/([^/]+)", r"\1/sharp/\2"),
        ("RealBlur", "deblur", r"(scene\d+)/blur/blur_(\d+)", r"\1/gt/gt_\2"),
        ("SIDD", "denoise", f"({sidd})NOISY_SRGB(.*)", r"\1GT_SRGB\2", True),
        ("PolyU", "denoise", r"((?:Canon|Nikon|Sony)[^/]*)_real", r"\1_mean", True),
        ("HIDE", "deblur", hide, r"GT/\1"),
    )
    return tuple(Layout(*row) for row in rows)


# Data sets that are handed on in plain layouts too; by the folder's name then.
_PAIRED_SETS = {
    "derain": (
        *("Rain13K", "Rain100L", "Rain100H", "Rain200L", "Rain200H", "Rain800", "Rain1400"),
        *("Rain12600", "Test100", "Test1200", "Test2800", "SPA", "NTURain"),
    ),
    "deblur": ("GoPro", "HIDE", "RealBlur-J", "RealBlur-R", "RealBlur", "REDS", "DPDD"),
    "denoise": ("SIDD", "PolyU"),
}
_CLEAN_SETS = ("CBSD68", "Kodak24", "McMaster", "Urban100", "Set12", "BSD68", "DIV2K", "Flickr2K")
_ALIASES = {"kodak": "kodak24", "dddp": "dpdd"}  # of Kodak, and of dd_dp_dataset_png
_CLEAN_SETS_BY_FILES = (  # whatever the folder is called: pattern of the names, and number
    ("Kodak24", r"kodim\d\d", 24),
    ("McMaster", r"\d{1,2}", 18),
    ("Urban100", r"img_\d{3}(?:_SRF_\d_HR)?", 100),
)


def paired_set(folder: Path) -> tuple[str | None, str | None]:
    """``(name, task)`` of the data set of pairs after which a folder is called, or two Nones.

    The folders above are asked only while the name says nothing but a split and the like: a set of
    one's own below a folder called ``GoPro`` is not GoPro.
    """
    for part in _telling_parts(folder):
        for task, names in _PAIRED_SETS.items():
            name = _called(part, names)
            if name:
                return name, task
        if re.match(r"GOPR\d", part):
            return "GoPro", "deblur"
    return None, None


def clean_set(folder: Path, stems: Collection[str]) -> str | None:
    """The set of clean images by its folder's name or by the names of its files, or None."""
    for known, pattern, count in _CLEAN_SETS_BY_FILES:
        if len(stems) == count and all(re.fullmatch(pattern, stem) for stem in stems):
            return known
    return next(filter(None, (_called(part, _CLEAN_SETS) for part in _telling_parts(folder))), None)


def is_known_set(name: str) -> bool:
    """Whether a folder's own name is that of a data set."""
    every = (*_CLEAN_SETS, *(name for names in _PAIRED_SETS.values() for name in names))
    return _called(name, every) is not None


def _telling_parts(folder):
    for part in list(reversed(folder.resolve().parts))[:4]:
        yield part
        name = read_folder_name(part)
        if name.rest and not set(name.rest) <= _AROUND_SETS:
            return


def _called(part, names):
    words = re.split(r"[-_ ]", part.casefold())
    starts = {"".join(words[:count]) for count in (1, 2)}  # of RealBlur-J_ECC: realblurj
    starts |= {_ALIASES[start] for start in starts if start in _ALIASES}
    found = [name for name in names if name.replace("-", "").casefold() in starts]
    return max(found, key=len) if found else None
