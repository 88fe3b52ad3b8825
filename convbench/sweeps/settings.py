"""What a study says, key by key, from flags or from a mapping, with the place it was given. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convbench.case import literal
from convbench.errors import UsageError, nearest
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


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a study. Its other spelling is that of the flag.

    field: of `Case`, for an axis of the grid; empty for a setting, which takes one value.
    """

    name: str
    singular: str
    kind: type
    field: str = ""


KEYS: tuple[Key, ...] = (
    Key("targets", "target", str, "target"),
    Key("dims", "dim", int, "dim"),
    Key("sizes", "size", int, "size"),
    Key("batches", "batch", int, "batch"),
    Key("shapes", "shape", str, "shapes"),
    Key("devices", "device", str, "device"),
    Key("dtypes", "dtype", str, "dtype"),
    Key("autocasts", "autocast", str, "autocast"),
    Key("memory_formats", "memory_format", str, "memory_format"),
    Key("modes", "mode", str, "mode"),
    Key("executions", "execution", str, "execution"),
    Key("threads", "threads", int, "threads"),
    Key("transforms", "transform", str, "transforms"),
    Key("weights", "weights", str, "weights"),
    Key("pretrained", "pretrained", bool, "pretrained"),
    Key("input_grads", "input_grad", bool, "input_grad"),
    Key("seeds", "seed", int, "seed"),
    Key("measures", "measure", str),
    Key("strict", "strict", bool),
    Key("timeout", "timeout", float),
    Key("processes", "processes", int),
    Key("max_time", "max_time", float),
    Key("rigorous", "rigorous", bool),
    Key("metric", "metric", str),
    Key("force_threads", "force_threads", bool),
)
_KEYS = {spelling: key for key in KEYS for spelling in (key.name, key.singular)}
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


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
        key = _KEYS[name]
        flag = f"--{key.singular.replace('_', '-')}" if name != "targets" else "TARGET"
        parts = given if name in ("shapes", "targets") else [part for text in given for part in text.split(",")]
        found[(key.name,)] = Given([_from_text(part.strip(), key.kind, flag) for part in parts], flag)
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
        key = _KEYS.get(name)
        if key is None:
            hint = nearest(name, [*_KEYS, "options", "grid"])
            valid = ", ".join([*(known.name for known in KEYS), "options", "grid"])
            raise UsageError(f"{place}: no study has the key {shown(name)}.{hint} Keys: {valid}")
        if key.name in seen:
            raise UsageError(f"{place}: {shown(name)} says the same as {seen[key.name]!r}: write one of them")
        seen[key.name] = name
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            raise UsageError(f"{place}: the list is empty, so there would be no case: give a value, or drop the key")
        if key.field or key.name == "measures":
            yield (key.name,), Given([_checked(item, key, place) for item in values], place)
        elif values is value:
            raise UsageError(f"{place}: takes one value, not a list")
        else:
            yield (key.name,), Given(_checked(value, key, place), place)


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


def _checked(value: Any, key: Key, place: str) -> Any:
    """``value`` if it is of the key's kind; whole numbers are a shape, texts several inputs. Raises UsageError."""
    if key.name == "shapes" and isinstance(value, list | tuple) and all(type(extent) is int for extent in value):
        return ",".join(map(str, value))
    if key.name == "shapes" and isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
        return ";".join(value)
    accepted = (int, float) if key.kind is float else key.kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and key.kind is not bool):
        raise UsageError(f"{place}: must be {_WORDS[key.kind]}, got {shown(value)}")
    return value


def _from_text(text: str, kind: type, flag: str) -> Any:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{flag}: must be true or false, got {shown(text)}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{flag}: must be {_WORDS[kind]}, got {shown(text)}") from None


def _option_values(text: str) -> list[Any]:
    """``7,11`` as two values, ``[3,5]`` as one, ``[3],[5]`` as two; words separated by commas are values as well."""
    value = literal(text)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str) and "," in text and not text.startswith(("'", '"')):
        return [literal(part.strip()) for part in text.split(",")]
    return [value]
