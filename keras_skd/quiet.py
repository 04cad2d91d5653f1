"""Silence for native libraries that write to the terminal past Python."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what the block writes to stdout from Python and to stderr from anywhere.

    The converter, the quantizer and the runtimes report progress and plugin inventories there, and
    no option of theirs stops all of it. Errors still arrive, as exceptions. Standard error is
    redirected as a file descriptor, for the whole process.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 2)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that it logs while it loads, whatever the log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import tensorflow as tf

        tf.constant(0)  # the devices are looked up, and written about, at first use
