"""The program of ``make demo``, small, and the documented command of the export, as a file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_skd import demo
from keras_skd.export.gpu import run as gpu_run
from keras_skd.models import read_metadata
from keras_skd.runners import TFLiteRunner

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a demo of a few steps on small tiles; the GPU has tests of its own."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_run, "find_drivers", lambda accelerators=(): [])
        patch.setattr(demo, "TILE", 128)
        patch.setattr(demo, "CACHE_SIZE", 0.01)
        patch.setattr(demo, "SCHEMES", ("fp16",))
        patch.setattr(demo, "GREATEST_LOSS", {"fp16": 0.02})
        code = demo.run_demo(str(folder), steps=6)
    return folder, code


def test_the_demo_leaves_what_readme_says(finished):
    folder, code = finished
    assert code == 1  # six steps do not gain what the demo promises, and it says so
    report = json.loads((folder / "report.json").read_text())
    assert len(report["failed_checks"]) == 1
    assert "the student improves the input by" in report["failed_checks"][0]
    assert [row["name"] for row in report["rows"]] == [
        *("noisy input", "student", "bundled student", "teacher", "fp16")
    ]
    noisy, _, bundled, teacher, _ = (row["psnr"] for row in report["rows"])
    assert noisy == pytest.approx(20.3, abs=0.2)
    assert 31 < bundled < teacher
    assert np.asarray(Image.open(folder / "before_after.png")).std() > 10
    task = {"task": "denoise", "noise": "gaussian", "sigma": "25"}
    assert read_metadata(folder / "student.keras").items() >= task.items()
    assert TFLiteRunner(folder / "student_fp16.tflite").metadata.items() >= task.items()


def test_the_export_command_runs_as_a_file(finished, tmp_path):
    folder, _ = finished
    command = [sys.executable, REPOSITORY / "exports" / "convert.py", folder / "student.keras"]
    options = ["--schemes", "fp32", "--tile", "64", "--gpu", "none"]
    process = subprocess.run(
        [str(part) for part in (*command, *options, "--output", tmp_path / "exported")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "exported" / "student_fp32.tflite").exists()
