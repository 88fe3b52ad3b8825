"""``compare``: several targets, one table; what an interruption keeps."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convbench.measures import carry_out as measure
from convbench.measures.outcome import Outcome
from tests.cli.conftest import Cli


def test_one_row_a_target_in_the_order_asked_for(cli: Cli, tmp_path: Path) -> None:
    result = cli("compare", "PyConv", "MRFA", "conv3x3", "--device", "meta", "-o", "compare.csv")
    assert result.code == 0, result.err
    rows = list(csv.DictReader((tmp_path / "compare.csv").open()))
    assert [row["target"] for row in rows] == ["PyConv", "MRFA", "Conv3x3"]
    assert [row["macs"] for row in rows] == ["84897792", "70296576", "115605504"]


def test_all_registered_blocks_when_none_is_named(cli: Cli) -> None:
    result = cli("compare", "--device", "meta", "--measure", "params", "--measure", "cost")
    assert result.code == 0, result.err
    assert {"MRFA", "Conv2Former", "Bottleneck"} <= {line.split()[0] for line in result.out.splitlines()}


def test_a_failing_target_is_a_row_and_exit_code_3(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(
        "from torch import nn\nclass Fails(nn.Identity):\n    def __init__(self, dim):\n        super().__init__()\n"
        "    def forward(self, x):\n        raise ArithmeticError('not today')\n"
    )
    result = cli("compare", "MRFA", "fails.py:Fails", "--measure", "cost", "-o", "out.json")
    assert result.code in (2, 3)
    assert "not today" in result.err


def test_interrupted_it_keeps_and_saves_what_was_complete(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = measure.Measurer._in_worker
    seen: list[str] = []

    def stop_at_the_third(self: measure.Measurer, outcome: Outcome, *rest: Any) -> None:
        seen.append(outcome.case.target)
        if len(seen) == 3:
            raise KeyboardInterrupt
        original(self, outcome, *rest)

    monkeypatch.setattr(measure.Measurer, "_in_worker", stop_at_the_third)
    result = cli("compare", "MRFA", "PyConv", "Conv3x3", "Conv2Former", "--measure", "cost", "-o", "kept.csv")
    assert result.code == 130
    rows = list(csv.DictReader((tmp_path / "kept.csv").open()))
    assert [row["macs"] for row in rows][:2] == ["70296576", "84897792"]
    assert rows[0]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_during_timing_saves_the_rest(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convbench", "compare", "Conv3x3", "DepthwiseSeparable", "--dim", "8", "-v"]
    process = subprocess.Popen(
        [*command, "--max-time", "60", "--processes", "20", "-o", "kept.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "process 1" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    records = json.loads((tmp_path / "kept.json").read_text())["records"]
    assert [record["target"] for record in records] == ["Conv3x3", "DepthwiseSeparable"]
    assert all(record["macs"] > 0 and record["erf_sigma"] > 0 for record in records)


@pytest.mark.slow
def test_ratios_and_verdicts(installed: Cli, tmp_path: Path) -> None:
    arguments = ("Conv3x3", "Conv2Former", "--dim", "32", "--size", "28", "--measure", "latency")
    result = installed("compare", *arguments, "--processes", "3", "--max-time", "2", "-o", "ratio.json")
    assert result.code == 0, result.err
    base, other = json.loads((tmp_path / "ratio.json").read_text())["records"]
    assert base["ratio"] is None
    assert other["baseline"] == "Conv3x3"
    assert other["ratio_low"] <= other["ratio"] <= other["ratio_high"]
    assert other["verdict"] in ("slower", "unclear", "faster", "same")
