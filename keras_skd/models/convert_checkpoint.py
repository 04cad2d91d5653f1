"""``python -m keras_skd.models.convert_checkpoint``: a PyTorch checkpoint to a Keras model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

    from keras_skd.hints import PathLike


def convert_checkpoint(checkpoint: PathLike, preset: str, output: PathLike) -> keras.Model:
    """Writes a PyTorch checkpoint of Restormer or Uformer as a ``.keras`` file, without PyTorch.

    Nothing in the checkpoint is executed, see :func:`keras_skd.load_pytorch_checkpoint`. The output
    is complete or not written at all; a file that was there before stays as it was until then.

    Args:
        checkpoint: The file, of ``torch.save`` or safetensors.
        preset: Name of the architecture, a key of :data:`keras_skd.presets.PRESETS`.
        output: The ``.keras`` file to write; its folder is made if missing.

    Returns:
        The model with its weights.

    Raises:
        InputError: The preset is unknown, or the output is not named ``.keras``.
        MissingFileError: There is no such checkpoint.
        CheckpointError: It cannot be read, is refused or does not fit the architecture.
        OutputError: The output cannot be written.
    """
    from keras_skd.files import output_folder, replaced
    from keras_skd.models import PRESETS, read_pytorch_checkpoint
    from keras_skd.models.checkpoints.loading import assign_tensors

    output = Path(output)
    if preset not in PRESETS:
        raise InputError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    if output.suffix != ".keras":
        raise InputError(f"the output is a Keras file, such as teacher.keras; got {output}.")
    if output.is_dir():
        raise InputError(f"{output}: a folder has this name; choose another.")
    tensors = read_pytorch_checkpoint(checkpoint)
    # As float32, and once more while the file is put together.
    needed = 8 * sum(array.size for array in tensors.values())
    with output_folder(output.parent, needed_bytes=needed), replaced(output) as path:
        model = PRESETS[preset].build(load_weights=False)
        assign_tensors(model, tensors, checkpoint)
        model.save(path)
    return model


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.models.convert_checkpoint",
        description="Converts a PyTorch checkpoint of Restormer or Uformer to a Keras model,\n"
        "without PyTorch and without executing anything from it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="the .pth, .pt, .ckpt or .safetensors file"
    )
    result.add_argument(
        "--preset",
        metavar="NAME",
        required=True,
        help="its architecture, such as restormer, restormer_bias_free or uformer",
    )
    result.add_argument("--output", metavar="FILE", required=True, help="the .keras file to write")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors
    from keras_skd.quiet import import_tensorflow

    options = parser().parse_args(arguments)
    import_tensorflow()
    with reported_errors("keras_skd.models.convert_checkpoint"):
        model = convert_checkpoint(options.checkpoint, options.preset, options.output)
    print(f"{options.output}: {model.count_params():,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
