"""Kernels whose taps move with the input: deformable convolution v2, v3 and v4, dynamic snake convolution, LDConv."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks
from convblocks.checks import Pair
from convblocks.deform import MACS_PER_SAMPLE, POINTS, deformable_sample
from convblocks.norm import LayerNorm2d


def bilinear(x: Tensor, across: Tensor, down: Tensor, padding_mode: str = "zeros") -> Tensor:
    """Values of x between its pixels: (N, C, H, W) at columns and rows (N, P, Q), in pixels → (N, C, P, Q).

    Beyond the map: zeros, or with "border" the nearest pixel. Half precision is sampled in float32.
    """
    height, width = x.shape[2:]
    exact = torch.promote_types(x.dtype, torch.float32)
    grid = torch.stack(((2 * across + 1) / width - 1, (2 * down + 1) / height - 1), -1)
    y = F.grid_sample(x.to(exact), grid.to(exact), mode="bilinear", padding_mode=padding_mode, align_corners=False)
    return y.to(x.dtype)


def _positions(size: int, stride: int, offset: Tensor) -> Tensor:
    """The first tap's coordinate of each of ``size`` outputs along an axis, in offset's dtype (float32 at least)."""
    exact = torch.promote_types(offset.dtype, torch.float32)
    return torch.arange(size, device=offset.device, dtype=exact) * stride


class DCNv2(nn.Module):
    """Modulated deformable convolution: (N, C, H, W) → (N, O, Ho, Wo).

    y(p) = Σ_k w_k · x(p + p_k + Δp_k) · m_k over the k² taps, x bilinear and zero beyond the map. One k×k conv with
    bias gives the offsets, laid out (group, tap, [row, column]), and after those the masks, of which a sigmoid is
    taken; it starts at zero, so that a fresh module is half of a conv. ``offset_groups`` of the channels share offsets.

    O·C·k² + O + 3·G·k²·(C·k² + 1) parameters. MACs a pixel: O·C·k² + 3·G·k²·C·k², and 4·C·k² of sampling.
    Source: Zhu et al. 2019, Deformable ConvNets v2 (arXiv:1811.11168), equation 1.
    """

    def __init__(
        self,
        dim: int,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: Pair = 1,
        padding: Pair | None = None,
        dilation: Pair = 1,
        offset_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.dim = checks.positive("DCNv2", "dim", dim)
        out = checks.positive("DCNv2", "out_channels", dim if out_channels is None else out_channels)
        self.offset_groups = checks.groups("DCNv2, offset_groups", dim, dim, offset_groups)
        self.kernel_size = checks.positive("DCNv2", "kernel_size", kernel_size)
        self.stride, self.dilation = checks.pair("DCNv2", "stride", stride), checks.pair("DCNv2", "dilation", dilation)
        if padding is None:
            checks.odd("DCNv2", "kernel_size", kernel_size)
            padding = (self.dilation[0] * (kernel_size // 2), self.dilation[1] * (kernel_size // 2))
        self.padding = checks.pair("DCNv2", "padding", padding, least=0)
        self.weight = nn.Parameter(torch.empty(out, dim, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        self.conv_offset_mask = nn.Conv2d(
            dim, 3 * offset_groups * kernel_size**2, kernel_size, self.stride, self.padding, self.dilation
        )
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.zeros_(self.conv_offset_mask.weight)
        assert self.conv_offset_mask.bias is not None
        nn.init.zeros_(self.conv_offset_mask.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("DCNv2", self.dim, x.shape)
        moved = self.conv_offset_mask(x)
        batch, _, height, width = moved.shape
        groups, taps = self.offset_groups, self.kernel_size**2
        offset, mask = moved.split([2 * groups * taps, groups * taps], 1)
        offset = offset.reshape(batch * groups, taps, 2, height, width)
        step = torch.arange(taps, device=x.device)
        row, column = step // self.kernel_size, step % self.kernel_size
        down = _positions(height, self.stride[0], offset)[:, None] + offset[:, :, 0]
        down = down + (row * self.dilation[0] - self.padding[0])[:, None, None]
        across = _positions(width, self.stride[1], offset) + offset[:, :, 1]
        across = across + (column * self.dilation[1] - self.padding[1])[:, None, None]
        images = x.reshape(batch * groups, self.dim // groups, *x.shape[2:])
        sampled = bilinear(images, across.flatten(1, 2), down.flatten(1, 2))
        columns = sampled * mask.sigmoid().reshape(batch * groups, 1, taps * height, width)
        columns = columns.reshape(batch, self.dim * taps, height, width)
        return F.conv2d(columns, self.weight.flatten(1)[..., None, None], self.bias)

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.weight.shape[0]}, kernel_size={self.kernel_size}, offset_groups={self.offset_groups}"


class _Operator(nn.Module):
    """What DCNv3 and v4 share: values projected, sampled at 3×3 moved taps by groups of channels, projected again."""

    def __init__(self, dim: int, group_channels: int) -> None:
        super().__init__()
        owner = type(self).__name__
        checks.positive(owner, "group_channels", group_channels)
        self.dim = checks.multiple(owner, "dim", dim, group_channels, f"samples {group_channels} channels at a time")
        self.groups = dim // group_channels
        self.input_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        for layer in (self.input_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def taps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (N, H, W, G·18) and masks (N, H, W, G·9) for x: (N, H, W, C)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map(type(self).__name__, self.dim, x.shape)
        x = x.permute(0, 2, 3, 1)
        y: Tensor = self.output_proj(deformable_sample(self.input_proj(x), *self.taps(x), self.groups))
        return y.permute(0, 3, 1, 2)

    def sampling_macs(self, x: Tensor) -> int:
        """Four neighbours and one mask for each of nine values an output element: 45·N·C·H·W."""
        return MACS_PER_SAMPLE * POINTS * x.numel()

    def extra_repr(self) -> str:
        return f"{self.dim}, groups={self.groups}"


class DCNv3(_Operator):
    """InternImage's operator: (N, C, H, W) → (N, C, H, W), 3×3, masks normalised by a softmax over the nine taps.

    v = Linear(x); h = GELU(LN(DW3(x))); offsets and masks Linear(h) for each group of ``group_channels``;
    y = Linear(Σ_k softmax(m)_k v(p + p_k + Δp_k)). Offsets and masks start at zero: a fresh one is a mean over 3×3.

    2C(C + 1) + 12C + 27G(C + 1) parameters. Source: Wang et al. 2023, InternImage (arXiv:2211.05778), equation 2.
    """

    def __init__(self, dim: int, group_channels: int = 16) -> None:
        super().__init__(dim, group_channels)
        self.dw_conv = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim), LayerNorm2d(dim), nn.GELU())
        self.offset = nn.Linear(dim, self.groups * POINTS * 2)
        self.mask = nn.Linear(dim, self.groups * POINTS)
        for layer in (self.offset, self.mask):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def taps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        local = self.dw_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        mask = self.mask(local).unflatten(-1, (self.groups, POINTS)).softmax(-1).flatten(-2)
        return self.offset(local), mask


class DCNv4(_Operator):
    """DCNv3 without softmax and without the depthwise conv: (N, C, H, W) → (N, C, H, W), 3×3.

    Offsets and masks, unbounded, are one Linear of x (offsets of all groups first), which starts at zero: a fresh one
    gives its output bias. 2C(C + 1) + 27G(C + 1) parameters.
    Source: Xiong et al. 2024, Efficient Deformable ConvNets (arXiv:2401.06197), section 3.1.
    """

    def __init__(self, dim: int, group_channels: int = 16) -> None:
        super().__init__(dim, group_channels)
        self.offset_mask = nn.Linear(dim, self.groups * POINTS * 3)
        nn.init.zeros_(self.offset_mask.weight)
        nn.init.zeros_(self.offset_mask.bias)

    def taps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        offset, mask = self.offset_mask(x).split([self.groups * POINTS * 2, self.groups * POINTS], -1)
        return offset, mask


class SnakeConv(nn.Module):
    """Dynamic snake convolution along one axis: (N, C, H, W) → (N, O, H, W).

    A row (``axis`` "x") or column ("y") of ``kernel_size`` taps that bends: tap c steps away from the centre is moved
    across the axis by the sum of the c offsets from the centre to it, each within ±1, so that the taps hang together.
    Offsets = tanh(BN(3×3 conv C → k)); the centre's stays 0. Then a k×1 conv over the taps, batch norm, ReLU. Beyond
    the map the nearest pixel counts. O·C·k + O + k(9C + 1) + 2k + 2O parameters.
    Source: Qi et al. 2023, Dynamic Snake Convolution (arXiv:2307.08388), equations 2 to 5.
    """

    def __init__(self, dim: int, out_channels: int | None = None, kernel_size: int = 9, axis: str = "x") -> None:
        super().__init__()
        self.dim = checks.positive("SnakeConv", "dim", dim)
        out = checks.positive("SnakeConv", "out_channels", dim if out_channels is None else out_channels)
        self.kernel_size = checks.odd("SnakeConv", "kernel_size", kernel_size)
        if axis not in ("x", "y"):
            raise ValueError(f"SnakeConv: axis must be x or y, got {axis!r}")
        self.axis = axis
        self.offset_conv = nn.Conv2d(dim, kernel_size, 3, padding=1)
        self.offset_norm = nn.BatchNorm2d(kernel_size)
        self.conv = nn.Conv2d(dim, out, (kernel_size, 1), (kernel_size, 1))
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("SnakeConv", self.dim, x.shape)
        batch, _, height, width = x.shape
        reach = self.kernel_size // 2
        offset = self.offset_norm(self.offset_conv(x)).tanh()
        before = offset[:, :reach].flip(1).cumsum(1).flip(1)
        after = offset[:, reach + 1 :].cumsum(1)
        bend = torch.cat((before, torch.zeros_like(offset[:, :1]), after), 1)  # (N, k, H, W)
        step = torch.arange(-reach, reach + 1, device=x.device)[:, None, None]
        down, across = _positions(height, 1, bend)[:, None], _positions(width, 1, bend)
        if self.axis == "x":
            down, across = down + bend, (across + step).expand(batch, -1, height, -1)
        else:
            down, across = (down + step).expand(batch, -1, -1, width), across + bend
        # Taps of a row of pixels lie below one another, as the k×1 conv with stride k takes them.
        down, across = (at.transpose(1, 2).flatten(1, 2) for at in (down, across))
        y: Tensor = self.norm(self.conv(bilinear(x, across, down, "border"))).relu()
        return y

    def extra_repr(self) -> str:
        return f"{self.dim}, kernel_size={self.kernel_size}, axis={self.axis}"


def ldconv_shape(points: int) -> list[tuple[int, int]]:
    """Rows and columns of LDConv's taps at rest: rows of round(√points), the last one shorter (algorithm 1)."""
    base = round(math.sqrt(points))
    return [(point // base, point % base) for point in range(points)]


class LDConv(nn.Module):
    """Linear deformable convolution, of any number of taps: (N, C, H, W) → (N, O, ⌈H/s⌉, ⌈W/s⌉).

    ``points`` taps, at rest in rows of round(√points) right of and below the pixel, are moved by offsets from a 3×3
    conv that starts at zero; a conv over the taps' values, batch norm, SiLU. Its cost is linear in the number of taps.
    Beyond the map the nearest pixel counts. O·C·P + 2P(9C + 1) + 2O parameters.
    Source: Zhang et al. 2024, LDConv (arXiv:2311.11587), algorithm 1 and figure 1.
    """

    def __init__(self, dim: int, out_channels: int | None = None, points: int = 5, stride: int = 1) -> None:
        super().__init__()
        self.dim = checks.positive("LDConv", "dim", dim)
        out = checks.positive("LDConv", "out_channels", dim if out_channels is None else out_channels)
        self.points = checks.positive("LDConv", "points", points)
        self.stride = checks.positive("LDConv", "stride", stride)
        self.p_conv = nn.Conv2d(dim, 2 * points, 3, stride, 1)
        nn.init.zeros_(self.p_conv.weight)
        assert self.p_conv.bias is not None
        nn.init.zeros_(self.p_conv.bias)
        self.conv = nn.Conv2d(dim, out, (points, 1), (points, 1), bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("LDConv", self.dim, x.shape)
        offset = self.p_conv(x)
        rest = torch.tensor(ldconv_shape(self.points), device=x.device)[:, :, None, None]
        down = offset[:, : self.points] + _positions(offset.shape[2], self.stride, offset)[:, None] + rest[:, 0]
        across = offset[:, self.points :] + _positions(offset.shape[3], self.stride, offset) + rest[:, 1]
        down, across = (at.transpose(1, 2).flatten(1, 2) for at in (down, across))
        y: Tensor = F.silu(self.bn(self.conv(bilinear(x, across, down, "border"))))
        return y

    def extra_repr(self) -> str:
        return f"{self.dim}, points={self.points}, stride={self.stride}"
