"""``convbench report``: saved records, of one run or of several, rendered again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import app
from convbench.cli.console import note, print_footnote, print_line, print_table, warn
from convbench.cli.measuring import command
from convbench.cli.saving import save_contents, save_report
from convbench.errors import OutputError, UnknownNameError, UsageError, nearest
from convbench.report.io.files import absolute, shown
from convbench.report.io.formats import check_outputs

if TYPE_CHECKING:
    from convbench.report.io.document import Report

_EXAMPLES = """\b
Examples:
  convbench report zoo.json
  convbench report zoo.json -o zoo.html
  convbench report laptop.json server.json fields.npz -o page.html -o all.csv
  convbench report compare.csv -o table.tex --columns target,params,macs,latency_ms
  convbench report zoo.json --plots figures/
"""


@app.command(epilog=_EXAMPLES)
def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Saved records, .csv, .json, .parquet, or a sweep's .jsonl; receptive fields, .npz of erf measure.",
            show_default=False,
        ),
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="File to write; the suffix picks the format; repeatable."),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", metavar="FOLDER", help="Also write every plot as an SVG file.", show_default=False),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Heading of a page.", show_default=False)] = "",
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="NAMES", help="Columns of Markdown and LaTeX, with commas, or all.", show_default=False
        ),
    ] = None,
) -> None:
    """Print saved records, or render them again; nothing is measured.

    Records of different machines are joined and kept apart: no plot, front or ratio mixes their times. A CSV file does
    not say where it was measured, so each one counts as a machine of its own. Damaged lines of a store are told, the
    rest is reported, and the exit code is 3.
    """
    from convbench.report.io.load import join, load

    prints = not output and plots is None
    output = check_outputs(output or ())
    if plots is not None:
        plots = _made(plots)
    loaded = [load(path) for path in files]
    damage = [text for whole in loaded for text in whole.damage]
    for text in damage:
        warn(f"{text}; the rest is reported")
    joined = join(loaded)
    if joined.sources:
        warn(f"{len(joined.sources)} environments: their times are shown side by side, and no ratio is formed of them")
    joined = dataclasses.replace(
        joined,
        command="\n".join([*joined.command.splitlines(), command()]),
        title=title,
        columns=_columns(columns),
    )
    if prints:
        _print(joined)
    saved = save_report(output, joined, as_data=True)
    if plots is not None:
        saved |= _write_plots(plots, joined)
    raise typer.Exit(3 if damage else saved)


def _print(report: Report) -> None:
    """The records as ``sweep`` prints them, and what their reader must know."""
    from convbench.report.io.printed import doubts
    from convbench.report.tables.sweep import common_conditions, sweep_table

    if not report.records:
        raise UsageError("these files hold no records to print: say what to write, -o page.html or --plots FOLDER")
    print_line(common_conditions(report.records))
    print_table(sweep_table(report.records))
    for line in doubts(report):
        print_footnote(line)


def _columns(text: str | None) -> tuple[str, ...]:
    from convbench.records import COLUMNS
    from convbench.report.io.printed import EVERY

    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if names == EVERY:
        return names
    for name in names:
        if name not in COLUMNS:
            raise UnknownNameError(f"--columns: no column is named {name!r}.{nearest(name, COLUMNS)}")
    return names


def _made(folder: Path) -> Path:
    folder = absolute(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"--plots {shown(folder)} is a file: name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{shown(folder)} cannot be made: {error.strerror}") from error
    return folder


def _write_plots(folder: Path, report: Report) -> int:
    from convbench.report.plots import draw_plots, plot_files

    drawings = plot_files(draw_plots(report))
    if not drawings:
        warn("no plot can be drawn of these records: latency and cost, or several widths or sizes, are needed")
    written = save_contents({folder / name: content for name, content in drawings.items()}, as_data=True)
    note(f"{len(drawings)} plots for {shown(folder)}")
    return written
