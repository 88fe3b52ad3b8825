"""Evaluation on boxes gives the gradient of the whole map, to rounding, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from convbench.measures.erf.demand import Untraceable, demand, input_gradient, record
from convbench.measures.erf.gradient import input_gradient as full_gradient
from tests.erf.modules import GLOBAL, LOCAL, C

SHAPE = (C, 24, 26)
CPU = torch.device("cpu")


def seeded(build: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return build().eval().requires_grad_(False).to(dtype)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 3e-15), (torch.float32, 1.2e-6)])
def test_boxes_give_the_gradient_of_the_whole_map(name: str, dtype: torch.dtype, tolerance: float) -> None:
    module = seeded(LOCAL[name], dtype)
    recording = record(module, None, SHAPE, dtype, CPU)
    assert recording.obstacle is None
    height, width = recording.output_size
    x, weights = torch.randn(3, *SHAPE, dtype=dtype), torch.randn(3, recording.channels, dtype=dtype)
    for position in [(height // 2, width // 2), (0, width - 1), (height - 1, 1)]:
        needed = demand(recording, position, within=True)
        assert needed is not None
        (top, bottom), (left, right) = needed.regions[0]
        part = (..., slice(top, bottom), slice(left, right))
        expected = full_gradient(module, x, weights, position, False)
        found = torch.zeros_like(expected)
        found[part] = input_gradient(recording, needed, x[part], weights, False)
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", LOCAL)
def test_the_propagated_field_holds_every_pixel_that_matters_and_no_wider_one_than_needed(name: str) -> None:
    """The box must hold the support of the gradient; its border must be reached wherever it lies inside the image."""
    module = seeded(LOCAL[name], torch.float64)
    recording = record(module, None, SHAPE, torch.float64, CPU)
    position = tuple(size // 2 for size in recording.output_size)
    field, needed = demand(recording, position, within=False), demand(recording, position, within=True)
    assert field is not None
    assert needed is not None
    x, weights = torch.randn(8, *SHAPE, dtype=torch.float64), torch.randn(8, recording.channels, dtype=torch.float64)
    reached = full_gradient(module, x, weights, position, False).ne(0).any(0).any(0)
    for axis, size in enumerate(SHAPE[1:]):
        pixels = reached.any(1 - axis).nonzero()
        start, end = field.regions[0][axis]
        clipped = needed.regions[0][axis]
        assert clipped[0] <= int(pixels[0])
        assert int(pixels[-1]) < clipped[1]
        assert clipped == (max(start, 0), min(end, size)) or name in BORDERED
        if name not in SPARSE:
            assert clipped == (int(pixels[0]), int(pixels[-1]) + 1)


SPARSE = {"strided", "max pool, dilated", "no gradient through a gate"}
BORDERED = {"reflected", "replicated", "circular", "rolled", "flipped"}


@pytest.mark.parametrize("name", GLOBAL)
def test_what_cannot_be_taken_apart_is_refused_with_the_reason(name: str) -> None:
    build, reason = GLOBAL[name]
    module = seeded(build, torch.float64)
    assert reason in obstacle(module)


def obstacle(module: nn.Module) -> str:
    try:
        return record(module, None, SHAPE, torch.float64, CPU).obstacle or "none"
    except Untraceable as found:
        return str(found)
