"""What is training for integers worth? Float steps against it, on CBSD68 at tiles of 256.

    python -m results.integers [STUDENT ...] --data ../shared/data

A student is trained further in two ways, by as many steps of the same data and seed: in float, and
under simulated integers of 8 or of 4 bits. The student as it came, and both, are quantised and
measured. What has been done is not done again: trainings resume in ``runs/integers``, and scores
are kept there beside each student. Writes ``results/integers/scores.csv``.
"""

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from keras_skd.command import reported_errors
from keras_skd.errors import InputError
from keras_skd.files import write_csv, write_json
from results.students import run_command

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "integers"
RUNS = ROOT / "runs" / "integers"
TILE = 256  # pixels, of the files
SIGMA = "25"  # of the test images
SEEDS = (0, 1)
_DATA = "--task denoise --data {data}/train/clean --batch-size 2 --patch-size 128"
_STEPS = f"{_DATA} --steps-per-epoch 500 --warmup-steps 100 --ema 0.995"


@dataclass(frozen=True)
class Student:
    """A float student, and how it is trained further.

    Attributes:
        start: Preset that it is, or that its training starts from.
        training: Options of ``keras_skd.train`` that make it of the preset; None if the preset is
            the trained student.
        further: Options of all trainings that go on from it.
    """

    start: str
    training: str | None
    further: str


STUDENTS = {
    "restormer_tiny": Student(
        "restormer_tiny_denoise",
        None,
        f"{_STEPS} --sigma 0-50 --learning-rate 3e-4 --method skd "
        "--teacher-cache {runs}/../students/cache/denoise_128",
    ),
    "uformer_tiny": Student(
        "uformer_tiny",
        f"{_DATA} --sigma 25 --method none --steps 8000 --steps-per-epoch 1000 "
        "--learning-rate 3e-3 --ema 0.999",
        f"{_STEPS} --sigma 25 --learning-rate 1e-3 --method none",
    ),
}
# Name of a way to train further to its options.
_WAYS = {
    "more steps in float": "--steps 2000",
    "trained for 8 bits": "--steps 2000 --quantise static_wi8_ai8",
    # Half as many, which is enough here.
    "trained for 4 bits": "--steps 1000 --quantise static_wi4_ai8",
}
# The files that are made of each.
_SCHEMES = {
    "as it came": ("fp32", "static_wi8_ai8", "static_wi4_ai8"),
    "trained for 8 bits": ("static_wi8_ai8",),
    "more steps in float": ("static_wi8_ai8",),
    "trained for 4 bits": ("static_wi4_ai8",),
}


def make_student(name, data):
    """The student in float: a preset's name, or the file of its run."""
    student = STUDENTS[name]
    if student.training is None:
        return student.start
    return _train(student.start, student.training, RUNS / name / "float", data)


def train_further(name, start, way, seed, data):
    """Trains a student further; returns its file."""
    options = f"{STUDENTS[name].further} {_WAYS[way]} --seed {seed}"
    return _train(start, options, RUNS / name / f"{way.replace(' ', '_')}_{seed}", data)


def _train(start, options, run, data):
    words = options.format(data=data, runs=RUNS).split()
    if not (run / "student.keras").exists():
        run_command("train", *words, "--student", start, "--run", run)
    return run / "student.keras"


def score(student, scheme, cache, data):
    """Bytes, and the PSNR of every image of CBSD68, of one scheme's file; kept in ``cache``."""
    if (cache / "scores.json").exists():
        return json.loads((cache / "scores.json").read_text())
    from keras_skd.data import ImagePairs, find_groups
    from keras_skd.evaluate import evaluate
    from keras_skd.export.conversion import convert
    from keras_skd.runners import TFLiteRunner
    from keras_skd.tasks import Task

    convert(
        student,
        output=cache,
        schemes=(scheme,),
        tile=TILE,
        calibration=f"{data}/train/clean",
        # What loses more than a scheme may is measured too.
        keep_failed=True,
        gpu=("none",),
    )
    (file,) = cache.glob("*.tflite")
    groups = find_groups(f"{data}/test/cbsd68", "denoise", "test")
    _, noise = Task.of("denoise", sigma=SIGMA).for_groups(groups)
    rows = evaluate(TFLiteRunner(file), ImagePairs(groups, noise.fixed()))
    scores = {"bytes": file.stat().st_size, "psnr": {row["image"]: row["psnr"] for row in rows}}
    write_json(cache / "scores.json", scores)
    return scores


def measure(name, data):
    """Trains a student further in every way; gives the rows of the table."""
    start = make_student(name, data)
    came, *ways = _SCHEMES
    rows, reference = [], None
    for way, seed in [(came, None), *((way, seed) for seed in SEEDS for way in ways)]:
        student, label = start, way.replace(" ", "_")
        if seed is not None:
            student, label = train_further(name, start, way, seed, data), f"{label}_{seed}"
        for scheme in _SCHEMES[way]:
            scores = score(student, scheme, RUNS / name / "files" / f"{label}_{scheme}", data)
            # The float student as it came is the first of all.
            reference = reference or scores["psnr"]
            worst = max(reference[image] - psnr for image, psnr in scores["psnr"].items())
            rows.append(
                {
                    "student": name,
                    "way": way,
                    "seed": seed,
                    "scheme": scheme,
                    "bytes": scores["bytes"],
                    "psnr": statistics.mean(scores["psnr"].values()),
                    "worst_loss": worst,
                }
            )
            print(rows[-1], flush=True)
    return rows


def main(arguments=None):
    """Trains and measures what is missing; returns the exit code."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("names", nargs="*", metavar="STUDENT", help=f"of {', '.join(STUDENTS)}")
    options.add_argument("--data", default="../shared/data", help="folder with train/ and test/")
    options = options.parse_args(arguments)
    with reported_errors("integers"):
        unknown = sorted(set(options.names) - set(STUDENTS))
        if unknown:
            raise InputError(f"{unknown[0]} is none of {', '.join(STUDENTS)}.")
        rows = []
        for name in options.names or STUDENTS:
            rows += measure(name, options.data)
        RESULTS.mkdir(exist_ok=True)
        write_csv(RESULTS / "scores.csv", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
