"""CPU latency of the students against FFDNet, a convolutional denoiser, in one run.

FFDNet (Zhang, Zuo and Zhang, "FFDNet: Toward a Fast and Flexible Solution for CNN-Based Image
Denoising", TIP 2018), colour: 12 convolutions of 96 channels at half resolution. It is built in
Keras here and goes through the same converter and quantizer. Weights are random: time does not
depend on them. The files take turns, so that what else the machine does falls on all alike; what
counts are the ratios.

``python benchmarks/cpu_latency.py`` writes ``cpu_latency.csv`` and ``cpu_latency_operations.csv``
beside this file.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from keras_skd.files import write_csv

STUDENTS = ("restormer_small", "restormer_tiny")
# What the sensitivity report of a trained tiny student keeps in float; see
# keras_skd/export/integer/sensitivity.py.
FLOAT_LAYERS = ("patch_embed", "output")


def ffdnet(size, channels=96, layers=12, sigma=25.0):
    """FFDNet for colour at a fixed size: the image and a noise map, at half resolution."""
    import keras
    import tensorflow as tf

    def cells(x):
        half = tf.nn.space_to_depth(x, 2)
        return tf.concat([half, tf.fill((1, size // 2, size // 2, 1), sigma / 255)], axis=-1)

    image = keras.Input(batch_shape=(1, size, size, 3), name="image")
    x = keras.layers.Lambda(cells, name="cells")(image)
    for index in range(layers - 1):
        convolution = keras.layers.Conv2D(
            channels, 3, padding="same", activation="relu", name=f"convolution_{index}"
        )
        x = convolution(x)
    x = keras.layers.Conv2D(12, 3, padding="same", name="last")(x)
    restored = keras.layers.Lambda(lambda y: tf.nn.depth_to_space(y, 2), name="pixels")(x)
    return keras.Model(image, restored, name="ffdnet")


def write_files(folder, size):
    """Converts every model; returns name to path."""
    import numpy as np

    from keras_skd.export.flatbuffer import compacted
    from keras_skd.export.schemes import Source, mixed_int8
    from keras_skd.models import PRESETS

    tiles = np.random.default_rng(0).uniform(size=(2, size, size, 3)).astype("float32")
    models = {"ffdnet": ffdnet(size)}
    for name in STUDENTS:
        models[name] = PRESETS[name].build((size, size), load_weights=False)
    files = {}
    for name, model in models.items():
        source = Source(model, tiles)
        mix = [
            operation
            for operation in source.integer_operations()
            if operation.layer not in FLOAT_LAYERS
        ]
        contents = {"fp32": compacted(source.float32), "int8": mixed_int8(source, mix)}
        for scheme, content in contents.items():
            files[f"{name} {scheme}"] = folder / f"{name}_{scheme}.tflite"
            files[f"{name} {scheme}"].write_bytes(content)
    return files


def measure(files, size, threads, rounds):
    """Times every file once a round; returns name to a list of milliseconds."""
    import numpy as np

    from keras_skd.runners import TFLiteRunner, latencies_ms

    image = np.random.default_rng(1).uniform(size=(size, size, 3)).astype("float32")
    runners = {name: TFLiteRunner(path, threads=threads) for name, path in files.items()}
    times = {name: [] for name in files}
    for _ in range(rounds):
        for name, runner in runners.items():
            times[name] += latencies_ms(lambda runner=runner: runner(image), 1)
    return times


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="pixels (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds (default: %(default)s)")
    options = parser.parse_args()

    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), options.size)
        times = measure(files, options.size, options.threads, options.rounds)
        rows = []
        for name, values in times.items():
            quartiles = statistics.quantiles(values, n=4)
            ratio = statistics.median(
                value / peer for value, peer in zip(values, times["ffdnet fp32"], strict=True)
            )
            rows.append(
                {
                    "model": name,
                    "size": options.size,
                    "threads": options.threads,
                    "rounds": options.rounds,
                    "median_ms": round(quartiles[1], 2),
                    "quartile_distance_ms": round(quartiles[2] - quartiles[0], 2),
                    "least_ms": round(min(values), 2),
                    "median_ratio_to_ffdnet_fp32": round(ratio, 3),
                    "ratio_of_least": round(min(values) / min(times["ffdnet fp32"]), 3),
                    "cpus": os.cpu_count(),
                }
            )
            print(rows[-1], flush=True)
        write_csv(here / "cpu_latency.csv", rows)
        write_csv(here / "cpu_latency_operations.csv", _operations(files, options.threads))


def _operations(files, threads):
    from litert_profiler import profile_operations

    from keras_skd.quiet import quiet

    rows = []
    for name, path in files.items():
        with quiet():
            profile = profile_operations(path, threads=threads)
        total = sum(time for _, time in profile.values())
        for kind, (calls, time) in profile.items():
            if time / total > 0.002:
                rows.append(
                    {
                        "model": name,
                        "operation": kind,
                        "calls": calls,
                        "ms": round(time, 3),
                        "share": round(time / total, 4),
                    }
                )
    return rows


if __name__ == "__main__":
    main()
