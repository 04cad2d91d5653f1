"""Uformer: the U-shaped transformer of locally enhanced window blocks."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_skd.errors import InputError
from keras_skd.layers import CropLike, PadToMultiple, Unpool, WindowTransformerBlock
from keras_skd.layers.window_attention import relative_position_index
from keras_skd.models.family import RestorationModel


@keras.saving.register_keras_serializable("keras_skd")
class Uformer(RestorationModel):
    """Uformer, with the official constructor's arguments and defaults.

    Source: Wang et al., "Uformer: A General U-Shaped Transformer for Image Restoration", CVPR
    2022. Teachers and students are this one class; a student has fewer blocks and channels. The
    official dropout and stochastic depth only act in training and are left out.

    Args:
        img_size: Side of the images that the official model was made for, in pixels. It only
            decides where windows shift: at a level no larger than a window they do not, and a
            smaller level has smaller windows. Images of any other size may be given.
        in_chans: Channels of the restored image.
        dd_in: Channels of the input image. With three the output is input plus residual; otherwise
            it is the network's output alone, as in the official code.
        embed_dim: Channels at full resolution; each of the four lower levels doubles them.
        depths: Blocks per stage: four encoder levels, the bottleneck, four decoder levels.
        num_heads: Attention heads per stage.
        win_size: Side of an attention window in pixels.
        mlp_ratio: Hidden width of the feed-forward networks over the stage's width.
        qkv_bias: Whether the projections to q, k and v have a bias.
        qk_scale: Scale of attention's logits; None is one over the root of a head's width.
        token_projection: ``"linear"``, the one that published checkpoints use.
        token_mlp: ``"leff"``, the one that published checkpoints use.
        shift_flag: Whether every second block of a stage shifts its windows by half.
        modulator: Whether the decoder's windows have modulators.
        image_size: ``(height, width)`` for a graph of fixed size and batch 1 (export), or None for
            any size. Sizes that are no multiple of ``size_multiple`` are reflected up and cropped
            back.
        for_integers: Whether that graph is for int8 in every operation: layers then do not scale
            features down, as float16 needs it, and the windows' softmax is taken apart.

    Input ``(batch, height, width, dd_in)`` and output ``(batch, height, width, in_chans)``,
    float32, range 0..1 (the output is not clipped).

    Attributes:
        taps: Features by stage, name to symbolic tensor, in order of computation:
            ``encoderlayer_0`` .. ``encoderlayer_3``, ``conv`` (the bottleneck), ``decoderlayer_0``
            .. ``decoderlayer_3``. The names are those of the official submodules.
        size_multiple: What the architecture needs of height and width: 128 for windows of 8.

    Raises:
        InputError: A list has not nine entries, a width is no multiple of its heads, an option is
            not supported, or the residual's channels do not match.
    """

    def __init__(
        self,
        img_size: int = 256,
        in_chans: int = 3,
        dd_in: int = 3,
        embed_dim: int = 32,
        depths: Sequence[int] = (2, 2, 2, 2, 2, 2, 2, 2, 2),
        num_heads: Sequence[int] = (1, 2, 4, 8, 16, 16, 8, 4, 2),
        win_size: int = 8,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        token_projection: str = "linear",
        token_mlp: str = "leff",
        shift_flag: bool = True,
        modulator: bool = False,
        image_size: tuple[int, int] | None = None,
        for_integers: bool = False,
        **kwargs: Any,
    ):
        depths, num_heads = tuple(depths), tuple(num_heads)
        for argument, value in (("depths", depths), ("num_heads", num_heads)):
            if len(value) != 9:
                raise InputError(f"{argument} needs nine numbers, one a stage; got {value}.")
        for argument, value, known in (
            ("token_projection", token_projection, "linear"),
            ("token_mlp", token_mlp, "leff"),
        ):
            if value != known:
                raise InputError(
                    f"{argument} must be {known!r}, which the published models use; got {value!r}."
                )
        if img_size % 16 or img_size < 32:
            raise InputError(f"img_size must be a multiple of 16, at least 32; got {img_size}.")
        if dd_in == 3 and in_chans != 3:
            raise InputError(
                "The restored image is the three-channel input plus a residual, so in_chans must "
                f"be 3; got {in_chans}."
            )
        policy = kwargs.pop("dtype", None)
        # By level, full resolution first.
        window_sizes = [min(win_size, img_size // 2**level) for level in range(5)]
        size_multiple = math.lcm(*(size << level for level, size in enumerate(window_sizes)))

        def stage(x, name, level, position):
            window_size = window_sizes[level]
            shifts = shift_flag and img_size // 2**level > win_size
            for index in range(depths[position]):
                x = WindowTransformerBlock(
                    num_heads[position],
                    window_size,
                    window_size // 2 if shifts and index % 2 else 0,
                    mlp_ratio,
                    qkv_bias,
                    qk_scale,
                    modulator and name.startswith("decoder"),
                    for_integers,
                    name=f"{name}_{index}",
                    dtype=policy,
                )(x)
            taps[name] = x
            return x

        def convolution(filters, kernel_size, name, strides=1):
            return keras.layers.Conv2D(
                filters, kernel_size, strides, padding="same", name=name, dtype=policy
            )

        # --- encoder ---
        taps = {}
        batch_shape = (None, None, None) if image_size is None else (1, *image_size)
        image = keras.Input(batch_shape=(*batch_shape, dd_in), dtype="float32", name="image")
        padded = PadToMultiple(size_multiple, name="pad", dtype="float32")(image)
        x = convolution(embed_dim, 3, "input_proj")(padded)
        x = keras.layers.LeakyReLU(0.01, name="input_activation", dtype=policy)(x)
        levels = []
        for level in range(4):
            x = stage(x, f"encoderlayer_{level}", level, level)
            levels.append(x)
            x = convolution(embed_dim * 2 ** (level + 1), 4, f"downsample_{level}", 2)(x)
        x = stage(x, "conv", 4, 4)

        # --- decoder ---
        for index, level in enumerate((3, 2, 1, 0)):
            x = Unpool(embed_dim * 2**level, name=f"upsample_{index}", dtype=policy)(x)
            x = keras.layers.Concatenate(name=f"concat_{index}", dtype=policy)([x, levels[level]])
            x = stage(x, f"decoderlayer_{index}", level, 5 + index)

        # --- image ---
        restored = convolution(in_chans, 3, "output_proj")(x)
        if dd_in == 3:
            # The image keeps float32 under mixed precision: bfloat16 has 8 bits, as many as it.
            restored = keras.layers.Add(name="residual", dtype="float32")([restored, padded])
        restored = CropLike(name="crop", dtype="float32")(restored, image)
        super().__init__(inputs=image, outputs=restored, **kwargs)

        # --- config ---
        self.taps = taps
        self.size_multiple = size_multiple
        self.img_size = img_size
        self.in_chans = in_chans
        self.dd_in = dd_in
        self.embed_dim = embed_dim
        self.depths = depths
        self.num_heads = num_heads
        self.win_size = win_size
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.qk_scale = qk_scale
        self.token_projection = token_projection
        self.token_mlp = token_mlp
        self.shift_flag = shift_flag
        self.modulator = modulator
        self.image_size = None if image_size is None else tuple(image_size)
        self.for_integers = for_integers

    def pytorch_names(self) -> list[tuple[keras.Variable, str, Callable]]:
        """The official checkpoint's tensor for each variable.

        Returns:
            A list of ``(variable, PyTorch name, function from PyTorch's array to ours)``.
        """
        return [(variable, *_pytorch_name(variable)) for variable in self.weights]

    def pytorch_constants(self) -> dict[str, np.ndarray]:
        """Tensors of the official checkpoint that follow from the constructor's arguments.

        Returns:
            A dict of PyTorch name to the value that it must have.
        """
        blocks = [layer for layer in self.layers if isinstance(layer, WindowTransformerBlock)]
        return {
            f"{'.blocks.'.join(block.name.rsplit('_', 1))}.attn.relative_position_index": (
                relative_position_index(block.window_size)
            )
            for block in blocks
        }

    def get_config(self) -> dict[str, Any]:
        return {
            "img_size": self.img_size,
            "in_chans": self.in_chans,
            "dd_in": self.dd_in,
            "embed_dim": self.embed_dim,
            "depths": self.depths,
            "num_heads": self.num_heads,
            "win_size": self.win_size,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "qk_scale": self.qk_scale,
            "token_projection": self.token_projection,
            "token_mlp": self.token_mlp,
            "shift_flag": self.shift_flag,
            "modulator": self.modulator,
            "image_size": self.image_size,
            "for_integers": self.for_integers,
            "name": self.name,
        }


_PYTORCH_SUBMODULES = {
    "attention": "attn",
    "to_q": "qkv.to_q",
    "to_kv": "qkv.to_kv",
    "project_out": "proj",
    "feed_forward": "mlp",
    "linear1": "linear1.0",
    "linear2": "linear2.0",
    "depthwise": "dwconv.0",
    "input_proj": "input_proj.proj.0",
    "output_proj": "output_proj.proj.0",
    "scale": "weight",
    "kernel": "weight",
}


def _pytorch_name(variable):
    """The official name of a variable and the conversion of its array.

    ``encoderlayer_1_0/attention/to_q/kernel`` -> ``encoderlayer_1.blocks.0.attn.qkv.to_q.weight``
    """
    first, *rest = variable.path.split("/")
    block = re.fullmatch(r"(encoderlayer_\d|conv|decoderlayer_\d)_(\d+)", first)
    if block:
        names = [block[1], "blocks", block[2]]
    elif first.startswith("downsample"):
        names = [first.replace("downsample", "dowsample"), "conv", "0"]  # the official spelling
    elif first.startswith("upsample"):
        names = [first, "deconv", "0"]
    else:
        names = [_PYTORCH_SUBMODULES.get(first, first)]
    if rest[-1] == "modulator":  # the official module belongs to the block
        return ".".join([*names, "modulator", "weight"]), np.asarray
    name = ".".join(names + [_PYTORCH_SUBMODULES.get(part, part) for part in rest])
    if rest[-1] != "kernel":
        return name, np.asarray
    # Convolution (out, in, row, column) -> (row, column, in, out); depthwise (channels, 1, row,
    # column) -> (row, column, channels, 1); transposed (in, out, row, column) -> (row, column,
    # out, in), the same axes; linear (out, in) -> (1, 1, in, out).
    axes = (2, 3, 0, 1) if "depthwise" in variable.path else (2, 3, 1, 0)

    def convert(array):
        if array.ndim == 2:
            return array.T[None, None]
        return np.transpose(array, axes) if array.ndim == 4 else array

    return name, convert
