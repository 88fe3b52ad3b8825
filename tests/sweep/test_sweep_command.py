"""The installed ``convbench sweep``: records like those of ``profile``, killed, interrupted, gone on with."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

UNRULY = Path(__file__).parent / "unruly_blocks.py"
TIMES = {"created_at"}


def command(*arguments: str) -> list[str]:
    script = shutil.which("convbench", path=str(Path(sys.executable).parent))
    return [*([script] if script else [sys.executable, "-m", "convbench"]), *arguments]


def convbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def lines_of(store: Path) -> list[dict[str, object]]:
    return [row for line in store.read_text(encoding="utf-8").splitlines() if "key" in (row := json.loads(line))]


def test_records_are_those_of_profile(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('targets = ["MRFA"]\ndims = 32\nsizes = [14]\n')
    done = convbench(tmp_path, "sweep", "study.toml", "--measure", "params,cost,memory", "-o", "s.csv", "-o", "s.json")
    assert done.returncode == 0, done.stderr
    flags = ("--dim", "32", "--size", "14", "--measure", "params", "--measure", "cost", "--measure", "memory")
    alone = convbench(tmp_path, "profile", "MRFA", *flags, "-o", "p.csv")
    assert alone.returncode == 0, alone.stderr
    (row,), (expected,) = rows(tmp_path / "s.csv"), rows(tmp_path / "p.csv")
    assert {name: value for name, value in row.items() if name not in TIMES} == {
        name: value for name, value in expected.items() if name not in TIMES
    }
    assert int(row["macs"]) == 1_569_568
    content = json.loads((tmp_path / "s.json").read_text())
    assert [record["target"] for record in content["records"]] == ["MRFA"]
    assert content["environment"]["machine"]
    assert content["environment"]["start"]["utc"] <= content["environment"]["end"]["utc"]
    assert content["environment"]["sources"]["MRFA"]["sha256"]
    assert (tmp_path / "study.jsonl").exists()


def test_failures_are_rows_the_table_is_whole_and_the_exit_code_says_so(tmp_path: Path) -> None:
    targets = [f"{UNRULY}:Fine", f"{UNRULY}:Divisible"]
    flags = ("--dim", "8,10", "--size", "4", "--measure", "cost", "-o", "s.csv")
    done = convbench(tmp_path, "sweep", *targets, *flags)
    assert done.returncode == 3
    found = [(row["target"].rpartition(":")[2], row["input_shape"], row["status"]) for row in rows(tmp_path / "s.csv")]
    assert found == [
        ("Fine", "1x8x4x4", "ok"),
        ("Fine", "1x10x4x4", "ok"),
        ("Divisible", "1x8x4x4", "ok"),
        ("Divisible", "1x10x4x4", "error"),
    ]
    assert "dim must be a multiple of 4, got 10" in done.stderr
    assert "[4/4]" in done.stderr
    assert " left" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("1x10x4x4") == 2
    again = convbench(tmp_path, "sweep", *targets, *flags)
    assert (again.returncode, len(lines_of(tmp_path / "sweep.jsonl"))) == (3, 4)
    assert "4 of 4 records were in sweep.jsonl before" in again.stderr


def killed_at_random(folder: Path, arguments: list[str], kills: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Run the sweep, and kill -9 it at ``kills`` random points of its progress; then let it finish."""
    luck = random.Random(seed)
    store = folder / "sweep.jsonl"
    for _ in range(kills):
        before = store.stat().st_size if store.exists() else 0
        process = subprocess.Popen(
            command("sweep", *arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        goal = before + luck.randrange(1, 40_000)
        while process.poll() is None and (store.stat().st_size if store.exists() else 0) < goal:
            time.sleep(0.01)
        process.kill()
        process.wait()
        with store.open("rb+") as lines:  # as if the machine had gone down in the middle of a line
            lines.truncate(max(store.stat().st_size - luck.randrange(0, 50), 0))
    return convbench(folder, "sweep", *arguments)


def require_each_case_once(folder: Path, cases: int) -> None:
    table = rows(folder / "s.csv")
    assert len(table) == cases
    assert len({(row["input_shape"], row["options"]) for row in table}) == cases
    keys = [line["key"] for line in lines_of(folder / "sweep.jsonl")]
    assert len(keys) == len(set(keys)) == cases


def test_killed_once_it_still_has_every_case_once(tmp_path: Path) -> None:
    dims = ",".join(map(str, range(1, 41)))
    arguments = ["Conv3x3", "--dim", dims, "--size", "4", "--measure", "params", "-o", "s.csv"]
    done = killed_at_random(tmp_path, arguments, kills=1, seed=1)
    assert done.returncode == 0, done.stderr
    require_each_case_once(tmp_path, 40)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_200_cases_killed_five_times_are_200_rows(tmp_path: Path, seed: int) -> None:
    dims = ",".join(map(str, range(1, 101)))
    arguments = ["Conv3x3", "--dim", dims, "--size", "4,5", "--measure", "params", "--measure", "cost", "-o", "s.csv"]
    done = killed_at_random(tmp_path, arguments, kills=5, seed=seed)
    assert done.returncode == 0, done.stderr
    require_each_case_once(tmp_path, 200)


def test_ctrl_c_exports_what_is_complete(tmp_path: Path) -> None:
    arguments = [
        f"{UNRULY}:Fine",
        f"{UNRULY}:Hangs",
        "--dim",
        "8,12",
        "--size",
        "4",
        "--measure",
        "params",
        "-o",
        "s.csv",
    ]
    process = subprocess.Popen(
        command("sweep", *arguments),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    while "[2/4]" not in (line := process.stderr.readline()):
        assert line, "the sweep ended before two cases were through"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "the same command goes on" in told
    assert [row["status"] for row in rows(tmp_path / "s.csv")] == ["ok", "ok"]
    assert len(lines_of(tmp_path / "sweep.jsonl")) == 2


@pytest.mark.slow
def test_force_measures_everything_again_and_the_table_keeps_one_row_a_case(tmp_path: Path) -> None:
    arguments = [
        "Conv3x3",
        "--dim",
        "4,8",
        "--size",
        "4",
        "--measure",
        "params",
        "-o",
        "s.csv",
        "--store",
        "mine.jsonl",
    ]
    for extra in ((), ("--force",)):
        done = convbench(tmp_path, "sweep", *arguments, *extra)
        assert done.returncode == 0, done.stderr
    assert len(lines_of(tmp_path / "mine.jsonl")) == 4
    assert len(rows(tmp_path / "s.csv")) == 2


def test_two_sweeps_cannot_write_to_one_store(tmp_path: Path) -> None:
    arguments = ["sweep", f"{UNRULY}:Hangs", "--dim", "8", "--size", "4", "--measure", "params"]
    first = subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "sweep.jsonl").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = convbench(tmp_path, *arguments)
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert "another sweep is writing to it" in second.stderr


WRONG = [
    (["NoSuchBlock"], "nothing is registered as 'NoSuchBlock'"),
    (["MRFA", "--dim", "0"], "--dim: dim must be a whole number of at least 1, got 0"),
    (["MRFA", "--device", "cuda:7"], "--device: device 'cuda:7' is not present"),
    (["no_such_file.py:Block"], "no_such_file.py cannot be read"),
    (["a.toml", "b.toml"], "one study at a time"),
    (["MRFA", "-o", "s.xyz"], "no format has the suffix '.xyz'"),
    (["MRFA", "-o", "none/s.csv"], "does not exist"),
    (["MRFA", "--store", "none/s.jsonl"], "does not exist"),
    (["MRFA", "--store", "a.jsonl", "-o", "b.jsonl"], "one store"),
    (["MRFA", "--timeout", "0"], "--timeout: must be more than zero"),
    (["MRFA", "--slurm", "partition"], "write name=value pairs"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_request_is_one_message_and_measures_nothing(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = convbench(tmp_path, "sweep", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.csv"))


def test_an_option_of_a_study_that_its_target_does_not_have_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('targets = ["MRFA", "PyConv"]\n\n[options.PyConv]\nkernal = [[3, 5]]\n')
    done = convbench(tmp_path, "sweep", "study.toml")
    assert done.returncode == 2
    assert "study.toml, line 4, options.PyConv.kernal: PyConv has no option 'kernal'" in done.stderr


def test_from_python_the_same_study_gives_the_same_table(tmp_path: Path) -> None:
    import convbench as tool

    (tmp_path / "study.toml").write_text('targets = "Conv3x3"\ndims = [4, 8]\nsizes = 4\nmeasures = "cost"\n')
    table = tool.sweep(tmp_path / "study.toml", store=tmp_path / "s.jsonl")
    assert list(table["macs"]) == [9 * 4 * 4 * 16, 9 * 8 * 8 * 16]
    again = tool.sweep(["Conv3x3"], dims=(4, 8), sizes=4, measures="cost", store=tmp_path / "s.jsonl")
    assert list(again["created_at"]) == list(table["created_at"])


def test_a_dry_run_lists_the_cases_with_what_they_take_and_measures_nothing(tmp_path: Path) -> None:
    arguments = ["sweep", "MRFA", "--dim", "32,30", "--size", "14", "--measure", "cost,memory,latency"]
    done = convbench(tmp_path, *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    good, bad, summary = done.stdout.splitlines()[1:]
    assert good.split("  ")[0] == "MRFA@dim=32,size=14"
    assert {"1x32x14x14", "cost,latency,memory", "8.408", "1.570"} <= set(good.split())
    assert "to measure" in good
    assert "~" in good
    assert "dim must be a multiple of 4, got 30" in bad
    assert "2 cases, 0 of them in sweep.jsonl; 1 will fail; about" in summary
    assert not (tmp_path / "sweep.jsonl").exists()
