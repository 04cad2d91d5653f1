"""Which kind of file this is by its first bytes, and for the wrong ones a sentence that says so."""

import re
from typing import Any, BinaryIO

from keras_skd.models.checkpoints.errors import CheckpointError, printable
from keras_skd.models.checkpoints.safetensors import read_safetensors
from keras_skd.models.checkpoints.torch_legacy import MAGIC_NUMBER, read_legacy
from keras_skd.models.checkpoints.torch_zip import read_zip

_HEAD = 4096
_UNPACK = "a compressed file ({}); unpack it first."
_STARTS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5: Keras weights, MATLAB), not a PyTorch checkpoint."),
    (b"\x93NUMPY", "a NumPy array (.npy), not a PyTorch checkpoint."),
    (b"GGUF", "a GGUF file, not a PyTorch checkpoint."),
    (b"\x1f\x8b", _UNPACK.format("gzip")),
    (b"BZh", _UNPACK.format("bzip2")),
    (b"\xfd7zXZ\x00", _UNPACK.format("xz")),
    (b"\x28\xb5\x2f\xfd", _UNPACK.format("zstd")),
    (b"7z\xbc\xaf\x27\x1c", _UNPACK.format("7z")),
    (b"Rar!\x1a\x07", _UNPACK.format("rar")),
)


def read_file(file: BinaryIO, size: int) -> Any:
    """What the file holds, by the reader of its format.

    Args:
        file: The file, open for reading.
        size: Its size in bytes.

    Raises:
        CheckpointError: It is of another kind, which the message names, or cannot be read.
    """
    file.seek(0)
    head = file.read(_HEAD)
    if size == 0:
        raise CheckpointError("empty (0 bytes). Download or copy it again.")
    if head.startswith(b"PK"):
        return read_zip(file, size)
    if head.startswith((b"\x80", b"L%dL" % MAGIC_NUMBER)):
        return read_legacy(file, size)
    if head[8:9] == b"{" and re.match(rb"\{\s*[\"}]", head[8:]):
        return read_safetensors(file, size)
    raise CheckpointError(_sentence(head, size))


def _sentence(head, size):
    """What the file is instead of a checkpoint."""
    for start, sentence in _STARTS:
        if head.startswith(start):
            return sentence
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model (.tflite), not a PyTorch checkpoint."
    if head[257:262] == b"ustar":
        return (
            "a tar archive. Unpack it first; PyTorch before 0.2 saved so too, and such a file has "
            "to be saved again by a later version."
        )
    if not head.strip(b"\0"):
        return f"{size:,} bytes that begin with nothing but zeros: an interrupted download."
    text = head.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if text.startswith("version https://git-lfs"):
        meant = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
        whole = f" of {int(meant[1]):,} bytes" if meant else ""
        return f"a Git LFS pointer, not the file{whole} that it stands for; run git lfs pull."
    if text.startswith("<") and re.search(r"<(!doctype\s+html|html|head|body)\b", text, re.I):
        title = re.search(r"<title[^>]*>(.*?)</title", text, re.I | re.S)
        named = f", {printable(' '.join(title[1].split()))!r}" if title else ""
        return (
            f"a web page (HTML{named}), not a checkpoint: the download needs a confirmation or a "
            "login. Download it in a browser."
        )
    if "\ufffd" not in text[:-4] and all(c.isprintable() or c.isspace() for c in text):
        kind = {"<": "an XML document", "{": "a JSON text", "[": "a JSON text"}.get(
            text[:1], "a text"
        )
        return f"{kind}, not a checkpoint: {printable(' '.join(text.split()))}"
    return (
        f"of an unknown kind (it begins with {head[:8].hex(' ')}): neither torch.save nor "
        "safetensors wrote it, or it is damaged."
    )
