"""Halving a map without losing a value, and convolving in the wavelet domain: SPD-Conv, Haar downsampling, WTConv."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks

# Haar's analysis filters (low-low, low-high, high-low, high-high) in rows and columns; orthonormal, so that the
# transposed convolution with the same filters restores the map exactly.
_HAAR = (((1.0, 1.0), (1.0, 1.0)), ((1.0, 1.0), (-1.0, -1.0)), ((1.0, -1.0), (1.0, -1.0)), ((1.0, -1.0), (-1.0, 1.0)))


def _filters(like: Tensor) -> Tensor:
    """(4, 1, 2, 2), in the dtype and on the device of ``like``."""
    return torch.tensor(_HAAR, dtype=like.dtype, device=like.device)[:, None] / 2


def haar(x: Tensor) -> Tensor:
    """One level of the 2-D Haar transform: (N, C, H, W), H and W even → (N, C, 4, H/2, W/2)."""
    batch, channels, height, width = x.shape
    filters = _filters(x)
    y = F.conv2d(x.reshape(batch * channels, 1, height, width), filters, stride=2)
    return y.view(batch, channels, 4, height // 2, width // 2)


def inverse_haar(y: Tensor) -> Tensor:
    """The map that `haar` takes apart: (N, C, 4, H, W) → (N, C, 2H, 2W)."""
    batch, channels, _, height, width = y.shape
    x = F.conv_transpose2d(y.reshape(batch * channels, 4, height, width), _filters(y), stride=2)
    return x.view(batch, channels, 2 * height, 2 * width)


def _even(x: Tensor) -> Tensor:
    """Zeros below and to the right where an extent is odd."""
    return F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)) if x.shape[2] % 2 or x.shape[3] % 2 else x


def space_to_depth(x: Tensor) -> Tensor:
    """(N, C, H, W), H and W even → (N, 4C, H/2, W/2), ordered (column, row, channel) from slow to fast."""
    batch, channels, height, width = x.shape
    quarters = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 5, 3, 1, 2, 4)
    return quarters.reshape(batch, 4 * channels, height // 2, width // 2)


class SPDConv(nn.Module):
    """Space to depth, a conv without stride, batch norm, SiLU: (N, C, H, W) → (N, O, ⌈H/2⌉, ⌈W/2⌉).

    The four shifted quarters of the pixels lie side by side as channels, (row, column) = (0, 0), (1, 0), (0, 1), (1,
    1).

    Source: Sunkara and Luo 2022, No More Strided Convolutions or Pooling, section 3.
    """

    def __init__(self, dim: int, out_channels: int | None = None, kernel_size: int = 3) -> None:
        super().__init__()
        self.dim = checks.positive("SPDConv", "dim", dim)
        checks.odd("SPDConv", "kernel_size", kernel_size)
        out = dim if out_channels is None else out_channels
        self.conv = nn.Conv2d(4 * dim, out, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("SPDConv", self.dim, x.shape)
        y: Tensor = self.act(self.bn(self.conv(space_to_depth(_even(x)))))
        return y


class HaarDownsampling(nn.Module):
    """Haar transform, then a 1×1 conv, batch norm and ReLU: (N, C, H, W) → (N, O, ⌈H/2⌉, ⌈W/2⌉).

    Source: Xu et al. 2023, Haar wavelet downsampling, section 3.2.
    """

    def __init__(self, dim: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.dim = checks.positive("HaarDownsampling", "dim", dim)
        out = dim if out_channels is None else out_channels
        self.conv = nn.Conv2d(4 * dim, out, 1)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("HaarDownsampling", self.dim, x.shape)
        bands = haar(_even(x)).transpose(1, 2).flatten(1, 2)
        y: Tensor = self.bn(self.conv(bands)).relu()
        return y


class WTConv(nn.Module):
    """Small depthwise convs in the wavelet domain, a large field from few weights: (N, C, H, W) → (N, C, H, W).

    Level by level the low band is transformed again; each level's four bands pass a k×k depthwise conv and a scale that
    starts at 0.1, and come back by the inverse transform, added into the level above; the input's own k×k depthwise
    conv with bias, scaled, is added last. Source: Finder et al. 2024, Wavelet Convolutions for Large Receptive Fields,
    section 3.2.
    """

    def __init__(self, dim: int, kernel_size: int = 5, levels: int = 1) -> None:
        super().__init__()
        self.dim = checks.positive("WTConv", "dim", dim)
        checks.odd("WTConv", "kernel_size", kernel_size)
        checks.positive("WTConv", "levels", levels)
        padding = kernel_size // 2
        self.base_conv = nn.Conv2d(dim, dim, kernel_size, padding=padding, groups=dim)
        self.base_scale = nn.Parameter(torch.ones(dim, 1, 1))
        self.wavelet_convs = nn.ModuleList(
            nn.Conv2d(4 * dim, 4 * dim, kernel_size, padding=padding, groups=4 * dim, bias=False) for _ in range(levels)
        )
        self.wavelet_scales = nn.ParameterList(torch.full((4 * dim, 1, 1), 0.1) for _ in range(levels))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("WTConv", self.dim, x.shape)
        y: Tensor = self.base_conv(x) * self.base_scale
        return y + self._level(x, 0)

    def _level(self, low: Tensor, level: int) -> Tensor:
        """What this level and those below it add to a map of ``low``'s size."""
        height, width = low.shape[2:]
        bands = haar(_even(low))
        changed = (self.wavelet_convs[level](bands.flatten(1, 2)) * self.wavelet_scales[level]).view_as(bands)
        if level + 1 < len(self.wavelet_convs):
            below = self._level(bands[:, :, 0], level + 1)
            changed = torch.cat((changed[:, :, :1] + below[:, :, None], changed[:, :, 1:]), dim=2)
        return inverse_haar(changed)[:, :, :height, :width]
