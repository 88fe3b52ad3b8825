"""Interpolated sampling at computed positions: grid_sample and deformable convolution.

The weighted sums are ``sampling_macs``: one for each neighbour of each sampled value. Positions and weights are other
operations, counted once for each position.
"""

from __future__ import annotations

from math import prod

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.table import UncountedCallError, rule

# Interpolation modes of ATen: 0 bilinear, 1 nearest, 2 bicubic. Neighbours of a position in two dimensions:
_NEIGHBOURS = {0: 4, 1: 0, 2: 16}
# Operations for a position: unnormalise (3 a coordinate), floor or round (1), distances (2), products of weights;
# a bicubic axis takes two inner (5) and two outer (6) cubic polynomials and three distances.
_POSITION = {0: 2 * (3 + 1 + 2) + 4, 1: 2 * (3 + 1), 2: 2 * (3 + 1) + 2 * (2 * 5 + 2 * 6 + 3) + 16}
_POSITION_3D = {0: 3 * (3 + 1 + 2) + 4 + 8, 1: 3 * (3 + 1)}


@rule("aten::grid_sampler_2d", "aten::cudnn_grid_sampler", "aten::_grid_sampler_2d_cpu_fallback")
def grid_sample(_x: Shape, grid: Shape, mode: int = 0, *_: object, out: Shape) -> Amount:
    """F.grid_sample on images: four (bilinear) or sixteen (bicubic) neighbours a sampled value; nearest copies."""
    return Amount(sampling_macs=out.numel() * _NEIGHBOURS[mode], other_flops=grid.numel() // 2 * _POSITION[mode])


@rule("aten::grid_sampler_3d")
def grid_sample_3d(_x: Shape, grid: Shape, mode: int = 0, *_: object, out: Shape) -> Amount:
    """F.grid_sample on volumes: eight neighbours; nearest copies."""
    return Amount(
        sampling_macs=out.numel() * (8 if mode == 0 else 0), other_flops=grid.numel() // 3 * _POSITION_3D[mode]
    )


def _sampling_backward(neighbours: int, coordinates: int, output_mask: object) -> int:
    """MACs for each sampled value: scattered to the neighbours; each coordinate's slope from every neighbour."""
    to_input, to_grid = (True, True) if output_mask is None else tuple(output_mask)  # type: ignore[arg-type]
    return neighbours * (int(to_input) + coordinates * int(to_grid))


@rule("aten::grid_sampler_2d_backward")
def grid_sample_backward(
    grad: Shape, _x: Shape, grid: Shape, mode: int, _padding: int, _corners: bool, output_mask: object = None,
    *, out: object,
) -> Amount:  # fmt: skip
    """The gradients asked for: of the image, of the positions."""
    return Amount(
        sampling_macs=grad.numel() * _sampling_backward(_NEIGHBOURS[mode], 2, output_mask),
        other_flops=grid.numel() // 2 * _POSITION[mode],
    )


@rule("aten::grid_sampler_3d_backward")
def grid_sample_3d_backward(
    grad: Shape, _x: Shape, grid: Shape, mode: int, _padding: int, _corners: bool, output_mask: object = None,
    *, out: object,
) -> Amount:  # fmt: skip
    """As `grid_sample_backward`, with eight neighbours and three coordinates."""
    return Amount(
        sampling_macs=grad.numel() * _sampling_backward(8 if mode == 0 else 0, 3, output_mask),
        other_flops=grid.numel() // 3 * _POSITION_3D[mode],
    )


# A deformable tap's position: its grid point plus the offset (1), floor (1), distances (2), for two coordinates, and
# the four products of weights.
_DEFORMED_POSITION = 2 * (1 + 1 + 2) + 4


@rule("torchvision::deform_conv2d")
def deformable_convolution(
    x: Shape, weight: Shape, offset: Shape, _mask: Shape, bias: Shape, *rest: object, out: Shape
) -> Amount:  # fmt: skip
    """A convolution over columns that are sampled bilinearly, four neighbours each, and modulated by the mask."""
    taps, positions = prod(weight[2:]), x[0] * prod(out[2:])
    columns = x[1] * taps * positions
    use_mask = bool(rest[-1])
    return Amount(
        macs=out.numel() * prod(weight[1:]),
        sampling_macs=4 * columns,
        other_flops=columns * use_mask + offset.numel() // 2 * _DEFORMED_POSITION + out.numel() * (bias.numel() > 0),
    )


@rule("torchvision::_deform_conv2d_backward")
def deformable_convolution_backward(
    grad: Shape, x: Shape, weight: Shape, offset: Shape, mask: Shape, _bias: Shape, *rest: object, out: object
) -> Amount:  # fmt: skip
    """Both factors' gradients, and the sampling's: scattered to four neighbours, two slopes of four, resampled."""
    taps, positions = prod(weight[2:]), x[0] * prod(grad[2:])
    columns = x[1] * taps * positions
    use_mask = bool(rest[-1])
    return Amount(
        macs=2 * grad.numel() * prod(weight[1:]),
        sampling_macs=(4 + 8 + 4) * columns,
        other_flops=2 * columns * use_mask + offset.numel() // 2 * _DEFORMED_POSITION + grad.numel(),
    )


def _samples(regions: Shape, height: int, width: int, ratio: int) -> int:
    """Positions sampled in all regions; a ratio that is not given depends on each region's size."""
    if ratio <= 0:
        raise UncountedCallError
    return regions[0] * height * width * ratio**2


@rule("torchvision::roi_align")
def region_pooling(
    _x: Shape, regions: Shape, _scale: float, height: int, width: int, ratio: int, *_: object, out: Shape
) -> Amount:
    """Each bin averages ratio² bilinear samples of four neighbours; the samples are summed and divided."""
    samples = _samples(regions, height, width, ratio)
    return Amount(
        sampling_macs=4 * ratio**2 * out.numel(),
        other_flops=(ratio**2 + 1) * out.numel() + samples * _DEFORMED_POSITION,
    )


@rule("torchvision::_roi_align_backward")
def region_pooling_backward(
    grad: Shape, regions: Shape, _scale: float, height: int, width: int, _batch: int, _channels: int, _rows: int,
    _columns: int, ratio: int, *_: object, out: Shape,
) -> Amount:  # fmt: skip
    """Each gradient is divided and spread over the neighbours of its samples."""
    samples = _samples(regions, height, width, ratio)
    return Amount(sampling_macs=4 * ratio**2 * grad.numel(), other_flops=grad.numel() + samples * _DEFORMED_POSITION)
