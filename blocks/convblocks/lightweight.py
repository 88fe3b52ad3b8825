"""Cheap stand-ins for a convolution: partial, ghost, mixed and split-and-reconstructed convs, and coordinates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convblocks import checks


class PConv(nn.Module):
    """Partial convolution: a 3×3 conv of the first C/ratio channels: (N, C, H, W) → (N, C, H, W).

    9(C/ratio)² parameters, without bias; the other channels are as they were.
    Source: Chen et al. 2023, Run, Don't Walk (FasterNet), section 3.2.
    """

    def __init__(self, dim: int, ratio: int = 4, kernel_size: int = 3) -> None:
        super().__init__()
        checks.positive("PConv", "ratio", ratio)
        self.dim = checks.multiple("PConv", "dim", dim, ratio, f"convolves one in {ratio} channels")
        checks.odd("PConv", "kernel_size", kernel_size)
        width = dim // ratio
        self.widths = [width, dim - width]
        self.partial_conv3 = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("PConv", self.dim, x.shape)
        changed, kept = torch.split(x, self.widths, dim=1)
        return torch.cat((self.partial_conv3(changed), kept), dim=1)


class FasterNetBlock(nn.Module):
    """FasterNet's block: x + PW(ReLU(BN(PW(PConv(x))))), inner width ratio·C, no bias: (N, C, H, W) → (N, C, H, W).

    Source: Chen et al. 2023, Run, Don't Walk, section 3.4 and figure 4.
    """

    def __init__(self, dim: int, mlp_ratio: float = 2.0, partial_ratio: int = 4) -> None:
        super().__init__()
        hidden = checks.hidden_width("FasterNetBlock", dim, mlp_ratio)
        self.spatial_mixing = PConv(dim, partial_ratio)
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, dim, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        y: Tensor = x + self.mlp(self.spatial_mixing(x))
        return y


class GhostConv(nn.Module):
    """Ghost module: (N, C, H, W) → (N, O, Ho, Wo).

    A conv to ⌈O/2⌉ channels and a depthwise conv of those, each with batch norm and ReLU and without bias, side by
    side, cut to O channels. Source: Han et al. 2020, GhostNet, equations 2 to 4 with ratio 2.
    """

    def __init__(
        self, dim: int, out_channels: int | None = None, kernel_size: int = 1, cheap_kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        self.dim = checks.positive("GhostConv", "dim", dim)
        self.out_channels = checks.positive("GhostConv", "out_channels", dim if out_channels is None else out_channels)
        checks.positive("GhostConv", "stride", stride)
        width = (self.out_channels + 1) // 2
        self.primary_conv = _conv_bn_relu(dim, width, kernel_size, stride, 1)
        self.cheap_operation = _conv_bn_relu(width, width, cheap_kernel, 1, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("GhostConv", self.dim, x.shape)
        first = self.primary_conv(x)
        return torch.cat((first, self.cheap_operation(first)), dim=1)[:, : self.out_channels]


def _conv_bn_relu(channels: int, out: int, kernel_size: int, stride: int, groups: int) -> nn.Sequential:
    checks.odd("GhostConv", "kernel_size", kernel_size)
    conv = nn.Conv2d(channels, out, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class MixConv(nn.Module):
    """Mixed depthwise convolution: equal shares of the channels, a kernel each: (N, C, H, W) → (N, C, Ho, Wo).

    The first share takes what the division leaves. Σ k²·share parameters, without bias.
    Source: Tan and Le 2019, MixConv, equation 2 and section 3.2.
    """

    def __init__(self, dim: int, kernels: list[int] | None = None, stride: int = 1) -> None:
        super().__init__()
        sizes = [3, 5, 7, 9] if kernels is None else checks.int_list("MixConv", "kernels", kernels)
        self.dim = checks.positive("MixConv", "dim", dim)
        checks.positive("MixConv", "stride", stride)
        share = dim // len(sizes)
        if not share:
            raise ValueError(f"MixConv: dim must be at least the number of kernels, {len(sizes)}, got {dim}")
        self.widths = [dim - share * (len(sizes) - 1), *[share] * (len(sizes) - 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, checks.odd("MixConv", "kernels", k), stride, k // 2, groups=width, bias=False)
            for width, k in zip(self.widths, sizes, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("MixConv", self.dim, x.shape)
        return torch.cat(
            [conv(part) for conv, part in zip(self.convs, torch.split(x, self.widths, dim=1), strict=True)], dim=1
        )


def _places(length: int, like: Tensor) -> Tensor:
    """−1 to 1 in equal steps; torch.linspace would bind what is exported to one length."""
    exact = torch.promote_types(like.dtype, torch.float32)
    places = torch.arange(length, dtype=exact, device=like.device) * (2 / max(length - 1, 1)) - 1
    return places.to(like.dtype)


class CoordConv(nn.Module):
    """A conv that is told where it is: (N, C, H, W) → (N, O, Ho, Wo).

    Row and column in [−1, 1] are two more input channels (``radius``: their distance from the centre is a third).
    Source: Liu et al. 2018, An Intriguing Failing of Convolutional Neural Networks, section 3.
    """

    def __init__(
        self, dim: int, out_channels: int | None = None, kernel_size: int = 3, stride: int = 1, radius: bool = False
    ) -> None:
        super().__init__()
        self.dim = checks.positive("CoordConv", "dim", dim)
        checks.odd("CoordConv", "kernel_size", kernel_size)
        checks.positive("CoordConv", "stride", stride)
        self.radius = radius
        out = dim if out_channels is None else out_channels
        self.conv = nn.Conv2d(dim + 2 + radius, out, kernel_size, stride, kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("CoordConv", self.dim, x.shape)
        batch, _, height, width = x.shape
        rows, columns = _places(height, x)[:, None].expand(height, width), _places(width, x).expand(height, width)
        places = [rows, columns, *([torch.hypot(rows, columns)] if self.radius else [])]
        y: Tensor = self.conv(torch.cat((x, torch.stack(places).expand(batch, -1, -1, -1)), dim=1))
        return y


class SCConv(nn.Module):
    """Spatial and channel reconstruction convolution: (N, C, H, W) → (N, C, H, W), C a multiple of 8.

    SRU: group norm; w = sigmoid(GN(x) ⊙_c γ/Σγ); where w exceeds the threshold, x counts wholly as informative and not
    at all as the rest, elsewhere both take w·x; halves of the two are crossed and added. CRU: the upper half of the
    channels, squeezed by 2, through a grouped 3×3 and a 1×1 conv; the lower half, squeezed by 2, through a 1×1 conv
    beside itself; both weighed by the softmax of their means.
    Source: Li et al. 2023, SCConv, equations 1 to 11 with α = 1/2, r = 2, g = 2.
    """

    def __init__(self, dim: int, norm_groups: int = 4, threshold: float = 0.5) -> None:
        super().__init__()
        self.dim = checks.multiple("SCConv", "dim", dim, 8, "halves, squeezes and groups its channels")
        self.norm = nn.GroupNorm(checks.groups("SCConv", dim, dim, norm_groups), dim)
        self.threshold = threshold
        half, quarter = dim // 2, dim // 4
        self.squeeze_up = nn.Conv2d(half, quarter, 1, bias=False)
        self.squeeze_low = nn.Conv2d(half, quarter, 1, bias=False)
        self.group_conv = nn.Conv2d(quarter, dim, 3, padding=1, groups=2)
        self.point_conv_up = nn.Conv2d(quarter, dim, 1, bias=False)
        self.point_conv_low = nn.Conv2d(quarter, dim - quarter, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("SCConv", self.dim, x.shape)
        return self._channels(self._places(x))

    def _places(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        share = (self.norm.weight / self.norm.weight.sum())[:, None, None]
        weight = (normed * share).sigmoid()
        above = weight > self.threshold
        rich = (x * weight.masked_fill(above, 1)).chunk(2, dim=1)
        poor = (x * weight.masked_fill(above, 0)).chunk(2, dim=1)
        return torch.cat((rich[0] + poor[1], rich[1] + poor[0]), dim=1)

    def _channels(self, x: Tensor) -> Tensor:
        upper, lower = x.chunk(2, dim=1)
        upper, lower = self.squeeze_up(upper), self.squeeze_low(lower)
        rich = self.group_conv(upper) + self.point_conv_up(upper)
        cheap = torch.cat((self.point_conv_low(lower), lower), dim=1)
        both = torch.stack((rich, cheap))
        return (both * both.mean((3, 4), keepdim=True).softmax(0)).sum(0)
