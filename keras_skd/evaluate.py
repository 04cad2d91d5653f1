"""``python -m keras_skd.evaluate``: PSNR and SSIM of a model on a data set."""

from __future__ import annotations

import argparse
import math
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd.errors import FailedCheckError, InputError
from keras_skd.files import replaced, write_csv, write_json
from keras_skd.tasks import CHANNELS, NOISES, TASK_NAMES, Task, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import keras
    import numpy as np

    from keras_skd.data import ImagePairs, Pair
    from keras_skd.hints import Row
    from keras_skd.runners import Runner

_SHEET = 4  # images at each end of the contact sheet
_CROP = 192  # pixels of each picture on it
_SMALLEST = 11  # pixels of a side: the window of SSIM


def evaluate(
    model: Runner | keras.Model,
    pairs: ImagePairs,
    channel: str = "rgb",
    *,
    tile: int | None = None,
    on_image: Callable[[Row, Pair, np.ndarray], object] | None = None,
) -> list[Row]:
    """Measures a model on images.

    Args:
        model: A :class:`~keras_skd.runners.Runner` or a Keras model.
        pairs: A :class:`~keras_skd.data.ImagePairs`.
        channel: ``rgb`` or ``y``; a task's convention is :attr:`keras_skd.tasks.Task.channel`.
        tile: Side of the tiles in pixels; None gives a model of any size each image whole. A model
            of fixed size is tiled in any case.
        on_image: Called with each row as it is ready, and the :class:`~keras_skd.data.Pair` and the
            restored image, float32 ``(height, width, channels)``.

    Returns:
        A list of dicts: ``image``, ``height``, ``width``, ``input_psnr``, ``psnr``, ``ssim`` (dB;
        of 8-bit images) and ``seconds`` of the model, without the time to compile it.

    Raises:
        InputError: An image cannot be decoded or is smaller than 11x11 pixels, or a pair differs in
            size.
        FailedCheckError: The model gives values that are not numbers.
    """
    import numpy as np

    from keras_skd.metrics import psnr, ssim
    from keras_skd.runners import as_runner
    from keras_skd.tiling import TILE, restore_tiled, tile_runner

    runner = as_runner(model)
    if runner.size or tile is not None:
        runner = tile_runner(runner, tile or TILE)
    _compile(runner)
    rows = []
    for pair in pairs:
        height, width, _ = pair.clean.shape
        if min(height, width) < _SMALLEST:
            raise InputError(
                f"{pair.name}: {width}x{height} pixels; SSIM needs at least "
                f"{_SMALLEST}x{_SMALLEST}."
            )
        start = time.perf_counter()
        try:
            restored = (restore_tiled if runner.size else _whole)(runner, pair.degraded)
        except FailedCheckError as error:
            raise FailedCheckError(f"{pair.name}: {error}") from None
        seconds = time.perf_counter() - start
        if not np.isfinite(restored).all():
            raise FailedCheckError(
                f"{pair.name}: the model's output holds values that are not numbers (NaN); the "
                "model is broken or overflows."
            )
        shown, clean = _rgb(restored.clip(0, 1)), _rgb(pair.clean)
        rows.append(
            {
                "image": pair.name,
                "height": height,
                "width": width,
                "input_psnr": _input_psnr(pair, channel),
                "psnr": psnr(shown, clean, channel),
                "ssim": ssim(shown, clean, channel),
                "seconds": round(seconds, 4),
            }
        )
        if on_image:
            on_image(rows[-1], pair, restored)
    return rows


def _whole(runner, image):
    return runner(image)


def _compile(runner):
    """Runs the model once, so that no image's seconds hold the time to trace and compile it."""
    import numpy as np

    height, width = runner.size or (64, 64)
    runner(np.zeros((height, width, runner.channels), np.float32))


def _input_psnr(pair, channel):
    """Of noise that was not clipped too, so that its level is what it says: 20.17 dB at 25."""
    import numpy as np

    from keras_skd.metrics import psnr

    if pair.degraded.min() < 0 or pair.degraded.max() > 1:
        error = np.mean(np.square(pair.degraded - pair.clean, dtype=np.float64))
        return float(-10 * np.log10(error))
    return psnr(_rgb(pair.degraded), _rgb(pair.clean), channel)


def _rgb(image):
    """A grey image ``(height, width, 1)`` as one of three equal channels."""
    return image if image.shape[2] == 3 else image.repeat(3, axis=2)


def convention(channel: str) -> str:
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

    def add(self, row, pair, restored):
        entry = (row["psnr"], _caption(row), _strip(pair.degraded, restored, pair.clean))
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
    return np.concatenate(
        [to_uint8(_rgb(image[box])) for image in (degraded, restored, target)], axis=1
    )


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.evaluate",
        description="PSNR and SSIM of a model on a data set.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    result.add_argument("model", metavar="MODEL", help="preset, .keras or .tflite file")
    result.add_argument(
        "--task",
        choices=TASK_NAMES,
        help="needed where the model's file does not say it; derain measures Y, others RGB",
    )
    result.add_argument(
        "--data",
        metavar="DIR",
        required=True,
        help="a data set as it is unpacked, clean photos, or input/ and target/",
    )
    result.add_argument(
        "--sigma",
        metavar="LEVEL",
        help="denoise: Gaussian noise that is added to clean photos, in 8-bit units; without it "
        "the middle of what the model was trained for, or 25",
    )
    result.add_argument(
        "--noise", choices=NOISES, help="denoise: its kind; without it the model's, or gaussian"
    )
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
    result.add_argument(
        "--submission",
        metavar="FILE",
        help="of SIDD's benchmark (NAME.mat or NAME.csv) or DND (a folder): write what the "
        "authors' server takes, instead of measuring",
    )
    result.add_argument(
        "--untrained", action="store_true", help="take a preset without weights, with random ones"
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors
    from keras_skd.quiet import import_tensorflow

    options = parser().parse_args(arguments)
    with reported_errors("keras_skd.evaluate"):
        if options.save_images and not options.output:
            raise InputError("--save-images needs --output, the folder to write them to.")
        import_tensorflow()
        if options.submission:
            print(_submit(options))
        else:
            print(_table(*_evaluate(options)))
    return 0


def _submit(options):
    """Restores a benchmark without ground truth and writes what its server takes."""
    from keras_skd.data import check_submission, find_submission, write_submission
    from keras_skd.tiling import restore_tiled

    for name in ("noise", "sigma", "channel", "output", "save_images"):
        if getattr(options, name):
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} does nothing with --submission; leave it out.")
    data = find_submission(options.data)
    check_submission(options.submission, data)
    runner = _load(options)
    resolved(Task.from_metadata(runner.metadata), options.task or data.task, source=options.model)
    restore = partial(restore_tiled if runner.size else _whole, runner)
    return write_submission(options.submission, data, restore, method=Path(options.model).stem)


def _load(options):
    from keras_skd.runners import load_runner
    from keras_skd.tiling import TILE, tile_runner

    runner = load_runner(options.model, options.untrained)
    if options.tile is None and not runner.size:
        return runner
    return tile_runner(runner, TILE if options.tile is None else options.tile)


def _evaluate(options):
    """Checks everything, then measures and writes; returns the summary and the rows."""
    from tqdm import tqdm

    from keras_skd.data import ImagePairs, find_groups, write_png
    from keras_skd.files import output_folder

    runner = _load(options)
    task = resolved(
        Task.from_metadata(runner.metadata),
        options.task,
        options.noise,
        options.sigma,
        options.model,
    )
    groups = find_groups(options.data, task.name, "test", report=print)
    if len(groups[0]) == 2 and (options.noise or options.sigma):
        raise InputError(
            f"{options.data} holds pairs, which bring their own noise; leave out --noise and "
            "--sigma."
        )
    task, degradation = task.for_groups(groups)
    if degradation is not None:
        degradation = degradation.fixed()
    pairs = ImagePairs(groups, degradation, options.seed, runner.channels)
    pairs.check_sizes(_SMALLEST)
    channel = options.channel or task.channel
    sheet = _ContactSheet()
    with (
        output_folder(options.output) if options.output else nullcontext() as folder,
        tqdm(total=len(groups), unit="image", disable=None, leave=False) as bar,
    ):
        images = folder / "images" if options.save_images else None
        if images is not None:
            images.mkdir(exist_ok=True)

        def show(row, pair, restored):
            name = row["image"]
            tqdm.write(f"{name[-32:]:<32} {row['psnr']:7.3f} dB  {row['ssim']:.4f}")
            sys.stdout.flush()
            if images is not None:
                write_png(images / f"{Path(name).stem}.png", restored)
            if folder is not None:
                sheet.add(row, pair, restored)
            bar.update()

        rows = evaluate(runner, pairs, channel, on_image=show)
        summary = {
            "model": options.model,
            "metadata": runner.metadata,
            **task.as_dict(),
            "data": options.data,
            "channel": channel,
            "convention": convention(channel),
            "images": len(rows),
            "tile": runner.size and list(runner.size),
            **({} if degradation is None else {"seed": options.seed}),
            **{
                name: sum(row[name] for row in rows) / len(rows)
                for name in ("input_psnr", "psnr", "ssim", "seconds")
            },
        }
        if folder is not None:
            write_json(folder / "scores.json", {**summary, "scores": rows})
            write_csv(folder / "scores.csv", rows)
            with replaced(folder / "contact_sheet.png") as path:
                sheet.save(path)
    return summary, rows


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
