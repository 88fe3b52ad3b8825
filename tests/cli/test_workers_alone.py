"""Commands whose targets run in workers alone: no torch in the command's process, and what misbehaves is one row."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

AWKWARD = """
import os, sys, time
from torch import nn

class Plain(nn.Module):
    def __init__(self, dim: int = 4, act: object = nn.GELU()) -> None:
        super().__init__()
        print("built by the target")
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x):
        self.misbehave()
        return self.conv(x)

    def misbehave(self):
        os.write(1, b"called by the target")

class Net(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        print("built by the target")
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.second(self.first(x))

class Exits(Plain):
    def misbehave(self):
        sys.exit(0)

class Leaves(Plain):
    def misbehave(self):
        os._exit(0)

class Interrupts(Plain):
    def misbehave(self):
        raise KeyboardInterrupt

class Hangs(Plain):
    def misbehave(self):
        time.sleep(600)

class LeavesInCopies(Plain):
    def __reduce_ex__(self, protocol):
        os._exit(3)
"""
SMALL = ("--dim", "4", "--size", "8")
QUICK = (*SMALL, "--samples", "1", "--seeds", "1")


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    path = tmp_path / "awkward.py"
    path.write_text(AWKWARD)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("erf", "measure", "awkward.py:Plain", *QUICK, "-o", "fields.json"),
        ("verify", "awkward.py:Plain", *SMALL, "--check", "forward", "-o", "checks.csv"),
        ("show", "awkward.py:Plain"),
        ("plug", "awkward.py:Plain", "--into", "awkward.py:Net", "--size", "8", "--measure", "params"),
        ("env", "--json"),
        ("paper", "uniconvnet_p0", "-o", "paper.csv"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_command_imports_no_torch_and_prints_nothing_of_the_target(
    arguments: tuple[str, ...], awkward: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.argv = ['convbench', *sys.argv[1:]]\n"
        "from convbench.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "by the target" not in done.stdout


def test_a_field_that_cannot_be_measured_is_a_row_with_its_reason(cli: Cli, awkward: Path, tmp_path: Path) -> None:
    targets = [f"awkward.py:{name}" for name in ("Exits", "Leaves", "Interrupts", "Plain")]
    result = cli("erf", "measure", *targets, *QUICK, "-o", "fields.csv", "-o", "fields.npz", "-o", "fields.html")
    assert result.code == 3
    with (tmp_path / "fields.csv").open() as file:
        rows = {row["target"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "Plain": "ok",
        "Exits": "error",
        "Leaves": "error",
        "Interrupts": "error",
    }
    assert "exit(0)" in rows["Exits"]["error"]
    assert "exit code 0" in rows["Leaves"]["error"]
    assert "KeyboardInterrupt" in rows["Interrupts"]["error"]
    assert all(name in result.err for name in ("Exits: error", "Leaves: error", "Interrupts: error"))
    assert (tmp_path / "fields.npz").exists()
    assert "Exits" in (tmp_path / "fields.html").read_text()


def test_a_field_that_hangs_is_a_timeout(cli: Cli, awkward: Path, tmp_path: Path) -> None:
    result = cli("erf", "measure", "awkward.py:Hangs", *QUICK, "--timeout", "3", "-o", "fields.csv")
    assert result.code == 3
    with (tmp_path / "fields.csv").open() as file:
        assert next(csv.DictReader(file))["status"] == "timeout"


def test_a_check_that_ends_the_process_fails_alone(cli: Cli, awkward: Path, tmp_path: Path) -> None:
    checks = ("--check", "deepcopy", "--check", "forward", "--check", "pickle", "--check", "state-dict")
    result = cli("verify", "awkward.py:LeavesInCopies", *SMALL, *checks, "-o", "checks.json")
    assert result.code == 3
    rows = json.loads((tmp_path / "checks.json").read_text())["checks"]
    found = {row["check"]: (row["status"], "exit code 3" in row["reason"]) for row in rows}
    assert found == {
        "forward": ("pass", False),
        "state-dict": ("pass", False),
        "deepcopy": ("fail", True),
        "pickle": ("fail", True),
    }
    assert "did not come back: deepcopy, pickle" in result.err


def test_a_target_that_ends_while_it_is_built_is_told_and_the_others_go_on(
    cli: Cli, awkward: Path, tmp_path: Path
) -> None:
    targets = ("awkward.py:Exits", "awkward.py:Leaves", "awkward.py:Plain")
    result = cli("verify", *targets, *SMALL, "--check", "forward", "-o", "checks.csv")
    assert result.code == 3
    with (tmp_path / "checks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["fail", "fail", "pass"]
    assert "exit code 0" in rows[1]["reason"]


def test_a_block_that_ends_the_process_is_a_plugged_host_that_failed(cli: Cli, awkward: Path, tmp_path: Path) -> None:
    arguments = ("--into", "awkward.py:Net", "--size", "8", "--measure", "params", "-o", "plug.csv")
    result = cli("plug", "awkward.py:Leaves", *arguments)
    assert result.code == 3
    with (tmp_path / "plug.csv").open() as file:
        host, plugged = csv.DictReader(file)
    assert (host["status"], host["params"]) == ("ok", str(3 * 4 * 9 + 4 + 4 * 4 * 9 + 4))
    assert (plugged["target"], plugged["status"]) == ("Net+Leaves", "error")
    assert "exit code 0" in plugged["error"]


def test_showing_a_target_tells_of_values_without_their_own_text(cli: Cli, awkward: Path) -> None:
    result = cli("show", "awkward.py:Plain", "--dim", "8")
    assert result.code == 0
    assert "signature: Plain(dim: int = 4, act: object = a GELU)" in result.out
    assert "conv.weight" in result.out


@pytest.mark.parametrize("command", [("erf", "measure"), ("verify",), ("show",)])
def test_a_timeout_must_be_positive(cli: Cli, command: tuple[str, ...]) -> None:
    result = cli(*command, "Conv3x3", "--timeout", "0")
    assert (result.code, result.out) == (2, "")
    assert "--timeout must be positive" in result.err
