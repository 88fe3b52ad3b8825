"""What every command shares: help in panels, values that a shell completes, JSON and other text on stdout."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from convbench.cli.command import PANELS, VALUES, Command
from tests.cli.conftest import Cli

PARAMS = ("profile", "Conv3x3", "--dim", "8", "--measure", "params")


def test_json_is_all_that_stands_on_stdout(cli: Cli) -> None:
    result = cli(*PARAMS, "--json")
    (record,) = json.loads(result.out)["records"]
    assert record["params"] == 8 * 8 * 9 + 2 * 8  # the convolution and its normalisation
    assert result.code == 0


def test_measures_may_be_listed_with_commas(cli: Cli) -> None:
    result = cli(*PARAMS[:-1], "params,cost", "--size", "4", "--json")
    (record,) = json.loads(result.out)["records"]
    assert record["macs"] == 9 * 8 * 8 * 16


def test_a_dash_is_stdout_and_its_suffix_the_format(cli: Cli, tmp_path: Path) -> None:
    result = cli(*PARAMS, "-o", "-.csv", "-o", "kept.json")
    (row,) = csv.DictReader(io.StringIO(result.out))
    assert row["target"] == "Conv3x3"
    assert json.loads((tmp_path / "kept.json").read_text())["records"][0]["params"] == int(row["params"])
    assert not (tmp_path / "-.csv").exists()


def test_saved_records_are_printed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text(
        "target,params,latency_ms,latency_noise,notes\nMRFA,23216,1.5,,\nPyConv,900,2.5,noisy,latency: disturbed\n"
    )
    result = cli("report", "two.csv")
    assert result.code == 0
    assert "MRFA    23.22 k   1.500 ms" in result.out
    assert "PyConv      900  ~2.500 ms" in result.out
    assert "PyConv: latency: disturbed" in result.out
    assert json.loads(cli("report", "two.csv", "--json").out)["records"][1]["params"] == 900


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "-", "-o", "-.csv"), "stdout holds one file"),
        (("-o", "-.parquet"), ".parquet cannot be printed"),
        (("-o", "-", "--json"), "stdout holds one file"),
    ],
)
def test_stdout_holds_one_text(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    result = cli(*PARAMS, *arguments)
    assert result.code == 2
    assert message in result.err
    assert not result.out


def test_help_groups_options_and_names_no_python_type(cli: Cli) -> None:
    for command in (("profile",), ("compare",), ("sweep",), ("plug",), ("verify",), ("erf", "measure"), ("list",)):
        text = cli(*command, "--help").out
        assert "list[" not in text
        assert "<str>" not in text
        assert "<int>" not in text
        assert "Examples:" in text
    text = cli("profile", "--help").out
    titles = [line.removesuffix(":") for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Arguments", "Target", "Input", "Measures", "Device", "Timing", "Output", "Options"]


def test_a_flag_stands_in_one_panel() -> None:
    flags = [flag for flags in PANELS.values() for flag in flags.split()]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("--measure la", ["latency"]),
        ("--measure params,co", ["params,cost"]),
        ("--dtype bf", ["bfloat16"]),
        ("--mode ", ["inference", "forward", "training"]),
    ],
)
def test_values_complete(typed: str, offered: list[str]) -> None:
    from typer.main import get_command

    from convbench.cli.main import app

    group = get_command(app)
    command = group.commands["profile"]  # type: ignore[attr-defined]
    assert isinstance(command, Command)
    flag, text = typed.split(" ")
    (parameter,) = (parameter for parameter in command.params if flag in parameter.opts)
    with command.make_context("profile", ["MRFA"]) as context:
        found = parameter.shell_complete(context, text)
    assert [item.value for item in found] == offered
    assert flag in VALUES
