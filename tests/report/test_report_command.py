"""``convbench report`` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convbench.report.io.document import Report
from convbench.report.io.formats import TABLES, write
from convbench.report.io.load import load
from tests.report.made_up_records import ENVIRONMENT, record, zoo


def run(folder: Path, *arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "convbench"]
    return subprocess.run(
        [sys.executable, *start, "report", *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "a.json", Report(zoo((32, 64), (28, 56)), ENVIRONMENT, command="convbench sweep a"))
    write(tmp_path / "b.csv", Report([record("MRFA", 32, 28)]))
    return tmp_path


def test_every_format_is_rendered_again_from_saved_records(folder: Path) -> None:
    outputs = [f"again{suffix}" for suffix in TABLES]
    done = run(folder, "a.json", *(part for name in outputs for part in ("-o", name)))
    assert (done.returncode, done.stdout.split()) == (0, outputs)
    for name in ("again.csv", "again.json", "again.parquet"):
        assert load(folder / name).records == load(folder / "a.json").records
    content = json.loads((folder / "again.json").read_text())
    assert content["environment"] == ENVIRONMENT
    assert content["command"].splitlines()[0] == "convbench sweep a"
    assert content["command"].splitlines()[1].startswith("convbench report a.json -o again.csv")


def test_files_of_different_machines_are_joined_with_a_warning_and_without_a_ratio(folder: Path) -> None:
    done = run(folder, "a.json", "b.csv", "-o", "page.html", "-o", "all.json", "--title", "Two machines")
    assert done.returncode == 0
    assert "warning: 2 environments: their times are shown side by side, and no ratio is formed of them" in done.stderr
    page = (folder / "page.html").read_text()
    assert "<h1>Two machines</h1>" in page
    assert "1×32×28×28 · environment A" in page
    content = json.loads((folder / "all.json").read_text())
    assert content["environments"] == [ENVIRONMENT, {}]
    assert content["environment_of"] == [0] * 32 + [1]
    assert {row["ratio"] for row in content["records"]} == {None}


def test_plots_become_files(folder: Path) -> None:
    done = run(folder, "a.json", "--plots", "figures/new")
    assert done.returncode == 0
    names = {path.name for path in (folder / "figures/new").iterdir()}
    assert {
        "latency-macs-1x64x56x56.svg",
        "scaling-width-at-56x56-batch-1-MACs.svg",
        "roofline-every-input.svg",
    } <= names
    assert {Path(line).name for line in done.stdout.splitlines()} == names


def test_columns_of_documents_are_chosen(folder: Path) -> None:
    done = run(folder, "b.csv", "-o", "table.md", "-o", "table.tex", "--columns", "target, macs")
    assert done.returncode == 0
    assert (folder / "table.md").read_text().splitlines()[:3] == [
        "| Target | MACs |",
        "| --- | ---: |",
        "| MRFA | 2.509 M |",
    ]
    assert "Target & MACs \\\\" in (folder / "table.tex").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json", "-o", "x.html"], "missing.json cannot be read: No such file or directory"),
        (["a.json", "-o", "x.xls"], "x.xls: no format has the suffix '.xls'"),
        (["a.json", "-o", "none/x.html"], "the directory none does not exist"),
        (["a.json", "-o", "x.md", "--columns", "latency"], "no column is named 'latency'."),
        (["a.json", "--plots", "b.csv"], "--plots b.csv is a file: name a folder"),
        (["broken.csv", "-o", "x.html"], "broken.csv, line 2: macs must be a whole number, got 'x'"),
    ],
)
def test_a_wrong_request_gives_one_message_and_code_2(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "broken.csv").write_text("target,macs\nMRFA,x\n")
    done = run(folder, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("x.*"))


def test_a_page_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys\n"
        "from convbench.__main__ import main\n"
        "sys.argv = ['convbench', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = run(folder, "a.json", "-o", "page.html", code=code)
    assert done.returncode == 0, done.stderr
