"""What a condition of a case says of itself: its flags, its keys in studies, what it may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from convbench.errors import UsageError, nearest
from convbench.reading import shown

_KEY = "convbench.condition"
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a case, as the command line, studies and records need to know it.

    help, metavar: of its flag. usual: what holds where nothing is given, if the default does not say it.
    flags: where they are not ``--singular``; switches: flags that take no value, since they say one, with their help.
    singular, plural: its keys in studies; the field's name is the singular unless given.
    choices: those that a plain value has. column: of a record, that says it; else ``given`` says it there.
    reader: from text, or the plain value of a file, of what is no plain value. checker: raises UsageError.
    """

    help: str = ""
    usual: str = ""
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    switches: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    singular: str = ""
    plural: str = ""
    choices: tuple[str, ...] = ()
    column: str = ""
    reader: Callable[[Any], Any] | None = None
    checker: Callable[[str, Any], None] | None = None
    name: str = ""
    kind: Any = str
    default: Any = None

    @property
    def flag(self) -> str:
        """The flag, as messages name it."""
        return self.flags[0] if self.flags else f"--{self.singular.replace('_', '-')}"

    def parse(self, text: str) -> Any:
        """The value that ``text`` says, of a flag for one. Raises UsageError."""
        return self.read(text if self.reader is not None else from_text(text, self.kind))

    def read(self, value: Any) -> Any:
        """A value of a file as the case holds it. Raises UsageError naming the value and the rule."""
        if self.reader is not None:
            value = self.reader(value)
        elif self.default is None and self.kind is str and value in ("", "none"):
            return None
        else:
            value = of_kind(value, self.kind)
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise UsageError for what no case may have."""
        if value is None and self.default is None:
            return
        if self.checker is not None:
            self.checker(self.name, value)
        elif self.choices and value not in self.choices:
            hint = nearest(str(value), self.choices)
            raise UsageError(f"{self.name} {shown(value)} is not one of {', '.join(self.choices)}.{hint}")


def condition(default: Any, help: str = "", usual: str = "", **described: Any) -> Any:
    """A dataclass field that is a condition; see `Condition` for what can be said of it."""
    return field(default=default, metadata={_KEY: Condition(help, usual, **described)})


def conditions_of(case: type) -> dict[str, Condition]:
    """What each field of a case says of itself, in order; its name, kind and choices are the field's own."""
    found, hints = {}, get_type_hints(case)
    for item in fields(case):
        stated = item.metadata.get(_KEY, Condition())
        kind, *_ = parts if NoneType in (parts := get_args(hints[item.name])) else (hints[item.name],)
        found[item.name] = replace(
            stated,
            name=item.name,
            singular=stated.singular or item.name,
            choices=stated.choices or (get_args(kind) if get_origin(kind) is Literal else ()),
            kind=kind if kind in _WORDS else str,
            default=None if item.default is MISSING else item.default,
        )
    return found


def of_kind(value: Any, kind: type) -> Any:
    """``value`` if it is of that kind; whole numbers are numbers as well. Raises UsageError."""
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"must be {_WORDS[kind]}, got {shown(value)}")
    return value


def from_text(text: str, kind: type) -> Any:
    """What ``text`` says, as a value of that kind. Raises UsageError."""
    words = {"true": True, "false": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UsageError(f"must be {_WORDS[kind]}, got {shown(text)}") from None
