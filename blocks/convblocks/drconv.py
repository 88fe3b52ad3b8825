"""Dynamic region-aware convolution, in its two published forms (CVPR 2021, arXiv:2003.12243)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks
from convblocks.checks import Pair
from convblocks.region_conv import Geometry, geometry, region_conv


def _check_conv(owner: str, in_channels: int, out_channels: int, kernel_size: int, regions: int) -> None:
    for name, value in (
        ("in_channels", in_channels),
        ("out_channels", out_channels),
        ("kernel_size", kernel_size),
        ("regions", regions),
    ):
        checks.positive(owner, name, value)


class DRConv(nn.Module):
    """Region-aware conv with the paper's filter generator: (N, in, H, W) → (N, out, Ho, Wo).

    Each sample's filters: average pool to k×k → 1×1 conv in→m² → sigmoid → 1×1 conv m²→m·in·out in m groups. Each
    pixel's region: argmax of a k×k conv in→m with the same stride, padding and dilation. With m regions:
    in·m² + m² + m²·in·out + m·in·out + m·in·k² + m parameters. The published form has no output ``bias``; with one
    there are out more. ``stride``, ``padding`` and ``dilation`` may be pairs (rows, columns).

    Without gradients on the CPU each pixel meets one filter; see ``region_conv`` for when all are evaluated.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        regions: int = 8,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        _check_conv("DRConv", in_channels, out_channels, kernel_size, regions)
        self.where = geometry("DRConv", stride, padding, dilation)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.regions = regions
        self.conv_kernel = nn.Sequential(
            nn.AdaptiveAvgPool2d(kernel_size),
            nn.Conv2d(in_channels, regions**2, 1),
            nn.Sigmoid(),
            nn.Conv2d(regions**2, regions * in_channels * out_channels, 1, groups=regions),
        )
        self.conv_guide = nn.Conv2d(
            in_channels, regions, kernel_size, self.where.stride, self.where.padding, self.where.dilation
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        checks.feature_map("DRConv", self.in_channels, x.shape)
        size = (self.kernel_size, self.kernel_size)
        filters = self.conv_kernel(x).view(x.shape[0], self.regions, self.out_channels, self.in_channels, *size)
        y = region_conv(x, filters, self.conv_guide(x), self.where)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)

    def algorithmic_macs(self, x: Tensor) -> int:
        """MACs of one forward for an input of x's shape if each pixel meets one filter: that, guide and generator."""
        batch, _, *size = x.shape
        taps = self.kernel_size**2
        pixels = batch * math.prod(self.where.output_size(size, self.kernel_size))
        conv = pixels * self.in_channels * self.out_channels * taps
        guide = pixels * self.in_channels * self.regions * taps
        squeeze = self.in_channels * self.regions**2
        expand = self.regions**2 * self.in_channels * self.out_channels
        return conv + guide + batch * taps * (squeeze + expand)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, regions={self.regions}"


class ExpertFilters(nn.Module):
    """Region filters mixed from experts: (N, in, H, W) → (N, regions, out, in, k, k).

    W_r = Σ_e α_{r,e} E_e with α = 2·sigmoid(Linear(mean over H, W))/experts. ``weight``: (out·in·k·k, experts), rows
    ordered (out, in, ky, kx); ``routing_fc``: in → regions·experts, region-major.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, regions: int, experts: int) -> None:
        super().__init__()
        self.regions, self.experts = regions, experts
        self.filter_shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(math.prod(self.filter_shape), experts))
        self.routing_fc = nn.Linear(in_channels, regions * experts)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Experts uniform within ±√(6/(in·k²)), routing weights N(0, 0.01), routing bias zero."""
        bound = math.sqrt(6 / math.prod(self.filter_shape[1:]))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.normal_(self.routing_fc.weight, 0, 0.01)
        nn.init.zeros_(self.routing_fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        alpha = self.routing_fc(x.mean((2, 3))).sigmoid() * (2 / self.experts)
        filters: Tensor = alpha.view(-1, self.experts) @ self.weight.t()
        return filters.view(x.shape[0], self.regions, *self.filter_shape)

    def macs(self, batch: int) -> int:
        """MACs of routing and mixing for a batch."""
        routing = self.routing_fc.weight.numel()
        return batch * (routing + self.regions * self.weight.numel())


class DRConvExperts(nn.Module):
    """Region-aware conv whose filters are mixed from experts: (N, in, H, W) → (N, out, Ho, Wo).

    Each pixel's region: argmax of a bias-free 1×1 conv in→regions, resized to the output (nearest) where that is
    smaller. Without gradients on the CPU each pixel meets one filter; see ``region_conv`` for when all are evaluated.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        regions: int = 8,
        experts: int = 8,
        stride: Pair = 1,
        padding: Pair = 0,
        bias: bool = False,
        dilation: Pair = 1,
    ) -> None:
        super().__init__()
        _check_conv("DRConvExperts", in_channels, out_channels, kernel_size, regions)
        self.where = geometry("DRConvExperts", stride, padding, dilation)
        checks.positive("DRConvExperts", "experts", experts)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.masknet = nn.Conv2d(in_channels, regions, 1, bias=False)
        self.conv = ExpertFilters(in_channels, out_channels, kernel_size, regions, experts)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        checks.feature_map("DRConvExperts", self.in_channels, x.shape)
        y = expert_conv(x, self.conv, self.masknet(x), self.where)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)

    def algorithmic_macs(self, x: Tensor) -> int:
        """MACs of one forward for an input of x's shape if each pixel meets one filter: that, guide and mixing."""
        batch, _, *size = x.shape
        guide = batch * math.prod(size) * self.masknet.weight.numel()
        return guide + expert_conv_macs(x, self.conv, self.where)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, stride={self.where.stride}"


def expert_conv(x: Tensor, experts: ExpertFilters, guide: Tensor, where: Geometry) -> Tensor:
    """``region_conv`` with filters mixed for each sample of x and the guide resized to the output where it is larger.

    x: (N, in, H, W); guide: (N, regions, H', W').
    """
    size = where.output_size(x.shape[2:], experts.filter_shape[-1])
    if where.stride != (1, 1) or list(guide.shape[2:]) != size:
        guide = F.interpolate(guide, size=size, mode="nearest")
    return region_conv(x, experts(x), guide, where)


def expert_conv_macs(x: Tensor, experts: ExpertFilters, where: Geometry) -> int:
    """MACs of ``expert_conv`` for an input of x's shape if each pixel meets one filter, routing and mixing included."""
    out_channels, in_channels, kernel_size, _ = experts.filter_shape
    batch, _, *size = x.shape
    pixels = batch * math.prod(where.output_size(size, kernel_size))
    return pixels * out_channels * in_channels * kernel_size**2 + experts.macs(batch)
