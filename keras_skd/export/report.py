"""What a conversion made and measured."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from keras_skd.export.gpu.ml_drift import Driver
    from keras_skd.export.gpu.run import ClassicDriver
    from keras_skd.hints import PathLike


@dataclass(frozen=True)
class Latency:
    """The time of one tile on the CPU.

    Attributes:
        threads: CPU threads.
        median_ms: Median.
        spread_ms: Distance of the quartiles.
        runs: Calls measured.
    """

    threads: int
    median_ms: float
    spread_ms: float
    runs: int


@dataclass(frozen=True)
class SchemeResult:
    """One file and its measurements.

    Attributes:
        scheme: Key of :data:`keras_skd.export.schemes.SCHEMES`.
        file: Path of the ``.tflite`` file, or None where a check failed and it was not kept.
        bytes: Its size.
        sha256: Its digest.
        residual_psnr: Against Keras in dB, see :func:`keras_skd.export.verification.residual_psnr`.
        image_psnr: The whole image against Keras in dB.
        task_psnr: Against the clean verification tiles, in dB.
        task_ssim: Against the same.
        task_psnr_change: ``task_psnr`` minus that of Keras, in dB; of a student that was trained
            for this scheme, minus that of the float student that it came from.
        latencies: List of :class:`Latency`, with one thread and with all.
        gpu: One dict a driver and precision, see
            :func:`keras_skd.export.gpu.run.verify_on_gpu`; empty where nothing was run.
        operations: Kind of operation to its count.
        warnings: One line each: GPU rules broken without harm to the numbers, and a scheme that
            the student was not trained for.
        failures: Checks that failed, one line each.
    """

    scheme: str
    file: str | None
    bytes: int
    sha256: str
    residual_psnr: float
    image_psnr: float
    task_psnr: float
    task_ssim: float
    task_psnr_change: float
    latencies: list
    gpu: list
    operations: dict
    warnings: list
    failures: list

    @property
    def operation_count(self) -> int:
        """Operations of the graph."""
        return sum(self.operations.values())


@dataclass(frozen=True)
class ConversionReport:
    """All files of one conversion.

    Attributes:
        student: File or preset converted.
        student_sha256: Digest of the ``.keras`` file, or of a preset's weights.
        task: Restoration task.
        tile: Height and width in pixels.
        tiles: Source of the tiles that calibrate and verify.
        keras_task_psnr: PSNR of the Keras student to the clean verification tiles, in dB.
        keras_task_ssim: SSIM of the same.
        results: Scheme name to :class:`SchemeResult`.
        sensitivity: :class:`~keras_skd.export.integer.sensitivity.Sensitivity`, or None without
            ``int8``.
        gpu: Accelerator to ``verified``, what failed, or why it was not verified.
        machine: Processor, threads, drivers of the GPU accelerators.
        versions: Package to version.
        general_failures: Failures that belong to no file.
    """

    student: str
    student_sha256: str
    task: str
    tile: int
    tiles: str
    keras_task_psnr: float
    keras_task_ssim: float
    results: dict
    sensitivity: object
    gpu: dict
    machine: dict
    versions: dict
    general_failures: list

    @property
    def failures(self) -> list[str]:
        """Checks that failed, one line each; empty if all passed."""
        return [
            *self.general_failures,
            *(line for result in self.results.values() for line in result.failures),
        ]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON takes it: infinities become their names."""
        return _finite({**asdict(self), "failures": self.failures})

    def as_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"

    def table(self) -> str:
        """The report as aligned text, one line a scheme."""
        rows = [
            ["", "file KB", "residual dB", "PSNR dB", "change", "SSIM", "CPU ms"],
            ["keras", "-", "-", f"{self.keras_task_psnr:.2f}", "-", f"{self.keras_task_ssim:.4f}"],
        ]
        rows[1].append("-")
        for name, result in self.results.items():
            rows.append(
                [
                    name,
                    f"{result.bytes / 1000:,.0f}",
                    f"{result.residual_psnr:.1f}",
                    f"{result.task_psnr:.2f}",
                    f"{result.task_psnr_change:+.3f}",
                    f"{result.task_ssim:.4f}",
                    f"{result.latencies[-1].median_ms:.1f}",
                ]
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, *self.gpu_lines()])

    def gpu_lines(self) -> list[str]:
        """What ran on the GPU: a line a file, driver and precision; and what did not."""
        lines = [
            f"GPU: not verified on {name}: {state.removeprefix('not verified: ')}"
            for name, state in self.gpu.items()
            if state != "verified"
        ]
        for name, result in self.results.items():
            for run in result.gpu:
                count = result.operation_count
                launches = f", {run['launches']} launches" if run["launches"] else ""
                state = run["failure"] or (
                    f"{count} of {count} operations{launches}, residual "
                    f"{run['residual_psnr']:.1f} dB from the CPU's"
                )
                where = f"{run['accelerator']} ({run['driver']}) {run['precision']}"
                lines.append(f"GPU: {name}, {where}: {state}")
        return lines

    def as_markdown(self) -> str:
        """The report as a page of Markdown."""
        text = [
            f"# Export of {self.student}",
            "",
            f"Task {self.task}; tile {self.tile}x{self.tile}; tiles of {self.tiles}; "
            f"sha256 of the student `{self.student_sha256}`.",
            "",
            "Residual dB: PSNR of restored minus input, against Keras, whose peak is the "
            "residual's own. PSNR and SSIM are those to the clean tiles, on 8 bits; a tile counts "
            "at most 48.1 dB, an error of one step of 8 bits. Change is that from Keras.",
            "",
            *_markdown_table(
                ["scheme", "KB", "of fp32", "residual dB", "image dB", "PSNR", "change", "SSIM"]
                + [f"CPU ms, {latency.threads} threads" for latency in self._latencies()],
                [
                    [
                        "keras",
                        *("" for _ in range(4)),
                        f"{self.keras_task_psnr:.3f}",
                        "",
                        f"{self.keras_task_ssim:.4f}",
                        *("" for _ in self._latencies()),
                    ],
                    *(self._row(result) for result in self.results.values()),
                ],
            ),
            "",
            "## GPU",
            "",
            *[f"- {line.removeprefix('GPU: ')}" for line in self.gpu_lines()],
            "",
            "## Checks that failed",
            "",
            *([f"- {line}" for line in self.failures] or ["None."]),
            "",
            "## Operations",
            "",
        ]
        for name, result in self.results.items():
            counts = ", ".join(f"{kind} {count}" for kind, count in result.operations.items())
            text.append(f"- {name}: {result.operation_count}: {counts}")
            text += [f"  - {line}" for line in result.warnings[:10]]
        if self.sensitivity is not None:
            text += ["", "## Sensitivity to int8", "", *self._sensitivity()]
        text += ["", "## Machine", ""]
        text += [f"- {key}: {value}" for key, value in {**self.machine, **self.versions}.items()]
        return "\n".join(text) + "\n"

    def _latencies(self):
        return next(iter(self.results.values())).latencies

    def _row(self, result):
        full = self.results.get("fp32")
        return [
            result.scheme,
            f"{result.bytes / 1000:,.0f}",
            f"{result.bytes / full.bytes:.3f}" if full else "",
            f"{result.residual_psnr:.1f}",
            f"{result.image_psnr:.1f}",
            f"{result.task_psnr:.3f}",
            f"{result.task_psnr_change:+.3f}",
            f"{result.task_ssim:.4f}",
            *(f"{item.median_ms:.1f} ± {item.spread_ms:.1f}" for item in result.latencies),
        ]

    def _sensitivity(self):
        report = self.sensitivity
        kept = ", ".join(report.float_layers) or "none"
        return [
            f"{report.tiles} calibration tiles of {report.tile}x{report.tile}. "
            f"The dense convolutions in int8 lose {report.convolutions_loss:.3f} dB; "
            f"the recommended mix keeps in float: {kept}; it loses {report.psnr_loss:.3f} dB. "
            "A layer is measured alone, a kind of operation on top of the dense convolutions. "
            "Losses are means of the quarter of tiles that lose most.",
            "",
            *_markdown_table(
                ["quantised", "", "operations", "PSNR loss dB", "residual dB"],
                [
                    [
                        cost.name,
                        cost.group,
                        str(cost.operations),
                        f"{cost.psnr_loss:.4f}",
                        f"{cost.residual_psnr:.1f}",
                    ]
                    for cost in report.costs
                ],
            ),
        ]


def draw(
    path: PathLike, report: ConversionReport, images: Mapping[str, np.ndarray], tile: int
) -> None:
    """Draws what the files restore, and by how much that differs from Keras.

    Args:
        path: The PNG to write.
        report: A :class:`ConversionReport`.
        images: Title to image; ``input``, ``keras``, the schemes and ``clean``.
        tile: Height and width in pixels.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    gain = 20
    figure, axes = plt.subplots(
        2,
        len(images),
        figsize=(2.6 * len(images), 6.4),
        squeeze=False,
        layout="constrained",
    )
    for column, (title, image) in enumerate(images.items()):
        result = report.results.get(title)
        axes[0, column].imshow(np.clip(image, 0, 1), interpolation="none")
        axes[0, column].set_title(
            title if result is None else f"{title}\n{result.task_psnr_change:+.3f} dB", fontsize=9
        )
        if result is not None:
            difference = 0.5 + gain * (image - images["keras"])
            axes[1, column].imshow(np.clip(difference, 0, 1), interpolation="none")
            axes[1, column].set_title(
                f"minus keras, x{gain}\n{result.residual_psnr:.1f} dB", fontsize=9
            )
        for axis in axes[:, column]:
            axis.axis("off")
    figure.suptitle(f"{report.student}, {report.task}, {tile}x{tile}", fontsize=10)
    figure.savefig(path, dpi=100, format="png")
    plt.close(figure)


def _markdown_table(header, rows):
    return ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def machine(drivers: Sequence[Driver | ClassicDriver]) -> dict[str, Any]:
    """What this machine is, as far as timings and the GPU go."""
    return {
        "processor": _processor(),
        "threads": os.cpu_count(),
        "GPU drivers": ", ".join(driver.name for driver in drivers) or "none",
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions of what converts and runs a file."""
    packages = ("tensorflow", "keras", "ai-edge-litert", "litert-quantizer", "numpy")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }
