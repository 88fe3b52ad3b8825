"""Inputs that a network rejects: the layer that failed and the shape that reached it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convbench.errors import ShapeError, TargetError, UsageError
from convbench.measures.cost import CostError, measure_cost
from tests.cost.costing import Forward, meta


def network() -> nn.Module:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), nn.Flatten(), nn.Linear(8 * 36, 5))


@pytest.mark.parametrize("tensor", [torch.zeros, meta])
@pytest.mark.parametrize("training", [False, True])
def test_the_layer_and_its_shape_are_named(tensor: object, training: bool) -> None:
    with pytest.raises(ShapeError, match=r"layer '0\.0' \(Conv2d\) failed on \(1, 4, 8, 8\).*takes 3 channels"):
        measure_cost(network(), (tensor(1, 4, 8, 8),), training=training)  # type: ignore[operator]
    with pytest.raises(
        ShapeError,
        match=r"layer '2' \(Linear\) failed on \(1, 392\) when the network was given \(1, 3, 9, 9\).*takes 288",
    ):
        measure_cost(network(), (tensor(1, 3, 9, 9),), training=training)  # type: ignore[operator]


def test_a_wrong_number_of_inputs_is_a_shape_error() -> None:
    with pytest.raises(ShapeError, match="Conv2d"):
        measure_cost(nn.Conv2d(3, 8, 3), ())
    with pytest.raises(ShapeError, match=r"Linear failed on \(6, 7\)"):
        measure_cost(nn.Linear(8, 8), (meta(6, 7),))


def test_an_error_of_the_module_itself_is_a_target_error() -> None:
    with pytest.raises(TargetError, match="AttributeError"):
        measure_cost(Forward(lambda m, x: m.missing(x)), (meta(1),))


def test_errors_that_the_module_handles_itself_do_not_confuse_the_tree() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("try the other way")

    def forward(self: Forward, x: Tensor) -> Tensor:
        try:
            return self.inner(x)
        except ValueError:
            return self.layer(x)

    cost = measure_cost(Forward(forward, inner=Inner(), layer=nn.Linear(8, 8)), (meta(6, 8),))
    assert {module.path: module.own.macs for module in cost.modules} == {"": 0, "inner": 0, "layer": 384}


def test_what_depends_on_values_is_really_run_and_says_so() -> None:
    def forward(self: Forward, x: Tensor) -> Tensor:
        return self.layer(x[x[:, 0] > 0])

    x = torch.ones(6, 8)
    x[:2] = -1
    cost = measure_cost(Forward(forward, layer=nn.Linear(8, 3)), (x,), training=True)
    assert (cost.method, cost.forward_macs, cost.macs) == ("real", 4 * 8 * 3, 3 * 4 * 8 * 3)
    assert cost.reason is not None
    assert "needs values" in cost.reason
    with pytest.raises(CostError, match=r"--device cpu; in Python inputs="):
        measure_cost(Forward(forward, layer=nn.Linear(8, 3)), (meta(6, 8),))


def test_numpy_inside_a_module_makes_the_count_a_lower_bound() -> None:
    module = Forward(lambda m, x: m.layer(x) * float(x.detach().numpy().sum()), layer=nn.Linear(8, 3))
    cost = measure_cost(module, (torch.ones(6, 8),))
    assert (cost.method, cost.macs, [item.name for item in cost.uncounted]) == ("real", 144, ["numpy"])
    with pytest.raises(CostError, match="numpy"):
        measure_cost(module, (torch.ones(6, 8),), strict=True)


def test_lazy_parameters_get_their_shapes_on_a_clone() -> None:
    for x in (meta(6, 8), torch.zeros(6, 8)):
        module = nn.LazyLinear(8)
        assert measure_cost(module, (x,), training=True).macs == 3 * 6 * 64
        assert nn.parameter.is_lazy(module.weight)


def test_requests_that_cannot_be_met() -> None:
    with pytest.raises(TargetError, match="lazy parameters"):
        measure_cost(nn.LazyConv2d(8, 3), (meta(6, 8),))
    with pytest.raises(UsageError, match=r"\(x,\)"):
        measure_cost(nn.Linear(8, 8), meta(6, 8))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"nn\.Module"):
        measure_cost(torch.relu, (meta(6, 8),))  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [False, True])
def test_a_rejected_shape_is_told_once_and_nothing_is_logged(
    training: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def forward(m: Forward, x: Tensor) -> Tensor:
        tokens = m.project(x)
        tokens += m.table
        return tokens

    module = Forward(forward, project=nn.Linear(8, 8), table=nn.Parameter(torch.zeros(1, 4, 8)))
    with pytest.raises(ShapeError) as caught:
        measure_cost(module, (torch.zeros(1, 5, 8),), training=training)
    assert str(caught.value).count("(1, 5, 8)") == 1  # the network itself failed on what it was given
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
