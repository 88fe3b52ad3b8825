"""Counting in a publication's own convention, against hand counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from convbench.case import Case
from convbench.errors import ConvbenchError, UsageError
from convbench.paper import Published
from convbench.paper.conventions import CONVENTIONS, count_elements, find_convention
from convbench.paper.measure import compare_published as compare_by
from convbench.paper.result import Comparison
from convbench.registry import _runtime, register
from convbench.target.blueprint import make_subject
from convbench.workers.pool import Answer, Failure
from convbench.workers.worker import find_job

PLAIN, WITH_ELEMENTS = CONVENTIONS


def in_this_process(request: Mapping[str, Any]) -> Answer:
    try:
        return Answer(request, find_job(request["do"])(json.loads(json.dumps(request)), lambda _: None))
    except ConvbenchError as error:
        return Answer(request, failure=Failure.of(error))


def compare_published(figures: list[Published]) -> Iterator[Comparison]:
    return compare_by(figures, in_this_process)


class Tiny(nn.Module):
    """8×8 images: conv 3→4 (k3), batch norm, ReLU, 2×2 max-pool, global average pool, linear 4→10 with bias."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3, padding=1, bias=True)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.pool, self.mean = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mean(self.pool(self.act(self.norm(self.conv(x)))))
        return self.head(x.flatten(1))


CONV, LINEAR = 8 * 8 * 4 * 3 * 9, 4 * 10
NORM, RELU, MAX_POOL, MEAN = 2 * 8 * 8 * 4, 8 * 8 * 4, 8 * 8 * 4, 4 * 4 * 4
PARAMS = 3 * 4 * 9 + 4 + 2 * 4 + 4 * 10 + 10


@pytest.fixture
def tiny() -> Iterator[str]:
    register("tiny_a", Tiny, kind="network")
    yield "tiny_a"
    del _runtime["tiny_a"]


def published(**changes: str) -> Published:
    row = {
        "system": "Tiny",
        "variant": "A",
        "resolution": "8",
        "params_m": "0.000170",
        "gmacs": "0.000006952",
        "convention": PLAIN,
        "target": "tiny_a",
    }
    return Published.from_row({**row, **changes})


def test_both_conventions_by_hand(tiny: str) -> None:
    subject = make_subject(Case(tiny, size=8, device="meta"))
    assert find_convention(PLAIN)(subject) == CONV + LINEAR
    assert find_convention(WITH_ELEMENTS)(subject) == CONV + LINEAR + NORM + RELU + MAX_POOL + MEAN


def test_a_layer_that_is_called_twice_counts_twice() -> None:
    act = nn.ReLU()
    assert count_elements(nn.Sequential(act, nn.Identity(), act), (torch.zeros(2, 3, 4, 4),)) == 2 * 96


def test_counting_leaves_no_hooks_behind_even_after_an_error() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        count_elements(module, (torch.zeros(2, 4),))
    assert not any(layer._forward_hooks for layer in module.modules())


def test_an_unknown_convention_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="MACs of conv and linear; MACs incl"):
        find_convention("FLOPs")


def test_a_figure_that_agrees(tiny: str) -> None:
    (comparison,) = compare_published([published()])
    assert comparison.verdict == "agrees"
    assert comparison.params is not None
    assert comparison.gmacs is not None
    assert comparison.params.measured * 1e6 == pytest.approx(PARAMS)
    assert comparison.gmacs.measured * 1e9 == pytest.approx(CONV + LINEAR)


def test_options_and_conventions_of_one_network_are_measured_apart(tiny: str) -> None:
    figures = [published(), published(options='{"width": 8}'), published(convention=WITH_ELEMENTS), published()]
    measured = [comparison.gmacs.measured * 1e9 for comparison in compare_published(figures)]
    elements = NORM + RELU + MAX_POOL + MEAN
    assert measured == pytest.approx([CONV + LINEAR, 2 * (CONV + LINEAR), CONV + LINEAR + elements, CONV + LINEAR])


def test_the_same_network_is_built_once(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[Case] = []

    def counted(case: Case) -> object:
        builds.append(case)
        return make_subject(case)

    monkeypatch.setattr("convbench.target.blueprint.make_subject", counted)
    list(compare_published([published(), published(gmacs="9"), published(resolution="16")]))
    assert [case.size for case in builds] == [8, 16]


def test_a_difference_with_and_without_an_explanation(tiny: str) -> None:
    known, unknown = compare_published(
        [published(gmacs="0.0000100", explanation="a typo"), published(gmacs="0.0000100")]
    )
    assert (known.verdict, unknown.verdict) == ("explained", "differs")
    assert known.gmacs is not None
    assert known.gmacs.difference == pytest.approx(6952 / 10000 - 1)


def test_what_was_not_published_is_not_judged(tiny: str) -> None:
    (comparison,) = compare_published([published(params_m="")])
    assert comparison.params is None
    assert comparison.verdict == "agrees"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "no_such_network"}, "nothing is registered as 'no_such_network'"),
        ({"target": "no.such.package:Net"}, "no module named"),
        ({"options": '{"depth": 3}'}, "has no option 'depth'"),
        ({"convention": "FLOPs"}, "no convention is called 'FLOPs'"),
    ],
)
def test_what_cannot_be_measured_says_why(tiny: str, changes: dict[str, str], message: str) -> None:
    broken, good = compare_published([published(**changes), published()])
    assert broken.verdict == "not measured"
    assert message in broken.error
    assert good.verdict == "agrees"
