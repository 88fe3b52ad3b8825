"""Records as files: the suffix picks the format. Numbers are written as they are, never formatted."""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from convbench.errors import MissingExtraError, OutputError, nearest
from convbench.report.io.document import Report

__all__ = ["EXPORTERS", "Exporter", "Report", "check_outputs", "check_writable", "write", "write_atomically"]

Renderer = Callable[[Report], Mapping[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Exporter:
    """How a format is written.

    renderer: ``"module:function"`` in ``convbench.report.io`` that gives the contents of the file under ``""``,
        and of files beside it under the names of the break-downs they hold.
    package, extra: the optional dependency that it needs and the extra that brings it.
    """

    renderer: str
    package: str | None = None
    extra: str = ""

    def render(self, report: Report) -> Mapping[str, str | bytes]:
        """The contents by name."""
        module, _, function = self.renderer.partition(":")
        renderer: Renderer = getattr(importlib.import_module(f"convbench.report.io.{module}"), function)
        return renderer(report)


def check_outputs(paths: Iterable[Path]) -> None:
    """Raise UsageError, before anything is measured, for a path that could not be written afterwards."""
    for path in paths:
        _exporter(path)
        check_writable(path)


def check_writable(path: Path) -> None:
    """Raise OutputError unless a file can be created at ``path``; an existing file is left as it is."""
    if path.is_dir():
        raise OutputError(f"{path} is a directory: name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the directory {path.parent} does not exist")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"{path} cannot be written: permission denied")


def write(path: Path, report: Report) -> list[Path]:
    """Write ``report`` in the format of ``path``'s suffix; each file appears whole or not at all.

    Returns the files written: a CSV or Parquet file holds one table, so break-downs get files of their own beside it.
    Raises OutputError, and MissingExtraError where the format's package is not installed.
    """
    from convbench.report.plots.peaks import with_calibrations

    exporter = _exporter(path)
    written = []
    for name, content in exporter.render(with_calibrations(report)).items():
        place = path.with_suffix(f".{name}{path.suffix}") if name else path
        write_atomically(place, content)
        written.append(place)
    return written


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step. Raises OutputError, leaving the old file, when the disk is full or read-only.

    A character that UTF-8 cannot hold (half of a broken file name in an error's text) is written as its escape.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def _exporter(path: Path) -> Exporter:
    exporter = EXPORTERS.get(path.suffix.lower())
    if exporter is None:
        raise OutputError(
            f"{path}: no format has the suffix {path.suffix!r}.{nearest(path.suffix, EXPORTERS)} "
            f"Accepted: {', '.join(EXPORTERS)}"
        )
    if exporter.package is not None and importlib.util.find_spec(exporter.package) is None:
        raise MissingExtraError(exporter.package, exporter.extra, f"{path}: writing {path.suffix}")
    return exporter


# Named, not imported: most commands write one format or none.
EXPORTERS: dict[str, Exporter] = {
    ".csv": Exporter("csv_file:to_csv"),
    ".json": Exporter("json_file:to_json"),
    ".md": Exporter("markdown:to_markdown"),
    ".tex": Exporter("latex:to_latex"),
    ".parquet": Exporter("parquet:to_parquet", "pyarrow", "parquet"),
    ".html": Exporter("html:to_html", "jinja2", "html"),
}
