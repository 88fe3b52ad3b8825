"""What a table, a plot or a page calls each of its records: the target, and whatever sets it apart from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from convbench.case import CONDITIONS, GIVEN, Case
from convbench.errors import UsageError
from convbench.inputs import read_inputs
from convbench.reading import parse_json
from convbench.records import Record
from convbench.reference import labels, short


def row_labels(records: Sequence[Record]) -> list[str]:
    """A label of each record among the others; its input is told where nothing else sets two apart."""
    cases = [_case(record) for record in records]
    plain = short(cases)
    inputs: dict[str, set[str | None]] = {}
    for label, record in zip(plain, records, strict=True):
        inputs.setdefault(label, set()).add(record.input_shape)
    return labels(
        [
            _with_input(case, record) if len(inputs[label]) > 1 else case
            for case, record, label in zip(cases, records, plain, strict=True)
        ]
    )


def _case(record: Record) -> Case:
    """What the record says was asked for, but for the input; its target alone where that is no case."""
    row: dict[str, Any] = {
        name: value
        for name, stated in CONDITIONS.items()
        if stated.column == name and (value := getattr(record, name)) is not None
    }
    try:
        given = parse_json(record.given or "{}", "given")
        return Case.from_json({**row, **{name: given[name] for name in GIVEN if name in given}})
    except (UsageError, TypeError):
        return Case(record.target)


def _with_input(case: Case, record: Record) -> Case:
    try:
        return replace(case, shapes=read_inputs(record.input_shape or ""))
    except UsageError:
        return case
