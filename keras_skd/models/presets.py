"""The named models: official teachers and students for the phone."""

from dataclasses import dataclass, field
from pathlib import Path

import keras

from keras_skd.models.restormer import Restormer
from keras_skd.models.uformer import Uformer
from keras_skd.tasks import Task

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True)
class Preset:
    """A model by name.

    Attributes:
        family: The model's class.
        arguments: The constructor's arguments.
        description: One line for ``--help`` and error messages.
        weights: File of bundled weights in the package, or None.
        task: The :class:`~keras_skd.tasks.Task` that the weights were trained for.
    """

    family: type
    arguments: dict = field(repr=False)
    description: str
    weights: str | None = None
    task: Task | None = None

    def build(
        self, image_size: tuple[int, int] | None = None, load_weights: bool = True
    ) -> keras.Model:
        """Makes the model, with the bundled weights where there are any.

        Args:
            image_size: ``(height, width)`` for a fixed-size export graph, or None for any size.
            load_weights: False leaves the weights at their random initial values.

        Returns:
            The model, untrained where the preset has no weights.
        """
        model = self.family(**self.arguments, image_size=image_size)
        if load_weights and self.weights is not None:
            model.load_weights(WEIGHTS_FOLDER / self.weights)
        return model


_LIGHT = {"dim": 16, "num_blocks": (1, 2, 2, 3), "num_refinement_blocks": 1}
_GREY = {"inp_channels": 1, "out_channels": 1}
_UFORMER_B = {"depths": (1, 2, 8, 8, 2, 8, 8, 2, 1), "modulator": True}

# Students of the phone: heads have at least 16 channels (fewer are fragile in float16), which is
# why the tiny one has no block on its 8 channels at full resolution. GMACs are totals at 256x256.
_TINY = {
    "dim": 8,
    "num_blocks": (0, 1, 1, 2),
    "num_refinement_blocks": 1,
    "heads": (1, 1, 1, 2),
    "ffn_expansion_factor": 2.0,
}
_SMALL = {
    "dim": 16,
    "num_blocks": (1, 1, 1, 1),
    "num_refinement_blocks": 0,
    "heads": (1, 1, 2, 4),
}
_BASE = {
    "dim": 24,
    "num_blocks": (1, 1, 2, 2),
    "num_refinement_blocks": 0,
    "heads": (1, 1, 2, 4),
    "ffn_expansion_factor": 2.5,
}
PRESETS = {
    "restormer": Preset(
        Restormer,
        {},
        "Restormer as published for rain and blur, 26.1 M parameters, 155 GMACs",
    ),
    "restormer_bias_free": Preset(
        Restormer,
        {"LayerNorm_type": "BiasFree"},
        "Restormer as published for noise",
    ),
    "restormer_bias_free_grey": Preset(
        Restormer,
        {"LayerNorm_type": "BiasFree", **_GREY},
        "Restormer as published for noise in grey images",
    ),
    "restormer_dual_pixel": Preset(
        Restormer,
        {"inp_channels": 6, "dual_pixel_task": True},
        "Restormer as published for dual-pixel defocus",
    ),
    "restormer_light": Preset(
        Restormer,
        _LIGHT,
        "light teacher to train oneself, 1.35 M parameters",
    ),
    "restormer_denoise": Preset(
        Restormer,
        _LIGHT,
        "bundled teacher: restormer_light for blind Gaussian colour denoising, sigma 0..50",
        weights="restormer_denoise.weights.h5",
        task=Task("denoise", "gaussian", "0-50"),
    ),
    "restormer_camera": Preset(
        Restormer,
        _LIGHT,
        "bundled teacher: restormer_light for the noise of cameras",
        weights="restormer_camera.weights.h5",
        task=Task("denoise", "camera"),
    ),
    "restormer_derain": Preset(
        Restormer,
        _LIGHT,
        "bundled teacher: restormer_light for rain",
        weights="restormer_derain.weights.h5",
        task=Task("derain"),
    ),
    "restormer_deblur": Preset(
        Restormer,
        _LIGHT,
        "bundled teacher: restormer_light for motion blur",
        weights="restormer_deblur.weights.h5",
        task=Task("deblur"),
    ),
    "restormer_tiny": Preset(Restormer, _TINY, "student under 1 GMAC"),
    "restormer_small": Preset(Restormer, _SMALL, "student under 4 GMACs"),
    "restormer_base": Preset(Restormer, _BASE, "student under 10 GMACs"),
    "restormer_tiny_denoise": Preset(
        Restormer,
        _TINY,
        "bundled student: restormer_tiny for blind Gaussian colour denoising, sigma 0..50",
        weights="restormer_tiny_denoise.weights.h5",
        task=Task("denoise", "gaussian", "0-50"),
    ),
    "restormer_tiny_camera": Preset(
        Restormer,
        _TINY,
        "bundled student: restormer_tiny for the noise of cameras",
        weights="restormer_tiny_camera.weights.h5",
        task=Task("denoise", "camera"),
    ),
    "restormer_tiny_derain": Preset(
        Restormer,
        _TINY,
        "bundled student: restormer_tiny for rain",
        weights="restormer_tiny_derain.weights.h5",
        task=Task("derain"),
    ),
    "restormer_tiny_deblur": Preset(
        Restormer,
        _TINY,
        "bundled student: restormer_tiny for motion blur",
        weights="restormer_tiny_deblur.weights.h5",
        task=Task("deblur"),
    ),
    "restormer_small_denoise": Preset(
        Restormer,
        _SMALL,
        "bundled student: restormer_small for blind Gaussian colour denoising, sigma 0..50",
        weights="restormer_small_denoise.weights.h5",
        task=Task("denoise", "gaussian", "0-50"),
    ),
    "restormer_tiny_grey": Preset(Restormer, {**_TINY, **_GREY}, "restormer_tiny for grey images"),
    "restormer_small_grey": Preset(
        Restormer, {**_SMALL, **_GREY}, "restormer_small for grey images"
    ),
    "restormer_base_grey": Preset(Restormer, {**_BASE, **_GREY}, "restormer_base for grey images"),
    # img_size is that of the published training; it decides where windows shift.
    "uformer": Preset(
        Uformer,
        {"img_size": 128, **_UFORMER_B},
        "Uformer-B as published for noise, 50.9 M parameters, 87 GMACs",
    ),
    "uformer_deblur": Preset(
        Uformer,
        {"img_size": 256, **_UFORMER_B},
        "Uformer-B as published for motion blur",
    ),
    "uformer_tiny": Preset(
        Uformer,
        {
            "img_size": 128,
            "embed_dim": 8,
            "depths": (0, 1, 1, 2, 1, 1, 0, 0, 1),
            "num_heads": (1, 1, 1, 2, 4, 4, 2, 1, 1),
            "mlp_ratio": 2.0,
            "modulator": True,
        },
        "student under 1 GMAC",
    ),
    "uformer_small": Preset(
        Uformer,
        {
            "img_size": 128,
            "embed_dim": 16,
            "depths": (0, 1, 1, 2, 1, 0, 1, 1, 1),
            "num_heads": (1, 1, 2, 4, 8, 8, 4, 2, 1),
            "mlp_ratio": 2.0,
            "modulator": True,
        },
        "student under 4 GMACs",
    ),
    "uformer_base": Preset(
        Uformer,
        {
            "img_size": 128,
            "embed_dim": 16,
            "depths": (1, 2, 2, 2, 2, 2, 2, 2, 1),
            "num_heads": (1, 1, 2, 4, 8, 8, 4, 2, 1),
            "modulator": True,
        },
        "student under 10 GMACs",
    ),
}
