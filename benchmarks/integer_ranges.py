"""Should the ranges of simulated integers stay, or follow the training? And what does a step cost?

    python benchmarks/integer_ranges.py --data DIR --test DIR STUDENT ...

Trains students further on clean photographs with Gaussian noise, by ground truth alone: in float,
under the integers of ``static_wi8_ai8`` with the calibrated ranges kept, and with ranges that are
moving averages of what training takes (``MovingAverageQuantizer``). First they take turns of a few
steps, which are timed; then each trains on. At the end each is converted and measured on ``--test``
at sigma 25. Writes ``benchmarks/integer_ranges.csv``: milliseconds a step and their ratio to float
(medians over turns), the PSNR of the student in float and of its full-integer file, in dB.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from keras_skd.files import write_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SCHEME = "static_wi8_ai8"
BATCH, PATCH = 2, 128
TURNS, TURN_STEPS = 7, 20
TILE = 256  # pixels, of the files that are measured
RATE = 3e-4
# Name in the table: whether integers are simulated, with moving ranges or not.
FORMS = {"float": None, "kept ranges": False, "moving ranges": True}


def distiller_of(student, form, tiles, steps):
    """A compiled distiller of a fresh copy of the student."""
    import keras

    from keras_skd.distillation import Distiller
    from keras_skd.models import load_model
    from keras_skd.quantisation import Simulation

    student = load_model(student)
    moving = FORMS[form]
    simulation = None if moving is None else Simulation(student, SCHEME, tiles, moving)
    distiller = Distiller(student, None, "none", simulation=simulation)
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps, alpha=0.01)
    distiller.compile(
        keras.optimizers.AdamW(
            rate, weight_decay=1e-4, global_clipnorm=1.0, use_ema=True, ema_momentum=0.995
        ),
        log_every=TURN_STEPS,
    )
    return distiller


def scores_of(student, tiles, test):
    """PSNR on the test images of a student's float and full-integer files."""
    from keras_skd.data import ImagePairs, find_groups
    from keras_skd.evaluate import evaluate
    from keras_skd.export.schemes import SCHEMES, Source
    from keras_skd.models import with_image_size
    from keras_skd.runners import TFLiteRunner
    from keras_skd.tasks import Task

    groups = find_groups(test, "denoise", "test")
    _, noise = Task.of("denoise", sigma="25").for_groups(groups)
    source = Source(with_image_size(student, (TILE, TILE)), tiles.calibration)
    for scheme in ("fp32", SCHEME):
        content = SCHEMES[scheme].build(source, None, "float32")
        rows = evaluate(TFLiteRunner(content), ImagePairs(groups, noise.fixed()))
        yield round(statistics.mean(row["psnr"] for row in rows), 3)


def measure(student, data, test, steps):
    """A row of the table for each form."""
    from keras_skd.data import ImageStore, find_groups, training_batches
    from keras_skd.export.calibration import load_tiles
    from keras_skd.tasks import Task

    task = Task.of("denoise", sigma="0-50")
    small, large = (load_tiles(size, task, data) for size in (PATCH, TILE))
    store = ImageStore(find_groups(data, "denoise", "train"), PATCH)

    def batches(first, count):
        return training_batches(
            store,
            patch_size=PATCH,
            batch_size=BATCH,
            steps=first + count,
            first_step=first,
            degradation=task.degradation(),
        )

    distillers = {form: distiller_of(student, form, small, steps) for form in FORMS}
    seconds = {form: [] for form in FORMS}
    for turn in range(TURNS + 1):
        for form, distiller in distillers.items():
            start = time.perf_counter()
            distiller.fit(batches(turn * TURN_STEPS, TURN_STEPS), verbose=0)
            if turn:  # the first one traces
                seconds[form].append((time.perf_counter() - start) / TURN_STEPS)
    done = (TURNS + 1) * TURN_STEPS
    for form, distiller in distillers.items():
        distiller.fit(batches(done, steps - done), verbose=0)
        in_float, in_integers = scores_of(distiller.student, large, test)
        ratios = [a / b for a, b in zip(seconds[form], seconds["float"], strict=True)]
        yield {
            "student": student,
            "ranges": form,
            "ms_a_step": round(1000 * statistics.median(seconds[form])),
            "over_float": round(statistics.median(ratios), 2),
            "steps": steps,
            "psnr_fp32": in_float,
            f"psnr_{SCHEME}": in_integers,
        }


def main(arguments=None):
    """Measures the students and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", nargs="+", metavar="STUDENT", help="preset or .keras file")
    parser.add_argument("--data", required=True, help="clean photographs to train and calibrate on")
    parser.add_argument("--test", required=True, help="clean photographs to measure on")
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args(arguments)
    rows = []
    for student in options.students:
        for row in measure(student, options.data, options.test, options.steps):
            print(row, flush=True)
            rows.append(row)
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
