"""``python -m keras_skd.evaluate``: PSNR and SSIM of a model on a folder of images."""

import argparse
import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path

from keras_skd.train import TASKS

# Which channels the papers of a task measure.
CHANNEL = {"denoise": "rgb", "derain": "y", "deblur": "rgb"}


def evaluate(model, groups, task, sigma=25.0, seed=0, on_image=None):
    """Measures a model on images, each whole.

    Args:
        model: Maps ``(1, height, width, 3)`` to the restored image.
        groups: ``(clean path,)`` or ``(input path, target path)``, see
            :func:`keras_skd.data.find_groups`.
        task: ``denoise``, ``derain`` or ``deblur``; selects RGB or Y.
        sigma: Noise added to clean images, in 8-bit units.
        seed: Seed of that noise; image ``i`` gets the noise of ``(seed, i)``.
        on_image: Called with each row as it is ready.

    Returns:
        A list of dicts: ``image``, ``input_psnr``, ``psnr``, ``ssim`` (dB; of 8-bit images).

    Raises:
        ValueError: An image cannot be decoded, or a pair differs in size.
    """
    import numpy as np
    import tensorflow as tf

    from keras_skd.data import GaussianNoise, read_image
    from keras_skd.metrics import psnr, ssim

    channel = CHANNEL[task]
    noise = GaussianNoise(sigma, sigma)
    # One graph for all sizes: a new one for every size would cost more than running it.
    signature = [tf.TensorSpec((1, None, None, 3), tf.float32)]
    run = tf.function(lambda image: model(image, training=False), input_signature=signature)
    rows = []
    for index, group in enumerate(groups):
        images = [read_image(path)[None] / np.float32(255) for path in group]
        target = images[-1]
        degraded = images[0] if len(images) == 2 else noise(target, tf.constant([seed, index]))
        restored = run(tf.constant(degraded)).numpy()
        rows.append(
            {
                "image": Path(group[0]).name,
                # Noise is not clipped, so that its level is what it says: 20.17 dB at sigma 25.
                "input_psnr": float(-10 * np.log10(np.mean((degraded - target) ** 2) + 1e-12)),
                "psnr": psnr(restored, target, channel),
                "ssim": ssim(restored, target, channel),
            }
        )
        if on_image:
            on_image(rows[-1])
    return rows


def parser():
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.evaluate",
        description="PSNR and SSIM of a model on a folder of images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    result.add_argument("model", metavar="MODEL", help="preset or .keras file")
    result.add_argument(
        "--task", choices=TASKS, required=True, help="derain measures Y, others RGB"
    )
    result.add_argument(
        "--data", metavar="DIR", required=True, help="clean photos (denoise), or input/ and target/"
    )
    result.add_argument("--sigma", type=float, default=25.0, help="denoise: noise, 8-bit units")
    result.add_argument("--seed", type=int, default=0, help="of the noise")
    result.add_argument("--output", metavar="DIR", help="write scores.csv and scores.json there")
    return result


def main(arguments=None):
    """Runs the command; returns the exit code."""
    from keras_skd.command import input_errors, output_folder, replaced
    from keras_skd.quiet import import_tensorflow

    options = parser().parse_args(arguments)
    import_tensorflow()
    from keras_skd.data import GaussianNoise, find_groups
    from keras_skd.models import load_model

    with input_errors("keras_skd.evaluate"):
        GaussianNoise(options.sigma, options.sigma)
        groups = find_groups(options.data, options.task)
        model = load_model(options.model)

        def show(row):
            print(f"{row['image']:<32} {row['psnr']:7.3f} dB  {row['ssim']:.4f}", flush=True)

        with output_folder(options.output) if options.output else nullcontext() as folder:
            rows = evaluate(model, groups, options.task, options.sigma, options.seed, show)
    means = {name: sum(r[name] for r in rows) / len(rows) for name in rows[0] if name != "image"}
    summary = {
        "model": options.model,
        "task": options.task,
        "channel": CHANNEL[options.task],
        "images": len(rows),
        **({"sigma": options.sigma, "seed": options.seed} if len(groups[0]) == 1 else {}),
        **means,
    }
    print(
        f"{'mean of ' + str(len(rows)):<32} {means['psnr']:7.3f} dB  {means['ssim']:.4f}  "
        f"({summary['channel']}; input {means['input_psnr']:.3f} dB)"
    )
    if folder is not None:
        with replaced(folder / "scores.json") as path:
            path.write_text(json.dumps({**summary, "scores": rows}, indent=2) + "\n")
        with replaced(folder / "scores.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
