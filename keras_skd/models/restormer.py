"""Restormer: the U-shaped transformer of transposed attention blocks."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_skd.errors import InputError
from keras_skd.layers import (
    CropLike,
    Downsample,
    PadToMultiple,
    SkipReduction,
    TransformerBlock,
    Upsample,
)
from keras_skd.models.family import RestorationModel

LAYER_NORM_TYPES = ("WithBias", "BiasFree")


@keras.saving.register_keras_serializable("keras_skd")
class Restormer(RestorationModel):
    """Restormer, with the official constructor's arguments and defaults.

    Source: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image
    Restoration", CVPR 2022. Teachers and students are this one class; a student has fewer
    blocks and channels.

    Args:
        inp_channels: Channels of the input image.
        out_channels: Channels of the restored image.
        dim: Channels at full resolution; each of the three lower levels doubles them.
        num_blocks: Transformer blocks per encoder level, four numbers; the last is the latent.
        num_refinement_blocks: Blocks after the decoder, at full resolution.
        heads: Attention heads per level, four numbers.
        ffn_expansion_factor: Hidden width of the feed-forward networks over the level's width.
        bias: Whether the convolutions have a bias.
        LayerNorm_type: ``"WithBias"`` or ``"BiasFree"``.
        dual_pixel_task: Dual-pixel defocus deblurring: six input channels and no residual.
        image_size: ``(height, width)`` for a graph of fixed size and batch 1 (export), or None for
            any size. Sizes that are no multiple of 8 are reflected up and cropped back.
        for_integers: Whether that graph is for int8 in every operation: layers then do not scale
            features down, as float16 needs it.

    Input ``(batch, height, width, inp_channels)`` and output
    ``(batch, height, width, out_channels)``, float32, range 0..1 (the output is not clipped).

    Attributes:
        taps: Features by stage, name to symbolic tensor, in order of computation:
            ``encoder_level1`` .. ``encoder_level3``, ``latent``, ``decoder_level3`` ..
            ``decoder_level1``, ``refinement``. The names are those of the official submodules.

    Raises:
        InputError: A list has not four entries, a width is no multiple of its heads, the norm's
            type is unknown, or the residual's channels do not match.
    """

    size_multiple = 8

    def __init__(
        self,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: str = "WithBias",
        dual_pixel_task: bool = False,
        image_size: tuple[int, int] | None = None,
        for_integers: bool = False,
        **kwargs: Any,
    ):
        num_blocks, heads = tuple(num_blocks), tuple(heads)
        for argument, value in (("num_blocks", num_blocks), ("heads", heads)):
            if len(value) != 4:
                raise InputError(f"{argument} needs four numbers, one a level; got {value}.")
        if dim % 2:
            raise InputError(f"dim must be even, because downsampling halves it; got {dim}.")
        if LayerNorm_type not in LAYER_NORM_TYPES:
            raise InputError(
                f"LayerNorm_type must be one of {LAYER_NORM_TYPES}; got {LayerNorm_type!r}."
            )
        if not dual_pixel_task and inp_channels != out_channels:
            raise InputError(
                "The restored image is the input plus a residual, so inp_channels and "
                f"out_channels must be equal; got {inp_channels} and {out_channels}."
            )
        policy = kwargs.pop("dtype", None)

        def stage(x, name, level, blocks):
            for index in range(blocks):
                x = TransformerBlock(
                    heads[level],
                    ffn_expansion_factor,
                    bias,
                    LayerNorm_type == "WithBias",
                    for_integers,
                    name=f"{name}_{index}",
                    dtype=policy,
                )(x)
            taps[name] = x
            return x

        def convolution(filters, kernel_size, name, **options):
            options = {"use_bias": bias, "padding": "same", **options}
            return keras.layers.Conv2D(filters, kernel_size, name=name, dtype=policy, **options)

        def down(name):
            return Downsample(name=name, dtype=policy)

        def up(name, deferred=False):
            return Upsample(deferred, name=name, dtype=policy)

        def concatenate(name):
            return keras.layers.Concatenate(name=name, dtype=policy)

        def merged(x, skip, upsampling, number):
            """``x`` upsampled beside ``skip``, reduced to the skip's channels."""
            folded = image_size is not None and not for_integers
            upsample, name = up(upsampling, deferred=folded), f"reduce_chan_level{number}"
            x = upsample(x)
            if not folded:
                x = concatenate(f"concat_level{number}")([x, skip])
                return convolution(skip.shape[-1], 1, name)(x)
            reduction = SkipReduction(skip.shape[-1], bias, name=name, dtype=policy)
            return reduction(x, skip, upsample=upsample)

        # --- encoder ---
        taps = {}
        batch_shape = (None, None, None) if image_size is None else (1, *image_size)
        image = keras.Input(batch_shape=(*batch_shape, inp_channels), dtype="float32", name="image")
        padded = PadToMultiple(self.size_multiple, name="pad", dtype="float32")(image)
        embedded = convolution(dim, 3, "patch_embed", use_bias=False)(padded)
        level1 = stage(embedded, "encoder_level1", 0, num_blocks[0])
        level2 = stage(down("down1_2")(level1), "encoder_level2", 1, num_blocks[1])
        level3 = stage(down("down2_3")(level2), "encoder_level3", 2, num_blocks[2])
        x = stage(down("down3_4")(level3), "latent", 3, num_blocks[3])

        # --- decoder ---
        x = merged(x, level3, "up4_3", 3)
        x = stage(x, "decoder_level3", 2, num_blocks[2])
        x = merged(x, level2, "up3_2", 2)
        x = stage(x, "decoder_level2", 1, num_blocks[1])
        x = concatenate("concat_level1")([up("up2_1")(x), level1])
        x = stage(x, "decoder_level1", 0, num_blocks[0])
        x = stage(x, "refinement", 0, num_refinement_blocks)

        # --- image ---
        if dual_pixel_task:
            skip = convolution(2 * dim, 1, "skip_conv")(embedded)
            x = keras.layers.Add(name="skip", dtype=policy)([x, skip])
            restored = convolution(out_channels, 3, "output")(x)
        else:
            # A small residual at first, so that training starts near the input image.
            small = keras.initializers.VarianceScaling(0.01)
            residual = convolution(out_channels, 3, "output", kernel_initializer=small)(x)
            # The image keeps float32 under mixed precision: bfloat16 has 8 bits, as many as it.
            restored = keras.layers.Add(name="residual", dtype="float32")([residual, padded])
        restored = CropLike(name="crop", dtype="float32")(restored, image)
        super().__init__(inputs=image, outputs=restored, **kwargs)

        # --- config ---
        self.taps = taps
        self.inp_channels = inp_channels
        self.out_channels = out_channels
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_refinement_blocks = num_refinement_blocks
        self.heads = heads
        self.ffn_expansion_factor = ffn_expansion_factor
        self.bias = bias
        self.LayerNorm_type = LayerNorm_type
        self.dual_pixel_task = dual_pixel_task
        self.image_size = None if image_size is None else tuple(image_size)
        self.for_integers = for_integers

    def pytorch_names(self) -> list[tuple[keras.Variable, str, Callable]]:
        """The official checkpoint's tensor for each variable.

        Returns:
            A list of ``(variable, PyTorch name, function from PyTorch's array to ours)``.
        """
        return [(variable, *_pytorch_name(variable)) for variable in self.weights]

    def get_config(self) -> dict[str, Any]:
        return {
            "inp_channels": self.inp_channels,
            "out_channels": self.out_channels,
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "num_refinement_blocks": self.num_refinement_blocks,
            "heads": self.heads,
            "ffn_expansion_factor": self.ffn_expansion_factor,
            "bias": self.bias,
            "LayerNorm_type": self.LayerNorm_type,
            "dual_pixel_task": self.dual_pixel_task,
            "image_size": self.image_size,
            "for_integers": self.for_integers,
            "name": self.name,
        }


_PYTORCH_SUBMODULES = {
    "attention": "attn",
    "feed_forward": "ffn",
    "norm1": "norm1.body",
    "norm2": "norm2.body",
    "qkv_depthwise": "qkv_dwconv",
    "depthwise": "dwconv",
    "patch_embed": "patch_embed.proj",
    "scale": "weight",
    "kernel": "weight",
}


def _pytorch_name(variable):
    """The official name of a variable and the conversion of its array.

    ``encoder_level1_0/attention/qkv/kernel`` -> ``encoder_level1.0.attn.qkv.weight``
    """
    first, *rest = variable.path.split("/")
    block = re.fullmatch(r"(encoder_level\d|latent|decoder_level\d|refinement)_(\d+)", first)
    resampling = re.fullmatch(r"(down|up)\d_\d", first)
    if block:
        names = [*block.groups()]
    elif resampling:
        names = [first, "body", "0"]
    else:
        names = [_PYTORCH_SUBMODULES.get(first, first)]
    name = ".".join(names + [_PYTORCH_SUBMODULES.get(part, part) for part in rest])
    if rest[-1] == "kernel":
        # (out, in, row, column) -> (row, column, in, out); depthwise: (channels, 1, row, column)
        # -> (row, column, channels, 1).
        depthwise = "depthwise" in variable.path
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        return name, lambda array: np.transpose(array, axes) if array.ndim == 4 else array
    if rest[-1] == "temperature":  # (heads, 1, 1)
        return name, np.ravel
    return name, np.asarray
