"""From a record back to the case that gave it: the one place that knows where a row keeps what a case says."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from convbench.case import CONDITIONS, DTYPES, GIVEN, STATED, Case
from convbench.errors import UsageError, nearest
from convbench.inputs import read_inputs
from convbench.notation import format_options
from convbench.reading import parse_json, shown, typed
from convbench.records import Record
from convbench.registry import resolve
from convbench.sweeps.vetting import LOOK_LIMIT_S
from convbench.target.vetting import refuse_by_sight, require_module
from convbench.workers.pool import ask_each

JOB = "convbench.check.recorded:run"


def cases_of(named: Sequence[tuple[str, Record]], *, trust: bool = False) -> list[Case]:
    """The case of each record, which comes with its place in a file; targets are imported in a worker.

    trust: whether a record may name what is not known to be a module; see `convbench.target.vetting`.
    Raises UsageError naming the place, before anything is imported where that can be told by sight.
    """
    for place, record in named:
        try:
            stated = case_of(record, {})
            if not trust:
                refuse_by_sight(stated)
        except UsageError as error:
            raise type(error)(f"{place}: {error}") from error
    found = []
    requests = [{"do": JOB, "record": record.to_row(), "trust": trust} for _, record in named]
    for (place, _), answer in zip(named, ask_each(requests, timeout_s=LOOK_LIMIT_S), strict=True):
        if answer.failure is not None:
            raise UsageError(f"{place}: {answer.failure.reason}")
        found.append(Case.from_json(answer.value))
    return found


def run(request: Mapping[str, Any], send: object) -> dict[str, Any]:
    """A worker's job: the case of ``request["record"]``, in JSON. Raises UsageError also for a device not here."""
    from convbench.execution.device import require_device

    record = Record.from_row(request["record"])
    if not request["trust"]:
        require_module(record.target)
    case = case_of(record, {} if record.given is not None else _defaults(record.target))
    require_device(case.device)
    return case.to_json()


def case_of(record: Record, defaults: Mapping[str, Any]) -> Case:
    """The case that ``record`` says it measured: as it was given, or equal in every column that identifies it.

    defaults: of the target's named options. Where a record does not say what was given, they tell options from
    conditions; those that are the defaults anyway are left out (an activation's class cannot be written down).
    Raises UsageError where the record does not say enough.
    """
    if not record.input_shape:
        raise UsageError(f"{record.target}: its record has no input_shape, so the case cannot be built again")
    named = [name for name, condition in CONDITIONS.items() if condition.column == name]
    # Several dtypes, or a complex one, are the module's own: no case can ask for them.
    asked = {"dtype": record.dtype} if record.given is None and record.dtype in DTYPES else {}
    return Case.from_json(
        {
            "shapes": [given if isinstance(given, str) else list(given) for given in read_inputs(record.input_shape)],
            **asked,
            **{name: value for name in named if (value := getattr(record, name)) is not None},
            **(_effective(record, defaults) if record.given is None else _given(record)),
        }
    )


def _given(record: Record) -> dict[str, Any]:
    place = f"{record.target}, given"
    given = typed(parse_json(record.given or "{}", place), dict[str, Any], place)
    for name in given:
        if name not in GIVEN:
            raise UsageError(f"{place}: {shown(name)} is not one of {', '.join(GIVEN)}.{nearest(name, GIVEN)}")
    return given


def _effective(record: Record, defaults: Mapping[str, Any]) -> dict[str, Any]:
    stated = _options(record)
    fields = {name: stated.pop(name) for name in STATED if name in stated and name not in defaults}
    if "transforms" in fields:
        fields["transforms"] = str(fields["transforms"]).split("+")
    return {**fields, "options": {k: value for k, value in stated.items() if not _is_default(k, value, defaults)}}


def _options(record: Record) -> dict[str, Any]:
    options = parse_json(record.options or "{}", f"{record.target}, options")
    if not isinstance(options, dict):
        raise UsageError(f"{record.target}: its options are not a JSON object: {record.options!r}")
    return options


def _defaults(target: str) -> Mapping[str, Any]:
    """Every named option of the target with its default, ``inspect.Parameter.empty`` where it has none."""
    from convbench.target.references import load_factory

    reference = resolve(target)
    if reference.scheme in ("timm", "torchvision"):
        return {}
    parameters = inspect.signature(load_factory(reference)).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _is_default(name: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    default = defaults.get(name, inspect.Parameter.empty)
    return default is not inspect.Parameter.empty and json.loads(format_options({name: default})) == {name: value}
