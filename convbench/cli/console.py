"""Where output goes: data to stdout, progress and notes to stderr; nothing is ever cut to the terminal's width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


@dataclass(slots=True)
class Verbosity:
    """How much is said on stderr, and whether errors show their traceback."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False


verbosity = Verbosity()


@cache
def out() -> Console:
    """The console of stdout, for data."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@cache
def err() -> Console:
    """The console of stderr, for progress, notes and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Say something on stderr, unless asked to be quiet."""
    if not verbosity.quiet:
        err().print(message, style="dim", markup=False)


def warn(message: str) -> None:
    """Say on stderr what the reader must know before trusting a figure; also when asked to be quiet."""
    err().print(f"warning: {message}", style="yellow", markup=False)


def fail(message: str) -> None:
    """Say on stderr why nothing, or not everything, was done."""
    err().print(f"error: {message}", style="bold red", markup=False)


def print_heading(name: str, rest: str) -> None:
    """Print what a table is about, the name in bold."""
    from rich.text import Text

    out().print(Text.assemble((name, "bold"), " ", rest))


def print_table(table: Table) -> None:
    """Print a table as wide as it needs: rich would fold cells at the terminal's width or, piped, at 80 columns."""
    from rich.console import Console

    wide = Console(highlight=False, markup=False, width=max(out().width, needed_width(table)))
    wide.print(table, crop=False)


def needed_width(renderable: RenderableType) -> int:
    """Columns that ``renderable`` takes when nothing is folded."""
    from rich.measure import Measurement

    console = out()
    options = console.options.update(max_width=10_000, width=10_000)
    return Measurement.get(console, options, renderable).maximum
