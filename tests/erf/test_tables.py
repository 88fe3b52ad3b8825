"""What tables, files and pages say of fields: differences with verdicts, RepLKNet's figures, what is theoretical."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from convbench.measures.erf import Erf, ErfSettings, Interval, Uncertainty, measure_erf, measure_map
from convbench.measures.erf.difference import differences
from convbench.report.io.csv_file import to_csv
from convbench.report.io.fields import to_npz
from convbench.report.io.json_file import to_json
from convbench.report.tables.erf import compare_table, erf_report, measure_table
from tests.erf.closed_form import constant_conv

SETTINGS = ErfSettings(samples=4, seeds=3)


def random_conv(kernel: int) -> nn.Module:
    return nn.Conv2d(2, 2, kernel, padding=kernel // 2)


@pytest.fixture(scope="module")
def fields() -> list[Erf]:
    return [
        replace(measure_erf(lambda _, k=kernel: random_conv(k), (1, 2, 20, 20), SETTINGS), label=f"conv {kernel}")
        for kernel in (3, 7)
    ]


def shown(table: Table) -> str:
    console = Console(width=300, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def field_like(erf: Erf, sigma: float, low: float, high: float) -> Erf:
    metrics = replace(erf.metrics, sigma_px=sigma)
    uncertainty = Uncertainty({"sigma_px": Interval(low, high)}, {}, {}, {}, "initialisations", 7)
    return replace(erf, metrics=metrics, uncertainty=uncertainty)


@pytest.mark.parametrize(
    ("other", "low", "high", "verdict"),
    [
        # MOVER: 6 − 4 = 2, arms √(0.3² + 0.4²) = 0.5 both ways.
        ((6.0, 5.7, 6.3), 1.5, 2.5, "larger"),
        ((2.0, 1.7, 2.3), -2.5, -1.5, "smaller"),
        ((4.2, 3.9, 4.5), -0.3, 0.7, "unclear"),
        # An arm towards zero of √(0.3² + 0.4²), the other of √(1² + 0.4²).
        ((6.0, 5.7, 7.0), 1.5, 2 + np.sqrt(1.16), "larger"),
    ],
)
def test_differences_have_intervals_and_verdicts(
    fields: list[Erf], other: tuple[float, float, float], low: float, high: float, verdict: str
) -> None:
    base = field_like(fields[0], 4.0, 3.6, 4.4)
    (found,) = differences(base, [field_like(fields[0], *other)])
    item = found["sigma_px"]
    assert (item.value, item.low, item.high, item.verdict) == pytest.approx((other[0] - 4.0, low, high, verdict))
    assert item.ratio == pytest.approx(other[0] / 4.0)


def test_figures_within_the_margin_are_the_same(fields: list[Erf]) -> None:
    base = field_like(fields[0], 4.0, 3.99, 4.01)
    (found,) = differences(base, [field_like(fields[0], 4.005, 3.995, 4.015)])
    assert found["sigma_px"].verdict == "same"


def test_a_verdict_is_harder_to_reach_among_many(fields: list[Erf]) -> None:
    """t of 7 degrees of freedom: 2.3646; at p = 0.02, alone below 0.05, of five Holm asks for 0.01."""
    base = field_like(fields[0], 4.0, 4.0, 4.0)
    reach = 0.5 * 2.3646 / 2.9980  # 2.998: two-sided 0.02
    one = field_like(fields[0], 4.54, 4.54 - reach, 4.54 + reach)
    alone = differences(base, [one])[0]["sigma_px"]
    among = differences(base, [one, *[field_like(fields[0], 4.0, 3.0, 5.0)] * 4])[0]["sigma_px"]
    assert (alone.verdict, among.verdict) == ("larger", "unclear")


def test_without_intervals_there_is_no_verdict(fields: list[Erf]) -> None:
    bare = replace(fields[1], uncertainty=Uncertainty({}, {}, {}, {}))
    item = differences(fields[0], [bare])[0]["sigma_px"]
    assert (item.low, item.verdict) == (None, None)
    assert item.value > 0


def test_comparing_prints_intervals_differences_and_verdicts(fields: list[Erf]) -> None:
    text = shown(compare_table(fields))
    assert "larger" in text
    assert "over initialisations and inputs" in text
    row = next(line for line in text.splitlines() if line.startswith("sigma (px)"))
    assert row.count("[") == 2
    assert "×" in row
    rows = json.loads(to_json(erf_report(fields, compared=True))[""])["differences"]
    sigma = next(row for row in rows if row["figure"] == "sigma_px")
    assert sigma["difference_low"] < sigma["difference"] < sigma["difference_high"]
    assert sigma["verdict"] == "larger"


@pytest.fixture(scope="module")
def replknet() -> Erf:
    """A kernel of 99 in its inner 3×3 and 1 elsewhere: log10(1 + g) is 2 inside and log10 2 outside."""
    conv = constant_conv(9)
    conv.weight.data.fill_(1.0)
    conv.weight.data[:, :, 3:6, 3:6] = 99.0
    conv.bias = nn.Parameter(torch.full((1,), 1e6))
    settings = ErfSettings(mode="replknet", samples=2, seeds=1)
    return measure_erf(conv, (1, 1, 33, 33), settings)


def test_replknets_figures_stand_beside_the_linear_ones_under_their_own_names(replknet: Erf) -> None:
    """Squares of 3, 5, 7, 9 hold 45.4%, 57.5%, 75.7%, 100% of the logarithms, 92.5% of the map at 3."""
    text = shown(measure_table([replknet]))
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "0.02296" in lines["RepLKNet r(50%)"]  # (5/33)²
    assert "9.000" in lines["RepLKNet side 99% (px)"]
    assert "0.008264" in lines["area ratio 50"]  # (3/33)²
    report = erf_report([replknet])
    for content in (to_csv(report)[""], to_json(report)[""]):
        assert "replknet_r50" in content
        assert "0.0229568" in content
    assert report.fields[0].figures["replknet_side_30_px"] == 3
    assert to_npz(report)[""]


def test_a_field_that_only_gradients_show_is_not_called_theoretical() -> None:
    """A 5×5 kernel whose rim is zero, behind a branch on values: gradients reach 3×3 pixels."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = constant_conv(5)
            kept = self.conv.weight.data[:, :, 1:-1, 1:-1].clone()
            self.conv.weight.data.zero_()
            self.conv.weight.data[:, :, 1:-1, 1:-1] = kept

        def forward(self, x: Tensor) -> Tensor:
            return -self.conv(x) if float(x.detach().abs().max()) > 1e9 else self.conv(x)

    erf = measure_erf(Branching(), (1, 1, 16, 16), ErfSettings(samples=2))
    lines = {line.split("  ")[0]: line for line in shown(measure_table([erf])).splitlines()}
    assert "not known" in lines["receptive field (theoretical)"]
    assert "3 × 3" in lines["support of the gradients"]


def test_a_single_map_has_no_interval_and_says_so() -> None:
    erf = measure_erf(random_conv(3), (1, 2, 12, 12), ErfSettings(samples=1))
    assert "none: a single sample" in shown(measure_table([erf]))
    assert erf.metrics.agd == pytest.approx(measure_map(erf.map, erf.centre).agd)
