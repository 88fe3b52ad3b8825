"""What users wrap around modules or feed them: profilers' marks, replicas, padding masks, bags, ragged batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convbench.errors import UsageError
from convbench.measures.cost import measure_cost
from convbench.measures.cost.rules.sampling import _DEFORMED_POSITION
from tests.cost.costing import Forward, assert_adds_up, figures_of, meta

CONV_MACS = 4 * 4 * 9 * 8 * 8


def convolution() -> nn.Module:
    return nn.Conv2d(4, 4, 3, padding=1)


def test_a_profilers_mark_costs_nothing() -> None:
    def marked(module: nn.Module, x: Tensor) -> object:
        with torch.autograd.profiler.record_function("stage"):
            return module.conv(x)  # type: ignore[operator]

    conv = convolution()
    plain = measure_cost(conv, (meta(1, 4, 8, 8),), training=True)
    cost = measure_cost(Forward(marked, conv=conv), (meta(1, 4, 8, 8),), training=True)
    assert cost.macs == plain.macs == 3 * CONV_MACS
    assert figures_of(cost) == figures_of(plain)
    assert cost.uncounted == ()


def test_data_parallel_counts_as_the_module_in_it() -> None:
    cost = measure_cost(nn.DataParallel(convolution()), (meta(1, 4, 8, 8),))
    assert cost.macs == CONV_MACS
    assert_adds_up(cost)


@pytest.mark.parametrize("training", [False, True])
def test_a_padding_mask_does_not_change_an_encoders_products(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 2).train(training)
    x, mask = torch.zeros(3, 5, 16), torch.zeros(3, 5, dtype=torch.bool)
    mask[0, 3:] = True
    enabled = torch.backends.mha.get_fastpath_enabled()
    masked = measure_cost(encoder, (x,), {"src_key_padding_mask": mask})
    projections, attention, mlp = 4 * 3 * 5 * 16 * 16, 2 * 3 * 5 * 5 * 16, 2 * 3 * 5 * 16 * 32
    assert masked.macs == 2 * (projections + attention + mlp)
    assert masked.macs == measure_cost(encoder, (x,)).macs
    assert torch.backends.mha.get_fastpath_enabled() == enabled


def test_embedding_bags_add_rows_up_and_spread_their_gradient() -> None:
    bags = nn.EmbeddingBag(10, 4, mode="sum")
    indices = torch.tensor([[1, 2, 4], [4, 3, 9]])
    forward = measure_cost(bags, (indices,))
    assert (forward.flops, forward.uncounted) == (6 * 4, ())
    step = measure_cost(bags, (indices,), training=True)
    assert (step.flops, step.uncounted) == (6 * 4 + 2 * 6 * 4, ())


def test_region_pooling_samples_four_neighbours_a_point() -> None:
    ops = pytest.importorskip("torchvision").ops
    features, regions = meta(2, 8, 16, 16), meta(3, 5)
    pool = Forward(lambda _, x, boxes: ops.roi_align(x, boxes, 7, sampling_ratio=2))
    cost = measure_cost(pool, (features, regions))
    outputs, points = 3 * 8 * 7 * 7, 3 * 7 * 7 * 4
    assert (cost.macs, cost.sampling_macs) == (0, outputs * 4 * 4)
    assert cost.flops == 2 * cost.sampling_macs + 5 * outputs + _DEFORMED_POSITION * points
    assert cost.uncounted == ()


def test_region_pooling_whose_points_depend_on_the_regions_is_named() -> None:
    ops = pytest.importorskip("torchvision").ops
    cost = measure_cost(Forward(lambda _, x, boxes: ops.roi_align(x, boxes, 7)), (meta(2, 8, 16, 16), meta(3, 5)))
    assert [item.name for item in cost.uncounted] == ["torchvision::roi_align"]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_ragged_batches_are_refused_by_name() -> None:
    ragged = torch.nested.nested_tensor([torch.zeros(2, 8), torch.zeros(3, 8)])
    with pytest.raises(UsageError, match="nested tensors have no one shape"):
        measure_cost(nn.Linear(8, 8), (ragged,))
