"""Memory traffic: every operator's inputs read once and outputs written once, and the bound below it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convbench.measures.cost import measure_cost
from tests.cost.costing import Forward, meta

N = 6 * 8
TRAFFIC: dict[str, tuple[Callable[..., object], tuple[Tensor, ...], int]] = {
    "sum of two": (lambda _, a, b: a + b, (meta(6, 8), meta(6, 8)), 4 * 3 * N),
    "sum with a row": (lambda _, a, b: a + b, (meta(6, 8), meta(8)), 4 * (2 * N + 8)),
    "an expanded row is read once": (lambda _, a, b: a + b.expand(6, 8), (meta(6, 8), meta(8)), 4 * (2 * N + 8)),
    "in place": (lambda _, a, b: a.add_(b), (meta(6, 8), meta(6, 8)), 4 * 3 * N),
    "into a result": (lambda _, a, b: torch.add(a, b, out=torch.empty_like(a)), (meta(6, 8), meta(6, 8)), 4 * 3 * N),
    "views": (lambda _, a: a.view(48).reshape(8, 6).t()[1:].unsqueeze(0), (meta(6, 8),), 0),
    "copy": (lambda _, a: a.clone(), (meta(6, 8),), 4 * 2 * N),
    "contiguous copy": (lambda _, a: a.t().contiguous(), (meta(6, 8),), 4 * 2 * N),
    "overwriting copy": (lambda _, a, b: a.copy_(b), (meta(6, 8), meta(6, 8)), 4 * 2 * N),
    "fill": (lambda _, a: a.zero_(), (meta(6, 8),), 4 * N),
    "creation": (lambda _, a: torch.zeros(6, 8, device=a.device), (meta(1),), 4 * N),
    "allocation": (lambda _, a: torch.empty(6, 8, device=a.device), (meta(1),), 0),
    "cast": (lambda _, a: a.to(torch.bfloat16), (meta(6, 8),), (4 + 2) * N),
    "comparison": (lambda _, a, b: a > b, (meta(6, 8), meta(6, 8)), (4 + 4 + 1) * N),
    "concatenation": (lambda _, a, b: torch.cat([a, b]), (meta(6, 8), meta(6, 8)), 4 * 4 * N),
    "sum": (lambda _, a: a.sum(1), (meta(6, 8),), 4 * (N + 6)),
    "embedding reads what it picks": (
        lambda _, i, t: F.embedding(i, t), (meta(5, dtype=torch.long), meta(1000, 8)), 5 * 8 + 2 * 4 * 5 * 8,
    ),
    "stored batch norm": (
        lambda _, x, c: F.batch_norm(x, c, c, c, c), (meta(2, 3, 4, 4), meta(3)), 4 * (2 * 96 + 4 * 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAFFIC)
def test_traffic_by_hand(name: str) -> None:
    function, args, expected = TRAFFIC[name]
    assert measure_cost(Forward(function), args).bytes_moved == expected


def test_batch_norm_writes_its_running_statistics_back() -> None:
    layer = nn.BatchNorm2d(3, track_running_stats=True)
    cost = measure_cost(layer, (meta(2, 3, 4, 4),))
    norm = next(operator for operator in cost.operators if "batch_norm" in operator.name)
    read, written, saved = 96 + 4 * 3, 96 + 2 * 3, 2 * 3
    assert norm.bytes_moved == 4 * (read + written + saved)


def test_the_ideal_is_inputs_weights_in_use_and_outputs() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    module = Forward(lambda m, x: m.network(x), network=network, unused=nn.Linear(100, 100))
    weights = 8 * 36 + 8 + 8 * 72 + 8
    cost = measure_cost(module, (meta(1, 4, 8, 8),))
    assert cost.ideal_bytes == 4 * (256 + weights + 8 * 16)
    assert cost.bytes_moved == cost.ideal_bytes + 4 * (4 * 8 * 36)
    assert cost.arithmetic_intensity == cost.flops / cost.bytes_moved


def test_work_without_traffic_is_bound_by_nothing() -> None:
    cost = measure_cost(nn.Identity(), (meta(6, 8),))
    assert (cost.ideal_bytes, cost.bytes_moved, cost.arithmetic_intensity, cost.flops) == (0, 0, 0.0, 0)


ROW = 8 * 4


@pytest.mark.parametrize(
    ("write", "moved"),
    [
        (lambda t, i, x: t.index_copy_(0, i, x), 2 * 8 + 2 * ROW + 2 * ROW),
        (lambda t, i, x: t.index_add_(0, i, x), 2 * 8 + 2 * ROW + 2 * 2 * ROW),
        (lambda t, i, x: t.index_fill_(0, i, 0.0), 2 * 8 + 2 * ROW),
        (lambda t, i, x: t.index_put_((i,), x), 2 * 8 + 2 * ROW + 2 * ROW),
        (lambda t, i, x: t.index_put_((i,), x, accumulate=True), 2 * 8 + 2 * ROW + 2 * 2 * ROW),
        (lambda t, i, x: t.scatter_(0, i[:, None].expand(2, 8), x), 2 * 8 + 2 * ROW + 2 * ROW),
        (lambda t, i, x: t.scatter_add_(0, i[:, None].expand(2, 8), x), 2 * 8 + 2 * ROW + 2 * 2 * ROW),
        (lambda t, i, x: t[3:5].copy_(x), 2 * ROW + 2 * ROW),
        (lambda t, i, x: t[3].fill_(0.0), ROW),
        (lambda t, i, x: t.index_select(0, i), 2 * 8 + 2 * ROW + 2 * ROW),
        (lambda t, i, x: t[i], 2 * 8 + 2 * ROW + 2 * ROW),
        (lambda t, i, x: t.gather(0, i[:, None].expand(2, 8)), 2 * 8 + 2 * ROW + 2 * ROW),
        (lambda t, i, x: t.index_copy(0, i, x), 100 * ROW + 2 * 8 + 2 * ROW + 100 * ROW),
    ],
)
def test_partial_writes_and_reads_move_what_they_touch(write: Callable[..., object], moved: int) -> None:
    table, index = torch.zeros(100, 8), torch.tensor([3, 50])
    module = Forward(lambda m, x: write(m.table, m.index, x), table=table, index=index)
    for x in (torch.zeros(2, 8), meta(2, 8)):
        assert measure_cost(module, (x,)).bytes_moved == moved
