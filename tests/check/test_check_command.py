"""The installed ``convbench check``: baselines that hold, baselines that do not, and requests that make no sense."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BLOCK = """
from torch import nn
class Mine(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, KERNEL, padding=KERNEL // 2)
    def forward(self, x):
        for _ in range(REPEATS):
            y = self.conv(x)
        return y
"""


def write_block(folder: Path, kernel: int = 3, repeats: int = 1) -> None:
    (folder / "mine.py").write_text(BLOCK.replace("KERNEL", str(kernel)).replace("REPEATS", str(repeats)))


def convbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = shutil.which("convbench", path=str(Path(sys.executable).parent))
    command = [script] if script else [sys.executable, "-m", "convbench"]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)


EXACT = ("--measure", "params", "--measure", "cost", "--measure", "memory")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's block and a baseline of it."""
    folder = tmp_path_factory.mktemp("check")
    write_block(folder)
    made = convbench(folder, "compare", "Conv3x3", "mine.py:Mine", "--dim", "8", "--size", "8", *EXACT, "-o", "b.csv")
    assert made.returncode == 0, made.stderr
    return folder


def copy(baseline: Path, folder: Path) -> Path:
    for name in ("mine.py", "b.csv"):
        shutil.copy(baseline / name, folder / name)
    return folder


def test_a_baseline_that_holds_exits_with_zero(baseline: Path) -> None:
    done = convbench(baseline, "check", "b.csv")
    assert (done.returncode, done.stdout) == (0, "2 cases: every figure is that of the baseline\n"), done.stderr


def test_a_changed_block_exits_with_one_and_a_table(baseline: Path, tmp_path: Path) -> None:
    folder = copy(baseline, tmp_path)
    write_block(folder, kernel=5)
    done = convbench(folder, "check", "b.csv", "-o", "found.json", "--measure", "params", "--measure", "cost")
    assert done.returncode == 1
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["case", "figure", "baseline", "now", "change"]
    macs = next(line.split() for line in lines if " macs " in line)
    assert macs[-4:] == ["macs", f"{9 * 64 * 64:,}", f"{25 * 64 * 64:,}", "+177.78%"]
    assert all(line.startswith("mine.py:Mine") for line in lines)
    assert "differ from the baseline" in done.stderr
    found = json.loads((folder / "found.json").read_text())["findings"]
    assert {"case", "figure", "baseline", "now"} <= set(found[0])
    assert (36864, 102400) in [(row["baseline"], row["now"]) for row in found]


def test_a_block_that_became_cheaper_has_changed_too(baseline: Path, tmp_path: Path) -> None:
    folder = copy(baseline, tmp_path)
    text = (folder / "b.csv").read_text()
    (folder / "b.csv").write_text(text.replace(",36864,36864,", ",36865,36864,", 1))
    assert text != (folder / "b.csv").read_text()
    done = convbench(folder, "check", "b.csv", "--measure", "cost")
    assert done.returncode == 1
    assert "36,865" in done.stdout
    assert "1 figure differs" in done.stderr


def test_an_interrupted_check_says_what_it_did_not_measure(baseline: Path, tmp_path: Path) -> None:
    folder = copy(baseline, tmp_path)
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(
        text.replace(
            "def forward(self, x):", "def forward(self, x):\n        open('begun', 'w'); time.sleep(600)"
        ).replace("from torch", "import time\nfrom torch", 1)
    )
    command = [sys.executable, "-m", "convbench", "check", "b.csv", "--measure", "params", "--measure", "cost"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as check:
        while not (folder / "begun").exists() and check.poll() is None:
            time.sleep(0.1)
        check.send_signal(signal.SIGINT)
        out, err = check.communicate()
    assert check.returncode == 130, err
    assert "interrupted: not measured, and so not checked: mine.py:Mine@dim=8,shape=1x8x8x8" in " ".join(err.split())
    assert "every figure" not in out


def test_a_changed_default_is_a_difference(baseline: Path, tmp_path: Path) -> None:
    folder = copy(baseline, tmp_path)
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(
        text.replace("self, dim)", "self, dim, bias=True)").replace("dim, 3,", "dim, 3, bias=bias,")
    )
    made = convbench(
        folder, "compare", "mine.py:Mine", "--dim", "8", "--size", "8", "--measure", "params", "-o", "d.csv"
    )
    assert made.returncode == 0, made.stderr
    (folder / "mine.py").write_text((folder / "mine.py").read_text().replace("bias=True", "bias=False"))
    done = convbench(folder, "check", "d.csv")
    assert done.returncode == 1
    assert {line.split()[1] for line in done.stdout.splitlines()[1:]} >= {"options", "params", "weight_bytes"}


@pytest.mark.parametrize("target", ["os:mkdir", "mine.py:mkdir"])
def test_a_row_that_names_what_is_no_module_is_refused_without_calling_it(
    baseline: Path, tmp_path: Path, target: str
) -> None:
    folder = copy(baseline, tmp_path)
    (folder / "mine.py").write_text("from os import mkdir\n" + (folder / "mine.py").read_text())
    header = "target,options,input_shape,params"
    row = f'{target},"{{""path"": ""marker""}}",1x8x8x8,592'
    (folder / "evil.csv").write_text(f'{header}\nConv3x3,"{{""dim"": 8}}",1x8x8x8,592\n{row}\n')
    done = convbench(folder, "check", "evil.csv")
    assert done.returncode == 2, done.stderr
    assert f"evil.csv, record 2: '{target}' is not called" in done.stderr
    assert not (folder / "marker").exists()
    trusted = convbench(folder, "check", "evil.csv", "--trust")
    assert trusted.returncode == 1, trusted.stderr
    assert (folder / "marker").exists()


def test_a_block_that_does_not_run_any_more_fails(baseline: Path, tmp_path: Path) -> None:
    folder = copy(baseline, tmp_path)
    (folder / "mine.py").write_text((folder / "mine.py").read_text().replace("return y", "return y.nothing()"))
    done = convbench(folder, "check", "b.csv", "--measure", "cost")
    assert done.returncode == 1
    assert "nothing" in done.stdout


def test_the_store_of_a_sweep_is_a_baseline_too(baseline: Path, tmp_path: Path) -> None:
    folder = copy(baseline, tmp_path)
    swept = convbench(folder, "sweep", "mine.py:Mine", "--dim", "8", "--size", "4,8", "--measure", "cost")
    assert swept.returncode == 0, swept.stderr
    done = convbench(folder, "check", "sweep.jsonl")
    assert (done.returncode, done.stdout) == (0, "2 cases: every figure is that of the baseline\n"), done.stderr


WRONG = [
    (["none.csv"], "none.csv cannot be read"),
    (["mine.py"], "saved records are read from"),
    (["b.csv", "--measure", "speed"], "measure 'speed' is not one of params, cost, memory, latency"),
    (["b.csv", "--fail-slower", "5"], "--fail-slower '5': write a percentage above zero, such as 5%"),
    (["b.csv", "--fail-slower", "0%"], "write a percentage above zero"),
    (["b.csv", "--fail-slower", "5%"], "--fail-slower has nothing to judge in this baseline"),
    (["b.csv", "--fail-slower", "5%", "--measure", "cost"], "--fail-slower judges latency"),
    (["b.csv", "--reference", "PyConv"], "--reference 'PyConv' has no record in the baseline"),
    (["b.csv", "-o", "found.png"], "no format has the suffix"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_request_is_one_message(baseline: Path, arguments: list[str], message: str) -> None:
    done = convbench(baseline, "check", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_target_that_is_gone_is_told_by_its_record(baseline: Path, tmp_path: Path) -> None:
    folder = copy(baseline, tmp_path)
    (folder / "mine.py").unlink()
    done = convbench(folder, "check", "b.csv")
    assert done.returncode == 2
    assert "b.csv, record 2: mine.py: no such file" in done.stderr


def test_the_exit_code_of_a_latency_check_is_what_its_verdict_says(baseline: Path, tmp_path: Path) -> None:
    """Whatever the clock of a busy machine gives: the table, the message and the exit code agree."""
    folder = copy(baseline, tmp_path)
    measure = ("--measure", "cost", "--measure", "latency", "--max-time", "0.2")
    made = convbench(folder, "compare", "Conv3x3", "mine.py:Mine", "--dim", "8", "--size", "8", *measure, "-o", "t.csv")
    assert made.returncode == 0, made.stderr
    write_block(folder, repeats=8)
    done = convbench(folder, "check", "t.csv", "--measure", "latency", "--max-time", "0.2", "--fail-slower", "50%")
    assert "reference" in done.stdout
    assert "mine.py:Mine@dim=8" in done.stdout
    said = "slower than in the baseline by more than 50%: mine.py:Mine" in done.stderr
    assert done.returncode == (1 if said else 0), done.stdout + done.stderr
