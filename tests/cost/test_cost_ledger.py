"""What was counted and what was not: kinds, unknown operators, rules of one's own, the module tree, sums."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convbench.errors import UsageError
from convbench.measures.cost import Amount, CostError, Kind, Shape, Uncounted, measure_cost, register_cost, table
from tests.cost.costing import Forward, assert_adds_up, meta


@pytest.fixture(scope="module")
def banded() -> object:
    """An operator that nobody but its author knows: y[i] = Σ over a band of x, for each row."""

    @torch.library.custom_op("cost_test::banded", mutates_args=())
    def banded(x: Tensor, weight: Tensor, width: int) -> Tensor:
        return x * weight.sum() * width

    @banded.register_fake
    def _(x: Tensor, weight: Tensor, width: int) -> Tensor:
        return torch.empty_like(x)

    return torch.ops.cost_test.banded


@pytest.fixture
def rules() -> Iterator[None]:
    """Rules registered in a test do not outlive it."""
    table._load_rules()
    before = dict(table._ROWS)
    yield
    table._ROWS.clear()
    table._ROWS.update(before)


def calling(operator: object) -> Forward:
    def forward(self: Forward, x: Tensor) -> Tensor:
        return operator(operator(self.layer(x), self.layer.weight, 3), self.layer.weight, 3)  # type: ignore[operator]

    return Forward(forward, layer=nn.Linear(8, 8))


def test_an_unknown_operator_is_named_and_numbered(banded: object) -> None:
    cost = measure_cost(calling(banded), (meta(6, 8),))
    assert cost.uncounted == (Uncounted("cost_test::banded", 2),)
    assert cost.is_lower_bound
    assert cost.macs == 6 * 8 * 8
    row = next(operator for operator in cost.operators if operator.name == "cost_test::banded")
    assert (row.kind, row.calls, row.macs) == (Kind.UNKNOWN, 2, 0)
    assert row.bytes_moved == 2 * 4 * (48 + 64 + 48)


def test_strict_refuses_a_lower_bound(banded: object) -> None:
    with pytest.raises(CostError, match=r"cost_test::banded \(2 calls\).*register_cost"):
        measure_cost(calling(banded), (meta(6, 8),), strict=True)
    assert measure_cost(nn.Linear(8, 8), (meta(6, 8),), strict=True).macs == 6 * 8 * 8


def test_a_rule_of_ones_own(banded: object, rules: None) -> None:
    seen = []

    @register_cost("cost_test::banded")
    def banded_macs(x: Shape, weight: Shape, width: int, *, out: Shape) -> int:
        seen.append((tuple(x), x.dtype, tuple(weight), width))
        return out.numel() * width

    cost = measure_cost(calling(banded), (meta(6, 8),), strict=True)
    assert cost.macs == 6 * 8 * 8 + 2 * 48 * 3
    assert cost.flops == 2 * cost.macs + 48
    assert seen == [((6, 8), torch.float32, (8, 8), 3)]
    assert not cost.is_lower_bound

    @register_cost(banded)  # registering again replaces; the operator itself will do as a name
    def more(x: Shape, *_: object, out: Shape) -> Amount:
        return Amount(macs=10, other_flops=7)

    cost = measure_cost(calling(banded), (meta(6, 8),))
    assert (cost.macs, cost.flops) == (6 * 8 * 8 + 20, 2 * (6 * 8 * 8 + 20) + 48 + 14)


@pytest.mark.parametrize(
    ("name", "said"),
    [("banded", "full name"), ("my::", "full name"), ("aten::mm", "built-in"), ("aten::relu_", "built-in")],
)
def test_rules_are_for_full_names_without_a_rule(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        register_cost(name)


def test_an_operator_without_meta_kernel_is_really_run(rules: None) -> None:
    @torch.library.custom_op("cost_test::real_only", mutates_args=())
    def real_only(x: Tensor) -> Tensor:
        return x + 1

    module = Forward(lambda m, x: torch.ops.cost_test.real_only(m.layer(x)), layer=nn.Linear(8, 8))
    cost = measure_cost(module, (torch.zeros(6, 8),))
    assert (cost.method, cost.macs, cost.uncounted) == ("real", 384, (Uncounted("cost_test::real_only", 1),))
    with pytest.raises(CostError, match=r"real_only.* needs values"):
        measure_cost(module, (meta(6, 8),))


def test_kinds() -> None:
    module = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten())
    kinds = {operator.name: operator.kind for operator in measure_cost(module, (meta(1, 4, 8, 8),)).operators}
    assert kinds == {"aten::convolution": Kind.EXACT, "aten::relu": Kind.ELEMENTWISE, "aten::view": Kind.ZERO_COST}


def test_every_built_in_row_names_an_operator() -> None:
    pytest.importorskip("torchvision")
    table._load_rules()
    known = {schema.name for schema in torch._C._jit_get_all_schemas()}
    lost = [
        name
        for name, row in table._ROWS.items()
        if row.built_in and name.split(".")[0] not in known and name.split(".")[0] + "_" not in known
    ]
    allowed = {"aten::binary_cross_entropy_with_logits_backward"}
    if torch.__version__ < (2, 10):
        allowed |= {f"aten::{name}" for name in NEWER}
    assert set(lost) <= allowed


NEWER = ("_grouped_mm", "_scaled_grouped_mm", "_scaled_mm_v2", "sym_is_contiguous", "_dyn_quant_matmul_4bit",
         "_fused_rms_norm", "_fused_rms_norm_backward")  # fmt: skip


class Shared(nn.Module):
    """One convolution held in two places and called at both, and once more from outside its place."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(4, 4, 3, padding=1)
        self.left, self.right = nn.Sequential(conv, nn.ReLU()), nn.Sequential(conv)
        self.only = nn.ModuleList([nn.Conv2d(4, 4, 1)])
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.right(self.right(self.left(x)))
        return F.conv2d(self.only[0](x), self.only[0].weight)


def test_modules_are_charged_where_they_ran() -> None:
    cost = measure_cost(Shared(), (meta(1, 4, 8, 8),))
    at = {module.path: module for module in cost.modules}
    full, pointwise = 4 * 4 * 9 * 64, 4 * 4 * 64
    assert (at["left.0"].calls, at["left.0"].own.macs) == (1, full)
    assert (at["right.0"].calls, at["right.0"].own.macs) == (2, 2 * full)
    assert (at["only"].calls, at["only"].total.macs, at["only.0"].own.macs) == (0, pointwise, pointwise)
    assert at[""].own.macs == pointwise
    assert at["unused"].calls == at["unused"].total.macs == 0
    assert at["left"].output_shapes == ((1, 4, 8, 8),)
    assert (at["left.0"].type, at["left.0"].depth) == ("Conv2d", 2)
    assert [module.path for module in cost.modules][:3] == ["", "left", "left.0"]
    assert_adds_up(cost)


def test_backward_operators_are_charged_to_the_module_whose_forward_made_them() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3)), nn.Flatten(), nn.Linear(128, 3)
    )
    cost = measure_cost(network, (meta(2, 4, 8, 8),), training=True, input_grad=False)
    at = {module.path: module.own.macs for module in cost.modules}
    first, second, last = 2 * 36 * 8 * 36, 2 * 16 * 8 * 72, 2 * 128 * 3
    assert (at["0"], at["1.1"], at["3"], at[""]) == (2 * first, 3 * second, 3 * last, 0)
    assert_adds_up(cost)


def test_modules_outside_the_tree_count_as_part_of_their_caller() -> None:
    hidden = [nn.Linear(8, 8)]
    cost = measure_cost(Forward(lambda _, x: nn.Linear(8, 3)(hidden[0](x))), (torch.zeros(6, 8),))
    assert cost.modules[0].own.macs == 6 * 8 * 8 + 6 * 8 * 3
    assert len(cost.modules) == 1


def test_activations_are_the_results_of_operators_with_macs() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    for training in (False, True):
        assert measure_cost(network, (meta(2, 4, 8, 8),), training=training).activations == 2 * 8 * 36 + 2 * 5
