"""What a figure is, said once, where it is defined: records, tables, files, pages and checks read it there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, cast, get_args, get_type_hints

Role = Literal["target", "condition", "result", "origin"]
Show = Literal["text", "number", "count", "bytes", "milliseconds", "fraction"]

T = TypeVar("T")

_KEY = "convbench.column"


@dataclass(frozen=True, slots=True)
class Column:
    """title: short, without the unit. unit: of the raw number. convention: what exactly the number is.

    show: how a table for readers writes it. summary: its heading where several targets stand side by side; empty: it is
    not there. exact: whether two measurements of one case must give the same.
    role: whether it names what was measured, under which conditions, what came out, or where and when.
    name: in records, where that is not the field's. after: the name of the column that it follows in records.
    """

    title: str
    unit: str = ""
    convention: str = ""
    show: Show = "text"
    summary: str = ""
    exact: bool = False
    role: Role = "result"
    name: str = ""
    after: str = ""
    said: Callable[[Any], Any] | None = None
    """From the field's value to the record's, where they differ."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a column's value is in a result, and of which plain type it is."""

    column: Column
    path: tuple[str, ...]
    kind: type

    def read(self, result: Any) -> Any:
        """The value, as a record holds it."""
        value = result
        for name in self.path:
            value = None if value is None else getattr(value, name)
        return value if self.column.said is None else self.column.said(value)


def column(default: Any = dataclasses.MISSING, /, **described: Any) -> Any:
    """A dataclass field that is a column; see `Column` for what can be said of it."""
    return dataclasses.field(default=default, metadata={_KEY: Column(**described)})


def described(**described: Any) -> Mapping[str, Column]:
    """The metadata of a field that is a column and needs more of `dataclasses.field`."""
    return {_KEY: Column(**described)}


def within() -> Mapping[str, Any]:
    """The metadata of a field whose own fields are columns."""
    return {_KEY: None}


class derived(property):  # noqa: N801 - used as a decorator
    """A property that is a column."""

    column: Column

    def __init__(self, **described: Any) -> None:
        super().__init__()
        self.column = Column(**described)

    def __call__(self, getter: Callable[[Any], T]) -> T:
        made = derived.__new__(derived)
        property.__init__(made, getter, doc=getter.__doc__)
        made.column = self.column
        return cast(T, made)


@cache
def columns_of(kind: Any) -> Mapping[str, Place]:
    """The columns of a result dataclass by their names in records, in the order of records."""
    found = _places(kind, ())
    places = [place for place in found if not place.column.after]
    waiting = [place for place in found if place.column.after]
    while waiting:
        names = [_name(place) for place in places]
        place = next(place for place in waiting if place.column.after in names)
        waiting.remove(place)
        places.insert(names.index(place.column.after) + 1, place)
    return {_name(place): place for place in places}


def _name(place: Place) -> str:
    return place.column.name or place.path[-1]


def _places(kind: type, path: tuple[str, ...]) -> list[Place]:
    hints = get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        if _KEY not in field.metadata:
            continue
        stated = field.metadata[_KEY]
        if stated is None:
            found += _places(_present(hints[field.name]), (*path, field.name))
        else:
            found.append(Place(stated, (*path, field.name), str if stated.said else _bare(hints[field.name])))
    for owner in reversed(kind.__mro__):
        for name, value in vars(owner).items():
            if isinstance(value, derived):
                hint = get_type_hints(value.fget)["return"]
                found.append(Place(value.column, (*path, name), _bare(hint)))
    return found


def _present(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    return next(choice for choice in get_args(hint) or (hint,) if choice is not type(None))


def _bare(hint: Any) -> type:
    """``int`` of ``int | None``, ``str`` of literals."""
    first: Any = _present(hint)
    return first if first in (int, float, str) else str
