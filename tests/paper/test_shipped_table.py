"""The figures that ship with the blocks against the networks themselves."""

from __future__ import annotations

import pytest

from convbench.paper import Comparison, Published, published
from convbench.paper.measure import compare_published
from convbench.workers.pool import Asker


def measured(*targets: str) -> list[Comparison]:
    figures = [figure for figure in published() if not targets or figure.target in targets]
    with Asker() as ask:
        return list(compare_published(figures, ask))


def of(comparisons: list[Comparison], target: str, gmacs: str) -> Comparison:
    return next(item for item in comparisons if (item.figure.target, str(item.figure.gmacs)) == (target, gmacs))


def test_errata_and_their_corrections() -> None:
    found = measured("uniconvnet_p0", "conv2former_n", "drconv_shufflenetv2_x0_5")
    typo, corrected = of(found, "uniconvnet_p0", "0.932"), of(found, "uniconvnet_p0", "0.832")
    assert (typo.verdict, corrected.verdict) == ("explained", "agrees")
    assert of(found, "conv2former_n", "2.2").gmacs.measured == pytest.approx(2.33, abs=0.005)
    drconv = of(found, "drconv_shufflenetv2_x0_5", "0.046")
    assert drconv.verdict == "explained"
    assert drconv.gmacs.measured == pytest.approx(0.05010, abs=5e-6)
    assert drconv.params is None


@pytest.mark.parametrize(
    ("target", "elements"),
    [
        # 2 a batch norm's element, 1 a ReLU's, 1 for each that the max-pool and the average pool read
        ("torchvision:resnet50", 2 * 11_113_984 + 9_608_704 + 802_816 + 100_352),
    ],
)
def test_the_convention_that_counts_elements(target: str, elements: int) -> None:
    (comparison,) = measured(target)
    assert comparison.gmacs.measured * 1e9 == 4_089_184_256 + elements
    assert comparison.verdict == "close"


@pytest.mark.slow
def test_every_figure_agrees_is_close_or_is_explained() -> None:
    found = measured()
    assert [(item.figure.target, item.error) for item in found if item.verdict == "not measured"] == []
    assert [(item.figure.target, item.verdict) for item in found if item.verdict == "differs"] == []
    explained: list[Published] = [item.figure for item in found if item.verdict == "explained"]
    assert {figure.target for figure in explained} == {"uniconvnet_p0", "conv2former_n", "drconv_shufflenetv2_x0_5"}
    plain = [item for item in found if item.verdict != "explained"]
    assert max(abs(item.gmacs.difference) for item in plain) < 0.012
    assert max(abs(item.params.difference) for item in plain if item.params) < 0.012
