"""``make demo``: from photographs to a verified ``.tflite`` and a picture, in one command.

Distils the tiny student from the bundled teacher on the photographs inside scikit-image, exports it
as float16 and int8, runs every model on the validation photographs, and reports. The bundled
student, of the same size and trained for hours, runs beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keras_skd.data import Pair
    from keras_skd.export.report import ConversionReport
    from keras_skd.hints import PathLike, Row

STUDENT, TEACHER = "restormer_tiny", "restormer_denoise"
BUNDLED = "restormer_tiny_denoise"
CACHE_SIZE = 0.2  # 10^9 bytes, of the teacher's outputs; about 2000 crops
SCHEMES = ("fp16", "int8")
TASK = Task("denoise", "gaussian", "25")
TILE = 256  # pixels

# What the demo promises, in dB of PSNR.
LEAST_IMPROVEMENT = 10.0
GREATEST_LOSS = {"fp16": 0.02, "int8": 0.3}


def validation_tiles() -> list[Pair]:
    """Noisy and clean tiles of the validation photographs.

    Every photograph gives as many ``TILE x TILE`` tiles as fit without overlap, about its centre.

    Returns:
        A list of :class:`~keras_skd.data.Pair`.
    """
    from keras_skd.data import ImagePairs, validation_photos

    names, tiles = [], []
    for name, photo in validation_photos().items():
        rows, columns = photo.shape[0] // TILE, photo.shape[1] // TILE
        top = (photo.shape[0] - rows * TILE) // 2
        left = (photo.shape[1] - columns * TILE) // 2
        for place in range(rows * columns):
            y = top + place // columns * TILE
            x = left + place % columns * TILE
            tiles.append((photo[y : y + TILE, x : x + TILE],))
            names.append(name if rows * columns == 1 else f"{name} {place + 1}")
    pairs = ImagePairs(tiles, TASK.degradation(), seed=2024)
    return [dataclasses.replace(pair, name=name) for name, pair in zip(names, pairs, strict=True)]


def measure(
    tiles: Sequence[Pair], student_file: PathLike, teacher: str, conversion: ConversionReport
) -> tuple[list[Row], dict[str, list[np.ndarray]]]:
    """Runs every model on the validation tiles.

    Args:
        tiles: See :func:`validation_tiles`.
        student_file: The trained student.
        teacher: Preset name or file of the teacher.
        conversion: The :class:`keras_skd.export.report.ConversionReport` of the student.

    Returns:
        The rows of the report, dicts of ``name``, ``psnr`` (dB), ``ssim``, ``parameters``,
        ``macs``, ``bytes``, ``latency_ms``; and the restored images by the name of the model.
    """
    from keras_skd.models import PRESETS, load_model
    from keras_skd.models.presets import WEIGHTS_FOLDER
    from keras_skd.profile import profile
    from keras_skd.runners import KerasRunner, TFLiteRunner, median_ms

    size = (TILE, TILE)
    keras_models = {"student": student_file, "bundled student": BUNDLED, "teacher": teacher}
    rows = [_row("noisy input", tiles, [tile.degraded for tile in tiles])]
    images = {}
    for name, source in keras_models.items():
        model = load_model(source)
        preset = PRESETS.get(str(source))
        file = WEIGHTS_FOLDER / preset.weights if preset else Path(source)
        costs = profile(model, size)
        counts = {"parameters": costs.parameters, "macs": costs.total_macs}
        runner = KerasRunner(model, size)
        images[name] = [runner(tile.degraded) for tile in tiles]
        latency = median_ms(lambda runner=runner: runner(tiles[0].degraded), runs=5)
        row = _row(name, tiles, images[name], bytes=file.stat().st_size, latency_ms=latency)
        rows.append({**row, **counts})
    student_counts = {name: rows[1][name] for name in ("parameters", "macs")}
    for scheme, result in conversion.results.items():
        runner = TFLiteRunner(result.file)
        images[scheme] = [runner(tile.degraded) for tile in tiles]
        latency = median_ms(lambda runner=runner: runner(tiles[0].degraded))
        row = _row(scheme, tiles, images[scheme], bytes=result.bytes, latency_ms=latency)
        rows.append({**row, **student_counts})
    return rows, images


def _row(name, tiles, images, **more):
    from keras_skd.metrics import psnr, ssim

    pairs = [(image.clip(0, 1), tile.clean) for image, tile in zip(images, tiles, strict=True)]
    scores = {
        "psnr": statistics.mean(psnr(*pair) for pair in pairs),
        "ssim": statistics.mean(ssim(*pair) for pair in pairs),
    }
    costs = dict.fromkeys(("parameters", "macs", "bytes", "latency_ms"))
    return {"name": name, **scores, **costs, **more}


def before_after(
    path: PathLike, tiles: Sequence[Pair], columns: Mapping[str, Sequence[np.ndarray]]
) -> None:
    """Draws one row a tile, one column an image, each labelled with its PSNR.

    Args:
        path: The file to write, ``.png`` or ``.jpg``.
        tiles: See :func:`validation_tiles`.
        columns: Title to list of images.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from keras_skd.files import replaced
    from keras_skd.metrics import psnr

    figure, axes = plt.subplots(
        len(tiles),
        len(columns),
        figsize=(3 * len(columns), 3.45 * len(tiles)),
        squeeze=False,
        layout="constrained",
    )
    for row, tile in enumerate(tiles):
        for column, (title, images) in enumerate(columns.items()):
            axis = axes[row, column]
            shown = np.clip(images[row], 0, 1)
            axis.imshow(shown, interpolation="none")
            score = psnr(shown, tile.clean)
            axis.set_title(
                f"{title}\n{score:.2f} dB" if np.isfinite(score) else f"{title}\n{tile.name}",
                fontsize=11,
            )
            axis.axis("off")
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=100, format=Path(path).suffix[1:])
    plt.close(figure)


def table(rows: Sequence[Row]) -> str:
    """The report's rows as aligned text."""
    header = ["", "PSNR dB", "SSIM", "parameters", "GMACs", "file KB", "CPU ms"]

    def cell(value, form):
        return "-" if value is None else format(value, form)

    lines = [
        [
            row["name"],
            cell(row["psnr"], ".2f"),
            cell(row["ssim"], ".4f"),
            cell(row["parameters"], ",d"),
            cell(None if row["macs"] is None else row["macs"] / 1e9, ".2f"),
            cell(None if row["bytes"] is None else row["bytes"] / 1000, ",.0f"),
            cell(row["latency_ms"], ",.0f"),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    text = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [header, *lines]
    ]
    return "\n".join([text[0], rule, *text[1:]])


def failed_checks(rows: Sequence[Row]) -> list[str]:
    """What the rows fall short of, one line each."""
    scores = {row["name"]: row["psnr"] for row in rows}
    failures = []
    improvement = scores["student"] - scores["noisy input"]
    if improvement < LEAST_IMPROVEMENT:
        failures.append(
            f"the student improves the input by {improvement:.2f} dB, not by {LEAST_IMPROVEMENT:g}"
        )
    for scheme, bound in GREATEST_LOSS.items():
        difference = abs(scores[scheme] - scores["student"])
        if difference > bound:
            failures.append(
                f"{scheme} is {difference:.3f} dB from the student, more than {bound:g}"
            )
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    from keras_skd.command import resumable
    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    options = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--run", default="runs/demo", help="folder of the results")
    options.add_argument("--steps", type=int, default=3000, help="training steps")
    with resumable():
        return run_demo(**vars(options.parse_args(arguments)))


def run_demo(run: PathLike, steps: int) -> int:
    """Distils, exports, measures and reports.

    Args:
        run: Folder of the results; an interrupted demo in it is resumed.
        steps: Training steps.

    Returns:
        The exit code.
    """
    from keras_skd.command import FAILED_CHECK, reported_errors
    from keras_skd.export.conversion import convert
    from keras_skd.files import write_json
    from keras_skd.training import Training, TrainingConfig

    started = time.monotonic()

    print(f"1/3  distilling {STUDENT} from {TEACHER}, {steps} steps", flush=True)
    with reported_errors("demo"):
        config = TrainingConfig(
            run=run,
            student=STUDENT,
            teacher=TEACHER,
            teacher_cache=os.path.join(run, "teacher_cache"),
            cache_size=CACHE_SIZE,
            sigma=TASK.sigma,
            steps=steps,
            batch_size=4,
            patch_size=48,
            learning_rate=2e-3,
            ema=0.99,
        )
        with Training(config) as training:
            student_file = training.fit()

    print(f"2/3  exporting {', '.join(SCHEMES)} at {TILE}x{TILE}", flush=True)
    folder = Path(run)
    conversion = convert(
        student_file,
        output=folder,
        schemes=SCHEMES,
        tile=TILE,
        on_progress=lambda line: print(f"     {line}", flush=True),
    )
    if conversion.failures:
        for failure in conversion.failures:
            print(f"demo: failed check: {failure}", file=sys.stderr)
        return FAILED_CHECK

    print("3/3  running every model on the validation photographs\n", flush=True)
    tiles = validation_tiles()
    rows, images = measure(tiles, student_file, TEACHER, conversion)
    before_after(
        folder / "before_after.png",
        tiles,
        {
            "input": [tile.degraded for tile in tiles],
            **{name: images[name] for name in ("student", "bundled student", "teacher")},
            "ground truth": [tile.clean for tile in tiles],
        },
    )
    failures = failed_checks(rows)
    report = {
        **TASK.as_dict(),
        "tiles": [tile.name for tile in tiles],
        "tile": TILE,
        "convention": "RGB, 8 bits",
        "machine": {"architecture": platform.machine(), "cpus": os.cpu_count()},
        "rows": rows,
        "failed_checks": failures,
        "conversion": conversion.as_dict(),
    }
    write_json(folder / "report.json", report)
    print(table(rows))
    print(
        f"\n{len(tiles)} tiles of {TILE}x{TILE} of the validation photos, noise sigma {TASK.sigma}"
        f"; CPU: one tile, {os.cpu_count()} threads\n"
    )
    for name in ("before_after.png", "student.keras", *(f"student_{s}.tflite" for s in SCHEMES)):
        print(f"  {folder / name}")
    print(f"  {folder / 'report.json'}\n\n{time.monotonic() - started:.0f} s")
    for failure in failures:
        print(f"demo: failed check: {failure}", file=sys.stderr)
    return FAILED_CHECK if failures else 0


if __name__ == "__main__":
    sys.exit(main())
