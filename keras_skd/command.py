"""What the commands share: exit codes, error lines and checks of the output folder."""

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

INPUT_ERROR = 2
FAILED_CHECK = 1
INTERRUPTED = 130


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


@contextmanager
def resumable():
    """Ends the command on Ctrl-C with one line that says how to go on, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on after the last epoch.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def output_folder(folder, needed_bytes=0):
    """Makes a folder for results and proves that it can be written.

    Where the block fails, the folders that were made for it are removed again, unless something
    was written to them.

    Args:
        folder: The folder; its parents are made too.
        needed_bytes: Space that must be free on its disk.

    Yields:
        The folder as a :class:`pathlib.Path`.

    Raises:
        OSError: It cannot be made or written, or its disk is too full.
    """
    folder = Path(folder)
    missing = [path for path in [folder, *folder.parents] if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OSError(f"{folder}: cannot be written ({reason}); choose another.") from None
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise OSError(
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
def replaced(path):
    """Gives a temporary path to write to and renames it to ``path`` once the block succeeds."""
    path = Path(path)
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
