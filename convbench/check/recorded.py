"""From a record back to the case that gave it: the one place that knows where a row keeps what a case says."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from convbench.case import Case, parse_shape
from convbench.errors import UsageError
from convbench.records import Record, format_options

# Conditions without a column of their own stand among the options; each is a field of the case.
_CONDITIONS = ("autocast", "weights", "pretrained", "transforms", "input_grad", "seed")


def case_of(record: Record) -> Case:
    """The case that ``record`` says it measured: equal in every column that identifies it.

    Imports the target, to tell its options from conditions, and to leave out those that are the defaults anyway
    (a default such as an activation's class cannot be written down).
    Raises UsageError where the record does not say enough, or its target is not to be found.
    """
    stated = _options(record)
    defaults = _defaults(record.target)
    conditions = {name: stated.pop(name) for name in _CONDITIONS if name in stated and name not in defaults}
    options = {name: value for name, value in stated.items() if not _is_default(name, value, defaults)}
    if not record.input_shape:
        raise UsageError(f"{record.target}: its record has no input_shape, so the case cannot be built again")
    return Case(
        record.target,
        options=tuple(options.items()),
        shapes=tuple(parse_shape(text) for text in record.input_shape.split(";")),
        device=record.device or "cpu",
        dtype=record.dtype or "float32",
        memory_format=_choice(record.memory_format, "contiguous"),
        mode=_choice(record.mode, "inference"),
        execution=_choice(record.execution, "eager"),
        threads=record.threads or 1,
        **_case_fields(conditions),
    )


def _options(record: Record) -> dict[str, Any]:
    try:
        options = json.loads(record.options or "{}")
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UsageError(f"{record.target}: its options are not a JSON object: {record.options!r}")
    return options


def _defaults(target: str) -> Mapping[str, Any]:
    """Every named option of the target with its default, ``inspect.Parameter.empty`` where it has none."""
    from convbench.registry import resolve
    from convbench.target.references import load_factory

    reference = resolve(target)
    if reference.scheme in ("timm", "torchvision"):
        return {}
    parameters = inspect.signature(load_factory(reference)).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _is_default(name: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    default = defaults.get(name, inspect.Parameter.empty)
    return default is not inspect.Parameter.empty and json.loads(format_options({name: default})) == {name: value}


def _case_fields(conditions: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(conditions)
    if "transforms" in fields:
        fields["transforms"] = tuple(str(fields["transforms"]).split("+"))
    return fields


def _choice(value: str | None, default: str) -> Any:
    return value or default
