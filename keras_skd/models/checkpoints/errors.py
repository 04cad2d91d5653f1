"""The error of every checkpoint that is not taken, and text from such files made fit to print."""

from keras_skd.errors import InputError


class CheckpointError(InputError):
    """A checkpoint that cannot be read, is not trusted or does not fit the model."""


def printable(text: object, limit: int = 80) -> str:
    """Text from an untrusted file, for a message: one line, no control characters, not long."""
    text = str(text)
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]
