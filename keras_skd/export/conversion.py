"""A Keras student to verified ``.tflite`` files, with a report."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd.errors import InputError
from keras_skd.export import TILE_SIZES
from keras_skd.export.flatbuffer import read_graph, with_metadata
from keras_skd.export.schemes import FULL_INTEGER, SCHEMES
from keras_skd.files import output_folder, replaced, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keras_skd.export.report import ConversionReport
    from keras_skd.hints import PathLike

IMAGE_TYPES = ("float32", "uint8")


def convert(
    student: PathLike,
    *,
    output: PathLike,
    schemes: Sequence[str] = ("fp16", "int8"),
    tile: int = 256,
    calibration: PathLike | None = None,
    task: str | None = None,
    noise: str | None = None,
    sigma: str | float | None = None,
    image_type: str = "float32",
    keep_failed: bool = False,
    gpu: Sequence[str] | None = None,
    require_gpu: bool = False,
    untrained: bool = False,
    on_progress: Callable[[str], object] | None = None,
) -> ConversionReport:
    """Converts a student to ``.tflite`` files, verifies each and writes a report.

    A student that was trained for integers (``train --quantise``) is compared with the float
    student that it came from, for the scheme that it was trained for.

    A file gets its final name ``STUDENT_SCHEME.tflite`` only once all its checks have passed; one
    of an earlier conversion stays as it is where they fail. Beside the files are ``report.json``,
    ``report.md`` and ``report.png``.

    Args:
        student: A ``.keras`` file or a preset's name.
        output: Folder of the results; made if missing.
        schemes: Keys of :data:`keras_skd.export.schemes.SCHEMES`.
        tile: Height and width of the image that the files take, in pixels; a multiple of 8 from
            64 to 512.
        calibration: Folder of at least 32 tiles' worth of images; None for embedded photographs.
        task: ``denoise``, ``derain`` or ``deblur``; None for what the student's file remembers.
        noise: Of ``denoise``: ``gaussian`` or ``camera``; None likewise.
        sigma: Of Gaussian noise in 8-bit units: ``25`` or ``"0-50"``; None likewise.
        image_type: ``float32`` or ``uint8``: of the images of ``static_wi8_ai8``; the other schemes
            take and give float32.
        keep_failed: Whether a file whose checks failed is kept under its final name.
        gpu: Accelerators to verify on, names among ``ml-drift`` and ``classic``, or ``("none",)``;
            those that are installed if None.
        require_gpu: Whether it is a failure that one that ``gpu`` names is not installed, or none
            is where ``gpu`` is None.
        untrained: Whether a preset without weights is converted, with random ones.
        on_progress: Called with a line of text as each step starts.

    Returns:
        A :class:`~keras_skd.export.report.ConversionReport`; ``failures`` is empty if every check
        passed.

    Raises:
        InputError: An option is out of its range, the student is not one, or the calibration
            images cannot be used.
        MissingFileError: There is no such student or folder.
        OutputError: The output cannot be written.
    """
    schemes = tuple(dict.fromkeys(schemes))
    unknown = [scheme for scheme in schemes if scheme not in SCHEMES]
    if unknown or not schemes:
        raise InputError(
            f"schemes must be among {', '.join(SCHEMES)}; got {', '.join(unknown) or 'none'}."
        )
    if tile not in TILE_SIZES:
        raise InputError(
            f"tile must be a multiple of 8 from {TILE_SIZES[0]} to {TILE_SIZES[-1]} pixels; "
            f"got {tile}."
        )
    if image_type not in IMAGE_TYPES:
        raise InputError(f"image_type must be float32 or uint8; got {image_type!r}.")

    from keras_skd.export.gpu import run as gpu_run
    from keras_skd.quiet import quiet

    accelerators = gpu_run.checked_accelerators(gpu)
    if require_gpu and not accelerators:
        raise InputError("--require-gpu and --gpu none contradict each other; leave one out.")
    progress = on_progress or (lambda line: None)
    with quiet():
        from keras_skd.export import report as reports
        from keras_skd.export.calibration import load_tiles
        from keras_skd.export.schemes import Source
        from keras_skd.export.verification import task_psnr, task_ssim
        from keras_skd.models import (
            load_model,
            read_metadata,
            read_origin,
            weights_sha256,
            with_image_size,
        )
        from keras_skd.runners import KerasRunner
        from keras_skd.tasks import Task, resolved

        model = load_model(student, trained=not untrained)
        channels = KerasRunner(model).channels  # refuses a model that does not restore images
        known, origin = read_metadata(student), read_origin(student)
        remembered = Task.from_metadata(known)
        task = resolved(remembered, task, noise, sigma, str(student))
        model = with_image_size(model, (tile, tile))
        tiles = load_tiles(tile, task, calibration, channels=channels)
    drivers = gpu_run.find_drivers(accelerators)
    missing = {
        name: f"not verified: {gpu_run.HOW_TO_INSTALL[name]}"
        for name in accelerators
        if name not in {driver.accelerator for driver in drivers}
    }
    if not accelerators:
        missing = dict.fromkeys(gpu_run.ACCELERATORS, "not verified: left out by --gpu none")
    unmet = require_gpu and (gpu is not None or not drivers)
    with output_folder(output, needed_bytes=4 * 4 * model.count_params()) as folder:
        progress(f"keras: {len(tiles.degraded)} tiles of {tile}x{tile}, {tiles.source}")
        with quiet():
            reference = KerasRunner(model).batch(tiles.degraded)
            standard = None if origin is None else _standard(model, origin, tiles)
        source = Source(model, tiles.calibration)
        sensitivity = _sensitivity(source, tiles, progress) if "int8" in schemes else None
        metadata = {
            "name": Path(student).stem,
            **task.as_dict(),
            "tile": tile,
            "value_range": [0.0, 1.0],
            "student_sha256": (
                sha256(student) if Path(student).is_file() else weights_sha256(model)
            ),
        }
        results, images = {}, {"input": tiles.degraded[0], "keras": reference[0]}
        made_from = dict.fromkeys(schemes, (source, tiles, reference))
        full_integer = [name for name in schemes if name in FULL_INTEGER]
        if full_integer:
            own, given, expected = source, tiles, reference
            if image_type == "uint8":
                with quiet():
                    given = tiles.as_bytes()
                    own = Source(model, given.calibration)
                    expected = KerasRunner(model).batch(given.degraded)
            # Their output holds 0..1 and no more.
            made_from.update(dict.fromkeys(full_integer, (own, given, expected.clip(0, 1))))
        mix = sensitivity and sensitivity.mix(source)
        for name, (own, given, expected) in made_from.items():
            progress(f"{name}: {SCHEMES[name].description}")
            content = SCHEMES[name].build(own, mix, image_type)
            results[name], images[name] = _write_verified(
                folder / f"{Path(student).stem}_{name}.tflite",
                name,
                with_metadata(content, {**metadata, "scheme": name}),
                given,
                expected,
                drivers,
                keep_failed,
                progress,
                trained_for=known.get("quantise"),
                standard=standard,
            )
        report = reports.ConversionReport(
            student=str(student),
            student_sha256=metadata["student_sha256"],
            task=str(task),
            tile=tile,
            tiles=tiles.source,
            keras_task_psnr=task_psnr(reference, tiles.clean),
            keras_task_ssim=task_ssim(reference, tiles.clean),
            results=results,
            sensitivity=sensitivity,
            gpu={**{name: _verdict(name, results) for name in accelerators}, **missing},
            machine=reports.machine(drivers),
            versions=reports.versions(),
            general_failures=[f"GPU, {name}: {state}." for name, state in missing.items() if unmet],
        )
        with replaced(folder / "report.png") as path:
            reports.draw(path, report, {**images, "clean": tiles.clean[0]}, tile)
        with replaced(folder / "report.md") as path:
            path.write_text(report.as_markdown())
        with replaced(folder / "report.json") as path:
            path.write_text(report.as_json())
    return report


def _sensitivity(source, tiles, progress):
    """Measures on small tiles: the cost in dB does not depend on their size, the time does."""
    from keras_skd.export.integer.sensitivity import TILE, TILES, measure
    from keras_skd.export.schemes import Source
    from keras_skd.models import with_image_size
    from keras_skd.quiet import quiet

    progress("int8: sensitivity of each layer and operation")
    size = min(TILE, tiles.calibration.shape[1])
    crop = (slice(None), slice(size), slice(size))
    if size < tiles.calibration.shape[1]:
        with quiet():
            model = with_image_size(source.model, (size, size))
        source = Source(model, tiles.calibration[crop])
    count = TILES * TILE**2 // size**2
    degraded, clean = tiles.calibration[crop][:count], tiles.calibration_clean[crop][:count]
    return measure(source, degraded, clean, progress)


def _standard(model, weights, tiles):
    """PSNR of the float student that one trained for integers came from, in dB."""
    from keras_skd.export.verification import task_psnr
    from keras_skd.models import with_image_size
    from keras_skd.runners import KerasRunner

    came_from = with_image_size(model, model.input_shape[1:3])
    came_from.set_weights(weights)
    return task_psnr(KerasRunner(came_from).batch(tiles.degraded), tiles.clean)


def _write_verified(
    file,
    name,
    content,
    tiles,
    reference,
    drivers,
    keep_failed,
    progress,
    trained_for=None,
    standard=None,
):
    """Writes a scheme's bytes and measures them; they become ``file`` only if they pass.

    A file of an earlier conversion stays until then, and where they do not.

    Returns:
        The :class:`~keras_skd.export.report.SchemeResult` and the first tile restored.
    """
    from keras_skd.export.gpu.rules import check_rules
    from keras_skd.export.gpu.run import verify_on_gpu
    from keras_skd.export.report import SchemeResult
    from keras_skd.export.verification import verify_on_cpu

    scheme = SCHEMES[name]
    graph = read_graph(content)
    violations = check_rules(graph)
    failures = [f"{name}: {violation}" for violation in violations if violation.fatal]
    warnings = [str(violation) for violation in violations if not violation.fatal]
    if scheme.trained_for not in (None, trained_for):
        warnings.append(
            f"{name} is for students trained for it: 4-bit weights cost any other about a decibel. "
            f"Continue this one with train --quantise {scheme.trained_for}."
        )
        progress(f"{name}: warning: {warnings[-1]}")
    part = file.with_name(f".part-{os.getpid()}-{file.name}")
    try:
        part.write_bytes(content)
        cpu, restored = verify_on_cpu(part, reference, tiles)
        if standard is not None and (scheme.trained_for or name) == trained_for:
            cpu["task_psnr_change"] = cpu["task_psnr"] - standard
        if not cpu["residual_psnr"] >= scheme.least_residual_psnr:
            failures.append(
                f"{name}: the residual is {cpu['residual_psnr']:.1f} dB from Keras; at least "
                f"{scheme.least_residual_psnr:g} dB are needed."
            )
        if not abs(cpu["task_psnr_change"]) <= scheme.greatest_task_change:
            failures.append(
                f"{name}: PSNR to the clean tiles changes by {cpu['task_psnr_change']:+.3f} dB; at "
                f"most {scheme.greatest_task_change:g} dB are allowed."
            )
        if drivers:
            named = (f"{driver.accelerator} ({driver.name})" for driver in drivers)
            progress(f"{name}: GPU, {', '.join(named)}")
        gpu = verify_on_gpu(
            part,
            tiles.degraded[:1],
            drivers,
            reference=restored[:1],
            least_residual_psnr=scheme.least_gpu_psnr,
        )
        failures += [
            f"{name}: on {run['accelerator']} ({run['driver']}) in {run['precision']} it "
            f"{run['failure']}."
            for run in gpu
            if run["failure"]
        ]
        kept = keep_failed or not failures
        if kept:
            part.replace(file)
        elif file.exists():
            failures[-1] += f" {file} is of an earlier conversion and stays as it was."
    finally:
        part.unlink(missing_ok=True)
    return SchemeResult(
        scheme=name,
        file=str(file) if kept else None,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        **cpu,
        gpu=gpu,
        operations=graph.histogram(),
        warnings=warnings,
        failures=failures,
    ), restored[0]


def _verdict(accelerator, results):
    """What the report says of an accelerator on which the files were run."""
    failed = [
        name
        for name, result in results.items()
        if any(run["accelerator"] == accelerator and run["failure"] for run in result.gpu)
    ]
    return f"failed: {', '.join(failed)}" if failed else "verified"
