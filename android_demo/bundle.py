"""Students for the app: which ones, and the folder of assets that it reads them from.

Each student comes with a tile and what LiteRT's CPU kernels make of it. The app compares its
phone's GPU with that, and refuses for pictures a GPU that computes something else.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from keras_skd.errors import FailedCheckError, InputError, MissingFileError
from keras_skd.export.phone_check import write_check
from keras_skd.files import sha256

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("denoise", "camera", "derain", "deblur")
TILE = 256  # of students that are converted for the app, in pixels


@dataclass(frozen=True)
class Student:
    """A student for the app.

    Attributes:
        task: One of :data:`TASKS`; the app's button is named after it.
        path: The ``.tflite`` file.
    """

    task: str
    path: Path


def bundled_students(root=ROOT):
    """The students that the app bundles: the results', or what ``make demo`` made.

    Args:
        root: Folder of the project.

    Returns:
        A list of :class:`Student`, in the order of :data:`TASKS`; empty where there is none.
    """
    found = []
    for task in TASKS:
        name = f"restormer_tiny_{task}"
        path = root / "results" / name / f"{name}_fp16.tflite"
        if path.exists():
            found.append(Student(task, path))
    demo = root / "runs" / "demo" / "student_fp16.tflite"
    if not found and demo.exists():
        found.append(Student("denoise", demo))
    return found


def own_student(student, task, output):
    """A student of the user's, converted and verified if it is not yet.

    Args:
        student: A ``.keras`` file, or a ``.tflite`` file, which is taken as it is.
        task: One of :data:`TASKS`.
        output: Folder of the conversion.

    Returns:
        A :class:`Student`.

    Raises:
        MissingFileError: There is no such file.
        InputError: The task is unknown, or the file is no student.
        FailedCheckError: The conversion's checks failed.
    """
    student = Path(student)
    if task not in TASKS:
        raise InputError(f"TASK must be one of {', '.join(TASKS)}; got {task!r}.")
    if not student.exists():
        raise MissingFileError(f"{student}: no such student.")
    if student.suffix == ".tflite":
        return Student(task, student)
    command = [sys.executable, ROOT / "exports" / "convert.py", student, "--schemes", "fp16"]
    command += ["--tile", str(TILE), "--output", output]
    command += ["--task", "denoise" if task == "camera" else task]
    code = subprocess.run(list(map(str, command)), cwd=ROOT).returncode
    if code == 2:
        raise InputError(f"{student}: not converted, see above.")
    if code:
        raise FailedCheckError(f"{student}: the conversion's checks failed, see above.")
    return Student(task, Path(output) / f"{student.stem}_fp16.tflite")


def write_bundle(students, folder):
    """Writes the app's assets: the students, their checks, and ``models.json``.

    Nothing is done where the folder holds these very students already.

    Args:
        students: A list of :class:`Student`.
        folder: The folder; what it held is replaced.

    Raises:
        InputError: There is no student, or one is not for the app.
    """
    if not students:
        raise InputError(
            "there is no student to bundle: `make demo` trains one, or name one with "
            "STUDENT=FILE TASK=denoise."
        )
    wanted = [(student.task, sha256(student.path)) for student in students]
    listing = folder / "models.json"
    if listing.exists():
        entries = json.loads(listing.read_text(encoding="utf-8"))
        if [(entry["task"], entry["sha256"]) for entry in entries] == wanted:
            return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    entries = [write_check(student.path, student.task, folder) for student in students]
    # Last, so that a bundle that was interrupted is made anew.
    listing.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
