"""Where output goes: data to stdout, progress and notes to stderr; nothing is ever cut to the terminal's width."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from convbench.text import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text


@dataclass(slots=True)
class Verbosity:
    """How much is said on stderr, whether errors show their traceback, and whether stdout is kept for data."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    data: bool = False


verbosity = Verbosity()


def out() -> Console:
    """The console of stdout; a silent one where stdout is kept for data."""
    return _stdout(silent=verbosity.data)


@cache
def _stdout(*, silent: bool) -> Console:
    return _console()(quiet=silent)


@cache
def err() -> Console:
    """The console of stderr, for progress, notes and errors."""
    return _console()(stderr=True)


@cache
def _console() -> Callable[..., Console]:
    """A console for which a string is the text that it holds: no markup, no emoji's name, no control character."""
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    class TextConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    return partial(TextConsole, highlight=False, soft_wrap=True, markup=False, emoji=False)


def note(message: str) -> None:
    """Say something on stderr, unless asked to be quiet."""
    if not verbosity.quiet:
        err().print(message, style="dim")


def warn(message: str) -> None:
    """Say on stderr what the reader must know before trusting a figure; also when asked to be quiet."""
    err().print(f"warning: {message}", style="yellow")


def fail(message: str) -> None:
    """Say on stderr why nothing, or not everything, was done."""
    err().print(f"error: {message}", style="bold red")


def print_heading(name: str, rest: str) -> None:
    """Print what a table is about, the name in bold."""
    from rich.text import Text

    _say(Text.assemble((name, "bold"), " ", rest))


def print_line(text: str) -> None:
    """Print a line of text; a terminal's end breaks it between words."""
    from rich.text import Text

    _say(Text(text))


def print_footnote(text: str) -> None:
    """Print what a reader of the table above must know."""
    from rich.text import Text

    _say(Text(text, style="dim"))


def _say(text: Text) -> None:
    out().print(text, soft_wrap=not out().is_terminal)


def print_table(table: Table) -> None:
    """Print a table: within a terminal's width, and as wide as it needs where there is none."""
    from convbench.cli.fitting import Trimmed, fitted

    console = out()
    parts = fitted(table, console.width) if console.is_terminal else [table]
    for index, part in enumerate(parts):
        if index:
            console.print()
        wide = _console()(soft_wrap=False, width=10_000, quiet=verbosity.data)
        wide.print(Trimmed(part), crop=False, no_wrap=True, end="")
