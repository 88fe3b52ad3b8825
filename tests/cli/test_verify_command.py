"""``convbench verify``: tables, files and exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

BROKEN = str(Path(__file__).parents[1] / "verify" / "broken.py")
SMALL = ("--dim", "4", "--size", "8")


def test_a_passing_target_exits_with_0_and_a_row_a_check(cli: Cli) -> None:
    result = cli("verify", f"{BROKEN}:Right", *SMALL, "--check", "forward", "--check", "gradients")
    assert (result.code, result.err) == (0, "")
    assert "Right 2x4x8x8 · cpu" in result.out
    lines = [line.split()[:3] for line in result.out.splitlines()[2:4]]
    assert lines == [["forward", "required", "pass"], ["gradients", "required", "pass"]]
    assert "3 tensors agree" in result.out


def test_a_required_failure_exits_with_1_and_an_optional_one_does_not(cli: Cli) -> None:
    failing = cli("verify", f"{BROKEN}:MixesBatch", *SMALL, "--check", "batch-independence")
    assert failing.code == 1
    assert "required checks failed: batch-independence" in failing.err
    optional = ("verify", f"{BROKEN}:NeedsSamples", *SMALL, "--check", "empty-batch")
    assert cli(*optional).code == 0
    assert cli(*optional, "--require", "empty-batch").code == 1


def test_skipped_checks_stand_in_the_table(cli: Cli) -> None:
    result = cli("verify", f"{BROKEN}:Right", *SMALL, "--check", "forward", "--check", "pickle", "--skip", "pickle")
    assert result.code == 0
    assert "left out on request" in result.out


def test_files_hold_every_check_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    names = ("checks.csv", "checks.json", "checks.md")
    outputs = [argument for name in names for argument in ("-o", name)]
    result = cli("verify", f"{BROKEN}:Lambda", *SMALL, "--check", "pickle", "--check", "deepcopy", *outputs)
    assert result.code == 1
    with (tmp_path / "checks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["check"], row["status"], row["required"]) for row in rows] == [
        ("deepcopy", "pass", "true"),
        ("pickle", "fail", "true"),
    ]
    assert rows[0]["input_shape"] == "2x4x8x8"
    assert "cannot be pickled" in rows[1]["reason"]
    content = json.loads((tmp_path / "checks.json").read_text())
    assert [row["check"] for row in content["checks"]] == ["deepcopy", "pickle"]
    assert content["checks"][1]["required"] is True
    assert content["command"].startswith("convbench verify")
    assert content["environment"]
    assert "| deepcopy |" in (tmp_path / "checks.md").read_text()


def test_several_targets_end_in_a_matrix(cli: Cli) -> None:
    targets = (f"{BROKEN}:Right", f"{BROKEN}:WritesInput")
    result = cli("verify", *targets, *SMALL, "--check", "forward", "--check", "keeps-input")
    assert result.code == 0
    matrix = [line.split() for line in result.out.splitlines()[-3:]]
    assert matrix == [
        ["check", "Right", "WritesInput"],
        ["forward", "required", "ok", "ok"],
        ["keeps-input", "optional", "ok", "FAIL"],
    ]


def test_long_reasons_are_never_folded(cli: Cli) -> None:
    result = cli("verify", f"{BROKEN}:ShrinksOdd", *SMALL, "--check", "odd-sizes")
    assert "keeps the size of even inputs, but 7×11 gives 2×4×6×10" in result.out


def test_wrong_requests_exit_with_2_before_anything_runs(cli: Cli) -> None:
    right = f"{BROKEN}:Right"
    for arguments, message in (
        ((right, "--check", "gradient"), "Did you mean 'gradients'?"),
        ((right, "--skip", "nothing-like-it"), "names them"),
        ((right, "--check", "trace", "--skip", "trace"), "nothing is left"),
        ((right, "--device", "meta"), "--device cpu"),
        ((right, "MRFA", "--dim", "30"), "multiple of 4"),
        ((right, "-o", "checks.pdf"), "no format has the suffix"),
        (("MFRA",), "Did you mean 'MRFA'?"),
        ((right, "--fused"), "such as --refocus makes"),
    ):
        result = cli("verify", *arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert message in result.err


def test_help_names_every_check(cli: Cli) -> None:
    from convbench.verify import CHECKS

    text = cli("verify", "--help").out
    assert all(check.question in text for check in CHECKS)
    assert "forward*" in text
    assert "onnx*" not in text


@pytest.mark.slow
def test_without_a_compiler_compiling_is_skipped(installed: Cli) -> None:
    environment = {"CXX": "/no/such/compiler", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    result = installed("verify", f"{BROKEN}:Right", *SMALL, "--check", "compile", **environment)
    assert result.code == 0
    assert "skipped" in result.out
    assert "torch.compile needs a C++ compiler" in result.out
