"""Degradations that make training pairs from clean photographs, inside ``tf.data``, seeded."""

from dataclasses import dataclass

import tensorflow as tf


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

    def __post_init__(self):
        """Checks the range."""
        if not 0 <= self.sigma_min <= self.sigma_max <= 255:
            raise ValueError(
                "sigma must be a level or a range within 0..255 in 8-bit units, such as 25 or "
                f"0-50; got {self.sigma_min:g}-{self.sigma_max:g}."
            )

    @classmethod
    def parse(cls, text):
        """Reads ``"25"`` or ``"0-50"``.

        Raises:
            ValueError: It is neither.
        """
        try:
            numbers = [float(part) for part in str(text).split("-")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2):
            raise ValueError(f"sigma must be a level such as 25 or a range 0-50; got {text!r}.")
        return cls(numbers[0], numbers[-1])

    @property
    def middle(self):
        """The level at which a blind model is validated, in 8-bit units."""
        return (self.sigma_min + self.sigma_max) / 2

    def __call__(self, clean, seed):
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
