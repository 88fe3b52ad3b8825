"""Deformable convolution (a DCNv3 variant without softmax) in plain torch, channels last.

Positions are split into whole and fractional parts of the *offset*: the whole part moves an integer index and the
fraction weighs the neighbours, so that no coordinate is ever normalised to [−1, 1] and back, which is where a
``grid_sample`` form loses its last digits (and, in half precision, whole pixels).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks
from convblocks.execution import is_recorded, needs_grad, on_cpu

POINTS = 9
# Four bilinear taps and one mask product, for each sampled value.
MACS_PER_SAMPLE = 5


def deformable_sample(value: Tensor, offset: Tensor, mask: Tensor, groups: int) -> Tensor:
    """Masked sum over a 3×3 neighbourhood whose points are shifted by learnt offsets.

    value: (N, H, W, C), C in ``groups`` contiguous groups; offset: (N, H, W, groups·9·2), laid out (group, point,
    [x, y]); mask: (N, H, W, groups·9), laid out (group, point). Returns (N, H, W, C) in value's dtype.

    Point p = 0…8 looks at (x, y) = (j + p // 3 − 1 + off_x, i + p % 3 − 1 + off_y), bilinearly, zero outside the map.
    Half precision is sampled in float32. At a whole position the derivative is the one towards larger coordinates.
    """
    dtype = value.dtype
    if dtype in (torch.float16, torch.bfloat16):
        value, offset, mask = value.float(), offset.float(), mask.float()
    lookup = on_cpu(value) and not (is_recorded() or needs_grad(value, offset, mask))
    sample = _sample_by_lookup if lookup else _sample_by_grid
    return sample(value, offset, mask, groups).to(dtype)


def _neighbours(size: int, step: Tensor, device: torch.device) -> Tensor:
    """(size, 9) whole coordinates of every position's nine points along one axis."""
    return torch.arange(size, dtype=torch.int32, device=device)[:, None] + (step - 1)


def _sample_by_lookup(value: Tensor, offset: Tensor, mask: Tensor, groups: int) -> Tensor:
    """Each output group is a bag of 36 weighted rows of a zero-bordered table: one fused look-up, no temporaries.

    Twice as fast as a grid form without gradients; its backward pass is not (it sorts every index).
    """
    batch, height, width, channels = value.shape
    device = value.device
    # A border of two: a point beyond the map is clamped to where both of its neighbours are zero.
    table = F.pad(value, (0, 0, 2, 2, 2, 2)).view(-1, channels // groups)
    row = (width + 4) * groups
    image = (height + 4) * row
    index_dtype = torch.int32 if 4 * table.shape[0] < 2**31 else torch.int64

    whole = offset.floor()
    fraction = (offset - whole).view(-1, POINTS, 2)
    shift = whole.to(index_dtype).view(batch, height, width, groups, POINTS, 2)
    point = torch.arange(POINTS, dtype=torch.int32, device=device)
    x = (shift[..., 0] + _neighbours(width, point // 3, device)[:, None]).clamp_(-2, width)
    y = (shift[..., 1] + _neighbours(height, point % 3, device)[:, None, None]).clamp_(-2, height)
    images = torch.arange(batch, dtype=index_dtype, device=device).view(-1, 1, 1, 1, 1) * image
    first = images + torch.arange(groups, dtype=index_dtype, device=device)[:, None] + 2 * (row + groups)
    corner = (first + y * row + x * groups).view(-1, 1, POINTS)
    corners = torch.tensor([[0], [groups], [row], [row + groups]], dtype=index_dtype, device=device)

    right, below = fraction.unbind(-1)
    weight = mask.reshape(-1, POINTS)
    lower = weight * below
    upper = weight - lower
    upper_right, lower_right = upper * right, lower * right
    weights = torch.stack((upper - upper_right, upper_right, lower - lower_right, lower_right), dim=1)
    bags = F.embedding_bag(
        (corner + corners).view(-1, 4 * POINTS), table, mode="sum", per_sample_weights=weights.view(-1, 4 * POINTS)
    )
    return bags.view(batch, height, width, channels)


def _sample_by_grid(value: Tensor, offset: Tensor, mask: Tensor, groups: int) -> Tensor:
    """The same sum through ``grid_sample``, whose backward pass is the fastest that torch has.

    The map is padded to powers of two, where normalised coordinates of whole positions are exact; not in a recorded
    program, whose sizes may be symbols.
    """
    batch, height, width, channels = value.shape
    padded_height, padded_width = height, width
    if not is_recorded():
        padded_height, padded_width = (1 << (size - 1).bit_length() for size in (height, width))
    device, dtype = value.device, value.dtype
    point = torch.arange(POINTS, dtype=torch.int32, device=device)
    x = (2 * _neighbours(width, point // 3, device) + 1).to(dtype) / padded_width - 1
    y = (2 * _neighbours(height, point % 3, device) + 1).to(dtype) / padded_height - 1
    shape = (height, width, POINTS)
    base = torch.stack((x.expand(shape), y[:, None].expand(shape)), dim=-1)
    step = torch.tensor([2 / padded_width, 2 / padded_height], dtype=dtype, device=device)
    grid = base[:, :, None] + offset.view(batch, height, width, groups, POINTS, 2) * step
    grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(batch * groups, height * width, POINTS, 2)

    images = value.view(batch, height, width, groups, channels // groups).permute(0, 3, 4, 1, 2)
    images = F.pad(images, (0, padded_width - width, 0, padded_height - height)).flatten(0, 1)
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    masks = (
        mask.view(batch, height * width, groups, POINTS)
        .transpose(1, 2)
        .reshape(batch * groups, 1, height * width, POINTS)
    )
    return (sampled * masks).sum(-1).view(batch, channels, height, width).permute(0, 2, 3, 1)


class DeformableConv(nn.Module):
    """Deformable 3×3 conv with masks: (N, H, W, C) → (N, H, W, C), stride 1, padding 1, offset scale 1.

    v = Linear(x); h = DW3(x); out = masked sum over nine bilinear samples of v at offsets Linear(h), masks Linear(h),
    the same for each contiguous group of ``group_channels`` channels; y = Linear(out). Offsets and masks start at
    zero, so that a fresh module returns its output bias. Works in float32, float64 and, sampling in float32, half
    precision; under ``torch.compile`` and ``torch.export``.

    Raises ValueError unless ``group_channels`` divides ``dim``.
    Source: UniConvNet, arXiv:2508.09000; Wang et al. 2023, InternImage, section 3.1.
    """

    def __init__(self, dim: int, group_channels: int = 8) -> None:
        super().__init__()
        checks.positive("DeformableConv", "group_channels", group_channels)
        checks.multiple("DeformableConv", "dim", dim, group_channels, f"samples {group_channels} channels at a time")
        self.dim = dim
        self.groups = dim // group_channels
        self.dw_conv = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim))
        self.offset = nn.Linear(dim, self.groups * POINTS * 2)
        self.mask = nn.Linear(dim, self.groups * POINTS)
        self.input_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero offsets and masks; Xavier-uniform projections with zero bias."""
        for layer in (self.offset, self.mask):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.input_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, H, W, C)."""
        local = self.dw_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        sampled = deformable_sample(self.input_proj(x), self.offset(local), self.mask(local), self.groups)
        y: Tensor = self.output_proj(sampled)
        return y

    def sampling_macs(self, x: Tensor) -> int:
        """MACs of the weighted sums that no conv or linear layer performs, for an input of x's shape (N, H, W, C).

        Convention: four bilinear taps and one mask product for each of nine sampled values per output element,
        45·N·H·W·C. The positions' arithmetic, shared by a group's channels, is left out.
        """
        return MACS_PER_SAMPLE * POINTS * x.numel()

    def extra_repr(self) -> str:
        return f"{self.dim}, groups={self.groups}"
