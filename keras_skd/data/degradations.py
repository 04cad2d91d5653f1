"""Degradations that make training pairs from clean photographs, inside ``tf.data``, seeded.

Each is called with a batch of clean images, float32 ``(batch, height, width, 3)`` of sRGB in 0..1,
and a seed of two integers; the same seed gives the same result. Each has ``fixed()``, what a model
is validated on, and ``margin``: the pixels beyond the border that reach into an image. With a
margin it has ``within_margin()`` too, for images that bring those pixels.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_skd.errors import InputError
from keras_skd.hints import Tensor


@dataclass(frozen=True)
class GaussianNoise:
    """Additive white Gaussian noise: ``degraded = clean + sigma / 255 * normal``, not clipped.

    Not clipped and not rounded, as in the papers on CBSD68 (Zhang et al., "Beyond a Gaussian
    denoiser", TIP 2017). Blind noise draws one sigma an image, uniformly.

    Attributes:
        sigma_min: Least standard deviation, in 8-bit units (0..255).
        sigma_max: Greatest; equal to ``sigma_min`` for noise of known level.
    """

    sigma_min: float
    sigma_max: float
    margin = 0

    def __post_init__(self) -> None:
        """Checks the range."""
        if not 0 <= self.sigma_min <= self.sigma_max <= 255:
            raise InputError(
                "sigma must be a level or a range within 0..255 in 8-bit units, such as 25 or "
                f"0-50; got {self.sigma_min:g}-{self.sigma_max:g}."
            )

    @property
    def middle(self) -> float:
        """The level at which a blind model is validated, in 8-bit units."""
        return (self.sigma_min + self.sigma_max) / 2

    def fixed(self) -> GaussianNoise:
        """Noise of the middle level alone."""
        return GaussianNoise(self.middle, self.middle)

    def __call__(self, clean: Tensor, seed: Tensor) -> Tensor:
        """Degrades a batch.

        Args:
            clean: float32 ``(batch, height, width, channels)`` in 0..1.
            seed: Two integers; the same seed gives the same noise.

        Returns:
            The noisy batch, float32, same shape, not clipped.
        """
        seeds = tf.random.split(seed, 2)
        shape = tf.shape(clean)
        sigma = (
            tf.random.stateless_uniform(
                (shape[0], 1, 1, 1), seeds[0], self.sigma_min, self.sigma_max
            )
            if self.sigma_max > self.sigma_min
            else self.sigma_max
        )
        return clean + sigma / 255.0 * tf.random.stateless_normal(shape, seeds[1])


@dataclass(frozen=True)
class CameraNoise:
    """Noise of a camera: made on the sensor in linear light, coloured by what the camera does next.

    A photograph is taken back to the sensor, noise falls on the pixels of a Bayer pattern, and goes
    through the camera's steps alone, so that the photograph itself is neither mosaicked nor
    blurred::

        linear   = to_linear(inverse_contrast(clean))
        sensor   = sqrt(shot * gain * linear + gain**2 * read) * normal  # of the pixel's own colour
        noise    = luma_filter(Y) + saturation * chroma_filter(RGB - Y)  # of demosaic(sensor)
        degraded = contrast(to_srgb(clip(linear + noise, 0, 1)))

    *Levels.* ``shot`` is the variance per unit of light, ``read`` that of darkness, with the
    sensor's saturation as 1: Foi et al. ("Practical Poissonian-Gaussian noise modeling and fitting
    for single-image raw-data", TIP 2008). The levels are those that Brooks et al. ("Unprocessing
    images for learned raw denoising", CVPR 2019) fitted to the cameras of DND: ``log(shot)``
    uniform, ``log(read)`` normal about ``2.18 log(shot) + 1.20`` with standard deviation 0.26.
    White balance multiplies red and blue, and so their noise.

    *Colour of the noise.* Bilinear demosaicing spreads each sample over its neighbours. A colour
    matrix raises chroma noise (``saturation``). Cameras then smooth chroma far more than luma,
    which leaves coloured blotches. Both filters are exponential smoothing, whose tails are as long
    as those of PolyU's noise: ``1 / (1 + (2 pi scale f)**2)`` at ``f`` cycles a pixel, or
    ``1 / (1 - ...)``, which sharpens, for a scale below 0.

    *Compared with PolyU* (Xu et al., "Real-world noisy image denoising: a new benchmark", 2018; 69
    pairs cut to 320x320, noise = input - target); percentiles over the pairs, and over four draws
    of this noise on each target. The ranges were chosen by it. ``std`` is a standard deviation:

    ========================= ================== ==================
    5 %, 50 %, 95 %           PolyU              this noise
    ========================= ================== ==================
    PSNR, RGB, dB             33.2, 36.5, 39.7   25.8, 36.5, 45.6
    luma, correlation, lag 1  0.41, 0.61, 0.70   0.44, 0.61, 0.76
    luma, lag 2               0.02, 0.22, 0.38   0.07, 0.17, 0.37
    luma, lag 4               0.04, 0.08, 0.22   -0.01, 0.00, 0.04
    B - Y, lag 1              0.85, 0.92, 0.95   0.55, 0.89, 0.95
    B - Y, lag 4              0.36, 0.56, 0.79   0.19, 0.53, 0.75
    correlation of R and G    0.48, 0.71, 0.86   0.05, 0.70, 0.93
    std of B - Y over Y's     0.47, 0.83, 1.20   0.38, 0.85, 2.02
    std below 0.1 over mean's 0.52, 0.74, 1.00   0.73, 0.95, 1.24
    ========================= ================== ==================

    What is left: PolyU's luma has a faint tail beyond lag 4, and its darkest tenth is quieter.

    Not modelled: JPEG, fixed patterns, denoising that follows edges.

    Attributes:
        shot_min: Least variance of shot noise, of a base ISO.
        shot_max: Greatest, of a high ISO.
        gain: Range of the white balance's gains of red and of blue, each drawn alone; green has 1.
        saturation: Range of the factor by which colour correction raises chroma.
        luma_blur: Range of the scale of the luma filter in pixels; 0 is no filter, and a negative
            scale divides where a positive one multiplies: it sharpens. At least -0.2.
        chroma_blur: Range of the scale of the chroma filter in pixels.
        contrast: Range of the contrast curve's strength; 0 is a straight line, 1 doubles the slope
            of the middle and halves that of black and white.
    """

    shot_min: float = 2e-4
    shot_max: float = 2e-2
    gain: tuple = (1.2, 2.5)
    saturation: tuple = (1.0, 3.0)
    luma_blur: tuple = (-0.2, 0.8)
    chroma_blur: tuple = (1.5, 8.0)
    contrast: tuple = (0.2, 1.0)
    margin = 0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not 0 < self.shot_min <= self.shot_max <= 1:
            raise InputError(
                "shot noise must be a range within 0..1 above 0 (variance per unit of light); got "
                f"{self.shot_min:g}-{self.shot_max:g}."
            )
        for name, low, high in _CAMERA_RANGES:
            first, last = getattr(self, name)
            if not low <= first <= last <= high:
                raise InputError(
                    f"the camera's {name} must be a range within {low}..{high}; got {first}-{last}."
                )

    def fixed(self) -> CameraNoise:
        """Noise of the middle of every range (of the logarithms for ``shot``)."""
        shot = math.sqrt(self.shot_min * self.shot_max)
        middles = {name: (sum(getattr(self, name)) / 2,) * 2 for name, *_ in _CAMERA_RANGES}
        return CameraNoise(shot, shot, **middles)

    def __call__(self, clean: Tensor, seed: Tensor) -> Tensor:
        """Degrades a batch; see the module for the arguments. The result is in 0..1.

        Grey images, of one channel, get the luma of the noise that a grey scene would have.
        """
        seeds = tf.random.split(seed, 3)
        shape = tf.shape(clean)
        batch = shape[0]
        uniform = tf.random.stateless_uniform((7, batch, 1, 1, 1), seeds[0])

        def drawn(name, number):
            low, high = getattr(self, name)
            return low + (high - low) * number

        low, high = math.log(self.shot_min), math.log(self.shot_max)
        log_shot = low + (high - low) * uniform[0]
        deviation = 0.26 * tf.random.stateless_normal((batch, 1, 1, 1), seeds[1])
        shot, read = tf.exp(log_shot), tf.exp(2.18 * log_shot + 1.20 + deviation)
        gains = (drawn("gain", uniform[1]), tf.ones_like(shot), drawn("gain", uniform[2]))
        strength = drawn("contrast", uniform[3])

        linear = to_linear(_contrast(clean, strength, inverse=True))
        # Each pixel of the sensor has one colour, so one plane of noise is drawn and not three.
        pattern = _bayer_pattern(shape[1], shape[2])
        grey = clean.shape[-1] == 1
        light = linear[..., 0] if grey else _at_colour(pattern, tf.unstack(linear, axis=-1))
        gain = _at_colour(pattern, [gain[..., 0] for gain in gains])
        variance = gain * (shot[..., 0] * light + gain * read[..., 0])
        noise = self._developed(
            tf.sqrt(variance) * tf.random.stateless_normal(shape[:3], seeds[2]),
            pattern,
            drawn("saturation", uniform[4]),
            drawn("luma_blur", uniform[5]),
            drawn("chroma_blur", uniform[6]),
        )
        if grey:
            noise = tf.reduce_sum(noise * _LUMA, axis=-1, keepdims=True)
        return _contrast(to_srgb(linear + noise), strength)

    @staticmethod
    def _developed(samples, pattern, saturation, luma_blur, chroma_blur):
        """The sensor's noise ``(batch, height, width)`` as noise of an image, by its spectra."""
        shape = tf.shape(samples)
        height, width = shape[1], shape[2]
        masks = tf.stack([tf.cast(pattern == colour, tf.float32) for colour in range(3)])
        colours = tf.signal.rfft2d(samples[:, None] * masks)  # (batch, 3, height, width // 2 + 1)
        rows, columns = (2 * math.pi * f for f in _frequencies(height, width))
        # Bilinear demosaicing: [1 2 1] / 2 along both axes for red and blue, and for green the mean
        # of the four neighbours beside the pixel's own.
        two, four = (1 + tf.cos(rows)) * (1 + tf.cos(columns)), tf.cos(rows) + tf.cos(columns)
        colours *= tf.cast(tf.stack([two, 1 + four / 2, two]), tf.complex64)
        luma = tf.reduce_sum(colours * np.reshape(_LUMA, (3, 1, 1)), axis=1, keepdims=True)
        square = rows * rows + columns * columns
        of_luma = 1 / (1 + luma_blur * tf.abs(luma_blur) * square)
        of_chroma = saturation / (1 + chroma_blur * chroma_blur * square)
        spectra = tf.cast(of_chroma, tf.complex64) * colours
        spectra += tf.cast(of_luma - of_chroma, tf.complex64) * luma
        noise = tf.signal.irfft2d(spectra, fft_length=(height, width))
        return tf.transpose(noise, (0, 2, 3, 1))


_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CAMERA_RANGES = (
    ("gain", 1, 10),
    ("saturation", 0, 10),
    ("luma_blur", -0.2, 100),
    ("chroma_blur", 0, 100),
    ("contrast", 0, 1),
)


def _bayer_pattern(height, width):
    """0 (red), 1 (green) or 2 (blue) for each pixel, ``(height, width)``."""
    return tf.range(height)[:, None] % 2 + tf.range(width)[None] % 2


def _at_colour(pattern, colours):
    """Of three values, that of each pixel's colour."""
    red, green, blue = colours
    return tf.where(pattern == 0, red, tf.where(pattern == 1, green, blue))


def _contrast(values, strength, *, inverse=False):
    """An S-shaped curve of 0..1 whose slope in the middle is ``1 + strength``; or its inverse.

    ``h -> h (1 + strength) / (1 + 2 strength |h|)`` of the distance ``h`` to 0.5: the gain curve of
    Schlick ("Fast alternatives to Perlin's bias and gain functions", Graphics Gems IV, 1994).
    """
    offset = values - 0.5
    if inverse:
        return 0.5 + offset / (1 + strength - 2 * strength * tf.abs(offset))
    return 0.5 + offset / (1 / (1 + strength) + 2 * strength / (1 + strength) * tf.abs(offset))


@dataclass(frozen=True)
class Rain:
    """Rain: a veil, and layers of streaks from the distance to the lens.

    The streaks ``s`` of an image are the sum of its layers. Each layer is a random scatter of
    drops, each drawn out to a streak by its fall during the exposure (Garg and Nayar, "Vision and
    rain", IJCV 2007): a line with soft ends along the fall and a Gaussian profile across it. An
    image lays them over the photograph in one of two ways::

        added:   degraded = clip(veiled + light * opacity * s)
        covered: degraded = light + (veiled - light) * (1 - opacity) ** s

    with ``veiled = clean + veil * (light - clean)``, the haze of far rain. Added and clipped light
    is what Rain100H and Rain100L are made of (Yang et al., "Deep joint rain detection and removal
    from a single image", CVPR 2017). Covering is what photographs of rain show: behind each drop
    lies less of the scene, and where several drops lie behind each other their shares of clear
    sight are multiplied.

    Layers range from far (short, thin) to near (long, broad). Wind gives the image one direction;
    the layers vary about it, in most images by little and in some so much that streaks cross.

    Amounts and veils are drawn as the square of a uniform number times the range, so that light
    rain is as frequent as heavy rain. Over 298 rained crops of 256x256 the PSNR (Y) has the
    percentiles 9 (5 %), 14 (25 %), 18.5 (50 %), 24 (75 %) and 35 dB (95 %); Rain100H's test set has
    8 to 22 dB, 13.8 on average, and Rain100L about 27.
    The ranges were chosen by eye, by these figures and by the contrast and the edges' directions of
    Rain100H's test inputs; none of its images is trained on.

    Streaks wrap around the image, so that the same rain falls at its border as inside.

    A share of the images stays dry, and of the others some have no veil. Without them a model sees
    a veil in every pale photograph, or in every pale one with rain, and darkens it.

    Attributes:
        amount: Range of the summed area of the streaks over that of the image; streaks overlap, so
            it may exceed 1.
        length: Length of the nearest layer's streaks, a range in pixels. The farthest are 0.4 times
            as long.
        width: Standard deviation across the nearest layer's streaks, a range in pixels. The
            farthest are 0.4 times as broad, but no thinner than 0.5.
        angle: Greatest angle of the fall to the vertical, in degrees, either way.
        spread: Greatest angle of a layer to the image's direction, in degrees, either way.
        opacity: Range of the brightest single streak's opacity, 0..1, below 1.
        added: Share of images whose streaks are added, 0..1; those of the others cover.
        veil: Range of the veil's opacity, 0..1.
        veiled: Share of images that have a veil, 0..1.
        layers: Number of layers.
        dry: Share of images in training that have neither streaks nor veil, 0..1.
    """

    amount: tuple = (0.02, 2.0)
    length: tuple = (20.0, 100.0)
    width: tuple = (0.5, 1.8)
    angle: float = 40.0
    spread: float = 25.0
    opacity: tuple = (0.15, 0.9)
    added: float = 0.6
    veil: tuple = (0.0, 0.3)
    veiled: float = 0.4
    layers: int = 3
    dry: float = 0.1
    margin = 0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name, low, high in (
            ("amount", 0, 10),
            ("length", 1, 1000),
            ("width", 0.1, 100),
            ("opacity", 0, 0.99),
            ("veil", 0, 1),
        ):
            first, last = getattr(self, name)
            if not low <= first <= last <= high:
                raise InputError(
                    f"the rain's {name} must be a range within {low}..{high}; got {first}-{last}."
                )
        if not (0 <= self.angle <= 90 and 0 <= self.spread <= 90) or self.layers < 1:
            raise InputError(
                "rain has an angle and a spread of 0..90 degrees and at least one layer; got "
                f"{self.angle}, {self.spread} and {self.layers}."
            )
        for what, share in (
            ("added rain", self.added),
            ("veiled images", self.veiled),
            ("dry images", self.dry),
        ):
            if not 0 <= share <= 1:
                raise InputError(f"the share of {what} must be 0..1; got {share}.")

    def fixed(self) -> Rain:
        """Rain of the same ranges on every image: a seed fixes it."""
        return dataclasses.replace(self, dry=0.0)

    def __call__(self, clean: Tensor, seed: Tensor) -> Tensor:
        """Degrades a batch; see the module for the arguments. The result is in 0..1."""
        seeds = tf.random.split(seed, 4)
        batch = tf.shape(clean)[0]
        opacity, light, veil, adds = tf.unstack(
            tf.random.stateless_uniform((4, batch, 1, 1, 1), seeds[0])
        )
        opacity = self.opacity[0] + (self.opacity[1] - self.opacity[0]) * opacity
        light = 0.75 + 0.25 * light
        veil = self.veil[0] + (self.veil[1] - self.veil[0]) * veil * veil
        dry, hazy = tf.unstack(
            tf.random.stateless_uniform((2, batch, 1, 1, 1), tf.random.fold_in(seeds[0], 1))
        )
        veil = tf.where(hazy < self.veiled, veil, 0.0)

        streaks = self._streaks(clean, seeds[1:])
        veiled = clean + veil * (light - clean)
        added = veiled + light * opacity * streaks
        covered = light + (veiled - light) * tf.exp(tf.math.log1p(-opacity) * streaks)
        # What covers nothing leaves the photograph to the last bit, light - (light - x) does not.
        covered = tf.where(streaks > 0, covered, veiled)
        rained = tf.clip_by_value(tf.where(adds < self.added, added, covered), 0.0, 1.0)
        return tf.where(dry < self.dry, clean, rained)

    def _streaks(self, clean, seeds):
        """The sum of the layers, ``(batch, height, width, 1)``: 1 in the brightest streak."""
        shape = tf.shape(clean)
        batch, height, width = shape[0], shape[1], shape[2]
        # One number an image and one a layer, from far (0.4) to near (1).
        amount, length, breadth, wind = tf.unstack(
            tf.random.stateless_uniform((4, batch, 1), seeds[0])
        )
        scales, bends, brightness = tf.unstack(
            tf.random.stateless_uniform((3, batch, self.layers), seeds[1])
        )
        amount = self.amount[0] + (self.amount[1] - self.amount[0]) * amount * amount
        depth = np.linspace(1, 0.4, self.layers, dtype=np.float32)[None, ::-1]
        length = self.length[0] + (self.length[1] - self.length[0]) * length
        lengths = length * depth * (0.8 + 0.4 * scales)
        breadth = self.width[0] + (self.width[1] - self.width[0]) * breadth
        breadths = tf.maximum(breadth * depth, 0.5)
        # Most rain falls steeply, and crossing streaks are rarer than parallel ones.
        wind, bends = 2 * wind - 1, 2 * bends - 1
        angles = math.radians(self.angle) * wind * tf.abs(wind)
        angles += math.radians(self.spread) * bends**3

        # Drops: so many that the streaks' areas (length times 2.5 deviations) make up the amount.
        # One number says whether a drop falls on a pixel, and if so, how bright it is.
        density = amount / self.layers / (2.5 * lengths * breadths)
        numbers = tf.random.stateless_uniform((batch, self.layers, height, width), seeds[2])
        density, brightness = density[..., None, None], 0.5 + 0.5 * brightness[..., None, None]
        drops = brightness * (0.3 + 0.7 * numbers / tf.maximum(density, 1e-12))
        drops = tf.where(numbers < density, drops, 0.0)
        # Layers are summed as spectra: one inverse transform an image.
        shapes = _streak_spectra(height, width, lengths, breadths, angles)
        spectrum = tf.signal.rfft2d(drops) * tf.cast(shapes, tf.complex64)
        spectrum = tf.reduce_sum(spectrum, axis=1)
        streaks = tf.signal.irfft2d(spectrum, fft_length=(height, width))
        # Thin streaks between pixels ring a little, which shows as less than nothing.
        return tf.nn.relu(streaks - 1e-5)[..., None]


def _frequencies(height, width):
    """Cycles a pixel of ``rfft2d``: ``(height, 1)`` and ``(1, width // 2 + 1)``."""
    rows, columns = tf.range(height), tf.range(width // 2 + 1)
    rows = (rows + height // 2) % height - height // 2
    rows, columns = tf.cast(rows, tf.float32), tf.cast(columns, tf.float32)
    return (rows / tf.cast(height, tf.float32))[:, None], (columns / tf.cast(width, tf.float32))[
        None
    ]


def _streak_spectra(height, width, lengths, breadths, angles):
    """Spectra of streaks about pixel (0, 0), ``(batch, layers, height, width // 2 + 1)``, real.

    A streak is 1 in its middle: along the fall a line of its length, softened by a Gaussian of a
    twentieth of it, and across it a Gaussian. Both have their spectra in closed form.
    """
    rows, columns = _frequencies(height, width)
    lengths, breadths, angles = (v[..., None, None] for v in (lengths, breadths, angles))
    along = (rows * tf.cos(angles) + columns * tf.sin(angles)) * lengths
    across = (columns * tf.cos(angles) - rows * tf.sin(angles)) * breadths
    phase = math.pi * along
    line = tf.where(tf.abs(phase) < 1e-3, 1.0, tf.sin(phase) / tf.where(phase == 0, 1.0, phase))
    soft = tf.exp(-2 * math.pi**2 * (across * across + 0.0025 * along * along))
    return math.sqrt(2 * math.pi) * lengths * breadths * line * soft


def _circular_convolution(images, kernels):
    """Over the last two axes, by FFT; the kernel's origin is at (0, 0)."""
    shape = tf.shape(images)[-2:]
    spectrum = tf.signal.rfft2d(images) * tf.signal.rfft2d(kernels)
    return tf.signal.irfft2d(spectrum, fft_length=shape)


_TRAJECTORY_STEPS = 128


def _shake_filter():
    """The trajectory as a linear function of random pushes, ``(steps, steps)``.

    The hand is a damped spring under pushes, ``v += push - 0.25 x / T - 0.05 v``; ``x += v``: it
    drifts, turns and comes back, as in Boracchi and Foi's random walk with inertia and a
    centripetal pull. Being linear, it is the response to each single push.
    """
    steps = _TRAJECTORY_STEPS
    position, velocity = np.zeros(steps), np.zeros(steps)
    rows = []
    for step in range(steps):
        push = np.eye(steps)[step]
        velocity = velocity + push - 0.25 / steps * position - 0.05 * velocity
        position = position + velocity
        rows.append(position)
    return np.array(rows, np.float32)


@dataclass(frozen=True)
class MotionBlur:
    """Blur by motion during the exposure, in linear light, and the sensor's noise on top.

    ``degraded = to_srgb(light + moves * (kernel * light - light)) + noise``: light adds up where
    the camera moves, gamma comes after. The kernel is a trajectory, drawn with bilinear weights: a
    camera shake, a random walk with inertia, a pull to the centre and a few sudden jerks (Boracchi
    and Foi, "Modeling the performance of image restoration from motion blur", TIP 2012; Kupyn et
    al., "DeblurGAN", CVPR 2018); or a straight line, as of a panning camera. A share of them
    (``sampled``) is sampled at 7 to 21 places, as blur is that was made of the frames of a video
    (Nah et al., "Deep multi-scale convolutional neural network for dynamic scene deblurring", CVPR
    2017).

    ``moves`` is 1 where the scene moves. In a share of the images (``still``) a part of it, on one
    side of a soft edge, does not. Blur is smooth and noise is not, so a model that has never seen
    noise above blur would amplify it; that of real blurred photographs is weak.

    Small extents are the most frequent, as in REDS: the extent is drawn as the cube of a uniform
    number times the range. On targets of REDS (Nah et al., "NTIRE 2019 challenge on video
    deblurring", at 320x180) the PSNR has the percentiles 18, 27 and 37 dB (5, 50 and 95 %), 26.9 on
    average, over 24 draws on each of 7 targets; that of the 20 recorded pairs has 21, 25 and 32 dB,
    26.1 on average. The ranges were chosen by it.

    Within ``radius`` of the border the kernel reaches beyond the image; the photograph is reflected
    there. The pipeline cuts its patches with that margin, so that patches have none of it.

    Attributes:
        extent: Range of the trajectory's extent in pixels, at most ``2 radius - 1``.
        linear: Share of straight lines, 0..1.
        sampled: Share of trajectories that are sampled as the frames of a video, 0..1.
        still: Share of images of which a part does not move, 0..1.
        noise: Range of the standard deviation of the noise, white and normal, in 8-bit units.
        radius: Half the kernel's size in pixels.
    """

    extent: tuple = (1.0, 25.0)
    linear: float = 0.3
    sampled: float = 0.5
    still: float = 0.25
    noise: tuple = (0.0, 3.0)
    radius: int = 14

    def __post_init__(self) -> None:
        """Checks the ranges."""
        low, high = self.extent
        if not 0 < low <= high <= 2 * self.radius - 1:
            raise InputError(
                f"the blur's extent must be a range within 0..{2 * self.radius - 1} pixels for a "
                f"radius of {self.radius}; got {low}-{high}."
            )
        for what, share in (
            ("straight lines", self.linear),
            ("sampled trajectories", self.sampled),
            ("still images", self.still),
        ):
            if not 0 <= share <= 1:
                raise InputError(f"the share of {what} must be 0..1; got {share}.")
        if not 0 <= self.noise[0] <= self.noise[1] <= 255:
            raise InputError(
                "the noise above blur must be a range within 0..255 in 8-bit units; got "
                f"{self.noise[0]}-{self.noise[1]}."
            )

    @property
    def margin(self) -> int:
        """The pixels beyond a patch's border that its blur needs."""
        return self.radius

    def fixed(self) -> MotionBlur:
        """Blur of the same ranges: a seed fixes it."""
        return self

    def kernels(self, batch: int | Tensor, seed: Tensor) -> Tensor:
        """Random kernels.

        Args:
            batch: How many.
            seed: Two integers.

        Returns:
            float32 ``(batch, 2 radius + 1, 2 radius + 1)``; each sums to one and has its centre of
            mass in the middle, so that blurring does not shift the image.
        """
        seeds = tf.random.split(seed, 4)
        steps = _TRAJECTORY_STEPS
        pushes = tf.random.stateless_normal((batch, steps, 2), seeds[0])
        # About one jerk in a trajectory, ten times a usual push.
        jerks = tf.random.stateless_uniform((batch, steps, 1), seeds[1]) < 1 / steps
        pushes *= tf.where(jerks, 10.0, 1.0)
        shake = tf.einsum("ts,bsd->btd", _shake_filter(), pushes)
        numbers = tf.random.stateless_uniform((5, batch, 1, 1), seeds[2])
        angle = 2 * math.pi * numbers[0]
        line = np.linspace(-0.5, 0.5, steps, dtype=np.float32)[None, :, None]
        line *= tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)
        path = tf.where(numbers[1] < self.linear, line, shake)

        # Each step goes to its frame's middle; with as many frames as steps, to itself.
        frames = tf.where(numbers[3] < self.sampled, tf.floor(7 + 15 * numbers[4]), float(steps))[
            ..., 0
        ]
        middles = (tf.floor(np.arange(steps) * frames / steps) + 0.5) * steps / frames
        path = tf.gather(path, tf.cast(middles, tf.int32), axis=1, batch_dims=1)

        path -= tf.reduce_mean(path, axis=1, keepdims=True)
        # The diameter of the circle about the centre that holds the path is the extent; that much
        # fits into the kernel whichever way the path goes.
        reach = tf.reduce_max(tf.norm(path, axis=-1, keepdims=True), axis=1, keepdims=True)
        low, high = self.extent
        extent = low + (high - low) * numbers[2] ** 3
        path *= extent / 2 / tf.maximum(reach, 1e-6)
        pixels = np.arange(-self.radius, self.radius + 1, dtype=np.float32)
        # (batch, steps, 2, pixels): the bilinear weights along each axis
        weights = tf.maximum(0.0, 1 - tf.abs(path[..., None] - pixels))
        return tf.einsum("bti,btj->bij", weights[:, :, 0], weights[:, :, 1]) / steps

    def __call__(self, clean: Tensor, seed: Tensor) -> Tensor:
        """Degrades a batch; see the module for the arguments. The result is in 0..1."""
        return self.within_margin(reflect_pad(clean, self.radius), seed)

    def within_margin(self, clean: Tensor, seed: Tensor) -> Tensor:
        """Degrades what has its surroundings: ``clean`` less :attr:`margin` pixels on each side."""
        radius, size = self.radius, 2 * self.radius + 1
        light = tf.transpose(to_linear(clean), (0, 3, 1, 2))
        shape = tf.shape(light)
        kernels = self.kernels(shape[0], seed)
        kernels = tf.pad(kernels, ((0, 0), (0, shape[2] - size), (0, shape[3] - size)))
        # What wraps around falls into the first 2 radius rows and columns, which are cut off; the
        # kernel's corner, not its centre, is at the origin, which shifts the rest by the radius.
        blurred = _circular_convolution(light, kernels[:, None])
        blurred = blurred[:, :, 2 * radius :, 2 * radius :]
        seeds = tf.random.split(tf.random.split(seed, 5)[4], 2)  # the kernels have the first four
        numbers = tf.random.stateless_uniform((5, shape[0], 1, 1, 1), seeds[0])
        if self.still:
            sharp = light[:, :, radius:-radius, radius:-radius]
            blurred = sharp + self._moves(tf.shape(blurred), numbers) * (blurred - sharp)
        degraded = to_srgb(tf.transpose(blurred, (0, 2, 3, 1)))
        low, high = self.noise
        if not high:
            return degraded
        sigma = (low + (high - low) * numbers[4]) / 255.0
        degraded += sigma * tf.random.stateless_normal(tf.shape(degraded), seeds[1])
        return tf.clip_by_value(degraded, 0.0, 1.0)

    def _moves(self, shape, numbers):
        """1 where the scene moves and 0 where not, ``(batch, 1, height, width)``."""
        angle, place, softness, chosen = (number for number in tf.unstack(numbers)[:4])
        y, x = (
            tf.cast(tf.range(size), tf.float32) - tf.cast(size - 1, tf.float32) / 2
            for size in (shape[2], shape[3])
        )
        angle = 2 * math.pi * angle
        across = y[:, None] * tf.cos(angle) + x * tf.sin(angle)
        # The edge lies within the middle half of the image and is 2 to 10 pixels soft.
        offset = (place - 0.5) * tf.cast(tf.minimum(shape[2], shape[3]), tf.float32) / 2
        moves = tf.sigmoid((across - offset) * 4 / (2 + 8 * softness))
        return tf.where(chosen < self.still, moves, 1.0)


def reflect_pad(images: Tensor, margin: int) -> Tensor:
    """Mirrors ``(batch, height, width, channels)`` about its border pixels, however small it is."""
    for axis in (1, 2):
        size = tf.shape(images)[axis]
        index = tf.abs(tf.range(-margin, size + margin)) % tf.maximum(2 * (size - 1), 1)
        images = tf.gather(images, tf.minimum(index, 2 * (size - 1) - index), axis=axis)
    return images


def to_linear(srgb: Tensor) -> Tensor:
    """Light from sRGB values, both in 0..1 (IEC 61966-2-1)."""
    srgb = tf.clip_by_value(srgb, 0.0, 1.0)
    return tf.where(srgb <= 0.04045, srgb / 12.92, _power((srgb + 0.055) / 1.055, 2.4))


def to_srgb(linear: Tensor) -> Tensor:
    """sRGB values from light, both in 0..1; what lies outside is clipped, as a sensor clips."""
    linear = tf.clip_by_value(linear, 0.0, 1.0)
    # The power's slope is infinite at 0, where the other branch is taken.
    power = _power(tf.maximum(linear, 0.0031308), 1 / 2.4)
    return tf.where(linear <= 0.0031308, 12.92 * linear, 1.055 * power - 0.055)


def _power(base, exponent):
    """A power of positive numbers. Unlike ``tf.pow``, its two functions are vectorised on a CPU."""
    return tf.exp(exponent * tf.math.log(base))
