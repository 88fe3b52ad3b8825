"""Reading published figures, choosing among them, and judging them."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.errors import UnknownNameError, UsageError
from convbench.paper import Comparison, Finding, Published, published, select
from convbench.paper.result import CLOSE, judge

ROW = {
    "system": "Tiny",
    "variant": "A",
    "resolution": "32",
    "params_m": "1.20",
    "gmacs": "0.5",
    "convention": "MACs of conv and linear",
    "top1": "",
    "source": "table 1",
    "notes": "",
    "target": "tiny_a",
    "options": '{"width": 2}',
    "explanation": "",
}


def figure(**changes: str) -> Published:
    return Published.from_row({**ROW, **changes})


class Plugin:
    """An entry point of one plug-in."""

    def __init__(self, content: Any, name: str = "plugin:figures") -> None:
        self.value, self._content = name, content

    def load(self) -> Any:
        return lambda: self._content


class TestReading:
    def test_a_row_keeps_the_digits_that_were_printed(self) -> None:
        read = figure()
        assert read.params_m == Decimal("1.20")
        assert str(read.params_m) == "1.20"
        assert (read.resolution, read.options, read.top1) == (32, (("width", 2),), None)

    def test_what_was_not_published_is_none(self) -> None:
        read = figure(params_m="", gmacs="", options="")
        assert (read.params_m, read.gmacs, read.options) == (None, None, ())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"system": ""}, "needs system"),
            ({"target": "", "convention": " "}, "needs target, convention"),
            ({"resolution": "32px"}, "resolution '32px' of Tiny A is not a whole number"),
            ({"params_m": "1,2"}, "params_m '1,2' of Tiny A is not a number"),
            ({"options": "width=2"}, "options 'width=2' of Tiny A are not a JSON object"),
            ({"options": "[2]"}, "are not a JSON object"),
        ],
    )
    def test_what_cannot_be_read_is_named(self, changes: dict[str, str], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            figure(**changes)

    def test_files_and_lists_of_several_plugins(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = tmp_path / "figures.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROW))
            writer.writeheader()
            writer.writerow({**ROW, "source": 'README, "main" table'})
        plugins = [Plugin(path), Plugin(str(path)), Plugin([{**ROW, "variant": "B"}])]
        monkeypatch.setattr("convbench.paper.figures.entry_points", lambda group: plugins)
        read = published()
        assert [item.variant for item in read] == ["A", "A", "B"]
        assert read[0].source == 'README, "main" table'

    def test_a_broken_plugin_is_a_warning_that_names_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        plugins = [Plugin(tmp_path / "nowhere.csv", "broken:figures"), Plugin([ROW])]
        monkeypatch.setattr("convbench.paper.figures.entry_points", lambda group: plugins)
        with pytest.warns(UserWarning, match="broken:figures could not be read"):
            assert len(published()) == 1


class TestSelecting:
    FIGURES = (
        figure(system="UniConvNet", target="uniconvnet_a"),
        figure(system="PyConvResNet", target="pyconvresnet50"),
        figure(system="PyConvHGResNet", target="pyconvhgresnet50"),
        figure(system="ResNet (PyConv baseline)", target="torchvision:resnet50"),
    )

    @pytest.mark.parametrize(
        ("names", "targets"),
        [
            ([], ["uniconvnet_a", "pyconvresnet50", "pyconvhgresnet50", "torchvision:resnet50"]),
            (["uniconvnet"], ["uniconvnet_a"]),
            (["PyConv"], ["pyconvresnet50", "pyconvhgresnet50"]),
            (["resnet"], ["torchvision:resnet50"]),
            (["*resnet*"], ["pyconvresnet50", "pyconvhgresnet50", "torchvision:resnet50"]),
            (["pyconvresnet50", "UniConvNet"], ["uniconvnet_a", "pyconvresnet50"]),
            (["torchvision:*"], ["torchvision:resnet50"]),
        ],
    )
    def test_systems_by_their_beginning_and_wildcards(self, names: list[str], targets: list[str]) -> None:
        assert [item.target for item in select(self.FIGURES, names)] == targets

    def test_an_unknown_system_suggests_the_nearest_and_lists_all(self) -> None:
        with pytest.raises(UnknownNameError, match=r"Did you mean 'UniConvNet'\? Systems: UniConvNet, PyConvResNet"):
            select(self.FIGURES, ["UniConvnett"])

    def test_no_figures_at_all(self) -> None:
        with pytest.raises(UsageError, match="no installed plug-in offers any"):
            select([], [])


class TestJudging:
    @pytest.mark.parametrize(
        ("printed", "measured", "explained", "verdict"),
        [
            ("3.4", 3.4, False, "agrees"),
            ("3.4", 3.449, False, "agrees"),
            ("3.4", 3.35, False, "agrees"),
            ("3.4", 3.46, False, "differs"),
            ("3.40", 3.409, False, "close"),
            ("3.40", 3.433, False, "close"),
            ("3.40", 3.44, False, "differs"),
            ("3.40", 3.44, True, "explained"),
            ("3.40", 3.409, True, "close"),
            ("106", 106.5, False, "agrees"),
            ("106", 107, False, "close"),
            ("1E+2", 149, False, "agrees"),
        ],
    )
    def test_by_the_digits_printed_and_one_percent(
        self, printed: str, measured: float, explained: bool, verdict: str
    ) -> None:
        assert judge(Decimal(printed), measured, explained=explained).verdict == verdict

    @given(st.decimals("0.001", "1000", places=3), st.floats(-0.3, 0.3))
    def test_the_difference_is_relative_to_what_was_published(self, printed: Decimal, share: float) -> None:
        finding = judge(printed, float(printed) * (1 + share), explained=False)
        assert finding.difference == pytest.approx(share, abs=1e-9)
        if finding.verdict == "differs":
            assert abs(finding.difference) > CLOSE

    def test_the_worse_of_two_decides(self) -> None:
        good, close, known, bad = (Finding(Decimal(1), 1.0, v) for v in ("agrees", "close", "explained", "differs"))
        assert Comparison(figure(), good, good).verdict == "agrees"
        assert Comparison(figure(), close, good).verdict == "close"
        assert Comparison(figure(), close, known).verdict == "explained"
        assert Comparison(figure(), bad, known).verdict == "differs"
        assert Comparison(figure(), None, good).verdict == "agrees"
        assert Comparison(figure(), error="no such module").verdict == "not measured"
