"""``convbench paper``: the table, its explanations, files and exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli

ROW = {
    "system": "SqueezeNet",
    "variant": "1.1",
    "resolution": "224",
    "params_m": "1.24",
    "gmacs": "0.349",
    "convention": "MACs of conv and linear",
    "source": "a table",
    "target": "torchvision:squeezenet1_1",
}


class Plugin:
    value = "plugin:figures"

    def __init__(self, *rows: dict[str, str]) -> None:
        self.rows = rows

    def load(self) -> Any:
        return lambda: list(self.rows)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``offer(row, …)`` makes these the only published figures."""

    def set_rows(*changes: dict[str, str]) -> None:
        plugin = Plugin(*({**ROW, **change} for change in changes))
        monkeypatch.setattr("convbench.paper.figures.entry_points", lambda group: [plugin])

    return set_rows


def test_figures_stand_side_by_side(cli: Cli, offer: Any) -> None:
    offer({})
    result = cli("paper")
    assert (result.code, result.err) == (0, "")
    head, row = result.out.splitlines()
    assert head.split()[:4] == ["system", "variant", "size", "params"]
    cells = row.split()
    assert cells[:9] == ["SqueezeNet", "1.1", "224", "1.24", "1.235", "-0.4%", "0.349", "0.3492", "+0.0%"]
    assert row.endswith("of conv and linear  agrees   a table")


def test_errata_carry_their_explanation(cli: Cli, offer: Any) -> None:
    offer(
        {"gmacs": "0.72", "explanation": "printed for version 1.0"},
        {"gmacs": "0.350", "explanation": "rounded up"},
        {"explanation": "not needed, since it agrees"},
    )
    result = cli("paper")
    assert result.code == 0
    assert "explained [1]" in result.out
    assert "close [2]" in result.out
    assert result.out.splitlines()[-2:] == ["[1] printed for version 1.0", "[2] rounded up"]
    assert "not needed" not in result.out


def test_a_difference_without_an_explanation_exits_with_1(cli: Cli, offer: Any) -> None:
    offer({}, {"params_m": "2.48", "variant": "1.x"})
    result = cli("paper")
    assert result.code == 1
    assert "differ without an explanation: SqueezeNet 1.x at 224" in result.err


def test_what_could_not_be_measured_exits_with_3_and_says_why(cli: Cli, offer: Any) -> None:
    offer({}, {"target": "torchvision:squeezenet9"})
    result = cli("paper")
    assert result.code == 3
    assert "not measured [1]" in result.out
    assert "[1] torchvision has no model 'squeezenet9'." in result.out


def test_files_hold_unrounded_numbers_and_sources(cli: Cli, offer: Any, tmp_path: Path) -> None:
    offer({"gmacs": "0.72", "explanation": "printed for version 1.0"}, {"params_m": ""})
    result = cli("paper", "squeeze", "-o", "paper.csv", "-o", "paper.md", "-o", "paper.json")
    assert result.code == 0
    with (tmp_path / "paper.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["measured_params_m"]) == 1.235496
    assert (rows[0]["published_gmacs"], rows[0]["gmacs_verdict"]) == ("0.72", "explained")
    assert float(rows[0]["gmacs_difference"]) == pytest.approx(0.349152 / 0.72 - 1, abs=1e-3)
    assert (rows[0]["source"], rows[0]["explanation"]) == ("a table", "printed for version 1.0")
    assert rows[1]["published_params_m"] == rows[1]["params_verdict"] == ""
    assert "| SqueezeNet |" in (tmp_path / "paper.md").read_text()
    assert len(json.loads((tmp_path / "paper.json").read_text())["figures"]) == 2


def test_wrong_requests_exit_with_2(cli: Cli, offer: Any) -> None:
    offer({})
    for arguments, message in (
        (("SqueezNet",), "Did you mean 'SqueezeNet'?"),
        (("-o", "paper.xlsx"), "no format has the suffix"),
        (("-o", "nowhere/paper.csv"), "does not exist"),
    ):
        result = cli("paper", *arguments)
        assert (result.code, result.out) == (2, "")
        assert message in result.err


def test_no_plugin_is_an_error_and_not_an_empty_table(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convbench.paper.figures.entry_points", lambda group: [])
    result = cli("paper")
    assert result.code == 2
    assert "no installed plug-in offers any" in result.err
