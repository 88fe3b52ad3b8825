"""Published figures, read from the tables that plug-ins offer under the entry-point group ``convbench.papers``.

An entry point is a function without parameters that returns the path of a CSV file with the columns of `Published`,
or a list of such rows. Imports no torch.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.metadata import entry_points
from typing import Any

from convbench.errors import ConvbenchError, UnknownNameError, UsageError, nearest
from convbench.registry import printing_to_stderr

GROUP = "convbench.papers"


@dataclass(frozen=True, slots=True)
class Published:
    """One published figure, with the digits that were printed.

    system, variant: as published. resolution: height and width, pixels. params_m: parameters in millions. gmacs: cost
    of one image in units of 1e9, counted as ``convention`` says. top1: ImageNet-1K accuracy, %. source: where it is
    printed; notes: what is known of it. target, options: what it is about. explanation: why the target differs, where
    it does. Not published is None.
    """

    system: str
    variant: str
    resolution: int
    params_m: Decimal | None
    gmacs: Decimal | None
    convention: str
    top1: Decimal | None
    source: str
    notes: str
    target: str
    options: tuple[tuple[str, Any], ...]
    explanation: str

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Published:
        """The figure of one row of text. Raises UsageError naming the column that cannot be read."""
        text = {key: str(value or "").strip() for key, value in row.items() if isinstance(key, str)}
        missing = [name for name in ("system", "variant", "resolution", "target", "convention") if not text.get(name)]
        if missing:
            raise UsageError(f"a published figure needs {', '.join(missing)}: {dict(row)}")
        return cls(
            system=text["system"],
            variant=text["variant"],
            resolution=_whole(text, "resolution"),
            params_m=_decimal(text, "params_m"),
            gmacs=_decimal(text, "gmacs"),
            convention=text["convention"],
            top1=_decimal(text, "top1"),
            source=text.get("source", ""),
            notes=text.get("notes", ""),
            target=text["target"],
            options=_options(text),
            explanation=text.get("explanation", ""),
        )


def published() -> list[Published]:
    """Every published figure of every plug-in; a broken plug-in is a warning that names it."""
    found: list[Published] = []
    for point in entry_points(group=GROUP):
        try:
            with printing_to_stderr():
                rows = _rows(point.load()())
            found += [Published.from_row(row) for row in rows]
        except BaseException as error:  # a plug-in may fail in any way, and try to end the process
            kind = "" if isinstance(error, ConvbenchError) else f"{type(error).__name__}: "
            warnings.warn(f"published figures of {point.value} could not be read: {kind}{error}", stacklevel=2)
    return found


def select(figures: Sequence[Published], systems: Iterable[str]) -> list[Published]:
    """The figures whose system begins so (case ignored), or whose system or target matches a wildcard.

    All where no system is named. Raises UnknownNameError for a name that nothing matches, and
    UsageError where there are no figures at all.
    """
    if not figures:
        raise UsageError(f"no published figures are known: no installed plug-in offers any under {GROUP!r}")
    wanted = list(systems)
    for name in wanted:
        if not any(_matches(figure, name) for figure in figures):
            known = list(dict.fromkeys(figure.system for figure in figures))
            raise UnknownNameError(
                f"no published figures are known of {name!r}.{nearest(name, known)} Systems: {', '.join(known)}"
            )
    return [figure for figure in figures if not wanted or any(_matches(figure, name) for name in wanted)]


def _matches(figure: Published, name: str) -> bool:
    pattern, names = name.lower(), (figure.system.lower(), figure.target.lower())
    return names[0].startswith(pattern) or any(fnmatch.fnmatchcase(text, pattern) for text in names)


def _rows(content: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(content, str | os.PathLike):
        with open(content, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return list(content)


def _whole(text: Mapping[str, str], name: str) -> int:
    try:
        return int(text[name])
    except ValueError:
        raise UsageError(f"{name} {text[name]!r} of {text['system']} {text['variant']} is not a whole number") from None


def _decimal(text: Mapping[str, str], name: str) -> Decimal | None:
    if not text.get(name):
        return None
    try:
        return Decimal(text[name])
    except InvalidOperation:
        raise UsageError(f"{name} {text[name]!r} of {text['system']} {text['variant']} is not a number") from None


def _options(text: Mapping[str, str]) -> tuple[tuple[str, Any], ...]:
    try:
        options = json.loads(text.get("options") or "{}")
    except json.JSONDecodeError:
        options = None
    if not isinstance(options, dict):
        raise UsageError(f"options {text['options']!r} of {text['system']} {text['variant']} are not a JSON object")
    return tuple(options.items())
