"""Large kernels: decomposed (LKA, LSKA), selected (LSK), split (Inception), gathered over scales (PKI)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convblocks import checks
from convblocks.mrfa import depthwise, pointwise


def _dilated(dim: int, kernel_size: tuple[int, int], dilation: int) -> nn.Conv2d:
    """Depthwise conv with bias that keeps the size; odd extents."""
    padding = tuple(dilation * (extent - 1) // 2 for extent in kernel_size)
    return nn.Conv2d(dim, dim, kernel_size, padding=padding, dilation=dilation, groups=dim)  # type: ignore[arg-type]


class LKA(nn.Module):
    """Large-kernel attention: (N, C, H, W) → (N, C, H, W).

    y = PW(DW7, dilation 3 (DW5(x))) ⊙ x, all with bias: a 21×21 kernel taken apart. C² + 77C parameters.
    Source: Guo et al. 2022, Visual Attention Network, equations 1 and 2.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = checks.positive("LKA", "dim", dim)
        self.conv0 = depthwise(dim, 5)
        self.conv_spatial = _dilated(dim, (7, 7), 3)
        self.conv1 = pointwise(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("LKA", self.dim, x.shape)
        y: Tensor = self.conv1(self.conv_spatial(self.conv0(x)))
        return y * x


class LSKA(nn.Module):
    """Large separable-kernel attention: (N, C, H, W) → (N, C, H, W).

    LKA of a k×k kernel with each depthwise conv as a row and a column: extents 2d − 1, then ⌊k/d⌋ with dilation d;
    d = 2 below k = 23 and 3 from there. C² + (2(2d − 1) + 2⌊k/d⌋ + 5)C parameters.
    Source: Lau et al. 2023, Large Separable Kernel Attention, equations 7 to 10 and table 2.
    """

    def __init__(self, dim: int, kernel_size: int = 23) -> None:
        super().__init__()
        self.dim = checks.positive("LSKA", "dim", dim)
        if kernel_size not in (7, 11, 23, 35, 41, 53):
            raise ValueError(f"LSKA: kernel_size must be 7, 11, 23, 35, 41 or 53, as published, got {kernel_size!r}")
        dilation = 2 if kernel_size < 23 else 3
        local, wide = 2 * dilation - 1, kernel_size // dilation
        self.conv0h, self.conv0v = _dilated(dim, (1, local), 1), _dilated(dim, (local, 1), 1)
        self.conv_spatial_h = _dilated(dim, (1, wide), dilation)
        self.conv_spatial_v = _dilated(dim, (wide, 1), dilation)
        self.conv1 = pointwise(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("LSKA", self.dim, x.shape)
        y: Tensor = self.conv1(self.conv_spatial_v(self.conv_spatial_h(self.conv0v(self.conv0h(x)))))
        return y * x


class LSK(nn.Module):
    """Large selective kernel: (N, C, H, W) → (N, C, H, W), C even.

    u₁ = DW5(x), u₂ = DW7 dilation 3 (u₁), each to C/2 by a 1×1 conv; the sigmoid of a 7×7 conv over the mean and the
    maximum of both across channels selects between them at each pixel; y = x ⊙ PW(selected). All with bias.
    Source: Li et al. 2023, LSKNet, equations 1 to 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = checks.multiple("LSK", "dim", dim, 2, "halves its channels")
        self.conv0 = depthwise(dim, 5)
        self.conv_spatial = _dilated(dim, (7, 7), 3)
        self.conv1, self.conv2 = pointwise(dim, dim // 2), pointwise(dim, dim // 2)
        self.conv_squeeze = nn.Conv2d(2, 2, 7, padding=3)
        self.conv = pointwise(dim // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("LSK", self.dim, x.shape)
        near = self.conv0(x)
        far = self.conv2(self.conv_spatial(near))
        near = self.conv1(near)
        both = torch.cat((near, far), dim=1)
        pooled = torch.cat((both.mean(1, keepdim=True), both.amax(1, keepdim=True)), dim=1)
        select_near, select_far = self.conv_squeeze(pooled).sigmoid().chunk(2, dim=1)
        y: Tensor = self.conv(near * select_near + far * select_far)
        return x * y


class InceptionDWConv(nn.Module):
    """Depthwise conv in four branches: (N, C, H, W) → (N, C, H, W).

    g = ⌊ratio·C⌋ channels each by 3×3, 1×k and k×1 depthwise convs with bias, the first C − 3g as they are.
    (9 + 2k + 3)g parameters. Source: Yu et al. 2024, InceptionNeXt, equations 3 to 5.
    """

    def __init__(self, dim: int, square_kernel: int = 3, band_kernel: int = 11, branch_ratio: float = 0.125) -> None:
        super().__init__()
        self.dim = checks.positive("InceptionDWConv", "dim", dim)
        checks.odd("InceptionDWConv", "square_kernel", square_kernel)
        checks.odd("InceptionDWConv", "band_kernel", band_kernel)
        width = int(dim * branch_ratio)
        if not 1 <= width <= dim // 3:
            raise ValueError(
                f"InceptionDWConv: branch_ratio {branch_ratio} gives {width} of {dim} channels to each of three "
                f"branches; it must be between {1 / dim:.3g} and 1/3"
            )
        self.widths = [dim - 3 * width, width, width, width]
        self.dwconv_hw = _dilated(width, (square_kernel, square_kernel), 1)
        self.dwconv_w = _dilated(width, (1, band_kernel), 1)
        self.dwconv_h = _dilated(width, (band_kernel, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("InceptionDWConv", self.dim, x.shape)
        kept, square, wide, high = torch.split(x, self.widths, dim=1)
        return torch.cat((kept, self.dwconv_hw(square), self.dwconv_w(wide), self.dwconv_h(high)), dim=1)


def _conv_bn_silu(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.SiLU())


class CAA(nn.Module):
    """Context anchor attention: the weights in (0, 1) that PKI scales by: (N, C, H, W) → (N, C, H, W).

    7×7 mean, 1×1 conv with batch norm and SiLU, 1×k and k×1 depthwise convs, again a 1×1 conv with batch norm and SiLU,
    sigmoid.
    Source: Cai et al. 2024, Poly Kernel Inception Network, section 3.2, context anchor attention.
    """

    def __init__(self, dim: int, kernel_size: int = 11) -> None:
        super().__init__()
        checks.positive("CAA", "dim", dim)
        checks.odd("CAA", "kernel_size", kernel_size)
        self.avg_pool = nn.AvgPool2d(7, 1, 3)
        self.conv1 = _conv_bn_silu(dim)
        self.h_conv = _dilated(dim, (1, kernel_size), 1)
        self.v_conv = _dilated(dim, (kernel_size, 1), 1)
        self.conv2 = _conv_bn_silu(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        weights: Tensor = self.conv2(self.v_conv(self.h_conv(self.conv1(self.avg_pool(x)))))
        return weights.sigmoid()


class PKI(nn.Module):
    """Poly-kernel inception with context anchor attention: (N, C, H, W) → (N, C, H, W).

    l = DW3(x); p = PW(l + Σ DWk(l), k = 5, 7, 9, 11); y = p ⊙ CAA(x) + p. The depthwise convs and PW have a bias.
    2C² for CAA, C² for PW; 285C of depthwise kernels in PKI, 22C in CAA.
    Source: Cai et al. 2024, Poly Kernel Inception Network, section 3.2: the module and the attention that scales it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = checks.positive("PKI", "dim", dim)
        self.dw_conv = depthwise(dim, 3)
        self.dw_convs = nn.ModuleList(depthwise(dim, kernel_size) for kernel_size in (5, 7, 9, 11))
        self.pw_conv = pointwise(dim, dim)
        self.caa = CAA(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("PKI", self.dim, x.shape)
        local = self.dw_conv(x)
        gathered = local
        for conv in self.dw_convs:
            gathered = gathered + conv(local)
        y: Tensor = self.pw_conv(gathered)
        return torch.addcmul(y, y, self.caa(x))
