"""Which gradients a training step counts: those asked for, once each."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from convbench.execution.clone import clone
from convbench.execution.step import NothingToDifferentiate
from convbench.measures.cost import measure_cost
from tests.cost.costing import Forward, assert_adds_up, meta


def two_convolutions() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))


ONE = 4 * 4 * 9 * 64


@pytest.mark.parametrize(
    ("frozen", "input_grad", "expected"),
    [
        ((), True, 6),  # forward 2, inputs 2, weights 2
        ((), False, 5),  # the first input has no gradient
        ((0,), False, 3),  # nothing flows below the second convolution
        ((0,), True, 5),
        ((1,), True, 5),
        ((1,), False, 4),
        ((0, 1), True, 4),
    ],
)
def test_only_gradients_asked_for_are_counted(frozen: tuple[int, ...], input_grad: bool, expected: int) -> None:
    network = two_convolutions()
    for index in frozen:
        network[index].requires_grad_(False)
    cost = measure_cost(network, (meta(1, 4, 8, 8),), training=True, input_grad=input_grad)
    assert cost.macs == expected * ONE
    assert_adds_up(cost)


def test_the_modes_of_submodules_are_kept() -> None:
    """A frozen batch norm in a training step normalises with its stored statistics."""
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)).train()
    both = measure_cost(network, (meta(2, 4, 8, 8),), training=True)
    network[1].eval()
    stored = measure_cost(network, (meta(2, 4, 8, 8),), training=True)
    elements = 2 * 8 * 36
    assert both.macs == stored.macs
    assert both.flops - stored.flops >= 4 * elements


def test_detached_branches_have_no_backward() -> None:
    module = Forward(lambda m, x: m.a(x) + m.b(x).detach(), a=nn.Linear(8, 8), b=nn.Linear(8, 8))
    assert measure_cost(module, (meta(6, 8),), training=True).macs == 4 * 6 * 8 * 8


def test_integer_inputs_and_results_without_gradient() -> None:
    network = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 3))
    cost = measure_cost(network, (meta(4, dtype=torch.long),), training=True)
    assert cost.macs == 3 * 4 * 8 * 3


@pytest.mark.parametrize(
    "module",
    [
        Forward(lambda m, x: m.layer(x).argmax(-1), layer=nn.Linear(8, 3)),
        Forward(lambda m, x: m.layer(x).detach(), layer=nn.Linear(8, 3)),
        nn.Linear(8, 3).requires_grad_(False),
    ],
)
def test_a_step_with_nothing_to_differentiate_has_no_figure(module: nn.Module) -> None:
    with pytest.raises(NothingToDifferentiate, match="depends on a parameter or an input"):
        measure_cost(module, (meta(4, 8),), training=True, input_grad=False)


def test_a_second_use_of_a_weight_adds_its_gradient_and_nothing_else() -> None:
    layer = nn.Linear(8, 8, bias=False)
    cost = measure_cost(Forward(lambda m, x: m.layer(m.layer(x)), layer=layer), (meta(6, 8),), training=True)
    assert cost.macs == 6 * 6 * 8 * 8
    added = next(operator for operator in cost.operators if operator.name == "aten::add")
    assert added.flops == 64


def test_counting_under_no_grad_still_trains() -> None:
    with torch.no_grad():
        assert measure_cost(two_convolutions(), (meta(1, 4, 8, 8),), training=True).macs == 6 * ONE


def test_kernel_transforms_do_not_grow_with_the_batch() -> None:
    def forward(self: Forward, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, self.basis @ self.mix)

    module = Forward(forward, basis=torch.ones(5, 7), mix=nn.Parameter(torch.ones(7, 8)))
    for batch in (1, 6):
        cost = measure_cost(module, (meta(batch, 8),), training=True)
        assert cost.batch_independent_macs == 2 * 5 * 7 * 8  # forward, and the gradient of the mixing matrix
        assert cost.macs_per_sample == 3 * 5 * 8
        assert cost.macs == cost.batch_independent_macs + batch * cost.macs_per_sample


def test_states_and_tokens_made_for_the_batch_grow_with_it() -> None:
    """An LSTM's zero state and a learned query expanded over the batch hold no input, yet are of the batch's size."""
    assert measure_cost(nn.LSTM(8, 8), (meta(5, 2, 8),)).batch_independent_macs == 0
    layer = nn.Linear(8, 8)
    query = nn.Parameter(torch.zeros(1, 3, 8))
    queries = Forward(lambda m, x: m.layer(m.query.expand(x.shape[0], -1, -1)) + x, query=query, layer=layer)
    assert measure_cost(queries, (meta(4, 3, 8),)).batch_independent_macs == 0
    table = Forward(lambda m, x: x + m.layer(m.table), table=torch.zeros(3, 8), layer=nn.Linear(8, 8))
    assert measure_cost(table, (meta(4, 3, 8),)).batch_independent_macs == 3 * 8 * 8


def test_a_clone_of_a_script_trains_as_the_script() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(nn.Conv2d(4, 8, 3, padding=1))
    for module in (script, clone(script), clone(clone(script))):
        assert measure_cost(module, (torch.zeros(2, 4, 8, 8),), training=True).macs == 3 * 2 * 8 * 64 * 36
