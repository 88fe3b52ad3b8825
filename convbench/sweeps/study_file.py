"""A study's TOML file: its grids, and the lines on which everything stands, for error messages. Imports no torch."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convbench.errors import UsageError
from convbench.reading import MAX_DEPTH, read_text, require_shallow
from convbench.sweeps.settings import Place, Settings, settings_from

MAX_CHARACTERS = 1000
"""Of one value."""
_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")


def settings_from_file(path: Path) -> list[Settings]:
    """The grids of a TOML file. Raises UsageError naming the file, the line, the key and the rule."""
    text = read_text(path)
    try:
        content = tomllib.loads(text)
        require_shallow(content, str(path))
    except RecursionError as error:
        raise UsageError(f"{path}: nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of more digits than Python converts
        raise UsageError(f"{path}: not TOML: {error}") from error
    lines = _key_lines(text, set(_tables(content)))

    def where(place: Place) -> str:
        known = next((place[:end] for end in range(len(place), 0, -1) if place[:end] in lines), None)
        name = ".".join(part[:60] for part in place if isinstance(part, str) and part != "grid") or "grid"
        return f"{path}, {name}" if known is None else f"{path}, line {lines[known]}, {name}"

    grids = settings_from(content, where)
    for given in (given for grid in grids for given in grid.values()):
        if any(len(repr(value)) > MAX_CHARACTERS for value in _items(given.value) or (given.value,)):
            raise UsageError(f"{given.where}: a value has more than {MAX_CHARACTERS} characters")
    return [{key: replace(given, by_data=True) for key, given in grid.items()} for grid in grids]


def _key_lines(text: str, tables: Collection[Place]) -> dict[Place, int]:
    """The line of every table and key, which tomllib does not tell; the n-th [[grid]] is ``("grid", n)``."""
    lines: dict[Place, int] = {}
    table: Place = ()
    grids = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if (assignment := _ASSIGNMENT.match(line)) is not None:
            lines.setdefault((*table, *_parts(assignment[1])), number)
        elif (header := _HEADER.match(line)) is not None:
            path: Place = _parts(header[2])
            if path[0] == "grid" and (header[1] == "[[" or grids):
                grids += header[1] == "[["
                path = ("grid", grids - 1, *path[1:])
            if path in tables:  # else it is a line of a list of lists
                table = path
                lines.setdefault(table, number)
    return lines


def _tables(content: Mapping[str, Any], above: Place = ()) -> Iterator[Place]:
    """The path of every table in ``content``."""
    for name, value in content.items():
        for path, item in [((*above, name), value), *(((*above, name, n), i) for n, i in enumerate(_items(value)))]:
            if isinstance(item, Mapping):
                yield path
                yield from _tables(item, path)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_NAME, dotted))
