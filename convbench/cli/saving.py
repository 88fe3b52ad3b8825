"""Output files: written before anything is printed, each by itself, and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convbench.cli.console import fail, note, out
from convbench.errors import OutputError

if TYPE_CHECKING:
    from convbench.report.io.document import Report


def save_report(paths: Sequence[Path] | None, report: Report, *, as_data: bool = False) -> int:
    """Write ``report`` to each of ``paths`` and say which were written and which could not be.

    as_data: whether the files' names go to stdout, since they are what the command gives.
    Returns the exit code that follows: 0, or 3 where one could not be written.
    """
    from convbench.report.io.files import shown
    from convbench.report.io.formats import write_outputs

    written = write_outputs(paths or (), report)
    for output in written:
        for path in output.files:
            out().print(shown(path)) if as_data else note(f"wrote {shown(path)}")
        if output.failure is not None:
            fail(output.failure)
    return 3 if any(output.failure is not None for output in written) else 0


def save_contents(contents: Mapping[Path, str | bytes | Callable[[], str | bytes]], *, as_data: bool = False) -> int:
    """The same for files of other contents, such as pictures, given or made by a function."""
    from convbench.report.io.files import shown, write_atomically

    code = 0
    for path, content in contents.items():
        try:
            write_atomically(path, content() if callable(content) else content)
        except OutputError as error:
            fail(str(error))
            code = 3
        else:
            out().print(shown(path)) if as_data else note(f"wrote {shown(path)}")
    return code
