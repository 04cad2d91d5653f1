"""``keras-skd COMMAND`` and ``python -m keras_skd COMMAND``: all commands under one name."""

import importlib
import sys
from collections.abc import Sequence

from keras_skd.command import INPUT_ERROR

COMMANDS = {
    "train": "distil a light student from a teacher",
    "convert": "convert a student to verified .tflite files",
    "evaluate": "measure PSNR and SSIM of a model on a data set",
    "restore": "restore photographs of any size",
    "profile": "count parameters, MACs and memory of a model",
    "phone": "measure students on a connected phone",
    "compare": "train the same student by several methods and seeds",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that is named first; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments and arguments[0] in COMMANDS:
        return importlib.import_module(f"keras_skd.{arguments[0]}").main(arguments[1:])
    from keras_skd import __version__

    if arguments in (["--version"], ["-V"]):
        print(f"keras-skd {__version__}")
        return 0
    listed = "\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items())
    usage = f"usage: keras-skd COMMAND [options]; keras-skd COMMAND --help\n\n{listed}"
    if arguments in ([], ["--help"], ["-h"]):
        print(f"keras-skd {__version__}: restoration transformers for phones\n{usage}")
        return 0
    print(
        f"keras-skd: error: no command {arguments[0]!r}; choose from {', '.join(COMMANDS)}.",
        file=sys.stderr,
    )
    return INPUT_ERROR


if __name__ == "__main__":
    sys.exit(main())
