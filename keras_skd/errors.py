"""The errors that a command turns into one line: wrong input, and a check that failed."""


class InputError(ValueError):
    """What the user gave is wrong: a file, a folder, an option, a model.

    The message names what was given, what was expected and what to do. Commands print it as one
    line and exit with 2. Any other ``ValueError`` is a fault of the program and shows its
    traceback.
    """


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class OutputError(InputError, OSError):
    """A result cannot be written: no permission, no space, a name that is too long, or it exists.

    Nothing of it is left behind, and what was there before is as it was.
    """


class FailedCheckError(RuntimeError):
    """A result is not what it should be; commands print the message and exit with 1."""
