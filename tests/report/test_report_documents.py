"""Markdown and LaTeX: what is printed is what was meant, whatever characters it has."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from convbench.records import Record
from convbench.report.io.document import Report
from convbench.report.io.latex import escape as escape_latex
from convbench.report.io.latex import to_latex
from convbench.report.io.markdown import code, table, to_markdown
from convbench.report.io.printed import Printed
from convbench.text import one_line
from tests.report.made_up_records import record
from tests.report.strategies import TEXTS

AWKWARD = "a|b \\| <i> *x* `y` _z_ ~~q~~ [l](m) &amp; $5 100% #1 {k: 'v'} \"w\" ^2 ~ × σ"


def cells(markdown: str) -> list[list[str]]:
    """The text that a reader sees in each cell, row by row."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)
    rows: list[list[str]] = []
    for before, token in pairwise(tokens):
        if token.type == "inline" and before.type in ("th_open", "td_open"):
            kinds = {child.type for child in token.children or []}
            assert kinds <= {"text", "text_special"}, (token.content, kinds)
            rows[-1].append("".join(child.content for child in token.children or []))
        elif before.type == "tr_open":
            rows.append([])
            assert token.type in ("th_open", "td_open")
    return rows


@given(TEXTS)
def test_a_markdown_cell_reads_as_it_was(value: str) -> None:
    shown = cells("\n".join(["", table(Printed("", ["target", "macs"], [[value, "3"]], [False, True]))]))
    assert shown[1] == [one_line(value), "3"]


def test_an_awkward_markdown_cell() -> None:
    assert cells(table(Printed("", ["target"], [[AWKWARD]], [False])))[1] == [AWKWARD]


def test_markdown_is_rounded_as_in_the_terminal_and_says_its_doubts() -> None:
    quiet = Record("MRFA", macs=70296576, latency_ms=1.25, latency_low_ms=1.2, latency_high_ms=1.3, params=12)
    noisy = Record("PyConv", macs=900, latency_ms=0.01234567, latency_noise="invalid", notes="latency: disturbed")
    text = to_markdown(Report([quiet, noisy], command="convbench compare"))[""]
    assert text == (
        "| Target | params | MACs | latency |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| MRFA | 12 | 70.30 M | 1.250 ms \\[1.200 ms, 1.300 ms\\] |\n"
        "| PyConv | – | 900 | !12.35 µs |\n"
        "\n- !: disturbed so much that it is not to be used\n- PyConv: latency: disturbed\n"
        "\nMade by `convbench compare`.\n"
    )


def test_markdown_prints_the_columns_asked_for() -> None:
    text = to_markdown(Report([record()], columns=("target", "macs")))[""]
    assert cells(text) == [["Target", "MACs"], ["MRFA", "40.14 M"]]


def test_all_columns_are_those_that_somebody_filled() -> None:
    text = to_markdown(Report([Record("MRFA", macs=3, status="oom")], columns=("all",)))[""]
    assert cells(text) == [["Target", "MACs", "Status", "Schema"], ["MRFA", "3", "oom", "1"]]


def test_break_downs_keep_whole_numbers_whole() -> None:
    sections = {"operators": [{"name": "conv", "macs": 1234567, "share": 0.123456, "counted": True, "why": None}]}
    text = to_markdown(Report([Record("MRFA", macs=1)], sections=sections))[""]
    assert cells(text)[-1] == ["conv", "1,234,567", "0.1235", "true", ""]


@pytest.mark.parametrize("command", ["convbench list", "echo `date`", "`", "a ``b`` c"])
def test_a_command_is_a_code_span(command: str) -> None:
    inline = MarkdownIt().parse(code(command))[1].children
    assert inline is not None
    assert [(child.type, child.content) for child in inline] == [("code_inline", command)]


@given(TEXTS)
def test_latex_text_has_no_special_character_left(value: str) -> None:
    escaped = escape_latex(value)
    assert escaped.isprintable()
    commands = re.sub(r"\\(?:[a-zA-Z]+\d*(?:\{(?:\\[a-z]+)?-?\})|[{}$&#%_])", "", escaped)
    assert not set(commands) & set("\\{}$&#%_~^\"<>|`'")


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("my_block", r"my\_block"),
        ("100% & more", r"100\% \& more"),
        ("C:\\x", r"C:\textbackslash{}x"),
        ("{a: $b^2$}", r"\{a: \$b\textasciicircum{}2\$\}"),
        ("conv×3\nnext", r"conv\ensuremath{\times}3 next"),
    ],
)
def test_latex_escapes(value: str, escaped: str) -> None:
    assert escape_latex(value) == escaped


def test_latex_is_a_table_of_the_terminals_figures() -> None:
    text = to_latex(Report([record("MRFA"), record("PyConv")], command="convbench compare MRFA PyConv"))[""]
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert f"\n{rule}\n" in text
    assert "MACs & FLOPs & latency &" in text
    assert r"MRFA & 12.80 k & 40.14 M & 81.29 M & 3.545 ms [" in text
    assert r"\caption{Kind: block; Input: 1x64x56x56; Device: cpu; " in text
    assert "% Made by: convbench compare MRFA PyConv" in text
    assert re.search(r"% Columns left out: .*trainable_params", text)
    assert len({line.count("&") for line in text.splitlines() if line.endswith(r"\\")}) == 1


def test_latex_shows_what_tells_rows_apart_and_what_failed() -> None:
    rows = [record("MRFA", dim) for dim in (32, 64)] + [record("MRFA", 128, status="oom", error="x")]
    text = to_latex(Report(rows))[""]
    assert "Target & Input & params" in text
    assert "& Status" in text
    assert "Options &" not in text


needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


@needs_latex
@pytest.mark.slow
@pytest.mark.parametrize("around", ["", "alone"])
def test_latex_compiles(tmp_path: Path, around: str) -> None:
    records = [record("MRFA", uncounted="aten.fft×2"), record("PyConv", error=AWKWARD, status="error", latency_ms=None)]
    sections = {"by_operator": [{"name": AWKWARD, "macs": 3, "share": 0.5, "counted": True}]}
    content = to_latex(Report([*records, record(target := "DRConv", 32, 14)], sections=sections, command=AWKWARD))[""]
    assert target in content
    (tmp_path / "table.tex").write_text(content)
    document = rf"\documentclass{{article}}{around}\begin{{document}}\input{{table}}\end{{document}}"
    (tmp_path / "main.tex").write_text(content if around == "alone" else document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "main.pdf").stat().st_size > 5000


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_latex_rows_have_one_cell_a_column(targets: list[str]) -> None:
    text = to_latex(Report([Record(target, macs=1) for target in targets]))[""]
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) == len(targets) + 1
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {1}
