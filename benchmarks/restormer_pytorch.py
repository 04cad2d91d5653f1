"""Restormer in PyTorch, for comparison: written from the paper, with the official weights' names.

Source: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR
2022. ``check`` proves against recorded features of the official implementation that it computes the
same. Layout is PyTorch's own, ``(batch, channels, height, width)``, and every operation is a plain
one of PyTorch's, as in the published design.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Norm(nn.Module):
    """LayerNorm over the channels of each pixel; without bias, the mean stays in the output."""

    def __init__(self, channels, with_bias):
        super().__init__()
        self.body = nn.Module()
        self.body.weight = nn.Parameter(torch.ones(channels))
        if with_bias:
            self.body.bias = nn.Parameter(torch.zeros(channels))
        self.with_bias = with_bias

    def forward(self, x):
        pixels = x.flatten(2).transpose(1, 2)  # (batch, pixels, channels)
        mean = pixels.mean(-1, keepdim=True)
        deviation = (pixels.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        if self.with_bias:
            pixels = (pixels - mean) / deviation * self.body.weight + self.body.bias
        else:
            pixels = pixels / deviation * self.body.weight
        return pixels.transpose(1, 2).reshape(x.shape)


class Attention(nn.Module):
    """Multi-Dconv head transposed attention: softmax over the channels of a head."""

    def __init__(self, channels, heads, bias):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(
            3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias
        )
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x):
        batch, channels, height, width = x.shape
        q, k, v = (
            part.reshape(batch, self.heads, channels // self.heads, height * width)
            for part in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        )
        q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return self.project_out((attention @ v).reshape(x.shape))


class FeedForward(nn.Module):
    """Gated-Dconv feed-forward network."""

    def __init__(self, channels, expansion, bias):
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x):
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(functional.gelu(gate) * value)


class Block(nn.Module):
    """Attention and feed-forward network, each behind a norm and beside a residual."""

    def __init__(self, channels, heads, expansion, bias, with_bias):
        super().__init__()
        self.norm1 = Norm(channels, with_bias)
        self.attn = Attention(channels, heads, bias)
        self.norm2 = Norm(channels, with_bias)
        self.ffn = FeedForward(channels, expansion, bias)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Resample(nn.Module):
    """A 3x3 convolution, then pixel shuffle or unshuffle."""

    def __init__(self, channels, filters, shuffle):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, filters, 3, padding=1, bias=False), shuffle)

    def forward(self, x):
        return self.body(x)


class Restormer(nn.Module):
    """The network; arguments as in :class:`keras_skd.Restormer`."""

    def __init__(
        self,
        dim,
        num_blocks,
        num_refinement_blocks,
        heads=(1, 2, 4, 8),
        ffn_expansion_factor=2.66,
        bias=False,
        LayerNorm_type="WithBias",
    ):
        super().__init__()

        def stage(level, blocks, channels):
            arguments = (heads[level], ffn_expansion_factor, bias, LayerNorm_type == "WithBias")
            return nn.Sequential(*(Block(channels, *arguments) for _ in range(blocks)))

        def down(channels):
            return Resample(channels, channels // 2, nn.PixelUnshuffle(2))

        def up(channels):
            return Resample(channels, channels * 2, nn.PixelShuffle(2))

        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, 3, padding=1, bias=False)
        self.encoder_level1 = stage(0, num_blocks[0], dim)
        self.down1_2 = down(dim)
        self.encoder_level2 = stage(1, num_blocks[1], 2 * dim)
        self.down2_3 = down(2 * dim)
        self.encoder_level3 = stage(2, num_blocks[2], 4 * dim)
        self.down3_4 = down(4 * dim)
        self.latent = stage(3, num_blocks[3], 8 * dim)
        self.up4_3 = up(8 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)
        self.decoder_level3 = stage(2, num_blocks[2], 4 * dim)
        self.up3_2 = up(4 * dim)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level2 = stage(1, num_blocks[1], 2 * dim)
        self.up2_1 = up(2 * dim)
        self.decoder_level1 = stage(0, num_blocks[0], 2 * dim)
        self.refinement = stage(0, num_refinement_blocks, 2 * dim)
        self.output = nn.Conv2d(2 * dim, 3, 3, padding=1, bias=bias)

    def forward(self, image):
        level1 = self.encoder_level1(self.patch_embed.proj(image))
        level2 = self.encoder_level2(self.down1_2(level1))
        level3 = self.encoder_level3(self.down2_3(level2))
        x = self.latent(self.down3_4(level3))
        x = self.reduce_chan_level3(torch.cat([self.up4_3(x), level3], 1))
        x = self.decoder_level3(x)
        x = self.reduce_chan_level2(torch.cat([self.up3_2(x), level2], 1))
        x = self.decoder_level2(x)
        x = self.decoder_level1(torch.cat([self.up2_1(x), level1], 1))
        return self.output(self.refinement(x)) + image


def _keep(computed, name, _module, _inputs, output):
    computed[name] = output


def check(folder):
    """Compares with every recorded Restormer of ``folder``; returns the largest difference.

    Raises:
        FileNotFoundError: There is none.
    """
    files = sorted(Path(folder).glob("restormer_*.json"))
    if not files:
        raise FileNotFoundError(f"{folder}: no recorded restormer_*.json.")
    largest = 0.0
    for file in files:
        arguments = json.loads(file.read_text())
        key = arguments["checkpoint_key"]
        for name in ("architecture", "params", "checkpoint_key", "output_std"):
            del arguments[name]
        model = Restormer(**arguments).eval()
        model.load_state_dict(torch.load(file.with_suffix(".pth"), weights_only=True)[key])
        recorded = dict(np.load(file.with_suffix(".npz")))
        computed = {}
        for name in recorded:
            if name.startswith("feature/"):
                module = model.get_submodule(name.removeprefix("feature/"))
                module.register_forward_hook(partial(_keep, computed, name))
        with torch.no_grad():
            computed["output_nchw"] = model(torch.from_numpy(recorded.pop("input_nchw")))
        assert computed.keys() == recorded.keys()
        differences = [
            np.abs(computed[name].numpy() - values).max() for name, values in recorded.items()
        ]
        largest = max(largest, *differences)
    return float(largest)
