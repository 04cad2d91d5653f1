"""What does streaming save? Spatial cross-net attention against its direct form.

    python benchmarks/spatial_attention.py

Measures value and gradient of ``spatial_cross_attention`` for N positions of 48 channels, batch 1,
float32, against the direct form, which holds the ``N x N`` matrix. Writes
``benchmarks/spatial_attention.csv`` and prints the same table.

Memory is the peak resident size of a process of its own over what it held before the measured call,
after one call on a few positions. Time is the median of interleaved calls of both forms in one
process, so that other work on the machine meets both; compare the two, not the milliseconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from keras_skd.files import write_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

CHANNELS = 48
SIDES = (32, 64, 96, 128)  # N = side^2
FORMS = ("streamed", "direct")
CALLS = 9


def value_and_gradient(form):
    """A graph of attention and its gradient for the student, of one form."""
    import tensorflow as tf

    from keras_skd.distillation import losses

    def direct(student, teacher):
        shape = tf.shape(teacher)
        s, t = (tf.reshape(x, (shape[0], -1, CHANNELS)) for x in (student, teacher))
        logits = tf.matmul(
            tf.math.l2_normalize(t, -1) / 0.1, tf.math.l2_normalize(s, -1), transpose_b=True
        )
        return tf.reshape(tf.matmul(tf.nn.softmax(logits), s), shape)

    attention = {"streamed": losses.spatial_cross_attention, "direct": direct}[form]
    signature = [tf.TensorSpec((1, None, None, CHANNELS), tf.float32)] * 2

    @tf.function(input_signature=signature)
    def run(student, teacher):
        with tf.GradientTape() as tape:
            tape.watch(student)
            loss = tf.reduce_mean(tf.square(attention(student, teacher) - teacher))
        return loss, tape.gradient(loss, student)

    return run


def features(side):
    """Two random features of ``side x side`` positions."""
    import tensorflow as tf

    return [tf.random.stateless_normal((1, side, side, CHANNELS), (side, seed)) for seed in (0, 1)]


def peak_extra_bytes(form, side):
    """Peak memory of one call over what the process held before. Linux only."""
    run = value_and_gradient(form)
    run(*features(16))
    inputs = features(side)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    before = _status("VmHWM")
    run(*inputs)[0].numpy()
    return _status("VmHWM") - before


def _status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return 1024 * int(value.split()[0])
    raise OSError(f"/proc/self/status has no {field}")


def peak_extra_bytes_in_a_process(form, side):
    """:func:`peak_extra_bytes`, measured in a process that has done nothing else."""
    output = subprocess.run(
        [sys.executable, __file__, "--form", form, "--side", str(side)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(output)["peak_extra_bytes"]


def times(side, forms, calls=CALLS):
    """Seconds of each call by form, the forms taking turns."""
    runs = {form: value_and_gradient(form) for form in forms}
    inputs = features(side)
    for run in runs.values():
        run(*inputs)
    result = {form: [] for form in forms}
    for _ in range(calls):
        for form, run in runs.items():
            start = time.perf_counter()
            run(*inputs)[0].numpy()
            result[form].append(time.perf_counter() - start)
    return result


def main(arguments=None):
    """Measures one case (``--form --side``) or writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--form", choices=FORMS, help="measure only this form's memory")
    parser.add_argument("--side", type=int, default=SIDES[-1], help="N = side^2")
    options = parser.parse_args(arguments)
    if options.form:
        print(json.dumps({"peak_extra_bytes": peak_extra_bytes(options.form, options.side)}))
        return 0
    rows = []
    for side in SIDES:
        seconds = {form: statistics.median(each) for form, each in times(side, FORMS).items()}
        row = {"N": side**2, "channels": CHANNELS}
        for form in FORMS:
            row[f"{form}_peak_MB"] = round(peak_extra_bytes_in_a_process(form, side) / 1e6, 1)
        for form in FORMS:
            row[f"{form}_ms"] = round(1000 * seconds[form], 1)
        row["streamed_over_direct_time"] = round(seconds["streamed"] / seconds["direct"], 2)
        print(row, flush=True)
        rows.append(row)
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
