"""What does a step cost? SKD with and without a teacher cache, against training without a teacher.

    python benchmarks/teacher_cache.py

Trains ``restormer_tiny`` with the teacher ``restormer_denoise`` at sigma 25 on the embedded
photographs, in float32, data pipeline included: by ground truth alone, by L1 to the teacher's image
and by SKD with a warm cache, by SKD with all positions asking, by SKD with the teacher in every
step, and by Keras's own distiller (L1 to the ground truth and to the teacher's image; it cannot
compare features of different widths). They take turns in one process, so that other work on the
machine meets all. Writes ``benchmarks/teacher_cache.csv``: milliseconds a step, the median over
turns, and the ratio to ground truth alone, the median over turns of the ratio within a turn.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from keras_skd.files import write_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SIZES = ((4, 48), (8, 64))  # patches a step, their side in pixels
TURNS, STEPS = 7, 20
CROPS = 256
# Name in the table: method, configuration, whether the teacher's outputs are cached.
FORMS = {
    "none": ("none", {}, False),
    "output, cached": ("output", {}, True),
    "skd, cached": ("skd", {}, True),
    "skd without spatial, cached": ("skd_without_spatial", {}, True),
    "skd, all positions ask, cached": ("skd", {"queries": None}, True),
    "skd": ("skd", {}, False),
}
KERAS = "keras.distillation.Distiller"


def distillers():
    """Name to a compiled distiller and whether it draws from a cache."""
    import keras

    from keras_skd.distillation import Distiller, SKDConfig
    from keras_skd.models import load_model

    teacher = load_model("restormer_denoise")
    result = {}
    for name, (method, options, cached) in FORMS.items():
        keras.utils.set_random_seed(0)
        student = load_model("restormer_tiny")
        distiller = Distiller(student, teacher, method, SKDConfig(**options))
        distiller.compile(keras.optimizers.AdamW(1e-3, global_clipnorm=1.0))
        result[name] = (distiller, cached)
    theirs = keras.distillation.Distiller(
        load_model("restormer_denoise"),
        load_model("restormer_tiny"),
        keras.distillation.LogitsDistillation(temperature=1.0, loss="mae"),
    )
    theirs.compile(keras.optimizers.AdamW(1e-3, global_clipnorm=1.0), loss="mae")
    result[KERAS] = (theirs, False)
    return result, teacher


def measure(batch_size, patch_size):
    """A row of the table for each form."""
    from keras_skd.data import ImageStore, training_batches
    from keras_skd.data.photos import training_photos
    from keras_skd.tasks import Task
    from keras_skd.training import build_teacher_cache

    store = ImageStore([(photo,) for photo in training_photos().values()], patch_size)
    task = Task.of("denoise")
    degradation = task.degradation()
    models, teacher = distillers()
    stages = [stage.teacher_name for stage in models["skd, cached"][0].stages]
    with tempfile.TemporaryDirectory() as folder:
        cache = build_teacher_cache(
            folder,
            teacher,
            store,
            task=task,
            degradation=degradation,
            patch_size=patch_size,
            stages=stages,
            crops=CROPS,
        )
        runs = {}
        for name, (model, cached) in models.items():
            if cached:
                batches = cache.batches(batch_size=batch_size, steps=STEPS)
            else:
                batches = training_batches(
                    store,
                    patch_size=patch_size,
                    batch_size=batch_size,
                    steps=STEPS,
                    degradation=degradation,
                )
            runs[name] = (model, batches)
        seconds = {name: [] for name in runs}
        for turn in range(TURNS + 1):
            for name, (model, batches) in runs.items():
                start = time.perf_counter()
                model.fit(batches, verbose=0)
                if turn:  # the first one traces
                    seconds[name].append((time.perf_counter() - start) / STEPS)
    return [
        {
            "form": name,
            "patches": batch_size,
            "side": patch_size,
            "ms_a_step": round(1000 * statistics.median(each), 1),
            "over_none": round(
                statistics.median(a / b for a, b in zip(each, seconds["none"], strict=True)), 2
            ),
        }
        for name, each in seconds.items()
    ]


def main():
    """Measures both sizes and writes the table."""
    rows = []
    for size in SIZES:
        for row in measure(*size):
            print(row, flush=True)
            rows.append(row)
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
