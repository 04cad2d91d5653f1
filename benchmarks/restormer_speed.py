"""Restormer of keras_skd against the official design in PyTorch, on the CPU, in one run.

``python benchmarks/restormer_speed.py --pytorch-python PYTHON --golden ../shared/golden``

Both sides train and run the same network (width 16; blocks 1, 2, 2, 3; refinement 1; 1.35 M
parameters) on the same shapes in float32 with all cores: a training step is forward, L1, backward,
clipping of the global norm and AdamW. They alternate, each in processes of its own, because
machines drift; what counts is the ratio. Writes ``restormer_speed.json`` beside this file, with
the time of our training step by TensorFlow kernel.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ARGUMENTS = {"dim": 16, "num_blocks": (1, 2, 2, 3), "num_refinement_blocks": 1}
BATCH, PATCH = 8, 64
WARM_UP, STEPS = 3, 15
GOLDEN_TOLERANCE = 1e-4
SIDES = ("keras", "pytorch", "operations", "check")


def keras_side():
    """Two functions without arguments: a training step and an inference."""
    import keras
    import tensorflow as tf

    from keras_skd import Distiller, Restormer

    images = tf.random.uniform((2, BATCH, PATCH, PATCH, 3))
    model = Restormer(**ARGUMENTS)
    distiller = Distiller(model, method="none")
    distiller.compile(optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=1.0))
    train = tf.function(lambda: distiller.train_step((images[0], images[1])))
    infer = tf.function(lambda: model(images[0], training=False))
    return train, infer


def pytorch_side():
    """The same in PyTorch."""
    import torch
    from restormer_pytorch import Restormer

    torch.set_num_threads(os.cpu_count())
    degraded, clean = torch.rand(2, BATCH, 3, PATCH, PATCH)
    model = Restormer(**ARGUMENTS)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def train():
        optimizer.zero_grad(set_to_none=True)
        (model(degraded) - clean).abs().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def infer():
        with torch.inference_mode():
            model(degraded)

    return train, infer


def operations(least_share=0.01):
    """Milliseconds of our training step by kernel, of all threads together, the longest first."""
    import collections
    import tempfile

    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    train, _ = keras_side()
    for _ in range(WARM_UP):
        train()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(STEPS):
                train()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    (cpu,) = (plane for plane in space.planes if plane.name == "/host:CPU")
    times = collections.Counter()
    for line in cpu.lines:
        for event in line.events:
            # Kernels are named "node:type"; other names are the runtime's own.
            name = cpu.event_metadata[event.metadata_id].name
            node, _, kind = name.rpartition(":")
            if node and "::" not in name and not kind.startswith(" "):
                kind = kind.removeprefix("_Mkl").removeprefix("Native")
                times[kind] += event.duration_ps / 1e9 / STEPS
    total = sum(times.values())
    return {
        kind: round(time, 1) for kind, time in times.most_common() if time >= least_share * total
    }


def milliseconds(function):
    """Median time of ``function``, after a warm-up."""
    times = []
    for index in range(WARM_UP + STEPS):
        start = time.perf_counter()
        function()
        if index >= WARM_UP:
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def measure(python, side):
    """One process of a side: ``{"train_ms": ..., "infer_ms": ...}``."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, __file__, "--side", side]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(output.stdout.splitlines()[-1])


def processor():
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main():
    """Runs both sides in turn, or one side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pytorch-python", default=sys.executable, help="Python that has PyTorch")
    parser.add_argument("--golden", help="recorded features that prove the PyTorch side")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == "check":
        from restormer_pytorch import check

        print(json.dumps({"difference": check(options.golden)}))
        return
    if options.side == "operations":
        print(json.dumps(operations()))
        return
    if options.side:
        train, infer = {"keras": keras_side, "pytorch": pytorch_side}[options.side]()
        print(json.dumps({"train_ms": milliseconds(train), "infer_ms": milliseconds(infer)}))
        return

    report = {"processor": processor(), "cores": os.cpu_count(), "batch": BATCH, "patch": PATCH}
    if options.golden:
        command = [options.pytorch_python, __file__, "--side", "check", "--golden", options.golden]
        checked = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        report["largest_difference_to_golden"] = checked["difference"]
        if checked["difference"] > GOLDEN_TOLERANCE:
            sys.exit(f"the PyTorch side is not Restormer: {checked['difference']:g} from golden")
    sides = {"keras": sys.executable, "pytorch": options.pytorch_python}
    rounds = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, python in sides.items():
            rounds[side].append(measure(python, side))
            print(side, rounds[side][-1], flush=True)
    for what in ("train_ms", "infer_ms"):
        medians = {s: statistics.median(r[what] for r in rounds[s]) for s in sides}
        report[what] = {**medians, "pytorch / keras": medians["pytorch"] / medians["keras"]}
    report["rounds"] = rounds
    report["train_ms_by_operation"] = measure(sys.executable, "operations")
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({what: report[what] for what in ("train_ms", "infer_ms")}, indent=2))


if __name__ == "__main__":
    main()
