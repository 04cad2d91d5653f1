"""The ``tf.data`` pipeline: from decoded images to batches of pairs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_skd.data.pairs import ImagePairs, make_pairs
from keras_skd.data.store import ImageStore
from keras_skd.errors import InputError
from keras_skd.hints import Degradation, Tensor
from keras_skd.tiling import reflected


def training_batches(
    store: ImageStore,
    *,
    patch_size: int,
    batch_size: int,
    steps: int,
    degradation: Degradation | None = None,
    seed: int = 0,
    first_step: int = 0,
    channels: int = 3,
) -> tf.data.Dataset:
    """Batches of random, flipped and rotated patches.

    Batch ``i`` depends on ``(seed, i)`` alone, so a resumed run sees exactly the batches that an
    uninterrupted one would have seen.

    A store of pairs and of clean images gives mixed batches: clean patches are degraded, and those
    of pairs are as they were recorded. :meth:`ImageStore.mixed
    <keras_skd.data.store.ImageStore.mixed>` says how many of each.

    Args:
        store: An :class:`~keras_skd.data.store.ImageStore`, of pairs, of clean images or of both.
        patch_size: Height and width in pixels.
        batch_size: Patches in a batch.
        steps: Number of the last batch, plus one.
        degradation: Makes the input from a clean batch and a seed; None for a store of pairs alone.
        seed: Seed of the run.
        first_step: Number of the first batch.
        channels: 3, or 1 for grey images.

    Returns:
        A dataset of ``steps - first_step`` pairs ``(degraded, clean)``, float32
        ``(batch_size, patch_size, patch_size, channels)``; clean is in 0..1.

    Raises:
        InputError: Clean images without a degradation, or pairs alone with one.
    """
    if (degradation is None) != (store.kinds == {2}):
        raise InputError("clean images need a degradation, and pairs take none.")
    # What lies around a patch blurs into it, so patches are cut with it.
    margin = 0 if degradation is None else degradation.margin
    size = patch_size + 2 * margin
    mixed = len(store.kinds) > 1

    def sample(step):
        generator = np.random.default_rng((seed, int(step)))
        patches = [_random_patch(store, patch_size, margin, generator) for _ in range(batch_size)]
        recorded = np.array([len(patch) == 2 for patch in patches])
        if mixed:
            patches = [patch if len(patch) == 2 else np.repeat(patch, 2, 0) for patch in patches]
        return np.stack(patches), recorded  # (batch, images of a group, size, size, 3)

    def pair(step):
        images, recorded = tf.numpy_function(sample, [step], (tf.uint8, tf.bool), stateful=False)
        images.set_shape((batch_size, max(store.kinds), size, size, 3))
        recorded.set_shape((batch_size,))
        seeds = tf.stack([tf.cast(seed, tf.int64), step])
        return make_pairs(
            images,
            degradation,
            seeds,
            channels=channels,
            margin=margin,
            recorded=recorded if mixed else None,
        )

    return ahead(pair, first_step, steps)


def ahead(batch: Callable[[Tensor], Any], first_step: int, steps: int) -> tf.data.Dataset:
    """Batches made in order, two at a time and a few before they are needed.

    Args:
        batch: From a number to a batch.
        first_step: Number of the first batch.
        steps: Number of the last batch, plus one.
    """
    numbers = tf.data.Dataset.range(first_step, steps)
    batches = numbers.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
    # There is nothing left to tune, and whoever ends a pass waits for the tuner, which sleeps up to
    # a minute between two looks.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _random_patch(store, patch_size, margin, generator):
    index = store.draw(generator)
    height, width, _ = store.shape(index)
    top = generator.integers(height - patch_size + 1)
    left = generator.integers(width - patch_size + 1)
    turns, flip = generator.integers(4), generator.integers(2)
    # Only at the image's border is the margin not of the photograph, but its mirror image.
    rows, columns = (
        reflected(np.arange(start - margin, start + patch_size + margin), length)
        for start, length in ((top, height), (left, width))
    )
    first, last = rows.min(), rows.max() + 1
    patches = []
    for band in store.rows(index, first, last):
        patch = np.rot90(band[rows - first][:, columns], turns)
        patches.append(patch[:, ::-1] if flip else patch)
    return np.stack(patches)


def validation_batches(
    groups: Sequence[tuple[np.ndarray, ...]],
    degradation: Degradation | None = None,
    *,
    crop: int = 256,
    seed: int = 0,
    channels: int = 3,
) -> tf.data.Dataset:
    """Fixed validation pairs: the centre of every image, with noise that never changes.

    Args:
        groups: Groups of uint8 arrays, as an :class:`~keras_skd.data.store.ImageStore` gives them.
        degradation: As in :func:`training_batches`.
        crop: Greatest height and width in pixels; smaller where an image is smaller, and always a
            multiple of 8.
        seed: Seed of the noise.
        channels: 3, or 1 for grey images.

    Returns:
        A dataset of ``(degraded, clean)``, batch 1, float32 ``(1, size, size, channels)``.
    """
    side = min(crop, *(min(group[0].shape[:2]) for group in groups))
    side = max(8, side // 8 * 8)
    crops = [tuple(_centre(image, side) for image in group) for group in groups]
    pairs = list(ImagePairs(crops, degradation, seed, channels))
    inputs = np.stack([pair.degraded for pair in pairs])
    targets = np.stack([pair.clean for pair in pairs])
    return tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(1)


def _centre(image, side):
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]
