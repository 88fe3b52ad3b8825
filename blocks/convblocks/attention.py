"""Attention modules that reweight a feature map: SE, ECA, CBAM, coordinate attention, SimAM, EMA."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from convblocks import checks


class SE(nn.Module):
    """Squeeze and excitation: (N, C, H, W) → (N, C, H, W).

    y = x ⊙_c sigmoid(W₂ ReLU(W₁ mean_HW x)), W₁: C → C/reduction, both with bias. 2C²/r + C + C/r parameters.
    Source: Hu et al. 2018, Squeeze-and-Excitation Networks, equations 2 to 4.
    """

    def __init__(self, dim: int, reduction: int = 16) -> None:
        super().__init__()
        self.dim = checks.positive("SE", "dim", dim)
        inner = max(1, dim // checks.positive("SE", "reduction", reduction))
        self.fc1 = nn.Conv2d(dim, inner, 1)
        self.fc2 = nn.Conv2d(inner, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("SE", self.dim, x.shape)
        squeezed = x.mean((2, 3), keepdim=True)
        y: Tensor = x * self.fc2(self.fc1(squeezed).relu()).sigmoid()
        return y


class ECA(nn.Module):
    """Efficient channel attention: (N, C, H, W) → (N, C, H, W).

    y = x ⊙_c sigmoid(conv1d_k(mean_HW x)), one kernel of k taps over neighbouring channels, no bias; k is the odd
    number next to |log₂(C)/γ + b/γ|, γ = 2, b = 1. k parameters, k·C MACs a sample.
    Source: Wang et al. 2020, ECA-Net, equations 5, 9 and 12.
    """

    def __init__(self, dim: int, kernel_size: int | None = None) -> None:
        super().__init__()
        self.dim = checks.positive("ECA", "dim", dim)
        taps = int(abs(math.log2(dim) / 2 + 1 / 2)) | 1 if kernel_size is None else kernel_size
        checks.odd("ECA", "kernel_size", taps)
        self.conv = nn.Conv1d(1, 1, taps, padding=taps // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("ECA", self.dim, x.shape)
        weights: Tensor = self.conv(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return x * weights.sigmoid()[:, :, None, None]


class CBAM(nn.Module):
    """Convolutional block attention, channels then places: (N, C, H, W) → (N, C, H, W).

    x' = x ⊙_c sigmoid(MLP(mean_HW x) + MLP(max_HW x)), one MLP C → C/r → C without bias; y = x' ⊙ sigmoid(conv_k of the
    mean and the maximum of x' over channels), without bias. 2C²/r + 2k² parameters.
    Source: Woo et al. 2018, CBAM, equations 1 to 3.
    """

    def __init__(self, dim: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.dim = checks.positive("CBAM", "dim", dim)
        inner = max(1, dim // checks.positive("CBAM", "reduction", reduction))
        checks.odd("CBAM", "kernel_size", kernel_size)
        self.mlp = nn.Sequential(nn.Conv2d(dim, inner, 1, bias=False), nn.ReLU(), nn.Conv2d(inner, dim, 1, bias=False))
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("CBAM", self.dim, x.shape)
        channels = self.mlp(x.mean((2, 3), keepdim=True)) + self.mlp(x.amax((2, 3), keepdim=True))
        x = x * channels.sigmoid()
        places = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), dim=1)
        y: Tensor = x * self.spatial(places).sigmoid()
        return y


class CoordAtt(nn.Module):
    """Coordinate attention: (N, C, H, W) → (N, C, H, W).

    The means over rows and over columns, end to end, pass a 1×1 conv to max(8, C/r) channels, batch norm and hardswish;
    taken apart again, each passes a 1×1 conv and a sigmoid, and both scale x. All convs have a bias.
    Source: Hou et al. 2021, Coordinate Attention, equations 4 to 9.
    """

    def __init__(self, dim: int, reduction: int = 32) -> None:
        super().__init__()
        self.dim = checks.positive("CoordAtt", "dim", dim)
        inner = max(8, dim // checks.positive("CoordAtt", "reduction", reduction))
        self.conv1 = nn.Conv2d(dim, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.act = nn.Hardswish()
        self.conv_h = nn.Conv2d(inner, dim, 1)
        self.conv_w = nn.Conv2d(inner, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("CoordAtt", self.dim, x.shape)
        height, width = x.shape[2:]
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        mixed = self.act(self.bn1(self.conv1(torch.cat((rows, columns), dim=2))))
        along_h, along_w = mixed.split((height, width), dim=2)
        y: Tensor = x * self.conv_h(along_h).sigmoid() * self.conv_w(along_w.transpose(2, 3)).sigmoid()
        return y


class SimAM(nn.Module):
    """Parameter-free attention: (N, C, H, W) → (N, C, H, W).

    y = x ⊙ sigmoid(d/(4(v + λ)) + 1/2), d = (x − mean_HW x)², v = Σ_HW d/(HW − 1). No parameters.
    A map of one pixel gives sigmoid(1/2)·x. Source: Yang et al. 2021, SimAM, equations 5 and 6, with the unbiased
    variance of its figure 3.
    """

    def __init__(self, dim: int, e_lambda: float = 1e-4) -> None:
        super().__init__()
        self.dim = checks.positive("SimAM", "dim", dim)
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("SimAM", self.dim, x.shape)
        distance = (x - x.mean((2, 3), keepdim=True)).square()
        # A map of one pixel has no variance: zero, and no 0/0.
        variance = distance.sum((2, 3), keepdim=True) / max(x.shape[2] * x.shape[3] - 1, 1)
        return x * (distance / (4 * (variance + self.e_lambda)) + 0.5).sigmoid()

    def extra_repr(self) -> str:
        return f"{self.dim}, e_lambda={self.e_lambda:g}"


class EMA(nn.Module):
    """Efficient multi-scale attention with cross-spatial learning: (N, C, H, W) → (N, C, H, W), C a multiple of groups.

    Each of ``groups`` (the paper's ``factor``) of c = C/groups channels, by weights that all groups share: a 1×1 conv
    over its row and column means, end to end, gives two gates, and x ⊙ both gates, group-normalised by channel, is the
    first branch; a 3×3 conv of x is the second. Each branch's pooled channels, as a softmax, weigh the other's channels
    into one map; the sigmoid of the sum of both scales x. 10c² + 4c parameters.
    Source: Ouyang et al. 2023, Efficient Multi-Scale Attention Module with Cross-Spatial Learning, section 3.
    """

    def __init__(self, dim: int, groups: int = 8) -> None:
        super().__init__()
        checks.positive("EMA", "groups", groups)
        self.dim = checks.multiple("EMA", "dim", dim, groups, f"splits its channels into {groups} groups")
        self.groups = groups
        width = dim // groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("EMA", self.dim, x.shape)
        batch, channels, height, width = x.shape
        x = x.reshape(batch * self.groups, channels // self.groups, height, width)
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        along_h, along_w = self.conv1x1(torch.cat((rows, columns), dim=2)).split((height, width), dim=2)
        gated = self.norm(x * along_h.sigmoid() * along_w.transpose(2, 3).sigmoid())
        local = self.conv3x3(x)
        weights = _weigh(gated, local) + _weigh(local, gated)
        return (x * weights.sigmoid()).reshape(batch, channels, height, width)

    def extra_repr(self) -> str:
        return f"{self.dim}, groups={self.groups}"


def _weigh(pooled: Tensor, maps: Tensor) -> Tensor:
    """The maps' channels summed by the softmax of the other branch's means: (B, c, H, W) → (B, 1, H, W)."""
    share = pooled.mean((2, 3)).softmax(-1)
    return torch.einsum("bc,bchw->bhw", share, maps).unsqueeze(1)
