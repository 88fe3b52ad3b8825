"""``profile``: figures, files, break-downs, the user's own modules, and what a failure leaves behind."""

from __future__ import annotations

import csv
import json
import os
import threading
from pathlib import Path

import pytest

from convbench.errors import UsageError
from convbench.records import COLUMNS
from convbench.workers.device_lock import device_lock
from tests.cli.conftest import Cli

QUICK = ("--measure", "params", "--measure", "cost")

USER_FILE = """
import torch
from torch import nn
from torch.library import custom_op

@custom_op("mine::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2

@double.register_fake
def _(x):
    return torch.empty_like(x)

class Opaque(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
    def forward(self, x):
        return double(self.conv(x))

class Picky(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.first = nn.Conv2d(dim, dim, 3)
        self.head = nn.Linear(100, 10)
    def forward(self, x):
        return self.head(self.first(x).flatten(1))
"""


def lines(text: str) -> dict[str, str]:
    """The table's figure column against its value column."""
    rows = [line.split("  ") for line in text.splitlines()]
    return {row[0].strip(): next(cell for cell in row[1:] if cell).strip() for row in rows if len(row) > 2}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["MRFA", "--dim", "64", "--size", "56"], {"parameters": "23,216", "MACs": "70,296,576"}),
        (["MRFA", "--dim", "64", "--size", "64"], {"MACs": "91,815,936"}),
        (
            ["DRConv", "--dim", "64"],
            {"MACs": "941,690,880", "algorithmic MACs": "132,452,352", "parameters": "303,688"},
        ),
        (["Conv2Former", "--dim", "64"], {"MACs": "172,806,144"}),
        (["RefConvBlock", "--dim", "64"], {"MACs": "115,937,280", "batch-independent": "331,776"}),
        (["PyConv", "--dim", "64"], {"MACs": "84,897,792", "parameters": "27,072"}),
        (["torchvision:resnet50"], {"MACs": "4,089,184,256", "parameters": "25,557,032"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_known_figures(cli: Cli, arguments: list[str], expected: dict[str, str]) -> None:
    result = cli("profile", *arguments, "--device", "meta", *QUICK)
    assert result.code == 0, result.err
    figures = lines(result.out)
    assert {name: figures[name] for name in expected} == expected


def test_files_hold_the_record_with_raw_numbers(cli: Cli, tmp_path: Path) -> None:
    arguments = ("MRFA", "--dim", "64", "--device", "meta", "-o", "a.csv", "-o", "a.json", "-o", "a.md")
    result = cli("profile", *arguments)
    assert result.code == 0, result.err
    row = next(csv.DictReader((tmp_path / "a.csv").open()))
    assert tuple(row) == COLUMNS
    assert (row["macs"], row["latency_ms"], row["options"], row["status"]) == ("70296576", "", '{"dim": 64}', "ok")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["environment"]
    assert content["command"] == "convbench profile MRFA --dim 64 --device meta -o a.csv -o a.json -o a.md"
    record = content["records"][0]
    assert tuple(record) == COLUMNS
    assert (record["macs"], record["latency_ms"]) == (70296576, None)
    assert "| MRFA | 23.22 k | 70.30 M |" in (tmp_path / "a.md").read_text()


def test_break_downs_add_up_and_go_into_the_files(cli: Cli, tmp_path: Path) -> None:
    result = cli(
        "profile", "MRFA", "--device", "meta", *QUICK, "--tree", "--by-operator", "-o", "a.json", "-o", "a.csv"
    )
    assert result.code == 0, result.err
    content = json.loads((tmp_path / "a.json").read_text())
    total = content["records"][0]
    for figure in ("macs", "flops", "bytes_moved"):
        assert sum(row[figure] for row in content["operators"]) == total[figure]
    operators = list(csv.DictReader((tmp_path / "a.operators.csv").open()))
    assert sum(int(row["macs"]) for row in operators) == total["macs"]
    modules = list(csv.DictReader((tmp_path / "a.modules.csv").open()))
    assert sum(int(row["own_macs"]) for row in modules) == total["macs"]
    assert int(modules[0]["macs"]) == total["macs"]


def test_tree_depth_is_limited(cli: Cli) -> None:
    result = cli("profile", "MRFA", "--device", "meta", *QUICK, "--tree", "--depth", "0")
    assert "(whole)" in result.out
    assert "norm1" not in result.out


def test_an_uncounted_operator_is_named_and_strict_fails(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "opaque.py").write_text(USER_FILE)
    result = cli("profile", "opaque.py:Opaque", "--dim", "8", "--size", "6", *QUICK)
    assert result.code == 0, result.err
    assert "at least 20,736" in result.out  # 8·8·9 taps of 36 pixels
    assert "mine::double" in result.out
    strict = cli("profile", "opaque.py:Opaque", "--dim", "8", "--size", "6", *QUICK, "--strict")
    assert strict.code == 3
    assert "mine::double" in strict.err


def test_a_rejected_input_names_the_layer_and_the_shape(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(USER_FILE.replace("mine::", "picky::"))
    result = cli("profile", "picky.py:Picky", "--dim", "4", "--size", "9", *QUICK)
    assert result.code == 2
    assert "head" in result.err
    assert "196" in result.err  # 4·7·7 features reach it


def test_training_costs_three_times_a_forward(cli: Cli) -> None:
    forward = lines(cli("profile", "MRFA", "--device", "meta", *QUICK).out)["MACs"]
    step = lines(cli("profile", "MRFA", "--device", "meta", *QUICK, "--mode", "training").out)["MACs"]
    assert int(step.replace(",", "")) == 3 * int(forward.replace(",", ""))


SMALL_MEMORY = ("MRFA", "--dim", "8", "--size", "16", "--measure", "memory")


def test_what_is_alive_at_the_peak_adds_up_to_it(cli: Cli, tmp_path: Path) -> None:
    result = cli("profile", *SMALL_MEMORY, "--mode", "training", "--at-peak", "-o", "out.json")
    assert result.code == 0
    content = json.loads((tmp_path / "out.json").read_text())
    peak = content["records"][0]["peak_bytes"]
    assert sum(row["bytes"] for row in content["peak_modules"]) == peak
    sizes = [row["bytes"] for row in content["peak_tensors"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {row["phase"] for row in content["peak_tensors"]} <= {None, "forward", "backward"}
    assert "alive at the peak, made in" in result.out
    assert "largest at the peak" in result.out
    assert "backward " in next(line for line in result.out.splitlines() if line.startswith("peak memory"))


def test_the_forward_half_of_a_training_step_saves_as_much_and_has_no_backward(cli: Cli, tmp_path: Path) -> None:
    forward, training = (
        cli("profile", *SMALL_MEMORY, "--measure", "cost", "--mode", mode, "-o", f"{mode}.json").out
        for mode in ("forward", "training")
    )
    assert lines(forward)["saved for backward"] == lines(training)["saved for backward"]
    assert "backward " not in next(line for line in forward.splitlines() if line.startswith("peak memory"))
    macs = [
        json.loads((tmp_path / f"{mode}.json").read_text())["records"][0]["macs"] for mode in ("forward", "training")
    ]
    assert macs[1] == 3 * macs[0]


def test_refocused_and_fused_hosts_cost_what_they_should(cli: Cli) -> None:
    target = ("profile", "torchvision:mobilenet_v3_small", "--device", "meta", *QUICK)
    plain, train, fused = (lines(cli(*target, *extra).out) for extra in ((), ("--refocus",), ("--refocus", "--fused")))
    assert fused["MACs"] == plain["MACs"]
    assert fused["parameters"] == plain["parameters"]
    assert int(train["parameters"].replace(",", "")) > 3 * int(plain["parameters"].replace(",", ""))


def test_a_heading_says_what_was_done_to_the_target(cli: Cli) -> None:
    target = ("profile", "torchvision:mobilenet_v3_small", "--device", "meta", *QUICK)
    assert "· refocus+fuse" in " ".join(cli(*target, "--refocus", "--fused").out.split())


def test_a_transformation_without_effect_is_an_error(cli: Cli) -> None:
    result = cli("profile", "MRFA", "--dim", "8", "--size", "16", "--refocus", *QUICK)
    assert result.code == 2
    assert "refocus changes nothing in MRFA: it replaces square k×k convolutions" in " ".join(result.err.split())


@pytest.mark.slow
def test_every_measure_of_a_block_through_the_installed_command(installed: Cli, tmp_path: Path) -> None:
    arguments = ("Conv3x3", "--dim", "8", "--size", "8", "--processes", "3", "--max-time", "1", "-o", "all.json")
    result = installed("profile", *arguments, COLUMNS="40", NO_COLOR="1")
    assert result.code == 0, result.err
    assert "\x1b" not in result.out
    record = json.loads((tmp_path / "all.json").read_text())["records"][0]
    assert record["latency_low_ms"] <= record["latency_ms"] <= record["latency_high_ms"]
    assert (record["latency_processes"], record["status"]) == (3, "ok")
    assert record["peak_bytes"] > record["activation_peak_bytes"] > 0
    assert record["erf_sigma"] == pytest.approx((2 / 3) ** 0.5, rel=0.05)  # a 3×3 box: σ² = (3² − 1)/12
    assert f"{record['macs']:,}" in result.out  # no figure is cut in a terminal of 40 columns


def test_timing_waits_for_a_device_that_another_measures_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    held, waited_for = threading.Event(), threading.Event()

    def hold() -> None:
        with device_lock("cpu", print):
            held.set()
            waited_for.wait(60)

    def refuse(*_: object) -> None:
        raise UsageError("got the device")

    def look_over(*_: object) -> list[None]:
        """What is done before a device is waited for."""
        waited_for.set()
        return [None]

    monkeypatch.setattr("convbench.measures.carry_out.Measurer.look_over", look_over)
    monkeypatch.setattr("convbench.measures.carry_out.Measurer.measure", refuse)
    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    result = cli("profile", "MRFA", "--measure", "latency")
    other.join()
    assert f"waiting for cpu: process {os.getpid()} (" in result.err
    assert ") is measuring on it" in result.err
    assert (result.code, "got the device" in result.err) == (2, True)
    assert "waiting" not in cli("profile", "MRFA", "--measure", "latency").err
