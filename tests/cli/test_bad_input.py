"""Every wrong request gets one clear message with what is accepted, exit code 2, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

WRONG = {
    "unknown block": (["profile", "MFRA"], "Did you mean 'MRFA'?"),
    "a dim that cannot be split": (["profile", "MRFA", "--dim", "30"], "nearest: 28, 32"),
    "dim of zero": (["profile", "MRFA", "--dim", "0"], "dim must be a whole number of at least 1, got 0"),
    "negative size": (["profile", "MRFA", "--size", "-4"], "size must be a whole number of at least 1, got -4"),
    "shape of nine": (["profile", "MRFA", "--shape", "1,1,1,1,1,1,1,64,8"], "four extents N,C,H,W"),
    "shape that the block rejects": (["profile", "MRFA", "--dim", "64", "--shape", "1,32,8,8"], "64"),
    "shape and size": (["profile", "MRFA", "--shape", "1,64,8,8", "--size", "8"], "either --shape or"),
    "unknown option": (["profile", "PyConv", "-p", "kernel=[3]"], "Did you mean 'kernels'?"),
    "option without value": (["profile", "PyConv", "-p", "kernels"], "key=value"),
    "unknown device": (["profile", "MRFA", "--device", "gpu"], "is not one of cpu, cuda"),
    "unknown dtype": (["profile", "MRFA", "--dtype", "float31"], "Did you mean 'float32'?"),
    "unknown mode": (["profile", "MRFA", "--mode", "train"], "Did you mean 'training'?"),
    "unknown measure": (["profile", "MRFA", "--measure", "speed"], "params, cost, latency, memory, erf"),
    "latency on meta": (["profile", "MRFA", "--device", "meta", "--measure", "latency"], "nothing is computed"),
    "unknown format": (["profile", "MRFA", "-o", "out.xyz"], "Accepted: .csv"),
    "no such folder": (["compare", "MRFA", "-o", "nowhere/out.csv"], "does not exist"),
    "folder as a file": (["compare", "MRFA", "-o", "folder.csv"], "is a directory"),
    "user file that raises": (["profile", "raises.py:Block"], "RuntimeError: half written"),
    "no such user file": (["profile", "missing.py:Block"], "no such file"),
    "baseline that is no target": (["compare", "MRFA", "PyConv", "--baseline", "PyCon"], "Did you mean 'PyConv'?"),
    "one wrong among right": (["compare", "Conv3x3", "MRFA", "--dim", "30"], "nearest: 28, 32"),
    "fused alone": (
        ["profile", "MRFA", "--fused"],
        "it folds RefConv layers, such as --refocus makes, and there are none",
    ),
    "negative processes": (["profile", "MRFA", "--processes", "-1"], "--processes must be positive"),
    "erf on meta": (["erf", "plot", "MRFA", "--device", "meta"], "use --device cpu"),
    "erf picture format": (["erf", "plot", "MRFA", "-o", "x.bmp"], ".png, .svg, .pdf"),
    "erf statistic": (["erf", "measure", "MRFA", "--statistic", "abso"], "Did you mean 'abs'?"),
    "erf inputs": (["erf", "measure", "MRFA", "--inputs", "nofolder"], "neither 'noise' nor a folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "raises.py").write_text("raise RuntimeError('half written')\n")
    (tmp_path / "folder.csv").mkdir()
    arguments, message = WRONG[name]
    result = cli(*arguments)
    assert result.code == 2, result.err
    assert message in result.err
    assert "Traceback" not in result.err
    assert not result.out
    assert len(result.err.strip().splitlines()) == 1


def test_an_unwritable_output_is_refused_before_anything_is_measured(cli: Cli, tmp_path: Path) -> None:
    result = cli("profile", "MRFA", "-o", "/proc/no_such_place/out.csv")
    assert result.code == 2
    assert "/proc/no_such_place" in result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["list"], ["profile", "MRFA", "--measure", "params"]])
def test_a_full_disk_behind_stdout_is_told(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "convbench", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 3
    assert "the output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_or_flag_exits_2(installed: Cli) -> None:
    for arguments in (["profil", "MRFA"], ["profile", "MRFA", "--dimm", "3"], ["profile"]):
        result = installed(*arguments)
        assert result.code == 2
        assert "Traceback" not in result.err
