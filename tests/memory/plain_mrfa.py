"""MRFA in its plain form, whose memory was counted by hand: every intermediate result has a name and keeps it.

LayerNorm is written out, so that autograd keeps the centred input twice and the normalised one. In MiB, for 64
channels at 256², where a channel takes 1/4:

- inference, 112.5, in the last line of the third norm: input 16, first norm 16, layer 2's named results
  8 + 8 + 4 + 4 + 4 + 4 and its output 12, and in the norm mean and variance 1/2, the normalised input, its product
  with the weight and the result 3 · 12;
- saved for backward, 276.75;
- training, 332.75, in the last line of forward: what is saved, input 16, output 16, and the names whose values
  autograd does not keep: modulated 12, refined 4, shift 4, and their sum 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PlainLayerNorm(nn.Module):
    """LayerNorm over channels, in single operators."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1)


def depthwise(dim: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)


class PlainMRFA(nn.Module):
    """The block, layer by layer: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        quarter = dim // 4
        widths = [quarter, 2 * quarter, 3 * quarter]
        self.norms = nn.ModuleList([PlainLayerNorm(dim), *(PlainLayerNorm(width) for width in widths[1:])])
        self.contexts = nn.ModuleList(
            nn.Sequential(pointwise(width, width), nn.GELU(), depthwise(width, kernel_size))
            for width, kernel_size in zip(widths, (7, 9, 11), strict=True)
        )
        self.values = nn.ModuleList(pointwise(width, width) for width in widths)
        self.outputs = nn.ModuleList(pointwise(width, width) for width in widths)
        self.projections = nn.ModuleList(pointwise(width, quarter) for width in widths[1:])
        self.prepares = nn.ModuleList(pointwise(quarter, quarter) for _ in widths)
        self.refines = nn.ModuleList(depthwise(quarter, 3) for _ in widths)

    def forward(self, x: Tensor) -> Tensor:
        y, *fresh = self.norms[0](x).chunk(4, dim=1)
        for layer in range(3):
            if layer:
                y = self.norms[layer](y)
            context = self.contexts[layer](y)
            modulated = self.outputs[layer](context * self.values[layer](y))
            prepared = self.prepares[layer](fresh[layer])
            refined = self.refines[layer](prepared)
            shift = self.projections[layer - 1](context) if layer else context
            refreshed = refined + shift
            y = torch.cat((refreshed, modulated), dim=1)
        return y
