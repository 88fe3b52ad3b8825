"""Records: one flat row a case, made of its identity and of the columns that the measures' results say they have.

The order of columns is fixed: identity, the measures in the order of their table, the comparison, what became of it.
Names carry units; not measured is empty. Imports no torch, so that saved records can be read and rendered anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from convbench.case import CONDITIONS, STATED, Case
from convbench.column import Column, Place, column, columns_of, described
from convbench.measures.latency.result import Ratio
from convbench.measures.table import MEASURES, find
from convbench.notation import format_options, format_shapes, timestamp

if TYPE_CHECKING:
    from convbench.measures.outcome import Identity, Outcome

SCHEMA_VERSION = 1
STATUSES = ("ok", "oom", "timeout", "error", "interrupted")


@dataclass(frozen=True, slots=True)
class _Before:
    """What was measured, and under which conditions."""

    target: str = field(metadata=described(title="Target", convention="what was measured", role="target"))
    kind: str | None = column(
        None,
        title="Kind",
        convention="block (feature map in, feature map out) or network (image in)",
        role="condition",
    )
    options: str | None = column(
        None, title="Options", convention="the target's effective options, defaults included", role="target"
    )
    given: str | None = column(
        None,
        title="As given",
        convention="what was asked for beyond the columns: width, options, weights",
        role="origin",
    )
    input_shape: str | None = column(
        None,
        title="Input",
        convention="N×C×H×W; several are joined by ;, other dtypes are named",
        role="target",
    )
    device: str | None = column(
        None, title="Device", convention="where it ran; meta: nothing was computed", role="condition"
    )
    device_name: str | None = column(None, title="Device name", convention="the processor", role="condition")
    dtype: str | None = column(
        None, title="Dtype", convention="of weights and input; several are joined by +", role="condition"
    )
    memory_format: str | None = column(
        None, title="Memory format", convention="contiguous or channels_last", role="condition"
    )
    mode: str | None = column(
        None,
        title="Mode",
        convention="inference; training: forward + backward; forward: the forward half of that, with gradients",
        role="condition",
    )
    execution: str | None = column(
        None,
        title="Execution",
        convention="what ran the timed calls; cost and memory are of the module",
        role="condition",
    )
    threads: int | None = column(
        None, title="Threads", convention="CPU threads of the timed calls", show="number", role="condition"
    )


@dataclass(frozen=True, slots=True)
class _After:
    """What became of it, where and when."""

    status: str = column("ok", title="Status", convention="ok, oom, timeout, error or interrupted")
    error: str | None = column(None, title="Error", convention="why the status is not ok")
    notes: str | None = column(
        None, title="Notes", convention="what a reader of the figures must know; several are joined by ;"
    )
    schema_version: int = column(
        SCHEMA_VERSION, title="Schema", convention="version of the record's columns", role="origin"
    )
    convbench_version: str | None = column(None, title="convbench", convention="version that measured", role="origin")
    torch_version: str | None = column(None, title="torch", convention="version that ran", role="origin")
    created_at: str | None = column(None, title="Measured at", convention="UTC", role="origin")


@dataclass(frozen=True, slots=True)
class _Comparison:
    baseline: str | None = column(None, title="Baseline", convention="the target that the ratio refers to")


RESULTS: Mapping[str, type] = {name: find(row.result) for name, row in MEASURES.items()}
"""The result dataclass of each measure."""
_PLACES: Mapping[str, Place] = {
    name: place
    for kind in (_Before, *RESULTS.values(), _Comparison, Ratio, _After)
    for name, place in columns_of(kind).items()
}
DESCRIPTIONS: Mapping[str, Column] = {name: place.column for name, place in _PLACES.items()}
"""What each column of a record means to a reader, in the order of columns."""
COLUMNS: tuple[str, ...] = tuple(_PLACES)
EXACT: Mapping[str, tuple[str, ...]] = {
    measure: exact
    for measure, kind in RESULTS.items()
    if (exact := tuple(name for name, place in columns_of(kind).items() if place.column.exact))
}
"""The columns that two measurements of one case must agree in, by the measure that fills them."""

if TYPE_CHECKING:

    @dataclass(frozen=True)
    class Record(_Before):
        """What one case gave: a field a column, None where it was not measured. See `DESCRIPTIONS`."""

        status: str = "ok"
        error: str | None = None
        notes: str | None = None
        created_at: str | None = None

        def __init__(self, target: str, **columns: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def to_row(self) -> dict[str, Any]:
            """The record as a mapping, in column order."""
            ...

        @classmethod
        def from_row(cls, row: Mapping[str, Any]) -> Record:
            """The record that `to_row` described; columns of other schema versions are ignored."""
            ...

        def to_frame(self) -> Any:
            """The record as a pandas DataFrame of one row."""
            ...

        def plot(self, columns: Sequence[str] | None = None) -> Any:
            """Bars of some columns, as a matplotlib figure."""
            ...

else:

    class _Rows:
        """Records as rows of plain values."""

        __slots__ = ()

        def to_row(self) -> dict[str, Any]:
            """The record as a mapping, in column order."""
            return {name: getattr(self, name) for name in COLUMNS}

        @classmethod
        def from_row(cls, row: Mapping[str, Any]) -> Record:
            """The record that `to_row` described; columns of other schema versions are ignored."""
            return cls(**{name: row[name] for name in COLUMNS if name in row})

        def to_frame(self) -> Any:
            """The record as a pandas DataFrame of one row."""
            return find("convbench.comparison:to_frame")([self])

        def plot(self, columns: Sequence[str] | None = None) -> Any:
            """Bars of some columns, as a matplotlib figure."""
            return find("convbench.report.notebook:records_figure")([self], columns)

        def __repr__(self) -> str:
            text: str = find("convbench.report.notebook:record_text")(self)
            return text

        def _repr_html_(self) -> str:
            text: str = find("convbench.report.notebook:record_html")(self)
            return text

    _DEFAULTS = {item.name: item.default for kind in (_Before, _After) for item in dataclasses.fields(kind)}
    Record = dataclasses.make_dataclass(
        "Record",
        [
            ("target", str),
            *(
                (name, place.kind | None, dataclasses.field(default=_DEFAULTS.get(name)))
                for name, place in _PLACES.items()
                if name != "target"
            ),
        ],
        bases=(_Rows,),
        frozen=True,
        slots=True,
        repr=False,
    )
    Record.__module__ = __name__


def column_types() -> dict[str, type]:
    """The type of each column's values, ``None`` aside: str, int or float."""
    return {name: place.kind for name, place in _PLACES.items()}


def record_of(outcome: Outcome) -> Record:
    """The flat row of what measuring a case gave; what was not measured stays empty."""
    from convbench.version import __version__

    case, identity = outcome.case, outcome.identity
    values: dict[str, Any] = {
        "options": format_options(dict(case.options)),
        "input_shape": format_shapes(case.shapes) or None,
        "dtype": case.dtype,
        **{name: getattr(case, name) for name, condition in CONDITIONS.items() if condition.column == name},
        "given": case.given,
        "convbench_version": __version__,
        "torch_version": version("torch"),
        "created_at": timestamp(),
        "baseline": outcome.baseline,
    }
    if identity is not None:
        values |= {
            "kind": identity.kind,
            "options": format_options(_stated_options(case, identity)),
            "input_shape": identity.inputs,
            "device_name": identity.device_name,
            "torch_version": identity.torch_version,
            "dtype": identity.dtype,
        }
    results: list[Any] = [*outcome.results.values(), outcome.ratio]
    for result in results:
        if result is not None:
            kind: Any = type(result)
            values |= {name: place.read(result) for name, place in columns_of(kind).items()}
    values["notes"] = "; ".join(outcome.remarks) or None
    if outcome.problem is not None:
        values["status"], values["error"] = outcome.problem
    return Record(**values)


def _stated_options(case: Case, identity: Identity) -> dict[str, Any]:
    """The target's options, and those conditions that have no column of their own."""
    told = {**{name: getattr(case, name) for name in STATED}, "input_grad": identity.input_grad}
    said = {name: value for name, value in told.items() if value != CONDITIONS[name].default}
    return {**identity.options, **{name: "+".join(v) if isinstance(v, tuple) else v for name, v in said.items()}}
