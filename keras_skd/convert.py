"""``python -m keras_skd.convert``: a Keras student to verified ``.tflite`` files."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from keras_skd.export.conversion import IMAGE_TYPES, convert
from keras_skd.export.schemes import SCHEMES
from keras_skd.tasks import NOISES, TASK_NAMES


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults, and the list of schemes as it stands."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.convert",
        description="Converts a student to .tflite files and verifies each.\n\nschemes:\n"
        + "\n".join(f"  {name:19}{scheme.description}" for name, scheme in SCHEMES.items()),
        formatter_class=_HelpFormatter,
    )
    result.add_argument("student", metavar="STUDENT", help=".keras file or preset")
    result.add_argument("--schemes", default="fp16,int8", help="comma-separated")
    result.add_argument(
        "--tile", type=int, default=256, help="height and width, pixels; multiple of 8, 64..512"
    )
    result.add_argument(
        "--calibration",
        metavar="DIR",
        help="photos, or input/ and target/; without it the embedded photos",
    )
    result.add_argument(
        "--task",
        choices=TASK_NAMES,
        help="how tiles are degraded; needed where the student's file does not say it",
    )
    result.add_argument("--noise", choices=NOISES, help="denoise: its kind; else the student's")
    result.add_argument(
        "--sigma",
        metavar="LEVEL",
        help="denoise: Gaussian noise in 8-bit units, a level or a range 0-50; else the student's",
    )
    result.add_argument(
        "--image-type",
        choices=IMAGE_TYPES,
        default="float32",
        help="of input and output of static_wi8_ai8",
    )
    result.add_argument("--output", metavar="DIR", required=True, help="folder of the results")
    result.add_argument("--keep-failed", action="store_true", help="keep files whose checks failed")
    result.add_argument(
        "--gpu",
        metavar="NAMES",
        help="accelerators to verify on: ml-drift,classic or none; without it those installed",
    )
    result.add_argument(
        "--require-gpu",
        action="store_true",
        help="fail where one that --gpu names is not installed; without --gpu, where none is",
    )
    result.add_argument(
        "--untrained", action="store_true", help="take a preset without weights, with random ones"
    )
    return result


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import FAILED_CHECK, reported_errors

    options = parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with reported_errors("keras_skd.convert"):
        report = convert(
            options.student,
            output=options.output,
            schemes=_names(options.schemes),
            tile=options.tile,
            calibration=options.calibration,
            task=options.task,
            noise=options.noise,
            sigma=options.sigma,
            untrained=options.untrained,
            image_type=options.image_type,
            keep_failed=options.keep_failed,
            gpu=None if options.gpu is None else _names(options.gpu),
            require_gpu=options.require_gpu,
            on_progress=lambda line: print(line, flush=True),
        )
    print(report.table())
    for name in ("report.json", "report.md", "report.png"):
        print(Path(options.output) / name)
    for failure in report.failures:
        print(f"keras_skd.convert: failed check: {failure}", file=sys.stderr)
    return FAILED_CHECK if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
