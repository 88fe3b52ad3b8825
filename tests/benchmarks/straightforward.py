"""Straightforward forms of the blocks' operators, written as their definitions read, to time the real ones against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import MRFA, DRConv


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
    batch, channels = x.shape[:2]
    k, regions, out = block.kernel_size, block.regions, block.out_channels
    filters = block.conv_kernel(x).reshape(batch * regions * out, channels, k, k)
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), filters, None, block.stride, block.padding, groups=batch)
    y = y.view(batch, regions, out, *y.shape[2:])
    guide = block.conv_guide(x)
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
