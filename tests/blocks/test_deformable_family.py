"""The deformable family against torchvision's operator and against sums written out tap by tap, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convblocks as cb
from convbench.measures.cost import measure_cost
from tests.blocks.golden_data import fill, numbers
from tests.blocks.test_deform import point_by_point

C, H, W, N = 32, 12, 10, 2
P = N * H * W

# Block; parameters; MACs of convolutions and matrix products; sampling's weighted sums.
FORMS: list[tuple[Callable[[], nn.Module], int, int, int]] = [
    (
        lambda: cb.DCNv2(C),
        9 * C**2 + C + 27 * (9 * C + 1),
        P * (9 * C**2 + 27 * 9 * C),
        4 * 9 * C * P,
    ),
    (
        lambda: cb.DCNv2(C, 48, 5, stride=2, offset_groups=4, bias=False),
        25 * C * 48 + 4 * 75 * (25 * C + 1),
        P // 4 * (25 * C * 48 + 4 * 75 * 25 * C),
        4 * 25 * C * P // 4,
    ),
    (lambda: cb.DCNv3(C), 2 * C * (C + 1) + 12 * C + 27 * 2 * (C + 1), P * (2 * C**2 + 9 * C + 27 * 2 * C), 45 * C * P),
    (lambda: cb.DCNv4(C, 8), 2 * C * (C + 1) + 27 * 4 * (C + 1), P * (2 * C**2 + 27 * 4 * C), 45 * C * P),
    (lambda: cb.SnakeConv(C), 9 * C**2 + C + 9 * (9 * C + 1) + 18 + 2 * C, P * (9 * C**2 + 81 * C), 4 * 9 * C * P),
    (lambda: cb.LDConv(C), 5 * C**2 + 10 * (9 * C + 1) + 2 * C, P * (5 * C**2 + 90 * C), 4 * 5 * C * P),
    (
        lambda: cb.LDConv(C, 16, 7, stride=2),
        7 * C * 16 + 14 * (9 * C + 1) + 2 * 16,
        P // 4 * (7 * C * 16 + 126 * C),
        4 * 7 * C * P // 4,
    ),
]


@pytest.mark.parametrize(
    ("build", "params", "macs", "sampling"), FORMS, ids=[str(index) for index in range(len(FORMS))]
)
def test_size_and_cost_are_the_closed_form(
    build: Callable[[], nn.Module], params: int, macs: int, sampling: int
) -> None:
    module = build().eval()
    assert sum(parameter.numel() for parameter in module.parameters()) == params
    cost = measure_cost(module, (torch.empty(N, C, H, W, device="meta"),))
    assert (cost.macs, cost.sampling_macs, cost.uncounted) == (macs, sampling, ())


def agree(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def filled(module: nn.Module) -> nn.Module:
    return fill(module).double().eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"out_channels": 6, "offset_groups": 2, "bias": False},
        {"kernel_size": 5, "stride": [2, 1], "dilation": [1, 2]},
        {"kernel_size": 2, "padding": [0, 3], "offset_groups": 4},
        {"kernel_size": 1, "stride": 3},
    ],
)
def test_dcnv2_is_torchvision_s_operator(options: dict[str, object]) -> None:
    ops = pytest.importorskip("torchvision.ops")
    block, x = filled(cb.DCNv2(4, **options)), numbers((2, 4, 9, 8), 10000).double().requires_grad_()
    with torch.no_grad():
        block.conv_offset_mask.weight *= 3  # so that taps move by several pixels, and beyond the map
    moved = block.conv_offset_mask(x)
    split = moved.shape[1] * 2 // 3
    offset, mask = moved[:, :split], moved[:, split:].sigmoid()
    geometry = (block.stride, block.padding, block.dilation)
    expected = ops.deform_conv2d(x, offset, block.weight, block.bias, *geometry, mask=mask)
    ours = block(x)
    agree(ours, expected)
    weights = numbers(tuple(ours.shape), 20000).double()
    leaves = [x, *block.parameters()]
    gradients = (torch.autograd.grad((y * weights).sum(), leaves, retain_graph=True) for y in (ours, expected))
    for one, other in zip(*gradients, strict=True):
        agree(one, other)


@pytest.mark.parametrize("kind", [cb.DCNv3, cb.DCNv4])
def test_dcnv3_and_v4_sum_moved_taps(kind: type[nn.Module]) -> None:
    block, x = filled(kind(6, group_channels=3)), numbers((1, 6, 5, 4), 10000).double()
    last = x.permute(0, 2, 3, 1)
    if kind is cb.DCNv3:
        conv, norm = block.dw_conv[0], block.dw_conv[1]
        local = conv(x).permute(0, 2, 3, 1)
        local = F.gelu(F.layer_norm(local, (6,), norm.weight, norm.bias, 1e-6))
        offset, mask = block.offset(local), block.mask(local).view(1, 5, 4, 2, 9).softmax(-1).view(1, 5, 4, 18)
    else:
        offset, mask = block.offset_mask(last)[..., :36], block.offset_mask(last)[..., 36:]
    y = block.output_proj(point_by_point(block.input_proj(last), offset, mask, 2))
    agree(block(x), y.permute(0, 3, 1, 2))


def at(image: Tensor, row: float, column: float) -> Tensor:
    """The channels of (C, H, W) at a place between pixels, which is first brought onto the map."""
    height, width = image.shape[1:]
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    top, left = math.floor(row), math.floor(column)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    below, beside = row - top, column - left
    upper = image[:, top, left] * (1 - beside) + image[:, top, right] * beside
    lower = image[:, bottom, left] * (1 - beside) + image[:, bottom, right] * beside
    return upper * (1 - below) + lower * below


@pytest.mark.parametrize("axis", ["x", "y"])
def test_snake_bends_from_its_centre(axis: str) -> None:
    block, x = filled(cb.SnakeConv(3, 4, 5, axis)), numbers((2, 3, 6, 5), 10000).double()
    offset = block.offset_norm(block.offset_conv(x)).tanh()
    expected = torch.zeros(2, 4, 6, 5, dtype=x.dtype)
    for n, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(6), torch.arange(5)).tolist():
        total = block.conv.bias.clone()
        for tap in range(5):
            between = range(tap, 2) if tap < 2 else range(3, tap + 1)
            bend = sum(offset[n, k, i, j].item() for k in between)
            place = (i + bend, j + tap - 2) if axis == "x" else (i + tap - 2, j + bend)
            total += block.conv.weight[:, :, tap, 0] @ at(x[n], *place)
        expected[n, :, i, j] = total
    agree(block(x), F.relu(block.norm(expected)))


@pytest.mark.parametrize(
    ("points", "rest"),
    [
        (1, [(0, 0)]),
        (3, [(0, 0), (0, 1), (1, 0)]),
        (5, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]),
        (7, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]),
    ],
)
def test_ldconv_weighs_any_number_of_points(points: int, rest: list[tuple[int, int]]) -> None:
    block, x = filled(cb.LDConv(3, 4, points, stride=2)), numbers((1, 3, 7, 6), 10000).double()
    offset = block.p_conv(x)
    expected = torch.zeros(1, 4, 4, 3, dtype=x.dtype)
    for i in range(4):
        for j in range(3):
            for point, (row, column) in enumerate(rest):
                down, across = offset[0, point, i, j].item(), offset[0, points + point, i, j].item()
                value = at(x[0], 2 * i + row + down, 2 * j + column + across)
                expected[0, :, i, j] += block.conv.weight[:, :, point, 0] @ value
    agree(block(x), F.silu(block.bn(expected)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cb.DCNv2(8, kernel_size=4), "kernel_size must be odd"),
        (lambda: cb.DCNv2(8, offset_groups=3), "must divide both the 8 input"),
        (lambda: cb.DCNv3(24), "dim must be a multiple of 16, got 24"),
        (lambda: cb.DCNv4(8, 0), "group_channels must be a whole number"),
        (lambda: cb.SnakeConv(8, kernel_size=4), "kernel_size must be odd"),
        (lambda: cb.SnakeConv(8, axis="z"), "axis must be x or y, got 'z'"),
        (lambda: cb.LDConv(8, points=0), "points must be a whole number"),
    ],
)
def test_bad_argument_is_a_clear_error(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
