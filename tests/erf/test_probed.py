"""What is probed and where its field lies: global operators pass the centre on, and operators say the layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convbench.cli.erf import read_grid
from convbench.errors import EmptyMapError, OptionError, ShapeError, UsageError
from convbench.measures.erf import ErfSettings, measure_erf

FAST = ErfSettings(samples=2, seeds=1, bootstrap=0, dtype="float64")


class Then(nn.Module):
    """A stem, a function of its map, and optionally what makes class scores of that."""

    def __init__(self, stem: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.function = stem, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.stem(x))


def convolutions(*of: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Conv2d(3, 3, kernel, stride, padding) for kernel, stride, padding in of))


def attended(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return (tokens + F.scaled_dot_product_attention(tokens, tokens, tokens)).transpose(1, 2).reshape(x.shape)


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "one": lambda x: x * (1 + 0 * x.mean((2, 3), keepdim=True)),
    "squeeze": lambda x: x * F.adaptive_avg_pool2d(x, 1).sigmoid(),
    "group norm": lambda x: F.group_norm(x, 1),
    "response norm": lambda x: x + x * x.norm(p=2, dim=(2, 3), keepdim=True),
    "strips": lambda x: x * x.mean(3, keepdim=True).sigmoid() * x.mean(2, keepdim=True).sigmoid(),
    "attention": attended,
    "pooled context": lambda x: x + F.interpolate(F.adaptive_avg_pool2d(x, 1), x.shape[2:]),
}
"""Each joins all positions and moves none."""

STEMS = {
    "three of stride 2": ([(3, 2, 1)] * 3, 8, 0.0),
    "residual": ([(7, 2, 3), (3, 2, 1), (3, 2, 1)], 8, 0.0),
    "patches": ([(4, 4, 0), (2, 2, 0)], 8, 3.5),
    "even": ([(2, 2, 0), (4, 2, 1)], 4, 1.5),
}
"""Convolutions, their stride, and the centre of output 0, by centre = stride·c − padding + (kernel − 1)/2."""


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("stem", STEMS)
def test_what_joins_all_positions_leaves_the_centre_where_the_strides_put_it(gate: str, stem: str) -> None:
    of, stride, offset = STEMS[stem]
    erf = measure_erf(Then(convolutions(*of), GATES[gate]), (1, 3, 64, 64), FAST)
    assert erf.centre == tuple(stride * place + offset for place in erf.position)
    assert erf.receptive_field is None


def test_a_gate_of_one_leaves_every_figure_as_it_was() -> None:
    plain, gated = (
        measure_erf(Then(convolutions((3, 2, 1), (3, 2, 1), (3, 1, 1)), function), (1, 3, 64, 64), FAST)
        for function in (lambda x: x, GATES["one"])
    )
    assert np.allclose(plain.map, gated.map, rtol=1e-12, atol=0)
    assert gated.metrics.side_50_px == plain.metrics.side_50_px
    assert gated.metrics.radius_90_px == pytest.approx(plain.metrics.radius_90_px)
    assert gated.metrics.offset_y_px == pytest.approx(plain.metrics.offset_y_px)


class Classifier(nn.Module):
    """A 2×2 patch embedding, a layer in another layout, and class scores."""

    def __init__(self, layer: nn.Module, rearrange: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.layer, self.drop = nn.Conv2d(3, 8, 2, stride=2), layer, nn.Dropout()
        self.rearrange = rearrange

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.layer(self.rearrange(self.embed(x))))
        return y.flatten(1)[:, :5]


@pytest.mark.parametrize(
    ("rearrange", "layer"),
    [
        (lambda x: x.permute(0, 2, 3, 1), "layer"),
        (lambda x: x.flatten(2).transpose(1, 2), "layer"),
        (lambda x: x.flatten(2).transpose(1, 2).reshape(2 if len(x) == 2 else len(x), 64, 2, 4).transpose(1, 2), None),
    ],
)
def test_a_map_is_known_by_the_operators_that_made_it(rearrange: Callable[[Tensor], Tensor], layer: str | None) -> None:
    width = 4 if layer is None else 8
    erf = measure_erf(Classifier(nn.LayerNorm(width), rearrange), (1, 3, 16, 16), FAST)
    assert erf.layer == (layer or "embed")  # heads apart are no map; a dropout hands on what it was given
    assert (erf.output_size, erf.support.height, erf.support.width) == ((8, 8), 2, 2)
    assert erf.centre == tuple(2 * place + 0.5 for place in erf.position)


class Tokens(nn.Module):
    """A class token before those of the patches, which the operators' layouts do not tell apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm = nn.Conv2d(3, 4, 4, stride=4), nn.LayerNorm(4)
        self.token = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x).flatten(2).transpose(1, 2)
        return self.norm(torch.cat([self.token.expand(len(y), 1, 4), y], 1))[:, 0]


def test_tokens_are_probed_on_the_grid_that_is_given() -> None:
    erf = measure_erf(Tokens(), (1, 3, 16, 16), replace(FAST, layer="norm", grid=(4, 4)))
    assert (erf.output_size, erf.support.height, erf.support.width) == ((4, 4), 4, 4)
    assert erf.centre == tuple(4 * place + 1.5 for place in erf.position)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"layer": "norm", "grid": (5, 4)}, "fewer than a grid"), ({"layer": "norm", "layout": "NLC"}, "need their grid")],
)
def test_a_layout_that_does_not_fit_is_an_error(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        measure_erf(Tokens(), (1, 3, 16, 16), replace(FAST, **settings))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="layout is one of NCHW"):
        ErfSettings(layout="NCWH")


@pytest.mark.parametrize("evaluation", ["auto", "full"])
def test_what_is_cut_off_from_the_input_has_no_map_in_any_evaluation(evaluation: str) -> None:
    module = Then(convolutions((3, 1, 1)), lambda x: x.detach())
    with pytest.raises(EmptyMapError, match="cut off from the input"):
        measure_erf(module, (1, 3, 16, 16), replace(FAST, evaluation=evaluation))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["14", "14x14", "a,b", "1,2,3", "-1,2"])
def test_a_grid_is_two_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="such as 14,14"):
        read_grid(text)
