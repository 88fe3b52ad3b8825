"""Measuring a host against itself with a block in it: plugged in and measured in workers. Imports no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from convbench.case import Case
from convbench.errors import UsageError
from convbench.measures.carry_out import Interrupted, Measurer
from convbench.measures.outcome import Outcome
from convbench.measures.table import Plan
from convbench.plug.change import LayerChange, Prepared
from convbench.registry import resolve
from convbench.target.packed import Packed
from convbench.workers.codec import decode
from convbench.workers.pool import Asker, Failure


def compare_with_host(
    case: Case,
    block: str,
    options: Mapping[str, Any],
    where: str,
    after: Sequence[str],
    plan: Plan,
    measurer: Measurer,
    note: Callable[[str], None] = lambda _: None,
    found: Callable[[Sequence[LayerChange]], None] = lambda _: None,
) -> list[Outcome]:
    """The outcomes of the host and of the plugged host, timed in the same rounds; the host is the baseline.

    block, options: the block's reference and what the user gave it. found: gets the layers that were asked for, once
    the block is in. note: gets a line if the device has to be waited for.
    A host or block that ends its process is a plugged host with that problem.
    Raises UsageError, and Interrupted with what was complete.
    """
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder:
        request = {"do": "convbench.plug.job:run", "case": case.to_json(), "block": block, "options": dict(options)}
        with Asker(timeout_s=plan.timeout_s) as ask:
            answer = ask({**request, "where": where, "after": list(after), "folder": folder})
        if answer.failure is not None:
            lost = _lost(case, f"{resolve(case.target).name}+{resolve(block).name}", answer.failure)
            return [*measurer.carry_out([case], plan, note=note), lost]
        plugged = decode(Prepared, answer.value)
        found(plugged.changes)
        outcomes: list[Outcome] = []
        try:
            outcomes = measurer.carry_out([case, Packed.from_json(plugged.packed)], plan, note=note)
        except Interrupted as stop:
            outcomes = stop.outcomes
            raise
        finally:
            for outcome in outcomes[1:]:
                _name(outcome, plugged)
    return outcomes


def _lost(case: Case, name: str, failure: Failure) -> Outcome:
    """Of a plugged host that could not be made. Raises UsageError where what was asked for is wrong."""
    if failure.refused:
        raise UsageError(failure.reason)
    outcome = Outcome(replace(case, target=name))
    outcome.blame(failure.status, f"plugging in: {failure.reason}")
    return outcome


def _name(outcome: Outcome, plugged: Prepared) -> None:
    """Say in the record what the plugged module is."""
    name = f"{plugged.host}+{plugged.block}"
    outcome.case = replace(outcome.case, target=name)
    if outcome.identity is not None:
        outcome.identity = replace(outcome.identity, name=name, kind=plugged.kind, options=plugged.options)
