"""How much faster the training pipeline is than the smallest student eats, and what it holds.

    python -m benchmarks.data_throughput [--images N] [--output FILE]

Throughput: processor time (all threads of the process, pinned to one core) per batch of the
pipeline of each task, against that of one training step of ``restormer_tiny`` without a teacher,
the cheapest step there is. They are taken in turns in one process, ``ROUNDS`` times, and the
median of the ratios counts: processor time and turns make the ratio independent of what else runs.

Memory: peak resident set of a process that stores N small generated JPEG files and draws batches,
against one that stores a tenth of them.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH, PATCH, BATCHES, STEPS, ROUNDS = 8, 64, 30, 6, 5
MEMORY_BATCHES = 100


def throughput():
    """Measures every task; returns a dict of rows."""
    if hasattr(os, "sched_setaffinity"):  # before TensorFlow counts the cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    import keras
    import tensorflow as tf

    from keras_skd.data import (
        CameraNoise,
        GaussianNoise,
        ImageStore,
        MotionBlur,
        Rain,
        training_batches,
        training_photos,
    )
    from keras_skd.models import load_model

    images = list(training_photos(dead_leaves=6).values())
    with tempfile.TemporaryDirectory() as folder:
        clean = ImageStore([(image,) for image in images], PATCH, folder)
        pairs = ImageStore([(image, image) for image in images], PATCH, folder)
        tasks = {
            "denoise, Gaussian noise": (clean, GaussianNoise(0, 50)),
            "denoise, camera noise": (clean, CameraNoise()),
            "derain, synthetic rain": (clean, Rain()),
            "deblur, motion blur": (clean, MotionBlur()),
            "any task, pairs": (pairs, None),
        }
        model = load_model("restormer_tiny")
        model.compile(keras.optimizers.AdamW(1e-4), "mae")
        patches = tf.random.uniform((BATCH, PATCH, PATCH, 3))

        def student():
            for _ in range(STEPS):
                model.train_on_batch(patches, patches)

        def pipeline(store, degradation, number):
            steps = number * BATCHES
            batches = training_batches(
                store,
                patch_size=PATCH,
                batch_size=BATCH,
                steps=steps + BATCHES,
                first_step=steps,
                degradation=degradation,
            )
            for _ in batches:
                pass

        def milliseconds(work, count, *arguments):
            start = time.process_time()
            work(*arguments)
            return 1000 * (time.process_time() - start) / count

        student()
        for store, degradation in tasks.values():
            pipeline(store, degradation, 0)
        eats, feeds = [], {name: [] for name in tasks}
        for number in range(1, ROUNDS + 1):
            eats.append(milliseconds(student, STEPS))
            for name, (store, degradation) in tasks.items():
                feeds[name].append(milliseconds(pipeline, BATCHES, store, degradation, number))
    rows = {}
    for name, times in feeds.items():
        ratios = [eat / feed for eat, feed in zip(eats, times, strict=True)]
        rows[name] = {
            "pipeline_ms_per_batch": round(statistics.median(times), 2),
            "student_ms_per_step": round(statistics.median(eats), 1),
            "ratio": round(statistics.median(ratios), 1),
            "ratio_min": round(min(ratios), 1),
            "ratio_max": round(max(ratios), 1),
        }
        print(name, rows[name], flush=True)
    return rows


def memory(count):
    """Stores and samples ``count`` generated files; returns a dict of MiB."""
    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    import numpy as np
    from PIL import Image

    from keras_skd.data import GaussianNoise, ImageStore, find_groups, training_batches

    height, width = 120, 160
    with tempfile.TemporaryDirectory() as folder:
        ramp = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
        for index in range(count):
            tint = np.random.default_rng(index).uniform(0.2, 1, 3)
            path = Path(folder, f"{index:05d}.jpg")
            Image.fromarray((ramp * tint).astype(np.uint8)).save(path, quality=80)
        store = ImageStore(find_groups(folder, "denoise"), PATCH, folder)
        batches = training_batches(
            store,
            patch_size=PATCH,
            batch_size=BATCH,
            steps=MEMORY_BATCHES,
            degradation=GaussianNoise(25, 25),
        )
        for _ in batches:
            pass
    return {
        "images": count,
        "decoded_mib": round(count * height * width * 3 / 2**20, 1),
        "peak_resident_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main():
    """Measures and writes the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10000, help="files for the memory part")
    parser.add_argument("--output", default=str(Path(__file__).with_suffix(".json")))
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.memory)))
        return
    rows = []
    for count in (options.images // 10, options.images):
        # A process each, because the peak of a process never falls.
        command = [sys.executable, "-m", "benchmarks.data_throughput", "--memory", str(count)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(output.splitlines()[-1]))
        print(rows[-1], flush=True)
    result = {
        "what": "ratio: processor time of a training step of restormer_tiny over that of a batch",
        "batch_size": BATCH,
        "patch_size": PATCH,
        "rounds": ROUNDS,
        "threads": "one core",
        "throughput": throughput(),
        "memory": rows,
    }
    Path(options.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
