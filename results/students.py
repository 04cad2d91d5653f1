"""``make students``: trains the bundled teachers and students, and measures them.

    python -m results.students [NAME ...] --data ../shared/data

Every model is a list of stages, and a stage is one command of ``keras_skd.train``. What has been
done is not done again: a stage that was interrupted resumes in its run folder, the next stage
starts from the weights of the one before, which are kept in ``results/NAME/`` until the model is
ready, and a model whose weights are in the package is skipped. To train one anew, delete its file
in ``keras_skd/weights`` and its folder in ``runs/students``.

A model that is ready gets its weights in float16 into the package, its scores on the test sets into
``results/NAME/``, and, if it is a student, its ``.tflite`` files beside them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from keras_skd.command import reported_errors
from keras_skd.errors import FailedCheckError, InputError
from keras_skd.files import replaced, sha256, write_csv, write_json
from results import plot_log

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
RUNS = ROOT / "runs" / "students"
SCHEMES = "fp16,int8"
TILE = 256  # pixels, of the .tflite files

_DENOISE = "--task denoise --sigma 0-50 --data {data}/train/clean"
_CAMERA = (
    "--task denoise --noise camera --data {data}/train/clean {data}/train/polyu_noise --shares 3 1"
)
_DERAIN = "--task derain --data {data}/train/clean {data}/train/nturain --shares 7 1"
_DEBLUR = "--task deblur --data {data}/train/clean"
_DEBLUR_RECORDED = "--task deblur --data {data}/train/clean {data}/train/reds_blur --shares 3 1"
_TEACHING = "--method none --precision mixed_bfloat16 --ema 0.999"
_TEACHER = f"{_TEACHING} --batch-size 8 --patch-size 64"
_TEACHER_LARGE = f"{_TEACHING} --batch-size 4 --patch-size 128"
_CACHE = "--method skd --ema 0.999 --teacher-cache {runs}/cache"

# Test sets: name of the scores' file to options of keras_skd.evaluate. `clean` is none of it: what
# the model does to photographs that have nothing to be removed.
_CLEAN = "clean"
_CBSD68 = "--data {data}/test/cbsd68"
_TESTS = {
    "denoise": {f"cbsd68_sigma{sigma}": f"{_CBSD68} --sigma {sigma}" for sigma in (15, 25, 50)},
    "camera": {"polyu": "--data {data}/test/polyu_noise"},
    "derain": {"rain100h": "--data {data}/test/rain100h"},
    "deblur": {"reds": "--data {data}/test/reds_blur"},
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        start: Preset that the first stage starts from, with its weights or with random ones.
        stages: Options of ``keras_skd.train``, without ``--student`` and ``--run``.
        tests: A key of ``_TESTS``.
        exported: Whether it becomes ``.tflite`` files.
    """

    start: str
    stages: tuple
    tests: str
    exported: bool = False


def _cached(task, cache, *, patch, steps, size, rate, batch=4, every=1000):
    """A stage of a student; stages of one patch size share a teacher cache, of ``size`` GB."""
    return (
        f"{task} {_CACHE}/{cache}_{patch} --cache-size {size} --batch-size {batch} "
        f"--patch-size {patch} --steps {steps} --steps-per-epoch {every} --learning-rate {rate}"
    )


def _taught_further(task, cache):
    """Stages of a student that starts from the denoiser's weights."""
    return (
        _cached(task, cache, batch=8, patch=64, steps=9000, size=1.6, rate=1.5e-3),
        _cached(task, cache, patch=128, steps=1000, every=500, size=1.0, rate=4e-4),
    )


# The order is that of training: a teacher before its students.
RECIPES = {
    "restormer_denoise": Recipe(
        "restormer_light",
        (
            f"{_DENOISE} --method none --batch-size 8 --patch-size 32 --steps 14000 "
            "--steps-per-epoch 1000",
            f"{_DENOISE} --method none --batch-size 4 --patch-size 64 --steps 7000 "
            "--steps-per-epoch 1000 --learning-rate 5e-4",
            f"{_DENOISE} {_TEACHER} --steps 5000 --steps-per-epoch 500 --learning-rate 5e-4",
            f"{_DENOISE} {_TEACHER_LARGE} --steps 3000 --steps-per-epoch 250 --learning-rate 4e-4",
            f"{_DENOISE} {_TEACHER_LARGE} --steps 3000 --steps-per-epoch 250 --learning-rate 6e-4",
            f"{_DENOISE} {_TEACHER_LARGE} --steps 3000 --steps-per-epoch 250 --learning-rate 6e-4",
        ),
        "denoise",
    ),
    "restormer_camera": Recipe(
        "restormer_denoise",
        (
            f"{_CAMERA} {_TEACHER} --steps 4500 --steps-per-epoch 500 --learning-rate 5e-4",
            f"{_CAMERA} {_TEACHER} --steps 10500 --steps-per-epoch 500 --learning-rate 6e-4",
        ),
        "camera",
    ),
    "restormer_derain": Recipe(
        "restormer_denoise",
        (
            f"{_DERAIN} {_TEACHER} --steps 15000 --steps-per-epoch 500 --learning-rate 8e-4",
            f"{_DERAIN} {_TEACHING} --batch-size 4 --patch-size 96 --steps 4500 "
            "--steps-per-epoch 500 --learning-rate 6e-4",
            f"{_DERAIN} {_TEACHER_LARGE} --steps 1200 --steps-per-epoch 200 --learning-rate 2e-4",
            f"{_DERAIN} {_TEACHER_LARGE} --steps 1000 --steps-per-epoch 250 --learning-rate 2e-4",
        ),
        "derain",
    ),
    "restormer_deblur": Recipe(
        "restormer_denoise",
        (
            f"{_DEBLUR} {_TEACHER} --steps 5000 --steps-per-epoch 500 --learning-rate 8e-4",
            f"{_DEBLUR_RECORDED} {_TEACHER} --steps 10000 --steps-per-epoch 500 "
            "--learning-rate 6e-4",
            f"{_DEBLUR_RECORDED} {_TEACHER_LARGE} --steps 1500 "
            "--steps-per-epoch 250 --learning-rate 3e-4",
        ),
        "deblur",
    ),
    "restormer_tiny_derain": Recipe(
        "restormer_tiny",
        (
            _cached(_DERAIN, "derain", batch=8, patch=64, steps=16000, size=3.2, rate=2e-3),
            _cached(_DERAIN, "derain", patch=96, steps=9000, size=2.1, rate=1e-3),
            _cached(_DERAIN, "derain", patch=128, steps=1500, every=500, size=1.2, rate=4e-4),
        ),
        "derain",
        exported=True,
    ),
    "restormer_tiny_denoise": Recipe(
        "restormer_tiny",
        (
            _cached(_DENOISE, "denoise", batch=8, patch=64, steps=16000, size=3.2, rate=2e-3),
            _cached(_DENOISE, "denoise", patch=128, steps=2000, every=500, size=2.1, rate=4e-4),
            _cached(_DENOISE, "denoise", patch=96, steps=15000, size=2.4, rate=1.5e-3),
            _cached(_DENOISE, "denoise", patch=128, steps=2500, every=500, size=1.0, rate=1e-3),
        ),
        "denoise",
        exported=True,
    ),
    "restormer_tiny_camera": Recipe(
        "restormer_tiny_denoise",
        _taught_further(f"{_CAMERA} --teacher restormer_camera", "camera"),
        "camera",
        exported=True,
    ),
    "restormer_tiny_deblur": Recipe(
        "restormer_tiny_denoise",
        _taught_further(f"{_DEBLUR_RECORDED} --teacher restormer_deblur", "deblur"),
        "deblur",
        exported=True,
    ),
    "restormer_small_denoise": Recipe(
        "restormer_small",
        (
            _cached(_DENOISE, "denoise", batch=8, patch=64, steps=15000, size=2.4, rate=1.5e-3),
            _cached(_DENOISE, "denoise", patch=128, steps=1000, every=500, size=1.2, rate=4e-4),
            _cached(_DENOISE, "denoise", patch=96, steps=9000, size=2.4, rate=1.5e-3),
        ),
        "denoise",
        exported=True,
    ),
}


def stage_weights(name, stage):
    """The file of a stage's weights: of the package for the last, else beside the results."""
    from keras_skd.models.presets import WEIGHTS_FOLDER

    if stage == len(RECIPES[name].stages):
        return WEIGHTS_FOLDER / f"{name}.weights.h5"
    return RESULTS / name / f"stage_{stage}.weights.h5"


def save_in_float16(model, path):
    """Writes a model's weights as ``load_weights`` reads them, in half the bytes.

    Args:
        model: A :class:`keras.Model` with float32 weights.
        path: A file ``*.weights.h5``.
    """
    import h5py
    import numpy as np

    def copy(name, item):
        if isinstance(item, h5py.Dataset):
            values = item[()]
            if values.dtype == np.float32:
                values = values.astype(np.float16)
            half.create_dataset(name, data=values)
        else:
            half.require_group(name)
        half[name].attrs.update(item.attrs)

    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        model.save_weights(temporary)
        whole = temporary.with_name(f"whole-{temporary.name}")
        temporary.rename(whole)
        try:
            with h5py.File(whole) as source, h5py.File(temporary, "w") as half:
                half.attrs.update(source.attrs)
                source.visititems(copy)
        finally:
            whole.unlink()


def train(name, data):
    """Trains what is missing of a model.

    Args:
        name: A key of :data:`RECIPES`.
        data: Folder that holds ``train``.

    Raises:
        FailedCheckError: A stage failed; the command's own lines say why.
    """
    from keras_skd.models import load_model

    recipe = RECIPES[name]
    stages = range(1, len(recipe.stages) + 1)
    done = max((stage for stage in stages if stage_weights(name, stage).exists()), default=0)
    for stage in stages[done:]:
        run = RUNS / name / f"stage_{stage}"
        student = recipe.start
        if stage > 1:
            model = load_model(recipe.start)
            model.load_weights(stage_weights(name, stage - 1))
            student = RUNS / name / f"stage_{stage - 1}.keras"
            student.parent.mkdir(parents=True, exist_ok=True)
            model.save(student)
        options = recipe.stages[stage - 1].format(data=data, runs=RUNS)
        run_command("train", *options.split(), "--student", student, "--run", run)
        log = RESULTS / name / f"log_{stage}.csv"
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / "log.csv", log)
        save_in_float16(load_model(run / "student.keras"), stage_weights(name, stage))
    for stage in stages[:-1]:
        stage_weights(name, stage).unlink(missing_ok=True)


def draw_curve(name):
    """Draws the training loss and the validation over all stages, ``curve.png``."""
    logs = [RESULTS / name / f"log_{stage + 1}.csv" for stage in range(len(RECIPES[name].stages))]
    plot_log.main(logs, RESULTS / name / "curve.png")


def measure(name, data):
    """Scores of a model that is ready, and a student's ``.tflite`` files, unless they are there.

    Args:
        name: A key of :data:`RECIPES` whose weights are in the package.
        data: Folder that holds ``test``.

    Raises:
        InputError: The model has no preset yet.
        FailedCheckError: A measurement failed; the command's own lines say why.
    """
    from keras_skd.models import PRESETS

    if name not in PRESETS:
        raise InputError(
            f"{name} is trained, and has no preset; add it to keras_skd/models/presets.py and run "
            "this again."
        )
    recipe, folder = RECIPES[name], RESULTS / name
    weights = stage_weights(name, len(recipe.stages))
    digest = sha256(weights)
    scores = folder / "scores.json"
    if scores.exists() and json.loads(scores.read_text())["weights_sha256"] == digest:
        return
    sets = {}
    for label, options in _TESTS[recipe.tests].items():
        output = RUNS / name / label
        run_command("evaluate", name, *options.format(data=data).split(), "--output", output)
        shutil.copy(output / "scores.csv", folder / f"{label}.csv")
        summary = json.loads((output / "scores.json").read_text())
        sets[label] = {
            key: summary[key] for key in ("images", "channel", "input_psnr", "psnr", "ssim")
        }
    sets[_CLEAN] = _measure_clean(name, _CBSD68.format(data=data).split()[1])
    if recipe.exported:
        run_command(
            *("convert", name, "--schemes", SCHEMES, "--tile", TILE),
            *("--output", folder.relative_to(ROOT)),
            *("--calibration", f"{data}/train/clean"),
        )
        # It shows a photograph of the calibration.
        (folder / "report.png").unlink()
    draw_curve(name)
    write_json(scores, {"weights_sha256": digest, "sets": sets})


def _measure_clean(name, photos):
    """How near a model leaves photographs that have nothing to be removed."""
    import statistics

    from keras_skd.data import ImagePairs, find_groups
    from keras_skd.evaluate import evaluate
    from keras_skd.models import load_model

    groups = [(photo, photo) for (photo,) in find_groups(photos, "denoise", "test")]
    rows = evaluate(load_model(name), ImagePairs(groups))
    rows = [{key: row[key] for key in ("image", "psnr", "ssim")} for row in rows]
    write_csv(RESULTS / name / f"{_CLEAN}.csv", rows)
    means = {key: statistics.mean(row[key] for row in rows) for key in ("psnr", "ssim")}
    return {"images": len(rows), "channel": "rgb", **means}


def run_command(command, *options):
    """Runs a command of keras_skd and shows it; its failure is one of a check."""
    words = ["-m", f"keras_skd.{command}", *map(str, options)]
    print(
        "python", *(os.path.relpath(word, ROOT) if word.startswith("/") else word for word in words)
    )
    if subprocess.run([sys.executable, *words], cwd=ROOT).returncode:
        raise FailedCheckError(f"keras_skd.{command} failed, see above.")


def main(arguments=None):
    """Trains and measures what is missing; returns the exit code."""
    options = argparse.ArgumentParser(
        prog="make students",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("names", nargs="*", metavar="NAME", help="of models; without it all")
    options.add_argument("--data", default="../shared/data", help="folder with train/ and test/")
    options = options.parse_args(arguments)
    with reported_errors("students"):
        unknown = sorted(set(options.names) - set(RECIPES))
        if unknown:
            raise InputError(f"{unknown[0]} is none of {', '.join(RECIPES)}.")
        for name in RECIPES:
            if options.names and name not in options.names:
                continue
            train(name, options.data)
            measure(name, options.data)
            print(f"{name}: ready", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
