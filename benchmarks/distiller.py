"""How fast is a step? The Distiller against ``keras.distillation.Distiller`` of Keras 3.15.

    python benchmarks/distiller.py

Both distil the same student from the same teacher by L1 on the same three stages' features plus L1
to the ground truth. The student has the teacher's width and fewer blocks, because Keras's cannot
compare features of different widths. Steps of the two take turns in one process, so that other work
on the machine meets both. Writes ``benchmarks/distiller.csv``.
"""

import os
import statistics
import sys
import time
from pathlib import Path

from keras_skd.files import write_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

STAGES = ("latent", "decoder_level3", "decoder_level2")
BATCH, PATCH = 4, 64
STEPS = 15
STUDENTS = {
    "half": {"num_blocks": (1, 1, 1, 2), "num_refinement_blocks": 0},
    "restormer_small": {"num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 0},
}


def models(student):
    """Student and teacher, both 16 channels wide; the teacher is ``restormer_light``."""
    import keras

    from keras_skd.models import PRESETS, Restormer

    keras.utils.set_random_seed(0)
    teacher = PRESETS["restormer_light"].build(load_weights=False)
    return Restormer(dim=16, **STUDENTS[student]), teacher


def ours(student):
    """One pass of the student a step."""
    import keras

    from keras_skd.distillation import Distiller, SKDConfig

    config = SKDConfig(stages=STAGES, feature_weight=1.0)
    distiller = Distiller(*models(student), "feature", config)
    distiller.compile(keras.optimizers.Adam(1e-4))
    return distiller


def theirs(student):
    """Keras's, with its own feature distillation."""
    import keras

    student, teacher = models(student)

    def last_block(model, stage):
        return [layer.name for layer in model.layers if layer.name.startswith(f"{stage}_")][-1]

    distiller = keras.distillation.Distiller(
        teacher,
        student,
        [
            keras.distillation.FeatureDistillation(
                "mae",
                teacher_layer_name=last_block(teacher, stage),
                student_layer_name=last_block(student, stage),
            )
            for stage in STAGES
        ],
    )
    distiller.compile(keras.optimizers.Adam(1e-4), loss="mae")
    return distiller


def times(student, steps=STEPS):
    """Seconds of each step, ours and theirs, taking turns."""
    import numpy as np

    generator = np.random.default_rng(0)
    clean = generator.uniform(size=(BATCH, PATCH, PATCH, 3)).astype(np.float32)
    degraded = clean + generator.normal(0, 0.1, clean.shape).astype(np.float32)
    distillers = {"ours": ours(student), "keras": theirs(student)}
    for distiller in distillers.values():
        distiller.train_on_batch(degraded, clean)
    result = {name: [] for name in distillers}
    for _ in range(steps):
        for name, distiller in distillers.items():
            start = time.perf_counter()
            distiller.train_on_batch(degraded, clean)
            result[name].append(time.perf_counter() - start)
    return result


def main():
    """Measures every student and writes the table."""
    rows = []
    for student in STUDENTS:
        seconds = times(student)
        median = {name: statistics.median(each) for name, each in seconds.items()}
        least = {name: min(each) for name, each in seconds.items()}
        row = {
            "student": student,
            "batch": BATCH,
            "patch": PATCH,
            "steps": STEPS,
            "ours_ms": round(1000 * median["ours"], 1),
            "keras_ms": round(1000 * median["keras"], 1),
            "keras_over_ours_median": round(median["keras"] / median["ours"], 2),
            "keras_over_ours_least": round(least["keras"] / least["ours"], 2),
        }
        print(row, flush=True)
        rows.append(row)
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
