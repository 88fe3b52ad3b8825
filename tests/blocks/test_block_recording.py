"""Blocks under compilation, export and tracing: one whole graph, the same numbers, free sizes.

Recorded programs of DRConv evaluate every region at every pixel, since no graph can depend on the guide's data; this
is the only place where a recorded block runs another algorithm than the eager one.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from convblocks import factories
from tests.blocks.golden_data import numbers, relative_error
from tests.blocks.small_blocks import BLOCKS, SmallBlock

each_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
TOLERANCE = 1e-5


def feature_map(block: SmallBlock, batch: int = 2, height: int = 12) -> Tensor:
    return numbers((batch, block.channels, height, 12), 10000).float()


@pytest.mark.slow
@each_block
def test_compiles_as_one_graph_with_the_same_gradients(block: SmallBlock) -> None:
    module = block.filled()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    results = []
    for forward in (module, compiled):
        x = feature_map(block).requires_grad_()
        y = forward(x)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), x)))
    for ours, expected in zip(results[1], results[0], strict=True):
        assert relative_error(ours, expected) < TOLERANCE
    with torch.no_grad():
        assert relative_error(compiled(feature_map(block)), results[0][0]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MRFA", "UniConvNetBlock", "DRConv", "RefConv"])
def test_default_compiler_keeps_the_output(name: str) -> None:
    block = next(block for block in BLOCKS if block.name == name)
    module, x = block.filled(), feature_map(block)
    with torch.no_grad():
        assert relative_error(torch.compile(module, fullgraph=True)(x), module(x)) < TOLERANCE


PADS_WHAT_IT_CANNOT_HALVE = {"SPDConv", "HaarDownsampling", "WTConv"}  # another graph for odd extents


@pytest.mark.slow
@each_block
def test_exports_with_free_batch_and_height(block: SmallBlock) -> None:
    module = block.filled()
    height = torch.export.Dim("height", min=8, max=64)
    if block.name in PADS_WHAT_IT_CANNOT_HALVE:
        height = 4 * torch.export.Dim("quarter", min=2, max=16)
    dynamic = {0: torch.export.Dim("batch", min=2, max=8), 2: height}
    program = torch.export.export(module, (feature_map(block),), dynamic_shapes=(dynamic,)).module()
    for batch, height in ((2, 12), (3, 16)):
        x = feature_map(block, batch, height)
        assert relative_error(program(x).detach(), module(x).detach()) < TOLERANCE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@each_block
def test_traces(block: SmallBlock) -> None:
    module, x = block.filled(), feature_map(block)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            traced = torch.jit.trace(module, x, check_trace=False)
            assert relative_error(traced(x).detach(), module(x).detach()) < TOLERANCE


def test_fake_tensors_count_every_region_of_drconv() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.no_grad():
        block, x = factories.drconv(64).eval(), torch.empty(1, 64, 56, 56)
        with FlopCounterMode(display=False) as counter:
            block(x)
    assert counter.get_total_flops() == 2 * 941_690_880
