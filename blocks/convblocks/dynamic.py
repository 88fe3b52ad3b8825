"""Kernels that depend on the input: CondConv, dynamic convolution, ODConv, involution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks


def per_sample_conv(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Convolve each sample with kernels of its own.

    x: (N, I, H, W); weight: (N, O, I, k, k). Returns (N, O, Ho, Wo). One grouped conv, a group a sample.
    """
    batch, _, height, width = x.shape
    if batch == 0:  # a conv cannot have as many groups as there are samples
        return F.conv2d(x, weight.sum(0), None, stride, padding)
    y = F.conv2d(x.reshape(1, -1, height, width), weight.flatten(0, 1), None, stride, padding, groups=batch)
    return y.reshape(batch, weight.shape[1], *y.shape[2:])


class _Experts(nn.Module):
    """Kernels that are summed by weights of each sample's own, and the conv with the sum: padded, without bias."""

    def __init__(self, dim: int, out_channels: int | None, kernel_size: int, stride: int, experts: int) -> None:
        super().__init__()
        owner = type(self).__name__
        self.dim = checks.positive(owner, "dim", dim)
        self.out_channels = checks.positive(owner, "out_channels", dim if out_channels is None else out_channels)
        self.kernel_size = checks.odd(owner, "kernel_size", kernel_size)
        self.stride = checks.positive(owner, "stride", stride)
        checks.positive(owner, "experts", experts)
        # A row an expert: `Module.to(memory_format=torch.channels_last)` takes no parameter of five dimensions.
        self.kernel_shape = (self.out_channels, dim, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(experts, math.prod(self.kernel_shape)))
        for row in self.weight:
            nn.init.kaiming_uniform_(row.detach().view(self.kernel_shape), a=5**0.5)

    def mixed(self, x: Tensor, share: Tensor) -> Tensor:
        """x: (N, C, H, W); share: (N, experts)."""
        weight = (share @ self.weight).view(-1, *self.kernel_shape)
        return per_sample_conv(x, weight, self.stride, self.kernel_size // 2)

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.out_channels}, kernel_size={self.kernel_size}, experts={len(self.weight)}"


class CondConv(_Experts):
    """Conditionally parameterised convolution: (N, C, H, W) → (N, O, Ho, Wo).

    W = Σ_e sigmoid(Linear(mean_HW x))_e W_e. E·O·C·k² + E(C + 1) parameters; a forward takes E·O·C·k² MACs a sample
    beside the conv's own. Source: Yang et al. 2019, CondConv, equations 1 and 2.
    """

    def __init__(
        self, dim: int, out_channels: int | None = None, kernel_size: int = 3, stride: int = 1, experts: int = 8
    ) -> None:
        super().__init__(dim, out_channels, kernel_size, stride, experts)
        self.routing = nn.Linear(dim, experts)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("CondConv", self.dim, x.shape)
        return self.mixed(x, self.routing(x.mean((2, 3))).sigmoid())


class DynamicConv(_Experts):
    """Dynamic convolution, attention over kernels: (N, C, H, W) → (N, O, Ho, Wo).

    W = Σ_e softmax(fc₂ ReLU(fc₁ mean_HW x) / temperature)_e W_e, fc₁: C → C/reduction without bias. Training begins at
    a temperature of 30 and ends at 1. Source: Chen et al. 2020, Dynamic Convolution, equations 2 to 5.
    """

    def __init__(
        self,
        dim: int,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        experts: int = 4,
        reduction: int = 4,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(dim, out_channels, kernel_size, stride, experts)
        inner = max(1, dim // checks.positive("DynamicConv", "reduction", reduction))
        self.fc1 = nn.Linear(dim, inner, bias=False)
        self.fc2 = nn.Linear(inner, experts)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("DynamicConv", self.dim, x.shape)
        return self.mixed(x, (self.fc2(self.fc1(x.mean((2, 3))).relu()) / self.temperature).softmax(1))


class ODConv(_Experts):
    """Omni-dimensional dynamic convolution: (N, C, H, W) → (N, O, Ho, Wo).

    h = ReLU(BN(Linear C → a)(mean_HW x)), a = max(16, C/16) without bias; four heads with bias give attentions over the
    input channels, the output channels and the k² taps (sigmoid) and over the kernels (softmax), and scale W_e along
    each axis. The batch norm sees one value a sample and channel, so that a training step needs at least two samples.
    Source: Li et al. 2022, Omni-Dimensional Dynamic Convolution, equation 2 and figure 1.
    """

    def __init__(
        self,
        dim: int,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        experts: int = 4,
        reduction: int = 16,
    ) -> None:
        super().__init__(dim, out_channels, kernel_size, stride, experts)
        inner = max(16, dim // checks.positive("ODConv", "reduction", reduction))
        self.fc = nn.Conv2d(dim, inner, 1, bias=False)
        self.bn = nn.BatchNorm2d(inner)
        self.channel = nn.Linear(inner, dim)
        self.filter = nn.Linear(inner, self.out_channels)
        self.spatial = nn.Linear(inner, kernel_size**2)
        self.kernel = nn.Linear(inner, experts)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("ODConv", self.dim, x.shape)
        h = self.bn(self.fc(x.mean((2, 3), keepdim=True))).relu().flatten(1)
        taps = self.spatial(h).sigmoid().view(-1, 1, 1, self.kernel_size, self.kernel_size)
        share = self.kernel(h).softmax(1)
        weight = (share @ self.weight).view(-1, *self.kernel_shape) * taps
        # Input and output channels are scaled outside the kernel: the same product at far fewer multiplications.
        y = per_sample_conv(x * self.channel(h).sigmoid()[:, :, None, None], weight, self.stride, self.kernel_size // 2)
        out: Tensor = y * self.filter(h).sigmoid()[:, :, None, None]
        return out


class Involution(nn.Module):
    """Involution, a kernel for each pixel and group of channels: (N, C, H, W) → (N, C, H, W).

    Kernels = PW_{C/r → k²G}(ReLU(BN(PW_{C → C/r}(x)))), the second with bias; each pixel's k² neighbours are summed by
    its kernel, which the ``group_channels`` channels of a group share.
    Source: Li et al. 2021, Involution, equations 4 to 6.
    """

    def __init__(self, dim: int, kernel_size: int = 7, group_channels: int = 16, reduction: int = 4) -> None:
        super().__init__()
        checks.positive("Involution", "group_channels", group_channels)
        self.dim = checks.multiple(
            "Involution", "dim", dim, group_channels, f"shares kernels of {group_channels} channels"
        )
        self.kernel_size = checks.odd("Involution", "kernel_size", kernel_size)
        self.groups = dim // group_channels
        inner = max(1, dim // checks.positive("Involution", "reduction", reduction))
        self.reduce = nn.Sequential(nn.Conv2d(dim, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU())
        self.span = nn.Conv2d(inner, kernel_size**2 * self.groups, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("Involution", self.dim, x.shape)
        batch, channels, height, width = x.shape
        taps = self.kernel_size**2
        kernels = self.span(self.reduce(x)).view(batch, self.groups, 1, taps, height * width)
        patches = F.unfold(x, self.kernel_size, padding=self.kernel_size // 2)
        patches = patches.view(batch, self.groups, channels // self.groups, taps, height * width)
        y: Tensor = (kernels * patches).sum(3).view(batch, channels, height, width)
        return y

    def extra_repr(self) -> str:
        return f"{self.dim}, kernel_size={self.kernel_size}, groups={self.groups}"
