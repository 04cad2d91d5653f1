"""``python exports/convert.py``: a Keras student to verified ``.tflite`` files."""

import argparse
import hashlib
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python would search this folder for modules instead of the repository's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from exports.schemes import SCHEMES

TILE_SIZES = range(64, 513, 8)  # pixels
TASKS = ("denoise", "derain", "deblur")


def convert(
    student,
    *,
    output,
    schemes=("fp16", "int8"),
    tile=256,
    calibration=None,
    task="denoise",
    sigma=25.0,
    keep_failed=False,
    on_progress=None,
):
    """Converts a student to ``.tflite`` files, verifies each and writes ``report.json``.

    A file gets its final name ``STUDENT_SCHEME.tflite`` only once all its checks have passed; one
    of an earlier conversion is removed where they fail.

    Args:
        student: A ``.keras`` file or a preset's name.
        output: Folder of the results; made if missing.
        schemes: Keys of :data:`exports.schemes.SCHEMES`.
        tile: Height and width of the image that the files take, in pixels; a multiple of 8 from
            64 to 512.
        calibration: Folder of at least 32 tiles' worth of images; None for embedded photographs.
        task: ``denoise``, ``derain`` or ``deblur``.
        sigma: Noise of ``denoise`` in 8-bit units: ``25`` or ``"0-50"``.
        keep_failed: Whether a file whose checks failed is kept under its final name.
        on_progress: Called with a line of text as each step starts.

    Returns:
        A :class:`~exports.report.ConversionReport`; ``failures`` is empty if every check passed.

    Raises:
        ValueError: An option is out of its range, the student is none, or the calibration images
            do not serve.
        FileNotFoundError: There is no such student or folder.
        OSError: The output cannot be written.
    """
    schemes = tuple(dict.fromkeys(schemes))
    unknown = [scheme for scheme in schemes if scheme not in SCHEMES]
    if unknown or not schemes:
        raise ValueError(
            f"schemes must be among {', '.join(SCHEMES)}; got {', '.join(unknown) or 'none'}."
        )
    if tile not in TILE_SIZES:
        raise ValueError(f"tile must be a multiple of 8 from 64 to 512 pixels; got {tile}.")
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}.")

    from keras_skd.quiet import quiet

    progress = on_progress or (lambda line: None)
    with quiet():
        from exports.calibration import load_tiles
        from exports.report import ConversionReport, versions
        from exports.verification import run_keras, task_psnr
        from keras_skd.command import output_folder, replaced
        from keras_skd.models import load_model, with_image_size

        tiles = load_tiles(tile, calibration, task, sigma)
        model = with_image_size(load_model(student), (tile, tile))
    if model.input_shape[-1] != 3:
        raise ValueError(
            f"{student}: takes images of {model.input_shape[-1]} channels; export and its "
            "calibration are for RGB students."
        )
    with output_folder(output, needed_bytes=4 * 4 * model.count_params()) as folder:
        progress(f"keras: {len(tiles.degraded)} tiles of {tile}x{tile}, {tiles.source}")
        with quiet():
            reference = run_keras(model, tiles.degraded)
        results = {}
        for name in schemes:
            progress(f"{name}: {SCHEMES[name].description}")
            file = folder / f"{Path(student).stem}_{name}.tflite"
            content = SCHEMES[name].build(model, tiles.calibration)
            results[name] = _write_verified(file, name, content, tiles, reference, keep_failed)
        report = ConversionReport(
            student=str(student),
            student_sha256=_digest(student, model),
            task=task,
            tile=tile,
            tiles=tiles.source,
            keras_task_psnr=task_psnr(reference, tiles.clean),
            results=results,
            versions=versions(),
        )
        with replaced(folder / "report.json") as path:
            path.write_text(report.as_json())
    return report


def _write_verified(file, name, content, tiles, reference, keep_failed):
    """Writes a scheme's bytes and measures them; ``file`` exists only if they pass."""
    from exports.report import SchemeResult
    from exports.verification import verify_on_cpu

    scheme = SCHEMES[name]
    file.unlink(missing_ok=True)
    part = file.with_name(f".part-{os.getpid()}-{file.name}")
    try:
        part.write_bytes(content)
        cpu = verify_on_cpu(part, reference, tiles)
        failures = []
        if cpu["residual_psnr"] < scheme.least_residual_psnr:
            failures.append(
                f"{name}: the residual is {cpu['residual_psnr']:.1f} dB from Keras; at least "
                f"{scheme.least_residual_psnr:g} dB are needed."
            )
        if not abs(cpu["task_psnr_change"]) <= scheme.greatest_task_change:
            failures.append(
                f"{name}: PSNR to the clean tiles changes by {cpu['task_psnr_change']:+.3f} dB; at "
                f"most {scheme.greatest_task_change:g} dB are allowed."
            )
        kept = keep_failed or not failures
        if kept:
            part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return SchemeResult(
        scheme=name,
        file=str(file) if kept else None,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        **cpu,
        failures=failures,
    )


def _digest(student, model):
    path = Path(student)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults, and the list of schemes as it stands."""


def parser():
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python exports/convert.py",
        description="Converts a student to .tflite files and verifies each.\n\nschemes:\n"
        + "\n".join(f"  {name:6}{scheme.description}" for name, scheme in SCHEMES.items()),
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
    result.add_argument("--task", choices=TASKS, default="denoise", help="how tiles are degraded")
    result.add_argument(
        "--sigma", default="25", help="denoise: noise in 8-bit units, a level or a range 0-50"
    )
    result.add_argument("--output", metavar="DIR", required=True, help="folder of the results")
    result.add_argument("--keep-failed", action="store_true", help="keep files whose checks failed")
    return result


def main(arguments=None):
    """Runs the command; returns the exit code."""
    from keras_skd.command import FAILED_CHECK, input_errors

    options = parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with input_errors("convert"):
        report = convert(
            options.student,
            output=options.output,
            schemes=[name.strip() for name in options.schemes.split(",") if name.strip()],
            tile=options.tile,
            calibration=options.calibration,
            task=options.task,
            sigma=options.sigma,
            keep_failed=options.keep_failed,
            on_progress=lambda line: print(line, flush=True),
        )
    print(report.table())
    print(Path(options.output) / "report.json")
    for failure in report.failures:
        print(f"convert: failed check: {failure}", file=sys.stderr)
    return FAILED_CHECK if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
