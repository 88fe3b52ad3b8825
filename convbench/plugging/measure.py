"""Measuring a host against itself with blocks in it: plugged in and measured in workers. Imports no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convbench.case import Case
from convbench.errors import UsageError
from convbench.measures.carry_out import Interrupted, Measurer
from convbench.measures.outcome import Outcome
from convbench.measures.table import Plan
from convbench.plugging.change import Prepared
from convbench.reference import labels
from convbench.registry import resolve
from convbench.target.packed import Packed
from convbench.workers.codec import decode
from convbench.workers.pool import Answer, Asker, Failure


@dataclass(frozen=True, slots=True)
class Order:
    """What to plug into the host of ``case``, and where; each block by itself.

    blocks: of which only the target and its options count. where, after: see `plug_into`.
    also: ``code``, ``weights``, where these are wanted.
    """

    case: Case
    blocks: Sequence[Case]
    where: str = "3x3"
    after: Sequence[str] = ()
    also: Collection[str] = ()

    def requests(self, folder: Path) -> list[dict[str, Any]]:
        """What workers are asked, one block each."""
        return [
            {
                "do": "convbench.plugging.job:run",
                "case": self.case.to_json(),
                "block": block.target,
                "options": dict(block.options),
                "where": self.where,
                "after": list(self.after),
                "folder": str(folder / str(index)),
                **dict.fromkeys(self.also, True),
            }
            for index, block in enumerate(self.blocks)
        ]


def compare_with_host(
    order: Order,
    plan: Plan,
    measurer: Measurer,
    note: Callable[[str], None] = lambda _: None,
    found: Callable[[Prepared], None] = lambda _: None,
) -> list[Outcome]:
    """The outcomes of the host and of each plugged host, timed in the same rounds; the host is the baseline.

    found: gets each plugged host once the block is in. note: gets a line if the device has to be waited for.
    A host or block that ends its process, and of several blocks one that fits nowhere, is a plugged host with that
    problem. Raises UsageError where no block can be plugged in, and Interrupted with what was complete.
    """
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder:
        with Asker(timeout_s=plan.timeout_s) as ask:
            answers = [ask(request) for request in order.requests(Path(folder))]
        refused = [answer.failure for answer in answers if answer.failure is not None and answer.failure.refused]
        if len(refused) == len(answers):
            raise UsageError(refused[0].reason)
        names = labels(order.blocks, [resolve(block.target).name for block in order.blocks])
        prepared = [
            replace(decode(Prepared, answer.value), block=name)
            for name, answer in zip(names, answers, strict=True)
            if answer.failure is None
        ]
        for one in prepared:
            found(one)
        outcomes: list[Outcome] = []
        try:
            plugged = [Packed.from_json(one.packed) for one in prepared]
            outcomes = measurer.carry_out([order.case, *plugged], plan, note=note)
        except Interrupted as stop:
            outcomes = stop.outcomes
            raise
        finally:
            for outcome, one in zip(outcomes[1:], prepared, strict=False):
                _name(outcome, one)
        measured = iter(outcomes[1:])
        return [outcomes[0], *(_lost(order.case, answer) or next(measured) for answer in answers)]


def _lost(case: Case, answer: Answer) -> Outcome | None:
    """Of a plugged host that could not be made."""
    failure: Failure | None = answer.failure
    if failure is None:
        return None
    outcome = Outcome(replace(case, target=f"{resolve(case.target).name}+{resolve(answer.request['block']).name}"))
    outcome.blame(failure.status, f"plugging in: {failure.reason}")
    return outcome


def _name(outcome: Outcome, plugged: Prepared) -> None:
    """Say in the record what the plugged module is."""
    outcome.case, outcome.label = replace(outcome.case, target=plugged.name), plugged.name
    if outcome.identity is not None:
        outcome.identity = replace(outcome.identity, name=plugged.name, kind=plugged.kind, options=plugged.options)
