"""Tiles of 256 against one pass over the whole image, on photographs of 2000x1500.

    python -m benchmarks.data_tiling STUDENT PHOTO... [--sigma 25] --output FILE

STUDENT is a denoiser of any size (``.keras``). A photograph that is larger is cut from its centre,
a smaller one is first enlarged (Lanczos) until it covers 2000x1500; several small ones given as
``A+B+C`` are laid out as a mosaic. For each: PSNR against ground truth of both, the steps across
tile borders, the share of pixels computed twice and the share of processor time outside the model.
"""

import argparse
import json
import math
import time
import tracemalloc
from pathlib import Path

HEIGHT, WIDTH, TILE = 1500, 2000, 256


def photograph(text):
    """The image named on the command line as uint8 ``(1500, 2000, 3)``."""
    import numpy as np
    from PIL import Image

    from keras_skd.data import read_image

    images = [read_image(path) for path in text.split("+")]
    if len(images) > 1:
        height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
        columns = math.ceil(WIDTH / width)
        rows = math.ceil(HEIGHT / height)
        cut = [images[i % len(images)][:height, :width] for i in range(rows * columns)]
        strips = [np.concatenate(cut[r * columns : (r + 1) * columns], 1) for r in range(rows)]
        image = np.concatenate(strips, 0)
    else:
        image = images[0]
        scale = max(1, HEIGHT / image.shape[0], WIDTH / image.shape[1])
        size = (math.ceil(image.shape[1] * scale), math.ceil(image.shape[0] * scale))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
    return image[top : top + HEIGHT, left : left + WIDTH]


class Timed:
    """The model, the processor time spent in it, and what it returned."""

    def __init__(self, run):
        self.run, self.seconds, self.outputs = run, 0.0, []
        self.size, self.channels, self.metadata = run.size, run.channels, run.metadata

    def __call__(self, patch):
        start = time.process_time()
        result = self.run(patch)
        self.seconds += time.process_time() - start
        self.outputs.append(result)
        return result


def steps(image, places):
    """Largest mean step between neighbouring columns: at ``places``, and elsewhere."""
    import numpy as np

    profile = np.abs(np.diff(image, axis=1)).mean(axis=(0, 2))
    elsewhere = np.delete(profile, places)
    return float(profile[places].max()), float(elsewhere.max())


def hard_tiles(outputs):
    """The negative control: the same tiles, cut hard in the middle of the cross-fades."""
    import numpy as np

    from keras_skd.tiling import spans

    result = np.empty((HEIGHT, WIDTH, 3), np.float32)
    outputs = iter(outputs)
    for row in spans(HEIGHT, TILE):
        for column in spans(WIDTH, TILE):
            restored = next(outputs)
            place, source = [], []
            for span in (row, column):
                first, last = span.first + span.fade_in // 2, span.last - span.fade_out // 2
                place.append(slice(first, last))
                source.append(slice(first - span.start, last - span.start))
            result[tuple(place)] = restored[tuple(source)]
    return result


def measure(model, clean, sigma, seed):
    """Both restorations of one photograph; returns a dict."""
    import numpy as np
    import tensorflow as tf

    from keras_skd.data import GaussianNoise, to_uint8
    from keras_skd.metrics import psnr
    from keras_skd.tiling import restore_tiled, spans, tile_runner

    target = clean / np.float32(255)
    noisy = GaussianNoise(sigma, sigma)(target[None], tf.constant([seed, 0])).numpy()[0]
    whole = model(noisy[None], training=False).numpy()[0]
    timed = Timed(tile_runner(model, TILE))
    timed(noisy[:TILE, :TILE])  # compiled before it is timed
    timed.seconds, timed.outputs = 0.0, []
    start = time.process_time()
    tiled = restore_tiled(timed, noisy)
    total = time.process_time() - start
    columns = spans(WIDTH, TILE)
    cuts = np.array([span.first + span.fade_in // 2 - 1 for span in columns[1:]])
    fades = np.concatenate([np.arange(s.first - 1, s.first + s.fade_in) for s in columns[1:]])
    error = tiled - whole
    at_fades, inside = steps(tiled - target, fades)
    hard = hard_tiles(timed.outputs)
    hard_cut, _ = steps(hard - whole, cuts)
    fade_cut, _ = steps(error, fades)
    return {
        "psnr_whole": round(psnr(to_uint8(whole), target), 4),
        "psnr_tiled": round(psnr(to_uint8(tiled), target), 4),
        "largest_difference": round(float(np.abs(error).max()), 5),
        "step_at_fades": at_fades,
        "step_inside": inside,
        "difference_step_at_fades": fade_cut,
        "hard_cuts_difference_step_at_cuts": hard_cut,
        "outside_model": round(1 - timed.seconds / total, 4),
    }


def computed_twice():
    """Share of the image's pixels that more than one tile covers."""
    import numpy as np

    from keras_skd.tiling import spans

    counts = []
    for length in (HEIGHT, WIDTH):
        count = np.zeros(length, int)
        for span in spans(length, TILE):
            count[max(0, span.start) : span.start + TILE] += 1
        counts.append(count)
    return round(float(np.mean(counts[0][:, None] * counts[1][None] > 1)), 4)


def fifty_megapixels():
    """Memory of 50 MP beside the image and the result, with a model that only copies."""
    import numpy as np

    from keras_skd.tiling import restore_tiled

    class Copy:
        size = (TILE, TILE)

        def __call__(self, patch):
            return patch

    image = np.random.default_rng(0).integers(0, 256, (5774, 8660, 3), np.uint8)
    tracemalloc.start()
    start = time.process_time()
    restored = restore_tiled(Copy(), image)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(restored, image)
    return {
        "pixels": image.shape[0] * image.shape[1],
        "beside_image_and_result_mib": round((peak - restored.nbytes) / 2**20, 2),
        "seconds_outside_the_model": round(seconds, 1),
    }


def main():
    """Measures and writes the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("student")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sigma", type=float, default=25.0)
    parser.add_argument("--output", required=True, metavar="FILE", help="JSON")
    options = parser.parse_args()
    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    from keras_skd.models import load_model

    model = load_model(options.student)
    result = {"computed_twice": computed_twice(), "fifty_megapixels": fifty_megapixels()}
    print(result, flush=True)
    result["photographs"] = {}
    for seed, text in enumerate(options.photos):
        names = [Path(part).stem for part in text.split("+")]
        name = names[0] if len(names) == 1 else f"mosaic of {len(names)} from {names[0]}"
        row = measure(model, photograph(text), options.sigma, seed)
        result["photographs"][name] = row
        print(name, row, flush=True)
        # After each, so that an interrupted run keeps what it has.
        Path(options.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
