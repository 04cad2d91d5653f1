"""What does a step under simulated integers cost, with ranges that are kept or that move?

    python benchmarks/integer_ranges.py --data DIR STUDENT ...

Trains students further on clean photographs with noise of sigma 25, by ground truth alone: in
float, under the integers of ``static_wi8_ai8`` with the calibrated ranges kept, and with ranges
that are moving averages of what training takes (``MovingAverageQuantizer``). They take turns of a
few steps in one process, so that other work on the machine meets all. Writes
``benchmarks/integer_ranges.csv``: milliseconds a step, the median over turns, and the ratio to
float, the median over turns of the ratio within a turn.

With noise of all levels, moving ranges give values that are not numbers for a blind student: where
a variance rounds to zero its root's inverse is infinite, and so becomes the range.
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
BATCH, PATCH = 2, 64
TURNS, STEPS = 7, 20
# Name in the table: whether ranges move; None for float.
FORMS = {"float": None, "kept ranges": False, "moving ranges": True}


def distiller_of(student, form, tiles):
    """A compiled distiller of a fresh copy of the student."""
    import keras

    from keras_skd.distillation import Distiller
    from keras_skd.models import load_model
    from keras_skd.quantisation import Simulation

    student = load_model(student)
    moving = FORMS[form]
    simulation = None if moving is None else Simulation(student, SCHEME, tiles, moving)
    distiller = Distiller(student, None, "none", simulation=simulation)
    distiller.compile(keras.optimizers.AdamW(1e-4, global_clipnorm=1.0), log_every=STEPS)
    return distiller


def measure(student, data):
    """A row of the table for each form."""
    from keras_skd.data import ImageStore, find_groups, training_batches
    from keras_skd.export.calibration import load_tiles
    from keras_skd.tasks import Task

    task = Task.of("denoise", sigma="25")
    tiles = load_tiles(PATCH, task, data)
    # A few photographs are enough.
    store = ImageStore(find_groups(data, "denoise", "train")[:40], PATCH)
    batches = training_batches(
        store,
        patch_size=PATCH,
        batch_size=BATCH,
        steps=STEPS,
        degradation=task.degradation(),
    )
    distillers = {form: distiller_of(student, form, tiles) for form in FORMS}
    seconds = {form: [] for form in FORMS}
    for turn in range(TURNS + 1):
        for form, distiller in distillers.items():
            start = time.perf_counter()
            distiller.fit(batches, verbose=0)
            if turn:  # the first one traces
                seconds[form].append((time.perf_counter() - start) / STEPS)
    for form, each in seconds.items():
        ratios = [a / b for a, b in zip(each, seconds["float"], strict=True)]
        yield {
            "student": student,
            "ranges": form,
            "ms_a_step": round(1000 * statistics.median(each)),
            "over_float": round(statistics.median(ratios), 2),
        }


def main(arguments=None):
    """Measures the students and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", nargs="+", metavar="STUDENT", help="preset or .keras file")
    parser.add_argument("--data", required=True, help="clean photographs to train and calibrate on")
    options = parser.parse_args(arguments)
    rows = []
    for student in options.students:
        for row in measure(student, options.data):
            print(row, flush=True)
            rows.append(row)
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
