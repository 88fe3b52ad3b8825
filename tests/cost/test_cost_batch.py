"""MACs that do not grow with the batch: the same for every batch, by whatever a module makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convbench.measures.cost import measure_cost
from tests.cost.costing import Forward, assert_adds_up

N, C = 6, 8  # tokens and channels; inputs are (batch, N, C)
POSITIONS = N * 2 * C


def grid(x: Tensor) -> Tensor:
    rows, columns = torch.arange(x.shape[1] // 2).float(), torch.arange(2).float()
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1).to(x.device)


def coordinates(m: Forward, x: Tensor) -> Tensor:
    return x + m.position(grid(x))


def repeated(m: Forward, x: Tensor) -> Tensor:
    return x + m.position(grid(x).expand(x.shape[0], N, 2))


def copied(m: Forward, x: Tensor) -> Tensor:
    return x + m.position(grid(x).repeat(x.shape[0], 1, 1))


def zeroed(m: Forward, x: Tensor) -> Tensor:
    return x + m.position(torch.zeros(x.shape[0], N, 2, device=x.device))


def constant(m: Forward, x: Tensor) -> Tensor:
    return x + m.position(torch.ones(N, 2, device=x.device))


def relative(m: Forward, x: Tensor) -> Tensor:
    at = torch.arange(x.shape[1], device=x.device)
    distance = (at[:, None] - at[None, :]).float().unsqueeze(-1).expand(N, N, 2)
    return x + m.position(distance).sum(1)


def hypernetwork(m: Forward, x: Tensor) -> Tensor:
    return x @ m.maker(m.code).view(C, C)


def averaged(m: Forward, x: Tensor) -> Tensor:
    return x + m.linear(x.mean(0))


def first(m: Forward, x: Tensor) -> Tensor:
    return x + m.linear(x[0])


def index_of_sample(m: Forward, x: Tensor) -> Tensor:
    at = torch.arange(x.shape[0], device=x.device).float()
    return x + m.position(at[:, None, None].expand(-1, N, 2))


def table(m: Forward, x: Tensor) -> Tensor:
    return x + m.linear(m.embedding(torch.arange(N, device=x.device)))


CASES: dict[str, tuple[Callable[..., Tensor], int, int]] = {
    # for all samples together, for each
    "a grid": (coordinates, POSITIONS, 0),
    "a grid, expanded over the batch": (repeated, 0, POSITIONS),
    "a grid, repeated over the batch": (copied, 0, POSITIONS),
    "zeros of the batch": (zeroed, 0, POSITIONS),
    "ones": (constant, POSITIONS, 0),
    "relative positions": (relative, N * POSITIONS, 0),
    "a hypernetwork": (hypernetwork, 4 * C * C, N * C * C),
    "the mean over the batch": (averaged, N * C * C, 0),
    "the first sample": (first, N * C * C, 0),
    "the number of a sample": (index_of_sample, 0, POSITIONS),
    "a table of positions": (table, N * C * C, 0),
}


def module(function: Callable[..., Tensor]) -> Forward:
    return Forward(
        function, position=nn.Linear(2, C, bias=False), linear=nn.Linear(C, C), maker=nn.Linear(4, C * C),
        code=nn.Parameter(torch.zeros(1, 4)), embedding=nn.Embedding(N, C),
    )  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("name", CASES)
def test_every_batch_tells_the_same(name: str, batch: int) -> None:
    function, constant_macs, macs_of_a_sample = CASES[name]
    cost = measure_cost(module(function), (torch.empty(batch, N, C, device="meta"),))
    assert cost.macs == constant_macs + batch * macs_of_a_sample
    assert cost.batch_independent_macs == constant_macs
    assert cost.macs_per_sample == macs_of_a_sample
    assert_adds_up(cost)


@pytest.mark.parametrize("name", ["a grid", "a hypernetwork", "a table of positions", "the number of a sample"])
def test_in_training_the_backward_pass_too(name: str) -> None:
    function, constant_macs, _ = CASES[name]
    costs = [measure_cost(module(function), (torch.randn(batch, N, C),), training=True) for batch in (1, 2, 4)]
    growth = costs[1].macs - costs[0].macs
    assert [cost.batch_independent_macs for cost in costs] == [costs[0].macs - growth] * 3
    assert costs[0].batch_independent_macs >= constant_macs
    for cost in costs:
        assert_adds_up(cost)


def test_attention_across_the_batch_grows() -> None:
    cost = measure_cost(Forward(lambda _, x: x[:, 0] @ x[:, 0].t()), (torch.empty(4, N, C, device="meta"),))
    assert cost.batch_independent_macs == 0


def test_a_module_for_one_batch_size_only_is_judged_by_its_operands() -> None:
    def fixed(m: Forward, x: Tensor) -> Tensor:
        return m.position(grid(x)).view(1, N, C) + x.reshape(2, N, C) * (m.code.t() @ m.code).sum()

    cost = measure_cost(module(fixed), (torch.empty(2, N, C, device="meta"),))
    assert cost.batch_independent_macs == 16


def test_a_real_run_agrees() -> None:
    def looking(m: Forward, x: Tensor) -> Tensor:
        x.sum().item()
        return coordinates(m, x)

    cost = measure_cost(module(looking), (torch.randn(2, N, C),))
    assert (cost.method, cost.batch_independent_macs) == ("real", POSITIONS)
