"""The photographs that ship with scikit-image, so that everything runs without a download.

Licences, from scikit-image's documentation of :mod:`skimage.data`:

==========  ======================================================================
astronaut   Eileen Collins, NASA; public domain
chelsea     a cat, by Stefan van der Walt; CC0
coffee      a cup of espresso, by Rachel Michetti; CC0
rocket      SpaceX launch, by SpaceX; CC0
==========  ======================================================================

Training and validation photographs are disjoint. Two photographs are little to train on, so the
training set is completed with dead leaves: procedural images of overlapping discs, whose edges and
scale statistics are those of natural images (Lee, Mumford and Huang, "Occlusion models for natural
images", IJCV 2001; a good training source by Baradad et al., NeurIPS 2021).
"""

import functools

import numpy as np

TRAINING_PHOTOS = ("astronaut", "coffee")
VALIDATION_PHOTOS = ("chelsea", "rocket")


def training_photos(dead_leaves: int = 16, size: int = 256) -> dict[str, np.ndarray]:
    """The embedded training images, read-only.

    Args:
        dead_leaves: How many procedural images to add.
        size: Their height and width in pixels.

    Returns:
        A dict of name to uint8 array ``(height, width, 3)``.
    """
    images = {name: _photo(name) for name in TRAINING_PHOTOS}
    for seed in range(dead_leaves):
        images[f"dead_leaves_{seed:02d}"] = _embedded_leaves(size, seed)
    return images


def validation_photos() -> dict[str, np.ndarray]:
    """The embedded validation photographs: name to uint8 ``(height, width, 3)``, read-only."""
    return {name: _photo(name) for name in VALIDATION_PHOTOS}


@functools.cache
def _photo(name):
    from skimage import data

    return _read_only(np.ascontiguousarray(getattr(data, name)()[..., :3]))


# An image takes a tenth of a second; training and calibration ask for the same ones.
@functools.lru_cache(maxsize=64)
def _embedded_leaves(size, seed):
    palette = np.concatenate([_photo(name).reshape(-1, 3) for name in TRAINING_PHOTOS])
    return _read_only(dead_leaves_image(size, seed, palette))


def _read_only(image):
    image.setflags(write=False)
    return image


def dead_leaves_image(size: int, seed: int, palette: np.ndarray) -> np.ndarray:
    """A dead-leaves image: overlapping discs of random place, radius and colour.

    Radii follow the density ``r^-3`` between 3 pixels and a half of the image, which makes the
    image statistically alike at every scale. Discs carry a linear shading and a fine grain.

    Args:
        size: Height and width in pixels.
        seed: Same seed, same image.
        palette: uint8 ``(colours, 3)``, from which each disc draws its colour.

    Returns:
        uint8 array ``(size, size, 3)``.
    """
    generator = np.random.default_rng(seed)
    smallest, largest = 3.0, size / 2
    image = np.zeros((size, size, 3), np.float32)
    covered = np.zeros((size, size), bool)
    place = np.arange(size, dtype=np.float32)
    # From the front to the back, until nothing of the background shows.
    while not covered.all():
        uniform = generator.uniform()
        radius = 1 / np.sqrt(uniform / smallest**2 + (1 - uniform) / largest**2)
        centre_y, centre_x = generator.uniform(-radius, size + radius, 2)
        colour = palette[generator.integers(len(palette))] / 255
        shading = generator.normal(0, 0.15, 2) / max(radius, 8)
        grain = abs(generator.normal(0, 0.02))
        top, bottom = max(0, int(centre_y - radius)), min(size, int(centre_y + radius) + 2)
        left, right = max(0, int(centre_x - radius)), min(size, int(centre_x + radius) + 2)
        box = np.s_[top:bottom, left:right]
        if covered[box].all():
            continue
        dy, dx = place[top:bottom, None] - centre_y, place[None, left:right] - centre_x
        disc = (dy**2 + dx**2 <= radius**2) & ~covered[box]
        if not disc.any():
            continue
        shade = dy * shading[0] + dx * shading[1] + generator.normal(0, grain, disc.shape)
        image[box][disc] = (colour + shade[..., None])[disc]
        covered[box] |= disc
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
