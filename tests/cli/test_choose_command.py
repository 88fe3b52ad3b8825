"""``convbench choose``: from the command line to its table and file."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.cli.conftest import Cli

HOSTS = str(Path(__file__).parents[1] / "plug" / "hosts.py")


def test_blocks_are_counted_measured_and_judged(cli: Cli, tmp_path: Path) -> None:
    arguments = ("--into", f"{HOSTS}:Staged", "--size", "16", "--by", "macs", "--max-macs", "4", "-o", "choice.csv")
    result = cli("choose", "MRFA", "DRConv", f"{HOSTS}:NoWidth", *arguments)
    assert result.code == 0, result.err
    with (tmp_path / "choice.choice.csv").open() as file:
        rows = {row["block"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"(the host alone)", "MRFA", "DRConv", "NoWidth"}
    assert "over the budget of ×4" in rows["DRConv"]["left_out_because"]
    assert "takes no width" in rows["NoWidth"]["left_out_because"]
    assert float(rows["(the host alone)"]["macs_ratio"]) == 1
    assert rows["(the host alone)"]["latency_ratio"] == ""
    assert float(rows["MRFA"]["erf_sigma"]) > 0
    assert (rows["MRFA"]["layers_changed"], rows["MRFA"]["layers_asked"]) == ("3", "5")
    assert "best by macs and ERF σ" in result.out


def test_wrong_requests_exit_with_2(cli: Cli) -> None:
    host = ("--into", f"{HOSTS}:Staged")
    for arguments, message in (
        ((*host, "--by", "mac"), "Did you mean 'macs'?"),
        ((*host, "--device", "meta"), "nothing is computed on meta"),
        ((*host, "--by", "macs", "--max-latency", "2"), "--max-latency needs --by latency"),
        ((*host, "--max-macs", "0"), "positive"),
        (("PyCon", *host), "Did you mean 'PyConv'"),
    ):
        result = cli("choose", *arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert message in result.err, arguments
