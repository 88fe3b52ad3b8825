"""What saved reports look like beside their records, for readers that believe nothing: see `convbench.reading`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta, Struct

from convbench.errors import UsageError
from convbench.reading import typed, writable

Scalar = str | int | float | bool | None
Positive = Annotated[float, Meta(gt=0, le=1e300)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Share = Annotated[float, Meta(ge=0, le=1e300)]
Extent = Annotated[int, Meta(ge=1, le=2**31)]
Index = Annotated[int, Meta(ge=0, le=2**31)]

_SECTION = re.compile(r"\w[\w -]{0,63}")
_OWN_KEYS = {"environment", "environments", "environment_of", "records", "command", "commands"}


class Calibration(TypedDict):
    """What a machine can do at most, as far as a roofline needs it."""

    device: str
    threads: Extent
    flops_per_s: dict[str, Positive]
    bytes_per_s: Positive


class Environment(TypedDict):
    """Of an environment record, what is read and not only shown."""

    calibrations: NotRequired[list[Calibration]]


class Whole(Struct):
    """A report in JSON. records: rows, each looked at by `convbench.reading.record_from`.

    environments, commands: of the machines of a joined report; environment_of: for each record, which of them.
    """

    records: list[Any] = []
    environment: dict[str, Any] | None = None
    environments: list[dict[str, Any] | None] | None = None
    environment_of: list[Index] = []
    commands: list[str] = []
    command: str | None = None


class Described(Struct):
    """One receptive field beside its map. offset: of the centroid from the centre, pixels."""

    target: str
    offset_y_px: Finite
    offset_x_px: Finite
    radial_distance_px: list[Share]
    radial_share: list[Share]
    receptive_field_height_px: Extent | None = None
    receptive_field_width_px: Extent | None = None
    field_source: str = "propagated"
    radial_gaussian: list[Share] = []


class Description(Struct):
    """What an .npz file says of its maps. fields: rows, each a `Described` with figures and setup."""

    fields: list[dict[str, Any]]
    command: str = ""


def environment_from(value: Mapping[str, Any] | None, place: str) -> dict[str, Any]:
    """An environment record as it is. Raises UsageError where what is read of it is not as it must be."""
    typed(value or {}, Environment, f"{place}, environment")
    return dict(value or {})


def sections_from(content: Mapping[str, Any], place: str) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The break-downs of a report: tables of text and numbers by name. Other keys are passed over.

    Raises UsageError for a name that no file can have and for a cell that is neither text nor number.
    """
    found: dict[str, Sequence[Mapping[str, Any]]] = {}
    for name, rows in content.items():
        if name in _OWN_KEYS or not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
            continue
        if not _SECTION.fullmatch(name):
            raise UsageError(f"{place}: a break-down is called by letters, digits and underscores, not {name[:60]!r}")
        told = typed(rows, list[dict[str, Scalar]], f"{place}, {name}")
        found[name] = [{writable(key): writable(value) for key, value in row.items()} for row in told]
        _require_columns_of_one_kind(found[name], f"{place}, {name}")
    return found


def _require_columns_of_one_kind(rows: Sequence[Mapping[str, Any]], place: str) -> None:
    kinds: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        for column, value in row.items():
            if value is None:
                continue
            kind = "text" if isinstance(value, str) else "yes or no" if isinstance(value, bool) else "a number"
            if kinds.setdefault(column, kind) != kind:
                raise UsageError(f"{place}, row {number}: {column} is {kind}, and {kinds[column]} in a row above")
            if isinstance(value, int) and abs(value) > 2**63 - 1:
                raise UsageError(f"{place}, row {number}: {column} is beyond the range of a 64-bit number")
