"""Convolution whose filter is chosen pixel by pixel among a few regions' filters (DRConv, arXiv:2003.12243)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks.checks import Pair, pair
from convblocks.execution import is_recorded, needs_grad

# Evaluating one filter a pixel costs a gather and a small matrix product for each region; below this many MACs saved
# for each of them the all-regions form is as fast.
_MACS_WORTH_A_PRODUCT = 2**19


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a conv looks: (rows, columns) of its stride, its padding and its dilation."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, size: Sequence[int], kernel_size: int) -> list[int]:
        """Height and width that a map of ``size`` gives."""
        axes = zip(size, self.stride, self.padding, self.dilation, strict=True)
        return [(n + 2 * pad - step * (kernel_size - 1) - 1) // stride + 1 for n, stride, pad, step in axes]


def geometry(owner: str, stride: Pair, padding: Pair, dilation: Pair = 1) -> Geometry:
    """The checked geometry; ValueError for strides and dilations below 1 and paddings below 0."""
    return Geometry(
        pair(owner, "stride", stride), pair(owner, "padding", padding, least=0), pair(owner, "dilation", dilation)
    )


def region_conv(x: Tensor, filters: Tensor, guide: Tensor, where: Geometry) -> Tensor:
    """Convolve each output pixel with the filter of the region that the guide's argmax puts it in.

    x: (N, C, H, W); filters: (N, regions, out, C, k, k), each sample's own; guide: (N, regions, Ho, Wo).
    Returns (N, out, Ho, Wo).

    Forward is hard (argmax). Backward: a region's filter gets the gradients of its own pixels, and the guide the
    softmax Jacobian applied to Σ_out grad·y_r, with y_r what region r's filter gives at that pixel. That needs y_r for
    every region, so every filter is evaluated at every pixel wherever gradients are needed, and also where shapes must
    not depend on data (meta and fake tensors, tracing, compilation, export) and on other devices than the CPU.
    Otherwise each pixel meets one filter: the same result but for the order of summation.
    """
    if x.shape[0] == 0:  # a conv cannot have as many groups as there are samples
        return F.conv2d(x, filters.sum((0, 1)), None, where.stride, where.padding, where.dilation)
    if needs_grad(x, filters, guide):
        return _straight_through(_every_region(x, filters, where), guide)
    if _data_may_be_read(x) and _worth_sorting(filters, guide):
        return _one_region_a_pixel(x, filters, guide, where)
    outputs = _every_region(x, filters, where)
    chosen = guide.argmax(dim=1)[:, None, None].expand(-1, 1, outputs.shape[2], -1, -1)
    return outputs.gather(1, chosen).squeeze(1)


def _data_may_be_read(x: Tensor) -> bool:
    """Whether x is a plain tensor in CPU memory, outside tracing and compilation."""
    return type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu" and not is_recorded()


def _worth_sorting(filters: Tensor, guide: Tensor) -> bool:
    regions = filters.shape[1]
    pixels = guide.shape[2] * guide.shape[3]
    saved_by_sample = (regions - 1) * pixels * math.prod(filters.shape[2:])
    return saved_by_sample > _MACS_WORTH_A_PRODUCT * regions


def _every_region(x: Tensor, filters: Tensor, where: Geometry) -> Tensor:
    """(N, regions, out, Ho, Wo): every filter at every pixel, as one conv with a group for each sample."""
    batch, regions, out, channels = filters.shape[:4]
    y = F.conv2d(
        x.reshape(1, batch * channels, *x.shape[2:]),
        filters.reshape(batch * regions * out, channels, *filters.shape[4:]),
        stride=where.stride,
        padding=where.padding,
        dilation=where.dilation,
        groups=batch,
    )
    return y.view(batch, regions, out, *y.shape[2:])


def _straight_through(outputs: Tensor, guide: Tensor) -> Tensor:
    """Σ_r gate_r·y_r with the one-hot argmax as the gate's value and the softmax as its derivative."""
    soft = guide.softmax(dim=1)
    hard = torch.zeros_like(soft).scatter_(1, guide.argmax(dim=1, keepdim=True), 1.0)
    gate = hard + (soft - soft.detach())
    return (outputs * gate.unsqueeze(2)).sum(dim=1)


def _one_region_a_pixel(x: Tensor, filters: Tensor, guide: Tensor, where: Geometry) -> Tensor:
    """(N, out, Ho, Wo): pixels sorted by sample and region, then one matrix product for each that occurs."""
    batch, regions, out, channels, kernel_height, kernel_width = filters.shape
    height, width = guide.shape[2:]
    (down, across), (above, left), (step_down, step_across) = where.stride, where.padding, where.dilation
    image = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, above, above))
    image_height, image_width = image.shape[1:3]
    rows = image.reshape(-1, channels)

    filter_of = guide.argmax(dim=1).add_(torch.arange(batch)[:, None, None] * regions).flatten()
    order = filter_of.argsort(stable=True)
    corner = (
        torch.arange(batch)[:, None, None] * image_height + torch.arange(height)[:, None] * down
    ) * image_width + torch.arange(width) * across
    taps = torch.arange(kernel_height)[:, None] * (step_down * image_width) + torch.arange(kernel_width) * step_across
    patches = (corner.flatten()[order, None] + taps.flatten()).flatten()

    taps_last = filters.permute(0, 1, 2, 4, 5, 3).reshape(batch * regions, out, -1)
    products = []
    counts = torch.bincount(filter_of, minlength=batch * regions).tolist()
    end = 0
    for index, count in enumerate(counts):
        if count:
            start, end = end, end + count
            patch = rows.index_select(0, patches[start * taps.numel() : end * taps.numel()]).view(count, -1)
            products.append(patch @ taps_last[index].t())
    by_region = torch.cat(products)
    result = torch.empty_like(by_region).index_copy_(0, order, by_region)
    return result.view(batch, height, width, out).permute(0, 3, 1, 2)
