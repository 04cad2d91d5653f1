"""What a conversion made and measured."""

import importlib.metadata
import json
import math
import platform
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SchemeResult:
    """One file and its measurements.

    Attributes:
        scheme: Key of :data:`exports.schemes.SCHEMES`.
        file: Path of the ``.tflite`` file, or None where a check failed and it was not kept.
        bytes: Its size.
        sha256: Its digest.
        residual_psnr: Against Keras in dB, see :func:`exports.verification.residual_psnr`.
        task_psnr: Against the clean verification tiles, in dB.
        task_psnr_change: ``task_psnr`` minus that of Keras, in dB.
        latency_ms: Median of one tile on the CPU.
        threads: CPU threads of that.
        failures: Checks that failed, one line each.
    """

    scheme: str
    file: str | None
    bytes: int
    sha256: str
    residual_psnr: float
    task_psnr: float
    task_psnr_change: float
    latency_ms: float
    threads: int
    failures: list


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
        results: Scheme name to :class:`SchemeResult`.
        versions: Package to version.
    """

    student: str
    student_sha256: str
    task: str
    tile: int
    tiles: str
    keras_task_psnr: float
    results: dict
    versions: dict

    @property
    def failures(self):
        """Checks that failed, one line each; empty if all passed."""
        return [line for result in self.results.values() for line in result.failures]

    def as_dict(self):
        """The report as JSON takes it: infinities become their names."""
        return _finite({**asdict(self), "failures": self.failures})

    def as_json(self):
        """The report as JSON text."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"

    def table(self):
        """The report as aligned text, one line a scheme."""
        header = f"{'':6}{'file KB':>9}{'residual dB':>13}{'PSNR dB':>9}{'change':>9}{'CPU ms':>9}"
        keras = f"{'keras':6}{'-':>9}{'-':>13}{self.keras_task_psnr:9.2f}{'-':>9}{'-':>9}"
        lines = [
            f"{name:6}{result.bytes / 1000:9,.0f}{result.residual_psnr:13.1f}"
            f"{result.task_psnr:9.2f}{result.task_psnr_change:+9.3f}{result.latency_ms:9.1f}"
            for name, result in self.results.items()
        ]
        return "\n".join([header, keras, *lines])


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def versions():
    """Versions of what converts and runs a file."""
    packages = ("tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer", "numpy")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }
