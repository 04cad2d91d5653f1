"""What the commands share: exit codes, error lines and checks of the output folder."""

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

INPUT_ERROR = 2
FAILED_CHECK = 1


@contextmanager
def input_errors(command):
    """Turns errors of the user's input into one line on stderr and exit code 2.

    Args:
        command: The command's name, which the line starts with.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        if isinstance(error, OSError) and error.strerror and error.filename:
            message = f"{error.filename}: {error.strerror.lower()}."
        print(f"{command}: error: {message}", file=sys.stderr)
        raise SystemExit(INPUT_ERROR) from None


def make_output_folder(folder, needed_bytes=0):
    """Makes a folder for results and proves that it can be written.

    Args:
        folder: The folder; its parents are made too.
        needed_bytes: Space that must be free on its disk.

    Returns:
        The folder as a :class:`pathlib.Path`.

    Raises:
        OSError: It cannot be made or written, or the disk is too full.
    """
    folder = Path(folder)
    first_missing = next((p for p in reversed([folder, *folder.parents]) if not p.exists()), None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise OSError(
                f"{folder}: {needed_bytes / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are "
                "free; choose another disk."
            )
    except OSError as error:
        _remove_empty(folder, first_missing)
        if error.strerror:
            reason = error.strerror.lower()
            raise OSError(f"{folder}: cannot be written ({reason}); choose another.") from None
        raise
    return folder


def _remove_empty(folder, first_made):
    """Removes the folders that were made in vain."""
    while first_made is not None and folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
        if folder == first_made:
            break
        folder = folder.parent


@contextmanager
def replaced(path):
    """Gives a temporary path to write to and renames it to ``path`` once the block succeeds."""
    path = Path(path)
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
