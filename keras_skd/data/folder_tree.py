"""A folder of images as a tree of names; nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from keras_skd.data.images import is_image
from keras_skd.data.layouts import normalised
from keras_skd.data.matching import natural
from keras_skd.errors import InputError, MissingFileError
from keras_skd.hints import PathLike

DEPTH = 6  # folders below the one given


@dataclass
class Tree:
    """A folder, its image files and its folders, without what is hidden."""

    path: Path
    files: list
    folders: list
    has_mat: bool

    @classmethod
    def read(cls, path: Path, depth: int = DEPTH) -> Tree:
        """Reads a folder and those below it."""
        files, folders, has_mat = [], [], False
        try:
            entries = sorted(os.scandir(path), key=lambda entry: natural(entry.name))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name in ("__MACOSX", "lost+found"):
                continue
            inner = path / entry.name
            if entry.is_dir():
                if depth:
                    folders.append(cls.read(inner, depth - 1))
            elif is_image(inner):
                files.append(inner)
            has_mat = has_mat or entry.name.endswith(".mat")
        return cls(path, files, folders, has_mat or any(inner.has_mat for inner in folders))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def count(self) -> int:
        """Number of images, those in folders included."""
        return len(self.files) + sum(inner.count for inner in self.folders)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Path]]:
        """``(name, path)`` of all images; names are relative, without suffix, composed Unicode."""
        for path in self.files:
            yield prefix + normalised(path.stem), path
        for inner in self.folders:
            yield from inner.walk(f"{prefix}{normalised(inner.name)}/")

    def images(self) -> dict[str, Path]:
        """All images by name; raises as :func:`by_name`."""
        return by_name(self.walk())

    def here(self) -> dict[str, Path]:
        """The images directly in this folder by name; raises as :func:`by_name`."""
        return by_name((normalised(path.stem), path) for path in self.files)


def by_name(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """A dict of ``(name, path)``.

    Raises:
        InputError: Two files have one name, such as ``a.png`` and ``a.jpg``.
    """
    images = {}
    for name, path in named:
        if name in images:
            raise InputError(
                f"{images[name]} and {path.name}: two files for one image, for suffixes do not "
                "tell images apart; remove or rename one."
            )
        images[name] = path
    return images


def find_folders(folder: PathLike) -> Iterator[Path]:
    """A folder and those below it, without hidden ones.

    Raises:
        MissingFileError: There is no such folder.
        InputError: It is not a folder.
    """
    tree = read_tree(folder)
    waiting = [tree]
    while waiting:
        tree = waiting.pop(0)
        yield tree.path
        waiting += tree.folders


def read_tree(folder: PathLike) -> Tree:
    """Reads the names in a folder: a :class:`Tree`.

    Raises:
        MissingFileError: There is no such folder.
        InputError: It is not a folder.
    """
    folder = Path(folder)
    if not folder.exists():
        raise MissingFileError(f"{folder}: no such folder.")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the images.")
    return Tree.read(folder)
