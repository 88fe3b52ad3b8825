"""Blocks that train with parallel branches and deploy as one conv: RepVGG's, and large kernels beside small ones.

A linear branch, a conv and its batch norm in evaluation, is a conv with a bias; kernels of one layout add up once the
smaller is padded to the larger. `to_conv` gives that sum; `convblocks.fuse` puts it in the block's place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks


def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias of the conv that equals ``conv`` without bias, then ``bn`` in evaluation."""
    return _folded(conv.weight, bn)


def _folded(kernel: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return kernel * scale[:, None, None, None], bn.bias - bn.running_mean * scale


def padded(kernel: Tensor, size: int) -> Tensor:
    """An odd k×k kernel in the middle of a size×size one."""
    border = (size - kernel.shape[-1]) // 2
    return F.pad(kernel, (border,) * 4)


class Reparameterised(nn.Module):
    """A block that equals one conv, then ``activation``, in evaluation. Subclasses say which in `kernel_and_bias`."""

    def __init__(self, dim: int, out: int, kernel_size: int, stride: int, groups: int, activation: nn.Module) -> None:
        super().__init__()
        owner = type(self).__name__
        self.dim = checks.positive(owner, "dim", dim)
        self.out_channels = checks.positive(owner, "out_channels", out)
        self.kernel_size = checks.odd(owner, "kernel_size", kernel_size)
        self.stride = checks.positive(owner, "stride", stride)
        self.groups = checks.groups(owner, dim, out, groups)
        self.activation = activation

    def branch(self, kernel_size: int, dilation: int = 1) -> nn.Sequential:
        """A conv of this block's layout without bias, and batch norm."""
        padding = dilation * (kernel_size // 2)
        conv = nn.Conv2d(
            self.dim, self.out_channels, kernel_size, self.stride, padding, dilation, self.groups, bias=False
        )
        return nn.Sequential(conv, nn.BatchNorm2d(self.out_channels))

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """Of the conv that the block equals in evaluation."""
        raise NotImplementedError

    def to_conv(self) -> nn.Module:
        """The conv, and the activation behind it, with this block's dtype, device and mode."""
        kernel, bias = self.kernel_and_bias()
        with torch.device(kernel.device):
            conv = nn.Conv2d(
                self.dim,
                self.out_channels,
                self.kernel_size,
                self.stride,
                self.kernel_size // 2,
                groups=self.groups,
                dtype=kernel.dtype,
            )
        conv.weight = nn.Parameter(kernel.detach())
        conv.bias = nn.Parameter(bias.detach())
        fused = conv if isinstance(self.activation, nn.Identity) else nn.Sequential(conv, self.activation)
        return fused.train(self.training)


class RepVGG(Reparameterised):
    """RepVGG's block: ReLU of a 3×3 and a 1×1 conv and, where the shape stays, the input, each with batch norm.

    (N, C, H, W) → (N, O, Ho, Wo). Source: Ding et al. 2021, RepVGG, sections 3.2 and 3.3.
    """

    def __init__(self, dim: int, out_channels: int | None = None, stride: int = 1, groups: int = 1) -> None:
        super().__init__(dim, dim if out_channels is None else out_channels, 3, stride, groups, nn.ReLU())
        self.rbr_dense = self.branch(3)
        self.rbr_1x1 = self.branch(1)
        keeps_shape = stride == 1 and self.out_channels == dim
        self.rbr_identity = nn.BatchNorm2d(dim) if keeps_shape else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("RepVGG", self.dim, x.shape)
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.rbr_identity is not None:
            y = y + self.rbr_identity(x)
        out: Tensor = self.activation(y)
        return out

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The sum of the branches' kernels and of their biases."""
        parts = [fold(*self.rbr_dense), fold(*self.rbr_1x1)]
        if self.rbr_identity is not None:
            identity = torch.eye(self.dim, dtype=parts[0][0].dtype, device=parts[0][0].device)
            within = identity.view(self.groups, self.dim // self.groups, self.groups, -1)
            kernel = torch.einsum("goge->goe", within).flatten(0, 1)[:, :, None, None]
            parts.append(_folded(kernel, self.rbr_identity))
        kernels = torch.stack([padded(kernel, 3) for kernel, _ in parts])
        return kernels.sum(0), torch.stack([bias for _, bias in parts]).sum(0)


class RepLargeKernel(Reparameterised):
    """A large depthwise conv beside a small one, each with batch norm: (N, C, H, W) → (N, C, Ho, Wo).

    Source: Ding et al. 2022, Scaling Up Your Kernels to 31×31, guideline 3 and figure 2.
    """

    def __init__(self, dim: int, kernel_size: int = 31, small_kernel: int = 5, stride: int = 1) -> None:
        super().__init__(dim, dim, kernel_size, stride, dim, nn.Identity())
        checks.odd("RepLargeKernel", "small_kernel", small_kernel)
        if small_kernel > kernel_size:
            raise ValueError(f"RepLargeKernel: small_kernel {small_kernel} is larger than kernel_size {kernel_size}")
        self.lkb_origin = self.branch(kernel_size)
        self.small_conv = self.branch(small_kernel)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("RepLargeKernel", self.dim, x.shape)
        y: Tensor = self.lkb_origin(x) + self.small_conv(x)
        return y

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The large kernel plus the small one in its middle."""
        large, large_bias = fold(*self.lkb_origin)
        small, small_bias = fold(*self.small_conv)
        return large + padded(small, self.kernel_size), large_bias + small_bias


# Branches beside the large kernel: (kernel, dilation), as the authors chose them for each large kernel.
_DILATED = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}


def dilated_to_dense(kernel: Tensor, dilation: int) -> Tensor:
    """The dense kernel that a dilated one amounts to: (O, I, k, k) → (O, I, K, K), K = d(k − 1) + 1."""
    size = dilation * (kernel.shape[-1] - 1) + 1
    dense = kernel.new_zeros(*kernel.shape[:2], size, size)
    dense[:, :, ::dilation, ::dilation] = kernel
    return dense


class DilatedReparam(Reparameterised):
    """A large depthwise conv beside dilated small ones, each with batch norm: (N, C, H, W) → (N, C, H, W).

    ``kernel_size`` is odd, 5 to 17; the branches for each are the authors'.
    Source: Ding et al. 2024, UniRepLKNet, section 3.1 and figure 2.
    """

    def __init__(self, dim: int, kernel_size: int = 13) -> None:
        super().__init__(dim, dim, kernel_size, 1, dim, nn.Identity())
        if kernel_size not in _DILATED:
            raise ValueError(f"DilatedReparam: kernel_size must be 5, 7, 9, 11, 13, 15 or 17, got {kernel_size}")
        self.origin = self.branch(kernel_size)
        self.dilations = [dilation for _, dilation in _DILATED[kernel_size]]
        self.dilated = nn.ModuleList(self.branch(small, dilation) for small, dilation in _DILATED[kernel_size])

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("DilatedReparam", self.dim, x.shape)
        y: Tensor = self.origin(x)
        for branch in self.dilated:
            y = y + branch(x)
        return y

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The large kernel plus the dilated ones with zeros between their taps."""
        kernel, bias = fold(*self.origin)
        for branch, dilation in zip(self.dilated, self.dilations, strict=True):
            small, small_bias = fold(*branch)  # type: ignore[misc]
            kernel = kernel + padded(dilated_to_dense(small, dilation), self.kernel_size)
            bias = bias + small_bias
        return kernel, bias
