"""``python -m keras_skd.evaluate``: PSNR and SSIM of a model on a data set."""

import argparse
import csv
import json
import math
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from keras_skd.errors import InputError
from keras_skd.train import TASKS

_SHEET = 4  # images at each end of the contact sheet
_CROP = 192  # pixels of each picture on it


def evaluate(
    model,
    groups,
    task,
    sigma=25.0,
    seed=0,
    on_image=None,
    *,
    noise="gaussian",
    tile=None,
    channel=None,
):
    """Measures a model on images.

    Args:
        model: A Keras model, or a :class:`~keras_skd.tflite.TFLiteRunner`.
        groups: ``(clean,)``, to which the task's degradation is added, or ``(input, target)``, see
            :func:`keras_skd.data.find_groups`.
        task: ``denoise``, ``derain`` or ``deblur``; selects the degradation, and RGB or Y.
        sigma: Gaussian noise added to clean images for ``denoise``, in 8-bit units.
        seed: Seed of the degradation; image ``i`` gets that of ``(seed, i)``.
        on_image: Called with each row as it is ready, and the three images in 0..1: input,
            restored, target.
        noise: ``gaussian`` or ``camera``.
        tile: Side of the tiles in pixels; None gives a Keras model each image whole. A model of
            fixed size is tiled in any case.
        channel: ``rgb`` or ``y``; None for the task's convention,
            :data:`keras_skd.metrics.TASK_CHANNEL`.

    Returns:
        A list of dicts: ``image``, ``height``, ``width``, ``input_psnr``, ``psnr``, ``ssim`` (dB;
        of 8-bit images) and ``seconds`` of the model.

    Raises:
        ValueError: An image cannot be decoded or is smaller than 11x11 pixels, or a pair differs in
            size.
    """
    import numpy as np
    import tensorflow as tf

    from keras_skd.data import degradation_for, load_image
    from keras_skd.metrics import TASK_CHANNEL, psnr, ssim

    channel = channel or TASK_CHANNEL[task]
    degradation = degradation_for(task, groups, f"{sigma:g}", noise)
    degradation = None if degradation is None else degradation.fixed()
    gaussian = degradation is not None and task == "denoise" and noise == "gaussian"
    run = _whole_or_tiled(model, tile)
    rows = []
    for index, (group, name) in enumerate(zip(groups, image_names(groups), strict=True)):
        images = [load_image(source)[None] / np.float32(255) for source in group]
        target = images[-1]
        if images[0].shape != target.shape or min(target.shape[1:3]) < 11:
            sizes = " and ".join(f"{i.shape[2]}x{i.shape[1]}" for i in images)
            raise InputError(
                f"{group[0]}: {sizes} pixels; images of a pair are of one size, at least 11x11."
            )
        degraded = images[0]
        if degradation is not None:
            degraded = degradation(target, tf.constant([seed, index])).numpy()
        start = time.perf_counter()
        restored = run(degraded[0])[None]
        seconds = time.perf_counter() - start
        if gaussian:
            # Not clipped, so that its level is what it says: 20.17 dB at sigma 25.
            input_psnr = float(-10 * np.log10(np.mean((degraded - target) ** 2) + 1e-12))
        else:
            input_psnr = psnr(degraded, target, channel)
        rows.append(
            {
                "image": name,
                "height": target.shape[1],
                "width": target.shape[2],
                "input_psnr": input_psnr,
                "psnr": psnr(restored, target, channel),
                "ssim": ssim(restored, target, channel),
                "seconds": round(seconds, 4),
            }
        )
        if on_image:
            on_image(rows[-1], degraded[0], restored[0], target[0])
    return rows


def _whole_or_tiled(model, tile):
    """The model as a function of one image ``(height, width, 3)``."""
    import tensorflow as tf

    from keras_skd.tiling import TILE, restore_tiled, tile_function

    fixed = hasattr(model, "size") or None not in model.input_shape[1:3]
    if fixed or tile is not None:
        tiles = tile_function(model, tile or TILE)
        return lambda image: restore_tiled(tiles, image)
    # One graph for all sizes: a new one for every size would cost more than running it.
    signature = [tf.TensorSpec((1, None, None, 3), tf.float32)]
    run = tf.function(lambda image: model(image, training=False), input_signature=signature)
    return lambda image: run(tf.constant(image[None])).numpy()[0]


def image_names(groups):
    """What the images are called in tables: file names, with their folders where those repeat."""
    from keras_skd.data.images import image_name

    names = [image_name(group[0]) for group in groups]
    if len(set(names)) < len(names) and all(isinstance(group[0], Path) for group in groups):
        names = ["_".join(group[0].parts[-3:]) for group in groups]
    return names


def convention(channel):
    """One line that says how PSNR and SSIM were computed, for tables and files."""
    values = {"rgb": "RGB", "y": "Y of MATLAB's rgb2ycbcr"}[channel]
    return (
        f"PSNR and SSIM of 8-bit {values}; SSIM with an 11x11 Gaussian window, sigma 1.5, valid "
        "region; means over images"
    )


class _ContactSheet:
    """The worst and the best images: input, restored and target where the error is greatest."""

    def __init__(self):
        self._worst, self._best = [], []  # (PSNR, caption, strip)

    def add(self, row, degraded, restored, target):
        entry = (row["psnr"], _caption(row), _strip(degraded, restored, target))
        for kept, sign in ((self._worst, 1), (self._best, -1)):
            kept.append(entry)
            kept.sort(key=lambda entry, sign=sign: sign * entry[0])
            del kept[_SHEET:]

    def save(self, path):
        import numpy as np
        from PIL import Image, ImageDraw

        captions = {entry[1] for entry in self._worst}
        best = [entry for entry in self._best if entry[1] not in captions]
        entries = [("worst", *entry) for entry in self._worst] + [("best", *e) for e in best]
        width = max(strip.shape[1] for *_, strip in entries)
        height = sum(strip.shape[0] + 18 for *_, strip in entries)
        sheet = Image.fromarray(np.full((height, width, 3), 255, np.uint8))
        draw, top = ImageDraw.Draw(sheet), 0
        for kind, _, caption, strip in entries:
            draw.text((2, top + 3), f"{kind}: {caption} (input, restored, target)", "black")
            sheet.paste(Image.fromarray(strip), (0, top + 18))
            top += strip.shape[0] + 18
        sheet.save(path, format="PNG")


def _caption(row):
    return f"{row['image']} {row['input_psnr']:.2f} -> {row['psnr']:.2f} dB, {row['ssim']:.4f}"


def _strip(degraded, restored, target):
    import numpy as np

    from keras_skd.data import to_uint8

    height, width, _ = target.shape
    error = ((to_uint8(restored) / 255.0 - target) ** 2).mean(axis=2)
    tops = range(0, max(1, height - _CROP + 1), _CROP // 2)
    lefts = range(0, max(1, width - _CROP + 1), _CROP // 2)
    top, left = max(
        ((top, left) for top in tops for left in lefts),
        key=lambda place: error[place[0] : place[0] + _CROP, place[1] : place[1] + _CROP].mean(),
    )
    box = np.s_[top : top + _CROP, left : left + _CROP]
    return np.concatenate([to_uint8(image[box]) for image in (degraded, restored, target)], axis=1)


def parser():
    """The command's arguments."""
    from keras_skd.data.degradations import NOISES
    from keras_skd.metrics import CHANNELS

    result = argparse.ArgumentParser(
        prog="python -m keras_skd.evaluate",
        description="PSNR and SSIM of a model on a data set.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    result.add_argument("model", metavar="MODEL", help="preset, .keras or .tflite file")
    result.add_argument(
        "--task", choices=TASKS, required=True, help="derain measures Y, others RGB"
    )
    result.add_argument(
        "--data",
        metavar="DIR",
        required=True,
        help="a data set as it is unpacked, clean photos, or input/ and target/",
    )
    result.add_argument("--sigma", type=float, default=25.0, help="denoise: noise, 8-bit units")
    result.add_argument("--noise", choices=NOISES, default=NOISES[0], help="denoise: its kind")
    result.add_argument("--seed", type=int, default=0, help="of noise, rain and blur")
    result.add_argument(
        "--channel", choices=CHANNELS, help="what is measured; without it the task's convention"
    )
    result.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="side of the tiles of a .keras model; without it each image is restored whole",
    )
    result.add_argument(
        "--output",
        metavar="DIR",
        help="write scores.csv, scores.json and contact_sheet.png (worst and best) there",
    )
    result.add_argument(
        "--save-images", action="store_true", help="write every restored image to DIR/images"
    )
    return result


def main(arguments=None):
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors
    from keras_skd.files import output_folder
    from keras_skd.quiet import import_tensorflow

    options = parser().parse_args(arguments)
    import_tensorflow()
    from tqdm import tqdm

    from keras_skd.data import GaussianNoise, find_groups, write_png
    from keras_skd.metrics import TASK_CHANNEL
    from keras_skd.restore import load_restorer

    with reported_errors("keras_skd.evaluate"):
        GaussianNoise(options.sigma, options.sigma)
        if options.save_images and not options.output:
            raise InputError("--save-images needs --output, the folder to write them to.")
        groups = find_groups(options.data, options.task, "test", report=print)
        model = load_restorer(options.model)
        sheet = _ContactSheet()
        with (
            output_folder(options.output) if options.output else nullcontext() as folder,
            tqdm(total=len(groups), unit="image", disable=None, leave=False) as bar,
        ):
            images = folder / "images" if options.save_images else None
            if images is not None:
                images.mkdir(exist_ok=True)

            def show(row, degraded, restored, target):
                name = row["image"]
                tqdm.write(f"{name[-32:]:<32} {row['psnr']:7.3f} dB  {row['ssim']:.4f}")
                sys.stdout.flush()
                if images is not None:
                    write_png(images / f"{Path(name).stem}.png", restored)
                if folder is not None:
                    sheet.add(row, degraded, restored, target)
                bar.update()

            rows = evaluate(
                model,
                groups,
                options.task,
                options.sigma,
                options.seed,
                show,
                noise=options.noise,
                tile=options.tile,
                channel=options.channel,
            )
            summary = _summary(options, model, groups, rows, TASK_CHANNEL[options.task])
            if folder is not None:
                _write(folder, summary, rows, sheet)
    print(_table(summary, rows))
    return 0


def _summary(options, model, groups, rows, usual_channel):
    channel = options.channel or usual_channel
    metadata = getattr(model, "metadata", None)
    clean = len(groups[0]) == 1
    made = {"seed": options.seed} if clean else {}
    if clean and options.task == "denoise":
        made["noise"] = options.noise
        if options.noise == "gaussian":
            made["sigma"] = options.sigma
    return {
        "model": options.model,
        **({"metadata": metadata} if metadata else {}),
        "task": options.task,
        "data": options.data,
        "channel": channel,
        "convention": convention(channel),
        "images": len(rows),
        "tile": list(model.size) if hasattr(model, "size") else options.tile,
        **made,
        **{
            name: sum(row[name] for row in rows) / len(rows)
            for name in ("input_psnr", "psnr", "ssim", "seconds")
        },
    }


def _write(folder, summary, rows, sheet):
    from keras_skd.files import replaced

    with replaced(folder / "scores.json") as path:
        path.write_text(json.dumps({**summary, "scores": rows}, indent=2) + "\n")
    with replaced(folder / "scores.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    with replaced(folder / "contact_sheet.png") as path:
        sheet.save(path)


def _table(summary, rows):
    spread = math.sqrt(sum((row["psnr"] - summary["psnr"]) ** 2 for row in rows) / len(rows))
    ordered = sorted(rows, key=lambda row: row["psnr"])
    lines = [
        f"{'mean of ' + str(len(rows)):<32} {summary['psnr']:7.3f} dB  {summary['ssim']:.4f}  "
        f"({summary['channel']}; input {summary['input_psnr']:.3f} dB)",
        f"{'spread over images':<32} {spread:7.3f} dB",
        *(
            f"{kind + ' ' + row['image'][-25:]:<32} {row['psnr']:7.3f} dB  {row['ssim']:.4f}"
            for kind, row in (("worst", ordered[0]), ("best", ordered[-1]))
        ),
        summary["convention"] + ".",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
