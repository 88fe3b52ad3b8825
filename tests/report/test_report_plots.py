"""What the plots compute: series, fronts, power laws, scales, places for labels, roofs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.records import Record
from convbench.report.io.document import Report
from convbench.report.plots import draw_plots, plot_files
from convbench.report.plots.labels import place_labels, spread
from convbench.report.plots.panel import Plot, chosen_group, grouped, short
from convbench.report.plots.peaks import Peaks
from convbench.report.plots.points import letter, points
from convbench.report.plots.power_law import fit_power_law
from convbench.report.plots.roofline import roofline
from convbench.report.plots.scaling import scaling_curves
from convbench.report.plots.scatter import front_steps, latency_scatter, pareto_front
from convbench.report.plots.svg import LogScale, marker
from tests.report.made_up_records import ENVIRONMENT, TARGETS, record, zoo

COSTS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12)


def series(records: list[Record]) -> list[str]:
    return [point.series for point in points(Report(records))]


def drawn_rows(plot: Plot | None, name: str) -> set[int]:
    """The records whose markers stand in a panel."""
    assert plot is not None
    panel = next(panel for panel in plot.panels if panel.name == name)
    return {int(row) for drawing in panel.drawings for row in re.findall(r'class="mark[^>]*data-row="(\d+)"', drawing)}


def test_a_series_is_named_after_its_target_whatever_its_width_and_input() -> None:
    assert set(series([record("MRFA", 32, 14), record("MRFA", 64, 56)])) == {"MRFA"}


def test_options_that_differ_tell_series_of_one_target_apart() -> None:
    records = [
        record("Conv2Former", options=json.dumps({"dim": dim, "kernel_size": kernel, "ratio": 4.0}))
        for dim in (32, 64)
        for kernel in (7, 11)
    ]
    assert series(records) == [f"Conv2Former(kernel_size={k})" for k in (7, 11, 7, 11)]


def test_options_that_are_no_json_still_name_a_series() -> None:
    assert series([record(options="{"), record(options="[1]"), record(options=None)]) == [
        "MRFA(options='{')",
        "MRFA(options='[1]')",
        "MRFA",
    ]


def test_the_form_of_a_block_and_a_second_trial_of_it_are_series_of_their_own() -> None:
    forms = [
        record("Conv3x3", options=json.dumps({"dim": 64, **more})) for more in ({}, {"transforms": "refocus+fuse"})
    ]
    assert series([*forms, forms[0]]) == ["Conv3x3 #1", "Conv3x3+refocus+fused", "Conv3x3 #2"]


def test_width_and_size_come_from_the_record() -> None:
    point = points(Report([record("MRFA", 64, 28, input_shape="2x64x28x30")]))[0]
    assert (point.batch, point.dim, point.size) == (2, 64, (28, 30))
    network = points(Report([record(kind="network", options="{}", input_shape="1x3x224x224")]))[0]
    assert (network.dim, network.size) == (None, (224, 224))
    unknown = points(Report([Record("MRFA")]))[0]
    assert (unknown.batch, unknown.dim, unknown.size) == (None, None, None)


def test_environments_have_letters() -> None:
    assert [letter(index) for index in (0, 25, 26, 27, 701, 702)] == ["A", "Z", "AA", "AB", "ZZ", "AAA"]


@given(COSTS)
def test_the_front_holds_exactly_what_nothing_beats(costs: list[tuple[int, int]]) -> None:
    front = pareto_front(costs)
    for index, (x, y) in enumerate(costs):
        beaten = any((a <= x and b <= y and (a, b) != (x, y)) for a, b in costs)
        assert (index in front) == (not beaten)
    assert [costs[index] for index in front] == sorted(costs[index] for index in front)


@given(COSTS)
def test_the_front_is_drawn_as_a_staircase(costs: list[tuple[int, int]]) -> None:
    steps = front_steps([costs[index] for index in pareto_front(costs)])
    for (x1, y1), (x2, y2) in itertools.pairwise(steps):
        assert x1 == x2 or y1 == y2
        assert x1 <= x2
        assert y1 >= y2


def test_a_front_is_of_one_input_and_one_condition() -> None:
    records = [record("MRFA"), record("PyConv"), record("PyConv", dim=32), record("MRFA", mode="training")]
    groups = grouped(points(Report(records)))
    assert [(group.name, len(group.points), group.whole) for group in groups] == [
        ("every input · inference", 3, True),
        ("1×64×56×56 · inference", 2, False),
        ("1×64×56×56 · training", 1, False),
    ]
    assert chosen_group(groups) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"device": "cuda"},
        {"device_name": "Test CPU 2"},
        {"dtype": "float16"},
        {"memory_format": "channels_last"},
        {"execution": "compiled"},
        {"threads": 2},
        {"options": json.dumps({"dim": 64, "autocast": "bfloat16"})},
    ],
)
def test_what_may_not_be_compared_shares_no_panel(changed: dict[str, object]) -> None:
    groups = grouped(points(Report([record("MRFA"), record("PyConv", **changed)])))
    assert [len(group.points) for group in groups] == [1, 1]
    assert groups[0].name != groups[1].name


def test_environments_share_no_panel() -> None:
    parts = (Report([record("MRFA")], ENVIRONMENT), Report([record("MRFA")], {"os": "other"}))
    groups = grouped(points(Report([*parts[0].records, *parts[1].records], sources=parts)))
    assert [group.name for group in groups] == ["1×64×56×56 · environment A", "1×64×56×56 · environment B"]


def test_the_scatter_shows_what_was_timed_and_counted() -> None:
    records = [
        record("MRFA"),
        record("PyConv", latency_ms=None),
        record("ConvNeXt", macs=None),
        record("DRConv", latency_noise="invalid"),
        record("Conv3x3", latency_noise="noisy"),
    ]
    assert drawn_rows(latency_scatter(points(Report(records))), "1×64×56×56") == {0, 3, 4}
    assert latency_scatter(points(Report(records[1:3]))) is None


def test_an_invalid_latency_is_shown_faded_and_nothing_follows_from_it() -> None:
    fastest = record("MRFA", latency_ms=0.1, latency_noise="invalid")
    plot = latency_scatter(points(Report([fastest, record("PyConv")])))
    assert plot is not None
    panel = plot.panels[0]
    assert len(re.findall('class="mark s0 doubtful"', panel.drawings[0])) == 1
    assert 'on the Pareto front: PyConv"' in panel.drawings[0]
    assert panel.notes[0].startswith("Faded: too much else ran on the machine")
    alone = latency_scatter(points(Report([fastest])))
    assert alone is not None
    assert 'class="front"' not in alone.panels[0].drawings[0]


def test_a_case_without_macs_is_named_instead_of_drawn() -> None:
    plot = latency_scatter(points(Report([record("MRFA"), record("PyConv", macs=0)])))
    assert plot is not None
    assert plot.panels[0].notes == ("Without MACs, and so not drawn: PyConv.",)
    assert drawn_rows(plot, "1×64×56×56") == {0}


@pytest.mark.parametrize("count", [1, 2])
def test_a_scatter_of_few_points_is_drawn(count: int) -> None:
    plot = latency_scatter(points(Report([record("MRFA")] * count)))
    assert plot is not None
    ET.fromstring(plot.panels[0].drawings[0])


@given(st.floats(0.1, 10), st.floats(-3, 3), st.lists(st.integers(1, 500), min_size=3, max_size=6, unique=True))
def test_a_power_law_is_found_exactly(factor: float, exponent: float, x: list[int]) -> None:
    law = fit_power_law(x, [factor * value**exponent for value in x])
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=1e-6)
    assert law(7) == pytest.approx(factor * 7**exponent, rel=1e-4)
    assert law.low <= law.exponent <= law.high
    assert law.high - law.low < 1e-4


def test_a_power_law_needs_three_points() -> None:
    assert fit_power_law([1, 2], [1, 2]) is None
    assert fit_power_law([1, 2, 2], [1, 2, 3]) is None


def test_the_interval_of_an_exponent_covers_it_19_times_of_20() -> None:
    generator = np.random.default_rng(0)
    x = [14, 28, 56, 112, 224]
    covered = 0
    for _ in range(400):
        law = fit_power_law(x, [value**1.7 * math.exp(0.1 * generator.normal()) for value in x])
        assert law is not None
        covered += law.low <= 1.7 <= law.high
    assert 0.92 < covered / 400 < 0.98


def test_an_interval_by_hand() -> None:
    """log2 y = 0, 1, 2, 4 over log2 x = 0…3: slope 1.3, residual sum 0.3, t(2, 97.5%) = 4.302653, Sxx = 5."""
    law = fit_power_law([1, 2, 4, 8], [1, 2, 4, 16])
    assert law is not None
    assert law.exponent == pytest.approx(1.3)
    assert law.high - law.exponent == pytest.approx(4.302653 * math.sqrt(0.3 / 2 / 5), rel=1e-6)
    assert law.r_squared == pytest.approx(1 - 0.3 / 8.75)


def test_scaling_gives_the_exponents_of_the_made_up_laws() -> None:
    plot = scaling_curves(points(Report(zoo())))
    assert plot is not None
    assert [panel.name for panel in plot.panels][:2] == ["width, at 14×14, batch 1", "width, at 28×28, batch 1"]
    assert len(plot.panels) == 8
    table = next(panel.table for panel in plot.panels if panel.name == "width, at 56×56, batch 1")
    assert table[0] == ("exponent of", "latency", "MACs", "peak memory")
    assert [row[0] for row in table[1:]] == list(TARGETS)
    assert {row[2] for row in table[1:]} == {"2.00 [2.00, 2.00], R² 1.000"}
    assert {row[3] for row in table[1:]} == {"1.00 [1.00, 1.00], R² 1.000"}
    by_size = next(panel.table for panel in plot.panels if panel.name == "resolution, at dim 64, batch 1")
    assert {row[3] for row in by_size[1:]} == {"2.00 [2.00, 2.00], R² 1.000"}
    assert all(len(panel.drawings) == 3 for panel in plot.panels)


def test_a_curve_keeps_to_one_condition_and_what_was_measured() -> None:
    records = [
        record("MRFA", 32),
        record("MRFA", 64, latency_ms=None),
        record("MRFA", 128, latency_noise="invalid"),
        record("MRFA", 256, mode="training"),
    ]
    plot = scaling_curves(points(Report(records)))
    assert plot is not None
    panel = plot.panels[0]
    assert panel.parts == ("latency", "MACs", "peak-memory")
    latency, macs, _ = (set(re.findall(r'class="mark[^>]*data-row="(\d+)"', drawing)) for drawing in panel.drawings)
    assert (latency, macs) == ({"0", "2"}, {"0", "1", "2"})


def test_an_exponent_is_of_the_latencies_that_can_be_trusted() -> None:
    records = [record("Conv3x3", dim, latency_ms=dim**1.5) for dim in (32, 64, 128)]
    plot = scaling_curves(points(Report([*records, record("Conv3x3", 256, latency_ms=9e9, latency_noise="invalid")])))
    assert plot is not None
    assert plot.panels[0].table[1][1] == "1.50 [1.50, 1.50], R² 1.000"
    assert plot.panels[0].drawings[0].count("doubtful") == 1
    assert plot.panels[0].drawings[1].count("doubtful") == 0


def test_two_points_make_a_line_and_no_exponent() -> None:
    plot = scaling_curves(points(Report([record("MRFA", 32), record("MRFA", 64)])))
    assert plot is not None
    assert plot.panels[0].table == ()
    assert "fit" not in plot.panels[0].drawings[0]
    assert scaling_curves(points(Report([record("MRFA")]))) is None


@pytest.mark.parametrize(("intensity", "flops_per_s"), [(1.0, 20e9), (4.999, 99.98e9), (5.0, 100e9), (50.0, 100e9)])
def test_the_roof(intensity: float, flops_per_s: float) -> None:
    peaks = Peaks(100e9, 20e9)
    assert peaks.ridge == 5.0
    assert peaks.attainable(intensity) == pytest.approx(flops_per_s)


def test_the_roofline_places_achieved_rates_under_the_roof_of_their_machine() -> None:
    half = record("MRFA", flops=10**9, bytes_moved=10**8, arithmetic_intensity=10.0, latency_ms=20.0)
    plot = roofline(points(Report([half])), {("", "cpu", 1, "float32"): Peaks(100e9, 20e9)})
    assert plot is not None
    drawing = plot.panels[0].drawings[0]
    assert "achieved: 50 GFLOP/s" in drawing
    assert "of the roof: 50% (arithmetic bound)" in drawing
    assert "peak 100 GFLOP/s" in drawing
    assert "bandwidth 20 GB/s" in drawing
    other = roofline(points(Report([half])), {("", "cpu", 1, "float64"): Peaks(50e9, 20e9)})
    assert other is not None
    assert "convbench calibrate" in other.panels[0].notes[0]
    assert 'class="roof"' not in other.panels[0].drawings[0]


def test_the_roofline_leaves_out_what_runs_less_than_is_counted() -> None:
    timed = {"flops": 10**9, "bytes_moved": 10**8, "arithmetic_intensity": 10.0, "latency_ms": 20.0, "macs": 4 * 10**8}
    spelled_out = record("DRConv", **timed, algorithmic_macs=10**8)
    assert roofline(points(Report([spelled_out])), {}) is None
    plot = roofline(points(Report([record("MRFA", **timed, algorithmic_macs=timed["macs"]), spelled_out])), {})
    assert plot is not None
    assert "DRConv" not in plot.panels[0].drawings[0]
    assert plot.explanation.endswith("Left out, because fewer operations may run than are counted: DRConv.")


@given(st.floats(1e-6, 1e12), st.floats(1.0, 1e9))
def test_a_scale_has_some_round_ticks_inside(low: float, ratio: float) -> None:
    scale = LogScale.around([low, low * ratio], 0, 400)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert all(scale.low <= tick <= scale.high for tick in ticks)
    assert all(float(f"{tick:.2g}") == pytest.approx(tick) for tick in ticks)
    assert 0 <= scale(low) <= scale(low * ratio) <= 400


@given(st.floats(1, 1e9), st.floats(4.0, 1e6))
def test_bytes_have_ticks_at_powers_of_two(low: float, ratio: float) -> None:
    ticks = LogScale.around([low, low * ratio], 0, 400).binary_ticks()
    assert 1 <= len(ticks) <= 7
    assert all(math.log2(tick).is_integer() for tick in ticks)


@given(st.lists(st.floats(-50, 450), max_size=20))
def test_labels_are_spread_apart_inside_their_bounds_and_in_order(wanted: list[float]) -> None:
    placed = spread(wanted, 13, 0, 400)
    assert all(-1e-9 <= place <= 400 + 1e-9 for place in placed)
    for (_, above), (_, below) in itertools.pairwise(sorted(zip(wanted, placed, strict=True))):
        assert below - above >= 13 - 1e-6


def test_labels_with_room_stay_where_they_are_wanted() -> None:
    assert spread([10, 200, 100], 13, 0, 400) == [10, 200, 100]
    assert spread([100, 100], 14, 0, 400) == [93, 107]


def test_labels_of_crowded_points_do_not_overlap() -> None:
    markers = [(200 + 4.0 * index, 200 + 3.0 * (index % 3)) for index in range(8)]
    names = [f"Block{index}" for index in range(8)]
    boxes = []
    for label, name in zip(place_labels(markers, names, (0, 0, 600, 400)), names, strict=True):
        width = 6.1 * len(name)
        left = label.x if label.anchor == "start" else label.x - width
        boxes.append((left, label.y - 10.5, left + width, label.y + 2.5))
    for (l1, t1, r1, b1), (l2, t2, r2, b2) in itertools.combinations(boxes, 2):
        assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1
    assert all(left >= 0 and right <= 600 for left, _, right, _ in boxes)


def test_series_differ_in_marker_or_colour() -> None:
    from convbench.report.plots.svg import colour_class

    looks = {(colour_class(order), marker(order, 0, 0)) for order in range(56)}
    assert len(looks) == 56
    assert all(marker(order, 0, 0) != marker(order + 1, 0, 0) for order in range(55))


@pytest.mark.parametrize(
    ("value", "shown"), [(1e7, "10 M"), (0.5, "0.5"), (2, "2"), (1.5e12, "1.5 T"), (1e-5, "1e-05"), (2e4, "20 k")]
)
def test_tick_labels(value: float, shown: str) -> None:
    assert short(value) == shown


def test_every_drawing_is_valid_and_stands_alone() -> None:
    strange = [dataclasses.replace(item, target=item.target + ' <&">') for item in zoo((32, 64), (14, 28))]
    files = plot_files(draw_plots(Report(strange)))
    assert "latency-macs-every-input.svg" in files
    assert "scaling-width-at-14x14-batch-1-latency.svg" in files
    for name, content in files.items():
        root = ET.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "<style>" in content
        assert "var(" not in content, name
        for element in root.iter():
            for value in element.attrib.values():
                assert "nan" not in value.split()
                assert "inf" not in value.split()
