"""The table of formats: a row a suffix, with the one reader and the one writer of its files, for every table.

Whatever a command gives is one `Report`: records, break-downs, receptive fields. ``check_outputs`` comes before
anything is measured, ``write_outputs`` before anything is printed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convbench.errors import ConvbenchError, MissingExtraError, OutputError, nearest
from convbench.report.io.document import Report
from convbench.report.io.files import absolute, check_writable, shown, write_atomically


@dataclass(frozen=True, slots=True)
class Format:
    """How the files of a suffix are written and read. Functions are named, since most commands use one or none.

    writer: ``"module:function"`` from a `Report` to contents by name: of the file itself under ``""``, and of files
        beside it under the names of the break-downs they hold. reader: from a path to the `Report` in it.
    package, extra: the optional dependency that it needs and the extra that brings it.
    of_fields: whether it holds receptive fields, and nothing of a report that has none.
    """

    writer: str = ""
    reader: str = ""
    package: str | None = None
    extra: str = ""
    of_fields: bool = False


_IO, _PLOTS = "convbench.report.io", "convbench.report.plots"
FORMATS: dict[str, Format] = {
    ".csv": Format(f"{_IO}.csv_file:to_csv", f"{_IO}.csv_file:load_csv"),
    ".json": Format(f"{_IO}.json_file:to_json", f"{_IO}.json_file:load_json"),
    ".md": Format(f"{_IO}.markdown:to_markdown"),
    ".tex": Format(f"{_IO}.latex:to_latex"),
    ".parquet": Format(f"{_IO}.parquet:to_parquet", f"{_IO}.parquet:load_parquet", "pyarrow", "parquet"),
    ".html": Format("convbench.report.page.page:to_html", "", "jinja2", "html"),
    ".jsonl": Format("", f"{_IO}.stored:load_store"),
    ".npz": Format(f"{_IO}.fields:to_npz", f"{_IO}.fields:load_npz", of_fields=True),
    ".png": Format(f"{_PLOTS}.receptive_fields:to_png", of_fields=True),
    ".svg": Format(f"{_PLOTS}.receptive_fields:to_svg", of_fields=True),
    ".pdf": Format(f"{_PLOTS}.receptive_fields:to_pdf", of_fields=True),
}
TABLES = tuple(suffix for suffix, row in FORMATS.items() if row.writer and not row.of_fields)
"""The suffixes that any report can be written to."""
FIELDS = (*TABLES, *(suffix for suffix, row in FORMATS.items() if row.of_fields))
"""The suffixes that receptive fields can be written to."""
PICTURES = (".png", ".svg", ".pdf")
_TEXTS = (".csv", ".json", ".md", ".tex", ".html", ".svg")
"""What can be printed."""


@dataclass(frozen=True, slots=True)
class Written:
    """One output: the files written for it, and why the first that could not be was not."""

    path: Path
    files: tuple[Path, ...]
    failure: str | None = None


def check_outputs(paths: Iterable[Path], suffixes: Iterable[str] = TABLES) -> list[Path]:
    """``paths`` made absolute, each writable and of a format among ``suffixes``; an existing file is left as it is.

    To be called before anything is measured. Raises OutputError, and MissingExtraError where a format's package is
    not installed.
    """
    accepted = tuple(suffixes)
    checked = [_named(path, accepted) if is_stdout(path) else absolute(path) for path in paths]
    if sum(map(is_stdout, checked)) > 1:
        raise OutputError("stdout holds one file: give one -o - (JSON) or one -o -.csv, and files for the others")
    for path in checked:
        if is_stdout(path):
            continue
        if path.suffix.lower() not in accepted and not path.is_dir():
            hint = nearest(path.suffix, accepted)
            raise OutputError(
                f"{shown(path)}: no format has the suffix {path.suffix!r}.{hint} Accepted: {', '.join(accepted)}"
            )
        check_writable(path)
        require_package(path, "writing")
    return checked


def is_stdout(path: Path) -> bool:
    """Whether ``path`` says to print: ``-`` is JSON, ``-.csv`` and its like another format."""
    return str(path) == "-" or (path.name.startswith("-.") and path.name == str(path))


def _named(path: Path, accepted: Sequence[str]) -> Path:
    """Stdout with the suffix of its format. Raises OutputError for one that is no text."""
    named = path if path.suffix else Path("-.json")
    texts = [suffix for suffix in accepted if suffix in _TEXTS]
    if named.suffix.lower() not in texts:
        can = f"Accepted: {', '.join(f'-{suffix}' for suffix in texts)}" if texts else "Name a file"
        raise OutputError(f"-o {path}: {named.suffix} cannot be printed. {can}")
    return named


def write_outputs(paths: Iterable[Path], report: Report) -> list[Written]:
    """Write ``report`` to each of ``paths``, which succeeds or fails by itself. Raises nothing."""
    return [_write_one(path, report) for path in paths]


def write(path: Path, report: Report) -> list[Path]:
    """Write ``report`` in the format of ``path``'s suffix; each file appears whole or not at all.

    Returns the files written: a CSV or Parquet file holds one table, so break-downs get files of their own beside it.
    Raises OutputError, and MissingExtraError where the format's package is not installed.
    """
    written: list[Path] = []
    for place, content in _contents(path, report).items():
        write_atomically(place, content)
        written.append(place)
    return written


def _write_one(path: Path, report: Report) -> Written:
    written: list[Path] = []
    try:
        if is_stdout(path):
            sys.stdout.write("\n".join(map(str, _contents(path, report).values())))
            return Written(path, ())
        for place, content in _contents(path, report).items():
            write_atomically(place, content)
            written.append(place)
    except ConvbenchError as error:
        return Written(path, tuple(written), str(error))
    except Exception as error:  # a value that one format cannot hold must not take the other files along
        return Written(path, tuple(written), f"{shown(path)} cannot be written: {type(error).__name__}: {error}")
    return Written(path, tuple(written))


def _contents(path: Path, report: Report) -> dict[Path, str | bytes]:
    from convbench.report.plots.peaks import with_calibrations

    row = FORMATS.get(path.suffix.lower())
    if row is None or not row.writer:
        raise OutputError(f"{shown(path)}: no format has the suffix {path.suffix!r}. Accepted: {', '.join(FIELDS)}")
    require_package(path, "writing")
    contents: Mapping[str, str | bytes] = named(row.writer)(with_calibrations(report))
    return {path.with_suffix(f".{name}{path.suffix}") if name else path: content for name, content in contents.items()}


def require_package(path: Path, purpose: str) -> None:
    """Raise MissingExtraError where the package that the format of ``path`` needs is not installed."""
    row = FORMATS.get(path.suffix.lower())  # none of a file that a command writes by itself
    if row is not None and row.package is not None and importlib.util.find_spec(row.package) is None:
        raise MissingExtraError(row.package, row.extra, f"{shown(path)}: {purpose} {path.suffix}")


def named(name: str) -> Any:
    """The function that a row names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
