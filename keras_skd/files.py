"""Files that are complete or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd.errors import InputError, OutputError

if TYPE_CHECKING:
    from typing import Any

    from keras_skd.hints import PathLike, Row

# Failures of the disk or of its permissions, which the user can mend; others are faults.
_OF_THE_DISK = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "EFBIG", "EIO")
}


@contextmanager
def replaced(path: PathLike) -> Iterator[Path]:
    """Gives a temporary path to write to and renames it to ``path`` once the block succeeds.

    Args:
        path: The file to write or to replace.

    Yields:
        A :class:`pathlib.Path` in the same folder.

    Raises:
        OutputError: The disk is full, the folder cannot be written, or the name is too long.
    """
    path = Path(path)
    # The end of the name, for its suffix; counted in bytes, as file systems do.
    end = os.fsencode(path.name)[-200:].decode("utf-8", "ignore")
    temporary = path.with_name(f".part-{os.getpid()}-{end}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise OutputError(f"{path}: cannot be written ({_reason(error)}).") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: PathLike, text: str) -> None:
    """Writes a text file; see :func:`replaced`."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: PathLike, value: Any) -> None:
    """Writes a value as indented JSON; see :func:`replaced`.

    JSON has no infinity and no NaN: an infinite PSNR becomes the string ``"inf"``, which
    ``float()`` reads back.
    """
    write_text(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def write_csv(path: PathLike, rows: Sequence[Row]) -> None:
    """Writes a list of dicts as CSV, with the columns of the last one; see :func:`replaced`."""
    with replaced(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def sha256(path: PathLike) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def output_folder(folder: PathLike, needed_bytes: int = 0) -> Iterator[Path]:
    """Makes a folder for results and proves that it can be written.

    Where the block fails, the folders that were made for it are removed again, unless something
    was written to them.

    Args:
        folder: The folder; its parents are made too.
        needed_bytes: Space that must be free on its disk.

    Yields:
        The folder as a :class:`pathlib.Path`.

    Raises:
        OutputError: It cannot be made or written, or its disk is too full.
    """
    folder = Path(folder)
    missing = [path for path in [folder, *folder.parents] if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written ({_reason(error)}); choose another."
            ) from None
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise OutputError(
                f"{folder}: {needed_bytes / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are "
                "free; choose another disk."
            )
        yield folder
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def locked(folder: PathLike, what: str) -> Iterator[None]:
    """Keeps other processes out of a folder while the block runs; made if it is missing.

    A process that is killed leaves no lock.

    Args:
        folder: The folder.
        what: What another process that holds it would be doing, for the message.

    Raises:
        InputError: Another process holds it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another process {what} in it; wait for it, or choose another --run."
            ) from None
        yield
    finally:
        os.close(handle)


def _reason(error):
    return (error.strerror or str(error)).lower()
