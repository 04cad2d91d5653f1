"""Real image tiles, degraded as in the task: to calibrate int8 and to verify every scheme."""

from dataclasses import dataclass, replace

import numpy as np

from keras_skd.errors import InputError

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

    def as_bytes(self):
        """The same as images of bytes hold them: cut to 0..1, in steps of 1/255."""
        from keras_skd.data import to_uint8

        def rounded(images):
            return to_uint8(images) / np.float32(255)

        return replace(self, calibration=rounded(self.calibration), degraded=rounded(self.degraded))


def load_tiles(tile, folder=None, task="denoise", sigma=25.0, seed=0):
    """Cuts tiles for calibration and verification.

    Images are cut on a grid whose tiles overlap by half or less; which of the tiles are taken is
    drawn with ``seed``. Those that verify take no part in calibration unless there are fewer than
    40 in all.

    Args:
        tile: Height and width in pixels.
        folder: Anything that :func:`keras_skd.data.find_groups` recognises: clean photographs, or
            pairs in ``input/`` and ``target/``; None for the embedded photographs, where the ones
            that verify are never trained on.
        task: ``denoise``, ``derain`` or ``deblur``: what is added to clean photographs.
        sigma: Noise of ``denoise``, in 8-bit units: ``25`` or ``"0-50"``.
        seed: Of the choice of tiles and of the degradation.

    Returns:
        A :class:`Tiles`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Too few tiles, an image of one colour, an image that cannot be decoded, or pairs
            that do not match.
    """
    from keras_skd.data import degradation_for, find_groups

    generator = np.random.default_rng(seed)
    if folder is None:
        calibration, verification = _embedded(tile, generator)
        source = "embedded photographs"
    else:
        groups = [_read(group) for group in find_groups(folder, task)]
        tiles = _cut(groups, tile)
        if len(tiles) < CALIBRATION_TILES:
            raise InputError(
                f"{folder}: {len(groups)} images give {len(tiles)} tiles of {tile}x{tile}; "
                f"calibration needs at least {CALIBRATION_TILES}. Add images or choose a smaller "
                "tile."
            )
        generator.shuffle(tiles)
        verification = tiles[:VERIFICATION_TILES]
        held_out = len(tiles) >= CALIBRATION_TILES + VERIFICATION_TILES
        calibration = tiles[VERIFICATION_TILES:] if held_out else tiles
        source = str(folder)
    generator.shuffle(calibration)
    generator.shuffle(verification)
    degradation = degradation_for(task, calibration, str(sigma))
    calibration = _degrade(calibration[:CALIBRATION_TILES], degradation, (seed, 1))
    verification = _degrade(verification[:VERIFICATION_TILES], degradation, (seed, 2))
    return Tiles(*calibration, *verification, source)


def _embedded(tile, generator):
    from keras_skd.data import training_photos, validation_photos

    # Dead leaves of the tile's size, so that a tile larger than the photographs has enough too.
    images = training_photos(dead_leaves=CALIBRATION_TILES, size=max(256, tile))
    leaves = [name for name in images if name.startswith("dead_leaves")]
    photos = _cut([(image,) for name, image in images.items() if name not in leaves], tile)
    # They are rougher than photographs, and int8 costs smooth images more: no more than needed.
    generator.shuffle(photos)
    photos = photos[: CALIBRATION_TILES - LEAST_LEAVES]
    calibration = photos + _cut([(images[name],) for name in leaves], tile)
    calibration = calibration[:CALIBRATION_TILES]
    verification = _cut([(photo,) for photo in validation_photos().values()], tile)
    if len(verification) < VERIFICATION_TILES:
        verification += calibration[-VERIFICATION_TILES:]
    return calibration, verification


def _read(group):
    from keras_skd.data import load_image

    images = tuple(load_image(source) for source in group)
    for path, image in zip(group, images, strict=True):
        if image.min() == image.max():
            raise InputError(
                f"{path}: an image of a single colour says nothing about activations; remove it."
            )
        if image.shape != images[0].shape:
            raise InputError(f"{path} and {group[0]} are a pair but differ in size.")
    return images


def _cut(groups, tile):
    """All tiles on the grid: a list of groups, each ``(clean,)`` or ``(input, target)``."""
    tiles = []
    for group in groups:
        rows, columns = (
            np.linspace(0, size - tile, -(-2 * size // tile) - 1).round().astype(int)
            if size >= tile
            else ()
            for size in group[0].shape[:2]
        )
        tiles += [
            tuple(image[top : top + tile, left : left + tile] for image in group)
            for top in rows
            for left in columns
        ]
    return tiles


def _degrade(tiles, degradation, seed):
    images = [np.stack(side) / np.float32(255) for side in zip(*tiles, strict=True)]
    if degradation is None:
        return images[0], images[1]
    return degradation(images[0], np.asarray(seed)).numpy(), images[0]
