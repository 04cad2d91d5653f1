"""What the commands share: exit codes and error lines."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from keras_skd.errors import FailedCheckError, InputError

INPUT_ERROR = 2
FAILED_CHECK = 1
INTERRUPTED = 130


@contextmanager
def reported_errors(command: str) -> Iterator[None]:
    """Turns what the user can mend into one line on stderr and an exit code.

    An :class:`~keras_skd.errors.InputError` exits with 2, a
    :class:`~keras_skd.errors.FailedCheckError` with 1. Every other exception is a fault of the
    program and shows its traceback.

    Args:
        command: The command's name, which the line starts with.
    """
    try:
        yield
    except InputError as error:
        print(f"{command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(INPUT_ERROR) from None
    except FailedCheckError as error:
        print(f"{command}: failed check: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(FAILED_CHECK) from None


@contextmanager
def resumable() -> Iterator[None]:
    """Ends the command on Ctrl-C with one line that says how to resume, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes after the last epoch.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
