"""How hard does each term pull? Gradients that the terms send into the student, by training step.

    python benchmarks/term_gradients.py --data DIR --teacher FILE_OR_PRESET

A term's value says nothing about its influence: the norm of its gradient with respect to the
student's weights, over that of the reconstruction loss, does; and the cosine between the two says
whether it pulls elsewhere. Trains a student by ``--method`` and measures both before the first step
and after every ``--every`` steps, on the same batch. Writes ``benchmarks/term_gradients.csv``.
Ratios are of unit weight: multiply by the weight (alpha2, ...) for what training sees.
"""

import argparse
import os
import sys
from pathlib import Path

from keras_skd.files import write_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Column to method, term and changes of the default configuration.
CASES = {
    "teacher_image": ("output", "teacher", {}),
    "kl": ("kl", "divergence", {}),
    "feature_l1": ("feature", "feature", {}),
    "affinity": ("fakd", "affinity", {}),
    "contrastive": ("skd", "contrastive", {}),
    "kernel_sigma_0.5": ("skd", "kernel", {"bandwidth": 0.5}),
    "kernel_sigma_1": ("skd", "kernel", {}),
    "kernel_sigma_2": ("skd", "kernel", {"bandwidth": 2.0}),
    "kernel_direct_only": ("skd", "kernel", {"alpha1": 0.0}),
    "kernel_lambda_1": ("skd", "kernel", {"temperature": 1.0}),
}


def gradients(distiller, term, batch):
    """Value of a term and its gradient for the student's weights, one vector."""
    import tensorflow as tf

    variables = distiller.student.trainable_variables

    @tf.function
    def run(degraded, clean):
        with tf.GradientTape() as tape:
            value = distiller.compute_terms(degraded, clean)[term]
        each = tape.gradient(value, [variable.value for variable in variables])
        parts = [
            tf.zeros(tf.size(variable)) if gradient is None else tf.reshape(gradient, [-1])
            for gradient, variable in zip(each, variables, strict=True)
        ]
        return value, tf.concat(parts, 0)

    return lambda: run(*batch)


def main(arguments=None):
    """Trains, measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="clean photographs")
    parser.add_argument("--teacher", default="restormer_denoise", help="preset or .keras file")
    parser.add_argument("--student", default="restormer_tiny", help="preset or .keras file")
    parser.add_argument("--method", default="skd", help="that the student is trained by")
    parser.add_argument("--sigma", default="25", help="noise, 8-bit units")
    parser.add_argument("--patch", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=4, help="patches")
    parser.add_argument("--images", type=int, default=40, help="photographs to read")
    parser.add_argument("--every", type=int, default=100, help="steps between measurements")
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    parser.add_argument("--terms", nargs="+", default=list(CASES), choices=CASES, metavar="TERM")
    options = parser.parse_args(arguments)

    import keras
    import numpy as np

    from keras_skd.data import GaussianNoise, ImageStore, find_groups, training_batches
    from keras_skd.distillation import Distiller, SKDConfig
    from keras_skd.models import load_model
    from keras_skd.tasks import sigma_range

    keras.utils.set_random_seed(0)
    store = ImageStore(find_groups(options.data, "denoise")[: options.images], options.patch)
    batches = training_batches(
        store,
        patch_size=options.patch,
        batch_size=options.batch,
        steps=options.steps + 1,
        degradation=GaussianNoise(*sigma_range(options.sigma)),
    )
    student, teacher = load_model(options.student), load_model(options.teacher)
    iterator = iter(batches)
    probe = next(iterator)
    distillers = {
        name: Distiller(student, teacher, method, SKDConfig(**changes))
        for name, (method, _, changes) in CASES.items()
        if name in options.terms
    }
    trained = Distiller(student, teacher, options.method)
    trained.compile(keras.optimizers.AdamW(1e-3, global_clipnorm=1.0))
    for distiller in distillers.values():
        if distiller.adapters and trained.adapters:
            distiller.adapters = trained.adapters  # or the features would pass random ones
    measures = {name: gradients(distillers[name], CASES[name][1], probe) for name in distillers}
    reconstruct = gradients(trained, "reconstruction", probe)
    rows = []
    for step in range(options.steps + 1):
        if step % options.every == 0:
            value, base = (each.numpy() for each in reconstruct())
            for name, measure in measures.items():
                term, gradient = (each.numpy() for each in measure())
                norms = np.linalg.norm(gradient), np.linalg.norm(base)
                row = {
                    "step": step,
                    "term": name,
                    "value": float(f"{term:.4g}"),
                    "gradient_over_reconstruction": float(f"{norms[0] / norms[1]:.4g}"),
                    "cosine": round(float(gradient @ base / (norms[0] * norms[1] + 1e-30)), 3),
                    "reconstruction": float(f"{value:.4g}"),
                }
                print(row, flush=True)
                rows.append(row)
        if step < options.steps:
            trained.train_on_batch(*next(iterator))
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
