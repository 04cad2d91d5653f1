"""Real image tiles, degraded as in the task: to calibrate int8 and to verify every scheme."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.errors import InputError

if TYPE_CHECKING:
    from keras_skd.hints import PathLike
    from keras_skd.tasks import Task

CALIBRATION_TILES = 32
VERIFICATION_TILES = 8
LEAST_LEAVES = 8  # of the embedded calibration tiles: contrasts that two photographs lack


@dataclass(frozen=True)
class Tiles:
    """Tiles of one task.

    Attributes:
        calibration: float32 ``(32, tile, tile, 3)``, degraded.
        calibration_clean: Their targets, float32, 0..1.
        degraded: float32 ``(8, tile, tile, 3)``: those that verify.
        clean: Their targets, float32, 0..1.
        source: Where the images come from.
    """

    calibration: np.ndarray
    calibration_clean: np.ndarray
    degraded: np.ndarray
    clean: np.ndarray
    source: str

    def as_bytes(self) -> Tiles:
        """The same as images of bytes hold them: cut to 0..1, in steps of 1/255."""
        from keras_skd.data import to_uint8

        def rounded(images):
            return to_uint8(images) / np.float32(255)

        return replace(self, calibration=rounded(self.calibration), degraded=rounded(self.degraded))


def load_tiles(
    tile: int, task: Task, folder: PathLike | None = None, seed: int = 0, channels: int = 3
) -> Tiles:
    """Cuts tiles for calibration and verification.

    Images are cut on a grid whose tiles overlap by half or less; which of the tiles are taken is
    drawn with ``seed``. Those that verify take no part in calibration unless there are fewer than
    40 in all.

    Args:
        tile: Height and width in pixels.
        task: The :class:`~keras_skd.tasks.Task`: what is added to clean photographs.
        folder: Anything that :func:`keras_skd.data.find_groups` recognises: clean photographs, or
            pairs in ``input/`` and ``target/``; None for the embedded photographs, where the ones
            that verify are never trained on.
        seed: Of the choice of tiles and of the degradation.
        channels: Of the student's images, 3 or 1.

    Returns:
        A :class:`Tiles`.

    Raises:
        MissingFileError: There is no such folder.
        InputError: Too few tiles, an image of one colour, an image that cannot be decoded, or pairs
            that do not match.
    """
    from keras_skd.data import find_groups, make_pairs

    generator = np.random.default_rng(seed)
    if folder is None:
        calibration, verification = _embedded(tile, generator)
        source = "embedded photographs"
    else:
        groups = find_groups(folder, task.name, "train")
        places = _places(groups, tile)
        if len(places) < CALIBRATION_TILES:
            raise InputError(
                f"{folder}: {len(groups)} images give {len(places)} tiles of {tile}x{tile}; "
                f"calibration needs at least {CALIBRATION_TILES}. Add images or choose a smaller "
                "tile."
            )
        generator.shuffle(places)
        verification = places[:VERIFICATION_TILES]
        held_out = len(places) >= CALIBRATION_TILES + VERIFICATION_TILES
        calibration = places[VERIFICATION_TILES:] if held_out else places
        source = str(folder)
    generator.shuffle(calibration)
    generator.shuffle(verification)
    _, degradation = task.for_groups([place.group for place in calibration])

    def pairs(places, seeds):
        images = _decoded(places, tile)
        return (side.numpy() for side in make_pairs(images, degradation, seeds, channels=channels))

    return Tiles(
        *pairs(calibration[:CALIBRATION_TILES], (seed, 1)),
        *pairs(verification[:VERIFICATION_TILES], (seed, 2)),
        source,
    )


@dataclass(frozen=True)
class _Place:
    """Where a tile lies.

    Attributes:
        group: ``(clean,)`` or ``(input, target)``, not decoded.
        top: First row.
        left: First column.
    """

    group: tuple
    top: int
    left: int


def _embedded(tile, generator):
    from keras_skd.data import training_photos, validation_photos

    # Dead leaves of the tile's size, so that a tile larger than the photographs has enough too.
    images = training_photos(dead_leaves=CALIBRATION_TILES, size=max(256, tile))
    leaves = [name for name in images if name.startswith("dead_leaves")]
    photos = _places([(image,) for name, image in images.items() if name not in leaves], tile)
    # They are rougher than photographs, and int8 costs smooth images more: no more than needed.
    generator.shuffle(photos)
    photos = photos[: CALIBRATION_TILES - LEAST_LEAVES]
    calibration = photos + _places([(images[name],) for name in leaves], tile)
    calibration = calibration[:CALIBRATION_TILES]
    verification = _places([(photo,) for photo in validation_photos().values()], tile)
    if len(verification) < VERIFICATION_TILES:
        verification += calibration[-VERIFICATION_TILES:]
    return calibration, verification


def _places(groups, tile):
    """All tiles on the grid, as :class:`_Place`; sizes are read from the heads of the files."""
    from keras_skd.data.pairs import size_of

    places = []
    for group in groups:
        sizes = [size_of(source) for source in group]
        if sizes[0] != sizes[-1]:
            raise InputError(f"{group[0]} and {group[-1]} are a pair but differ in size.")
        rows, columns = (
            np.linspace(0, size - tile, -(-2 * size // tile) - 1).round().astype(int)
            if size >= tile
            else ()
            for size in sizes[0]
        )
        places += [_Place(group, top, left) for top in rows for left in columns]
    return places


def _decoded(places, tile):
    """The tiles' pixels, uint8 ``(tiles, images of a group, tile, tile, 3)``.

    Each image is decoded once, and no more than one group is held.
    """
    from keras_skd.data import load_image

    tiles = [None] * len(places)
    groups = {}
    for index, place in enumerate(places):
        groups.setdefault(id(place.group), []).append(index)
    for indices in groups.values():
        group = places[indices[0]].group
        images = [load_image(source) for source in group]
        for source, image in zip(group, images, strict=True):
            if image.min() == image.max():
                raise InputError(
                    f"{source}: an image of a single colour says nothing about activations; "
                    "remove it."
                )
        for index in indices:
            top, left = places[index].top, places[index].left
            tiles[index] = np.stack(
                [image[top : top + tile, left : left + tile] for image in images]
            )
    return np.stack(tiles)
