"""``convbench plug``: tables, files, and a user's own host and block through to the measuring processes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

HOSTS = str(Path(__file__).parents[1] / "plug" / "hosts.py")


def test_host_and_plugged_host_side_by_side(cli: Cli) -> None:
    result = cli("plug", "PyConv", "--into", "torchvision:resnet18", "--where", "layer1.*conv", "--device", "meta")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[1].split()[:3] == ["layer1.0.conv1", "conv", "64→64,"]
    assert "PyConv is in 4 of 4 layers" in result.out
    cells = {line.split("  ")[0]: line.split() for line in lines}
    saved = 4 * (64 * 64 * 9 - 27072)
    assert cells["parameters"][1:3] == ["11,689,512", f"{11_689_512 - saved:,}"]
    assert cells["MACs"][1:3] == ["1,814,073,344", f"{1_814_073_344 - 56 * 56 * saved:,}"]
    assert "latency" not in result.out
    assert "algorithmic" not in result.out


def test_an_algorithm_cheaper_than_its_eager_form_has_its_own_row(cli: Cli) -> None:
    result = cli("plug", "DRConv", "--into", "torchvision:resnet18", "--where", "layer1.0.conv1", "--device", "meta")
    assert "algorithmic MACs" in result.out


def test_what_stayed_says_why_without_being_folded(cli: Cli) -> None:
    result = cli("plug", "MRFA", "--into", "torchvision:resnet18", "--device", "meta", "--measure", "params")
    assert "MRFA is in 13 of 16 layers" in result.out
    row = next(line for line in result.out.splitlines() if line.startswith("layer2.0.conv1"))
    assert row.rstrip().endswith("as it was  MRFA keeps its width, and this goes from 64 to 128")


def test_insertion_after_stages(cli: Cli) -> None:
    arguments = ("--after", "layer1", "--after", "layer2", "--device", "meta", "--measure", "params", "--size", "64")
    result = cli("plug", "MRFA", "--into", "torchvision:resnet18", *arguments)
    assert result.code == 0
    assert "MRFA is in 2 of 2 layers" in result.out
    added = sum(50 * (dim // 4) ** 2 + 651 * (dim // 4) for dim in (64, 128))
    assert f"{11_689_512 + added:,}" in result.out


def test_files_hold_both_records_and_every_layer(cli: Cli, tmp_path: Path) -> None:
    arguments = ("--where", "all", "--device", "meta", "--size", "64", "-o", "plug.csv", "-o", "plug.json")
    result = cli("plug", "MRFA", "--into", f"{HOSTS}:Mixed", "--host-option", "num_classes=5", *arguments)
    assert result.code == 0
    with (tmp_path / "plug.csv").open() as file:
        host, plugged = csv.DictReader(file)
    assert (host["target"], plugged["target"]) == (f"{HOSTS}:Mixed", "Mixed+MRFA")
    assert (host["kind"], plugged["kind"]) == ("network", "network")
    assert host["input_shape"] == plugged["input_shape"] == "1x3x64x64"
    options = json.loads(plugged["options"])
    assert options["num_classes"] == 5
    assert options["plugged"] == {"MRFA": {}}
    with (tmp_path / "plug.layers.csv").open() as file:
        layers = list(csv.DictReader(file))
    assert len(layers) == 13
    changed = [row for row in layers if row["changed"] == "true"]
    difference = sum(int(row["macs_after"]) - int(row["macs_before"]) for row in changed)
    assert int(plugged["macs"]) - int(host["macs"]) == difference
    assert all(row["reason"] for row in layers if row["changed"] == "false")
    assert len(json.loads((tmp_path / "plug.json").read_text())["layers"]) == 13


def test_training_counts_forward_and_backward_of_both(cli: Cli, tmp_path: Path) -> None:
    common = ("--into", "torchvision:resnet18", "--device", "meta", "--measure", "cost", "--size", "64")
    for mode in ("inference", "training"):
        assert cli("plug", "PyConv", *common, "--mode", mode, "-o", f"{mode}.csv").code == 0
    read = {
        mode: [int(row["macs"]) for row in csv.DictReader((tmp_path / f"{mode}.csv").open())]
        for mode in ("inference", "training")
    }
    for forward, both in zip(read["inference"], read["training"], strict=True):
        assert 2.9 < both / forward <= 3.0


def test_several_blocks_share_one_table_and_one_that_fits_nowhere_says_why(cli: Cli, tmp_path: Path) -> None:
    arguments = ("--into", "torchvision:resnet18", "--where", "^conv1$", "--device", "meta", "--measure", "params")
    result = cli("plug", "PyConv", "MRFA", "DRConv", *arguments, "-o", "plug.csv")
    assert result.code == 3
    assert "MRFA replaces none of the 1 convs" in result.err
    header = next(line for line in result.out.splitlines() if line.startswith("figure"))
    assert header.split()[1:] == [
        "torchvision:resnet18",
        "+PyConv",
        "/",
        "host",
        "+MRFA",
        "/",
        "host",
        "+DRConv",
        "/",
        "host",
    ]
    with (tmp_path / "plug.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "ok", "error", "ok"]
    with (tmp_path / "plug.layers.csv").open() as file:
        assert [row["block"] for row in csv.DictReader(file)] == ["PyConv", "DRConv"]


def test_the_summary_says_what_the_totals_do_not(cli: Cli, tmp_path: Path) -> None:
    arguments = (
        "--into",
        "timm:mobilenetv3_small_100",
        "--where",
        "depthwise",
        "--device",
        "meta",
        "--measure",
        "cost",
    )
    result = cli("plug", "PyConv", *arguments, "--save", "plugged.py", "--size", "64")
    assert "PyConv mixes channels in the place of 11 depthwise convs, which did not: MACs of these layers" in result.out
    assert "parameters (75%) are fresh and untrained" in result.out
    assert "PyConv is in 11 of 11 layers" in result.out
    assert "def build(" in (tmp_path / "plugged.py").read_text()


def test_wrong_requests_exit_with_2(cli: Cli) -> None:
    host = ("--into", "torchvision:resnet18", "--device", "meta")
    for arguments, message in (
        (("PyConv", *host, "--where", "3x3", "--after", "layer1"), "either --where"),
        (("PyConv", *host, "-p", "kernel=3"), "Did you mean 'kernels'?"),
        (("PyConv", *host, "--where", "9x9"), "none of the host's 20 convs matches"),
        (("MRFA", *host, "--after", "layerx"), "has no stage 'layerx'"),
        (("MRFA", *host, "--where", "downsample"), "MRFA replaces none of the 3 convs"),
        (("torchvision:resnet18", *host), "is a network: plug takes a block"),
        (("PyConv", *host, "--measure", "latency"), "cannot be taken on meta"),
        (("PyConv", "--into", "torchvision:resnet81"), "torchvision has no model"),
        (("PyConv", *host, "--host-option", "depth=3"), "depth"),
        (("PyConv", *host, "-o", "plug.docx"), "no format has the suffix"),
        (("PyConv", *host, "--save", "plugged.onnx"), "no format has the suffix"),
        (("PyConv", "MRFA", *host, "--save", "plugged.py"), "--save writes one plugged host, and there are 2 blocks"),
        (("PyConv", *host, "--save", "plugged.pt"), "on the meta device there are no weights"),
        (("PyConv",), "--into"),
    ):
        result = cli("plug", *arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert message in result.err, arguments


@pytest.mark.slow
def test_a_users_host_and_block_are_timed_in_processes_that_cannot_import_them(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("SCALE = 2.0\n")
    (tmp_path / "my_net.py").write_text(
        "import helper\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes=3):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 8, 3, padding=1)\n"
        "    def forward(self, x):\n"
        "        return self.conv(x) * helper.SCALE\n"
        "class Conv(nn.Module):\n"
        "    def __init__(self, in_channels, out_channels, stride=1):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride)\n"
        "    def forward(self, x):\n"
        "        return self.conv(x) / helper.SCALE\n"
    )
    timing = ("--processes", "1", "--max-time", "0.3", "--measure", "latency", "--measure", "params", "--size", "16")
    result = cli("plug", "my_net.py:Conv", "--into", "my_net.py:Net", *timing, "-o", "plug.csv")
    assert result.code == 0, result.err
    with (tmp_path / "plug.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert all(float(row["latency_ms"]) > 0 for row in rows)
    assert float(rows[1]["ratio"]) > 0
    assert [int(row["params"]) for row in rows] == [3 * 8 * 9 + 8, 3 * 8 + 8]
