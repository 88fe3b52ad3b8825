"""``list`` and ``show``."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli

REQUIRED = {
    *("MRFA", "UniConvNetBlock", "DRConv", "DRConvExperts", "Conv2Former", "RefConv", "PyConv", "PyConvBottleneck"),
    *("PyConvBNReLU", "Conv3x3", "DepthwiseSeparable", "ConvNeXt", "Bottleneck"),
}


def test_list_names_every_block(cli: Cli) -> None:
    result = cli("list")
    assert result.code == 0
    listed = [line.split()[0] for line in result.out.splitlines()[1:]]
    assert set(listed) >= REQUIRED
    assert not result.err


def test_list_as_json_holds_every_field(cli: Cli) -> None:
    rows = {row["name"]: row for row in json.loads(cli("list", "--json").out)}
    assert set(rows) >= REQUIRED
    assert rows["MRFA"]["arxiv"] == "2508.09000"
    assert rows["MRFA"]["kind"] == "block"


def test_list_filters_by_pattern_and_kind(cli: Cli) -> None:
    result = cli("list", "pyconvb*", "--kind", "block", "--json")
    assert {row["name"] for row in json.loads(result.out)} == {
        "PyConvBasicBlock1",
        "PyConvBasicBlock2",
        "PyConvBottleneck",
        "PyConvBNReLU",
    }


def test_a_pattern_without_a_match_exits_2(cli: Cli) -> None:
    result = cli("list", "PyKonv")
    assert (result.code, result.out) == (2, "")
    assert "Did you mean 'PyConv'?" in result.err


def test_show_prints_options_and_the_parameter_tree(cli: Cli) -> None:
    result = cli("show", "Conv2Former", "--dim", "16", "-p", "kernel_size=7")
    assert result.code == 0
    assert "arXiv:2211.11943" in result.out
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert any(line.startswith("kernel_size int 11 7") for line in lines)
    assert "attn.att.2.weight 16×1×7×7 784" in lines
    assert lines[-1].startswith("4,480 parameters (4,480 trainable)")


def test_show_of_a_wrong_dim_says_what_is_accepted(cli: Cli) -> None:
    result = cli("show", "MRFA", "--dim", "30")
    assert result.code == 2
    assert "nearest: 28, 32" in result.err
