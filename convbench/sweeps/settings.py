"""What a study says, key by key, from flags or from a mapping, with the place it was given. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convbench.case import CONDITIONS
from convbench.condition import Condition
from convbench.errors import UsageError, nearest, placed
from convbench.measures.table import MEASURES, USUAL
from convbench.notation import literal
from convbench.reading import shown

KeyPath = tuple[str, ...]
Place = tuple[str | int, ...]
Where = Callable[[Place], str]


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it was given, as an error message names it: ``study.toml, line 3, dims``.

    by_data: whether a file says so, which others may have written.
    """

    value: Any
    where: str
    by_data: bool = False


Settings = Mapping[KeyPath, Given]
"""What was given, by key: ``("dims",)``, ``("options", "bias")``, ``("options", "PyConv", "kernels")``."""


AXES = (
    *(stated for stated in CONDITIONS.values() if stated.plural),
    Condition(f"{', '.join(MEASURES)}.", ", ".join(USUAL), name="measures", singular="measure", plural="measures"),
)
"""Keys that take a value or a list of values; but for the measures, conditions of a case."""
SETTINGS = tuple(
    Condition(said, usual, name=name, singular=name, plural=name, kind=kind, default=False if kind is bool else None)
    for name, kind, said, usual in (
        ("strict", bool, "A case with an uncounted operator fails.", ""),
        ("processes", int, "Measuring processes a case.", "3"),
        ("max_time", float, "Seconds of timing a case and process.", ""),
        ("rigorous", bool, "Eight processes and tighter intervals.", ""),
        ("metric", str, "time, or instructions.", "time"),
        ("timeout", float, "Seconds after which a case is given up.", "1800"),
        ("force_threads", bool, "Time although more threads are asked for than cores are idle.", ""),
    )
)
"""Keys that take one value."""
KEYS = {spelling: key for key in (*AXES, *SETTINGS) for spelling in (key.plural, key.singular)}
"""Every key of a study, by both its spellings."""


def settings_from(content: Mapping[str, Any], where: Where) -> list[Settings]:
    """The grids of a mapping with the keys of a study file; ``where`` names the place of a key.

    Raises UsageError for a key that no study has, and for a value of the wrong kind.
    """
    common = dict(_flatten({key: value for key, value in content.items() if key != "grid"}, where))
    grids = content.get("grid", [{}])
    if isinstance(grids, Mapping):
        grids = [grids]
    if not isinstance(grids, list) or not grids or not all(isinstance(grid, Mapping) for grid in grids):
        raise UsageError(f"{where(('grid',))}: write [[grid]] once for every grid, followed by its keys")
    return [
        {**common, **dict(_flatten(grid, lambda path, index=index: where(("grid", index, *path))))}  # type: ignore[misc]
        for index, grid in enumerate(grids)
    ]


def settings_from_flags(texts: Mapping[str, Sequence[str]], options: Sequence[str]) -> Settings:
    """Flags as typed: ``{"dims": ["32,64"]}`` and ``["kernel_size=7,11"]``, values separated by commas.

    Raises UsageError naming the flag.
    """
    found: dict[KeyPath, Given] = {}
    for name, given in texts.items():
        key = KEYS[name]
        parts = given if name in ("shapes", "targets") else [part for text in given for part in text.split(",")]
        found[(name,)] = Given([placed(key.flag, key.parse, part.strip()) for part in parts], key.flag)
    for pair in options:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"-p {shown(pair)}: write key=value, such as -p kernel_size=7,11 or -p kernels=[3,5]")
        path = ("options", name.strip())
        before = found[path].value if path in found else []
        found[path] = Given([*before, *_option_values(text.strip())], f"-p {name.strip()}")
    return found


def _flatten(content: Mapping[str, Any], where: Where) -> Iterator[tuple[KeyPath, Given]]:
    seen: dict[str, str] = {}
    for name, value in content.items():
        place = where((name,))
        if name == "options":
            yield from _flatten_options(value, where)
            continue
        key = KEYS.get(name)
        if key is None:
            hint = nearest(name, [*KEYS, "options", "grid"])
            valid = ", ".join([*(known.plural for known in (*AXES, *SETTINGS)), "options", "grid"])
            raise UsageError(f"{place}: no study has the key {shown(name)}.{hint or f' Keys: {valid}'}")
        if key.plural in seen:
            raise UsageError(f"{place}: {shown(name)} says the same as {seen[key.plural]!r}: write one of them")
        seen[key.plural] = name
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            raise UsageError(f"{place}: the list is empty, so there would be no case: give a value, or drop the key")
        if key in SETTINGS and values is value:
            raise UsageError(f"{place}: takes one value, not a list")
        found = [placed(place, key.read, item) for item in values]
        yield (key.plural,), Given(found[0] if key in SETTINGS else found, place)


def _flatten_options(content: Any, where: Where) -> Iterator[tuple[KeyPath, Given]]:
    if not isinstance(content, Mapping):
        raise UsageError(f"{where(('options',))}: write a table, such as [options] and then kernel_size = [7, 11]")
    for name, value in content.items():
        rows = value.items() if isinstance(value, Mapping) else [(None, value)]
        for option, values in rows:
            path = (name,) if option is None else (name, option)
            place = where(("options", *path))
            if isinstance(values, Mapping):
                raise UsageError(f"{place}: an option takes a value or a list of values, not a table")
            values = values if isinstance(values, list | tuple) else [values]
            if not values:
                raise UsageError(f"{place}: the list is empty; a value that is an empty list is written [[]]")
            yield ("options", *path), Given(values, place)


def _option_values(text: str) -> list[Any]:
    """``7,11`` as two values, ``[3,5]`` as one, ``[3],[5]`` as two; words separated by commas are values as well."""
    value = literal(text)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str) and "," in text and not text.startswith(("'", '"')):
        return [literal(part.strip()) for part in text.split(",")]
    return [value]
