"""Any image size through a model of fixed size: overlapping tiles, blended without seams.

The algorithm, with its constants, is written down in ``docs/tiling.md``, so that other programs
(the Android app) give the same image.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.errors import FailedCheckError, InputError
from keras_skd.runners import as_runner

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras

    from keras_skd.runners import Runner

TILE = 256
# The tile's side over these, rounded down, is: the least overlap of neighbours; the part of it in
# which the two are cross-faded; and the band of reflected pixels beyond the image's border.
OVERLAP = 8
FADE = 16
MARGIN = 32


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in pixels of the image.

    Attributes:
        start: Where the tile's input starts; negative in the reflected margin.
        first: First pixel that the tile takes part in.
        last: One past the last.
        fade_in: Length of the cross-fade with the tile before, from ``first`` on.
        fade_out: Length of the cross-fade with the tile after, up to ``last``.
    """

    start: int
    first: int
    last: int
    fade_in: int
    fade_out: int


def spans(length: int, tile: int) -> list[Span]:
    """Places tiles along one axis.

    As few tiles as overlap by at least ``tile / 8``, spread evenly over the image and its margins,
    so that the overlap that remains is shared by all. Each cross-fade lies in the middle of its
    overlap: the outermost pixels of a tile, which know least of their surroundings, are not used.

    Args:
        length: Pixels of the image along the axis.
        tile: Pixels of the tile.

    Returns:
        A list of :class:`Span`, of increasing ``start``.
    """
    overlap, fade, margin = (tile // part for part in (OVERLAP, FADE, MARGIN))
    total = length + 2 * margin
    if length <= tile and total > tile:  # one tile does, with narrower margins
        total = tile
    count = max(1, -(-(total - overlap) // (tile - overlap)))
    if count == 1:
        return [Span(-((tile - length) // 2), 0, length, 0, 0)]
    starts = [i * (total - tile) // (count - 1) - margin for i in range(count)]
    # A fade between tiles i and i + 1 is centred in [start of i + 1, end of i).
    fades = [(after + before + tile - fade) // 2 for before, after in itertools.pairwise(starts)]
    firsts, lasts = [0, *fades], [*(start + fade for start in fades), length]
    return [
        Span(start, first, last, fade if index else 0, fade if index < count - 1 else 0)
        for index, (start, first, last) in enumerate(zip(starts, firsts, lasts, strict=True))
    ]


def restore_tiled(
    model: Runner | keras.Model,
    image: np.ndarray,
    tile: int = TILE,
    on_tile: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Runs a model over an image of any size, tile by tile.

    Memory beside the image and the result is that of one tile, its pass through the model, and the
    cross-fade with the row of tiles above: ``tile / 16`` rows of float32.

    Args:
        model: A :class:`~keras_skd.runners.Runner` or a Keras model; for many images, what
            :func:`tile_runner` returned for it.
        image: ``(height, width, channels)``, at least 1x1 pixels: uint8, uint16, or float in 0..1;
            of the model's channels.
        tile: Side of the tiles in pixels, a multiple of 8; ignored by a model of fixed size.
        on_tile: Called with ``(tiles done, tiles in all)`` after each tile.

    Returns:
        The restored image, of the same shape and dtype; integers are rounded and clipped, floats
        are float32 and are not.

    Raises:
        InputError: The image or the tile has another shape, the dtype is none of those, or the
            image holds NaN or infinite values.
        FailedCheckError: The model's output holds such values.
    """
    image = np.asarray(image)
    run = tile_runner(model, tile)
    if image.ndim != 3 or image.shape[2] != run.channels or image.size == 0:
        raise InputError(
            f"an image of shape (height, width, {run.channels}) is needed; got {image.shape}."
        )
    scale = _scale(image.dtype)
    if scale == 1 and not np.isfinite(image).all():
        raise InputError("the image holds values that are not numbers (NaN or infinite).")
    height, width, channels = image.shape
    rows, columns = spans(height, run.size[0]), spans(width, run.size[1])
    result = np.empty(image.shape, np.float32 if scale == 1 else image.dtype)
    above = None  # the upper row's share of the cross-fade: (fade, width, channels)
    for row_number, row in enumerate(rows):
        below = np.empty((row.fade_out, width, channels), np.float32)
        left = None  # the left tile's share: (rows, fade, channels)
        for column_number, column in enumerate(columns):
            patch = _patch(image, row, column, run.size).astype(np.float32) / np.float32(scale)
            part = np.array(run(patch)[_inside(row), _inside(column)], np.float32)
            if not np.isfinite(part).all():  # a cast to integers would make black pixels of it
                raise FailedCheckError(
                    "the model's output holds values that are not numbers (NaN or infinite), in "
                    f"the tile at row {row.first}, column {column.first}; the model is broken or "
                    "overflows."
                )

            # Across the columns: [first, last - fade_out) is complete, the rest waits.
            if column.fade_in:
                ramp = fade_in_weights(column.fade_in)[None, :, None]
                part[:, : column.fade_in] = left + ramp * part[:, : column.fade_in]
            complete = column.last - column.first - column.fade_out
            ramp = fade_in_weights(column.fade_out)[None, ::-1, None]
            left = ramp * part[:, complete:]
            part = part[:, :complete]
            place = np.s_[column.first : column.first + complete]

            # And then down the rows.
            if row.fade_in:
                ramp = fade_in_weights(row.fade_in)[:, None, None]
                part[: row.fade_in] = above[:, place] + ramp * part[: row.fade_in]
            complete = row.last - row.first - row.fade_out
            below[:, place] = fade_in_weights(row.fade_out)[::-1, None, None] * part[complete:]
            result[row.first : row.first + complete, place] = _stored(part[:complete], scale)
            if on_tile:
                done = row_number * len(columns) + column_number + 1
                on_tile(done, len(rows) * len(columns))
        above = below
    return result


def fade_in_weights(length: int) -> np.ndarray:
    """Weights of the later tile in a cross-fade, ``3 t^2 - 2 t^3`` at ``t = (i + 1/2) / length``.

    Reversed they are those of the earlier tile: the two sum to one in every pixel.
    """
    t = (np.arange(length, dtype=np.float32) + 0.5) / max(length, 1)
    return t * t * (3 - 2 * t)


def tile_runner(model: Runner | keras.Model, tile: int = TILE) -> Runner:
    """Prepares a model for many calls of :func:`restore_tiled`.

    Args:
        model: A :class:`~keras_skd.runners.Runner` or a Keras model.
        tile: Side of the tiles in pixels for a model of any size; one of fixed size has its own.

    Returns:
        A :class:`~keras_skd.runners.Runner` of fixed size.

    Raises:
        InputError: The tile is smaller than 16 pixels, or no multiple of 8.
    """
    runner = as_runner(model)
    height, width = runner.size or (tile, tile)
    if any(side < 16 or side % 8 for side in (height, width)):
        raise InputError(f"tiles must be multiples of 8 pixels, at least 16; got {width}x{height}.")
    return runner if runner.size else runner.with_size((height, width))


def _scale(dtype):
    if dtype in (np.uint8, np.uint16):
        return np.iinfo(dtype).max
    if np.issubdtype(dtype, np.floating):
        return 1
    raise InputError(f"images are uint8, uint16 or float in 0..1; got {dtype}.")


def _stored(part, scale):
    return part if scale == 1 else np.rint(np.clip(part, 0.0, 1.0) * scale)


def _inside(span):
    return slice(span.first - span.start, span.last - span.start)


def _patch(image, row, column, size):
    indices = [
        reflected(np.arange(span.start, span.start + side), length)
        for span, side, length in zip((row, column), size, image.shape[:2], strict=True)
    ]
    return image[np.ix_(*indices)]


def reflected(index: np.ndarray, length: int) -> np.ndarray:
    """Indices mirrored into ``0..length - 1`` about the centres of the border pixels.

    As NumPy's ``pad(mode="reflect")``, however far the index lies outside.
    """
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = np.abs(index) % period
    return np.minimum(index, period - index)
