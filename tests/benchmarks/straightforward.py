"""Straightforward forms of the blocks and networks, written as their definitions read, to time against."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import (
    MRFA,
    Conv2FormerBlock,
    DeformableConv,
    DRConv,
    LayerNorm2d,
    PyConv2,
    PyConv3,
    PyConv4,
    UniConvNetBlock,
)
from convblocks.networks.drconv_shufflenetv2 import RegionConvBNReLU


class SixTemporariesNorm(nn.Module):
    """Channels-first LayerNorm by its formula, with a temporary for each step; shares the parameters of ``norm``."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PermutingNorm(SixTemporariesNorm):
    """LayerNorm on a channels-last view, copied back to channels first."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return x.permute(0, 3, 1, 2).contiguous()


def mrfa(block: MRFA, norm: type[nn.Module]) -> nn.Module:
    """A copy of the block (the parameters shared) whose norms have the straightforward form."""
    twin = MRFA(block.dim)
    for name, child in block.named_children():
        setattr(twin, name, norm(child) if name.startswith("norm") else child)
    return twin.eval()


def concatenate(levels: list[nn.Module], x: Tensor) -> Tensor:
    """A pyramid in the memory format that its input comes in."""
    return torch.cat([level(x) for level in levels], dim=1)


def all_regions(block: DRConv, x: Tensor) -> Tensor:
    """DRConv with every region's filter at every pixel, and the one-hot guide as a mask."""
    size = (block.kernel_size, block.kernel_size)
    filters = block.conv_kernel(x).view(x.shape[0], block.regions, block.out_channels, x.shape[1], *size)
    return every_filter(x, filters, block.conv_guide(x), block.stride, block.padding)


def every_filter(x: Tensor, filters: Tensor, guide: Tensor, stride: int, padding: int) -> Tensor:
    """A region-aware conv that evaluates all filters and masks them; filters: (N, regions, out, in, k, k)."""
    batch, regions, out = filters.shape[:3]
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), filters.flatten(0, 2), None, stride, padding, groups=batch)
    y = y.view(batch, regions, out, *y.shape[2:])
    one_hot = torch.zeros_like(guide).scatter_(1, guide.argmax(1, keepdim=True), 1)
    return (y * one_hot.unsqueeze(2)).sum(1)


def grid_sampling(value: Tensor, offset: Tensor, mask: Tensor, groups: int) -> Tensor:
    """Deformable sampling through normalised coordinates and ``grid_sample``, as it is commonly written."""
    batch, height, width, channels = value.shape
    point = torch.arange(9)
    columns = torch.arange(width)[:, None] + point // 3 - 1
    rows = torch.arange(height)[:, None] + point % 3 - 1
    base = torch.stack((columns.expand(height, width, 9), rows[:, None].expand(height, width, 9)), -1).to(value.dtype)
    position = base[:, :, None] + offset.view(batch, height, width, groups, 9, 2)
    grid = (2 * position + 1) / torch.tensor([width, height]) - 1
    grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(batch * groups, height * width, 9, 2)
    images = value.permute(0, 3, 1, 2).reshape(batch * groups, channels // groups, height, width)
    sampled = F.grid_sample(images, grid, align_corners=False)
    masks = mask.view(batch, height * width, groups, 9).transpose(1, 2).reshape(batch * groups, 1, -1, 9)
    return (sampled * masks).sum(-1).view(batch, channels, height, width).permute(0, 2, 3, 1)


class _StraightUniConvNetBlock(UniConvNetBlock):
    """Residuals as a product and a sum."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale[:, None, None] * self.attn(x)
        x = x.permute(0, 2, 3, 1)
        x = x + self.gamma1 * self.dcn(self.norm1(x))
        x = x + self.gamma2 * self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)


class _StraightDeformableConv(DeformableConv):
    """Sampling through grid_sample."""

    def forward(self, x: Tensor) -> Tensor:
        local = self.dw_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = grid_sampling(self.input_proj(x), self.offset(local), self.mask(local), self.groups)
        return self.output_proj(y)


class _StraightConv2FormerBlock(Conv2FormerBlock):
    """Residuals as a product and a sum."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale_1[:, None, None] * self.attn(x)
        return x + self.layer_scale_2[:, None, None] * self.mlp(x)


class _StraightPyConv4(PyConv4):
    """Levels on the input as it comes."""

    def forward(self, x: Tensor) -> Tensor:
        return concatenate(list(self.level_modules()), x)


class _StraightPyConv3(PyConv3):
    forward = _StraightPyConv4.forward


class _StraightPyConv2(PyConv2):
    forward = _StraightPyConv4.forward


class _StraightRegionConv(RegionConvBNReLU):
    """Every region's filter at every pixel, and the one-hot guide as a mask."""

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        if guide.shape[2:] != x.shape[2:]:
            guide = F.interpolate(guide, size=x.shape[2:], mode="nearest")
        return self.act(self.bn(every_filter(x, self.conv(x), guide, 1, 0)))


_STRAIGHT: dict[type[nn.Module], type[nn.Module]] = {
    UniConvNetBlock: _StraightUniConvNetBlock,
    DeformableConv: _StraightDeformableConv,
    Conv2FormerBlock: _StraightConv2FormerBlock,
    PyConv4: _StraightPyConv4,
    PyConv3: _StraightPyConv3,
    PyConv2: _StraightPyConv2,
    RegionConvBNReLU: _StraightRegionConv,
}


def network(model: nn.Module) -> nn.Module:
    """A copy of the network in which every part has its straightforward form."""
    twin = copy.deepcopy(model)
    for module in list(twin.modules()):
        if type(module) in _STRAIGHT:
            module.__class__ = _STRAIGHT[type(module)]
        for name, child in module.named_children():
            if isinstance(child, LayerNorm2d):
                setattr(module, name, SixTemporariesNorm(child))
    return twin
