"""Control flow as operators, checkpoints and compiled parts: counted through their bodies, as written."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convbench.errors import TargetError
from convbench.measures.cost import measure_cost
from tests.cost.costing import Forward, assert_adds_up

X = torch.randn(4, 8)
ONE = 4 * 8 * 8  # MACs of a linear layer, 8 to 8, on four rows


def looped(m: Forward, x: Tensor) -> Tensor:
    from torch._higher_order_ops.while_loop import while_loop

    return while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, m.layer(y)), (torch.zeros((), dtype=torch.long), x))[1]


def scanned(m: Forward, x: Tensor) -> Tensor:
    from torch._higher_order_ops.scan import scan

    return scan(lambda carried, row: (m.layer(carried + row), row * 2), torch.zeros(8), x)[0]


def mapped(m: Forward, x: Tensor) -> Tensor:
    from torch._higher_order_ops.map import map as map_rows

    return map_rows(lambda row: m.layer(row), x)


def associated(m: Forward, x: Tensor) -> Tensor:
    from torch._higher_order_ops.associative_scan import associative_scan

    return associative_scan(lambda a, b: a * b, m.layer(x), 0, combine_mode="generic")


CONTROL: dict[str, tuple[Callable[..., Tensor], int, int]] = {
    "cond, first branch": (lambda m, x: torch.cond(x.sum() < 1e9, m.layer, lambda z: z * 2, (x,)), ONE, 3 * ONE),
    "cond, second branch": (
        lambda m, x: torch.cond(x.sum() > 1e9, m.layer, lambda z: m.layer(m.layer(z)), (x,)),
        2 * ONE,
        6 * ONE,
    ),
    "while_loop": (looped, 3 * ONE, 9 * ONE),
    "map": (mapped, ONE, 3 * ONE),
    "checkpoint": (lambda m, x: checkpoint(lambda z: m.layer(z).relu(), x, use_reentrant=False), ONE, 4 * ONE),
    "reentrant checkpoint": (lambda m, x: checkpoint(lambda z: m.layer(z).relu(), x, use_reentrant=True), ONE, 4 * ONE),
    "compiled on the way": (lambda m, x: torch.compile(m.layer, fullgraph=True)(x), ONE, 3 * ONE),
}
if torch.__version__ >= (2, 7):  # before, both are prototypes without gradients
    CONTROL |= {"scan": (scanned, ONE, 3 * ONE), "associative_scan": (associated, ONE, 3 * ONE)}


@pytest.mark.parametrize("name", CONTROL)
def test_bodies_are_counted(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    function, macs, training_macs = CONTROL[name]
    module = Forward(function, layer=nn.Linear(8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        costs = [measure_cost(module, (X,), training=training) for training in (False, True)]
    assert [cost.macs for cost in costs] == [macs, training_macs]
    for cost in costs:
        assert cost.uncounted == ()
        assert_adds_up(cost)
        at = {row.path: row.total.macs for row in cost.modules}
        assert at["layer"] == cost.macs
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compiled", [False, True])
def test_flexible_attention(compiled: bool) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    def forward(_: Forward, q: Tensor) -> Tensor:
        attend = torch.compile(flex_attention) if compiled else flex_attention
        return attend(q, q, q, score_mod=lambda score, b, h, i, j: score + (i - j))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cost = measure_cost(Forward(forward), (torch.randn(2, 4, 16, 32),))
    assert (cost.macs, cost.uncounted) == (2 * 2 * 4 * 16 * 16 * 32, ())


@pytest.mark.parametrize("biased", [False, True])
def test_a_training_step_of_flexible_attention_forms_the_scores_twice(biased: bool) -> None:
    """Two products forward, Q·Kᵀ again and four gradients backward; the CPU refuses the step, and it has no figure."""
    from torch.nn.attention.flex_attention import flex_attention

    def attention(m: Forward, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        change = (lambda score, _batch, head, *_: score + m.bias[head]) if biased else None
        return flex_attention(q, k, v, score_mod=change)

    module = Forward(attention, bias=nn.Parameter(torch.zeros(4)))
    shapes = tuple(torch.empty(2, 4, 16, 32, device="meta") for _ in range(3))
    cost = measure_cost(module.to("meta"), shapes, training=True)
    assert (cost.macs, cost.uncounted) == (7 * 2 * 4 * 16 * 16 * 32, ())
    with pytest.raises(TargetError, match="does not support backward on CPU"):
        measure_cost(module.to_empty(device="cpu"), tuple(torch.zeros(x.shape) for x in shapes), training=True)


def test_the_compiler_is_there_again_afterwards() -> None:
    before = torch.compile, torch._ops.HigherOrderOperator.__call__
    measure_cost(nn.Linear(8, 8), (X,))
    with pytest.raises(Exception, match=r"\(4, 8\)"):
        measure_cost(nn.Linear(9, 8), (X,))
    assert (torch.compile, torch._ops.HigherOrderOperator.__call__) == before
