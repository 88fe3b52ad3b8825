"""Which block to put into a host: those that fit into it and into a budget, by what they cost and how far they see.

Counted first, without computing; only what is within the budget by then is timed, in the same rounds. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from convbench.case import Case
from convbench.errors import UsageError
from convbench.measures.carry_out import Measurer
from convbench.measures.outcome import Outcome
from convbench.measures.table import Plan
from convbench.plugging.change import Prepared
from convbench.plugging.measure import Order, compare_with_host
from convbench.reading import shown
from convbench.records import Record, record_of
from convbench.reference import labels
from convbench.registry import resolve

Cost = Literal["latency", "macs"]
_COLUMNS = {"params": "params", "macs": "macs", "memory": "peak_bytes"}
_TIMED = ("latency", "latency_ms")
_WORDS = {"params": "parameters", "macs": "MACs", "memory": "peak memory", "latency": "latency"}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a plugged host may have of each, as a multiple of the host's own; None: any.

    Raises UsageError for what is no positive number.
    """

    params: float | None = None
    macs: float | None = None
    memory: float | None = None
    latency: float | None = None

    def __post_init__(self) -> None:
        for name in (*_COLUMNS, "latency"):
            most = getattr(self, name)
            if most is not None and not 0 < most < math.inf:
                raise UsageError(f"--max-{name} is a multiple of the host's own, and positive; got {shown(most)}")

    def broken_by(self, ratios: Ratios) -> str | None:
        """The first limit that is exceeded, in words."""
        for name in (*_COLUMNS, "latency"):
            most, found = getattr(self, name), getattr(ratios, name)
            if most is not None and found is not None and found > most:
                return f"{_WORDS[name]} ×{found:.3f}, over the budget of ×{most:g}"
        return None


@dataclass(frozen=True, slots=True)
class Ratios:
    """Of a plugged host to the host itself; None is not measured."""

    params: float | None = None
    macs: float | None = None
    memory: float | None = None
    latency: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One block in the host, or the host alone.

    changed, asked: layers that it is in, and that were asked for. sigma: of the effective receptive field, pixels.
    is_best: whether no other candidate within the budget costs less and sees further, or one of them at the same of the
    other. why: what speaks against it where it is left out.
    """

    block: str
    changed: int = 0
    asked: int = 0
    ratios: Ratios = Ratios()
    sigma: float | None = None
    is_best: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidates, the best first and each group by cost; the outcomes behind them; by: what counts as cost."""

    candidates: tuple[Candidate, ...]
    outcomes: list[Outcome]
    by: Cost


def choose(
    order: Order,
    budget: Budget,
    plan: Plan,
    measurer: Measurer,
    by: Cost = "latency",
    note: Callable[[str], None] = lambda _: None,
) -> Choice:
    """Try the blocks of ``order`` in its host: count all, measure what is within ``budget``, and judge.

    plan: of what is measured; its measures are chosen here. Raises UsageError where no block fits into the host, and
    Interrupted with what was complete.
    """
    counted = _Round(order, budget, plan, ("params", "cost", "memory") if budget.memory else ("params", "cost"))
    counted.run_without_data(measurer, note)
    left = counted.within()
    if not left:
        return Choice(counted.candidates(), counted.outcomes, by)
    measures = (*counted.measures, "erf", *(("latency",) if by == "latency" else ()))
    measured = _Round(replace(order, blocks=left), budget, plan, measures)
    measured.run(measurer, note)
    judged = _judged(measured.candidates(host=True), by)
    out = [candidate for candidate in counted.candidates() if candidate.why]
    return Choice((*judged, *out), measured.outcomes, by)


class _Round:
    """The blocks of an order in the host, measured once."""

    def __init__(self, order: Order, budget: Budget, plan: Plan, measures: tuple[str, ...]) -> None:
        self.measures = measures
        self.outcomes: list[Outcome] = []
        self._order = order
        self._budget = budget
        self._plan = replace(plan, measures=measures)
        self._prepared: dict[str, Prepared] = {}

    def run_without_data(self, measurer: Measurer, note: Callable[[str], None]) -> None:
        """On meta; where the host cannot be run there, on its own device."""
        whole, self._order = self._order, replace(self._order, case=replace(self._order.case, device="meta"))
        try:
            self.run(measurer, note)
        except UsageError:
            self._order = whole
            self.run(measurer, note)

    def run(self, measurer: Measurer, note: Callable[[str], None]) -> None:
        def hear(prepared: Prepared) -> None:
            self._prepared[prepared.block] = prepared

        self._prepared.clear()
        self.outcomes = compare_with_host(self._order, self._plan, measurer, note, hear)

    def within(self) -> list[Case]:
        """The blocks that were measured and keep the budget."""
        pairs = zip(self._order.blocks, self.candidates(), strict=True)
        return [block for block, candidate in pairs if not candidate.why]

    def candidates(self, *, host: bool = False) -> tuple[Candidate, ...]:
        records = [record_of(outcome) for outcome in self.outcomes]
        names = labels(self._order.blocks, [resolve(block.target).name for block in self._order.blocks])
        blocks = zip(names, self.outcomes[1:], records[1:], strict=False)
        found = [self._candidate(name, outcome, records[0], record) for name, outcome, record in blocks]
        own = {name: 1.0 for name, column in (*_COLUMNS.items(), _TIMED) if getattr(records[0], column) is not None}
        alone = Candidate("(the host alone)", ratios=Ratios(**own), sigma=records[0].erf_sigma)
        return (*((alone,) if host else ()), *found)

    def _candidate(self, name: str, outcome: Outcome, host: Record, record: Record) -> Candidate:
        ratios = Ratios(
            **{key: _ratio(getattr(record, column), getattr(host, column)) for key, column in _COLUMNS.items()},
            latency=record.ratio,
        )
        changes = self._prepared[name].changes if name in self._prepared else ()
        problem = outcome.problem[1].removeprefix("plugging in: ") if outcome.problem is not None else ""
        why = self._budget.broken_by(ratios) or problem
        if not why and "erf" in self.measures and record.erf_sigma is None:
            why = "; ".join(outcome.remarks) or "its receptive field could not be measured"
        changed = sum(change.changed for change in changes)
        return Candidate(name, changed, len(changes), ratios, record.erf_sigma, why=why)


def _ratio(after: float | None, before: float | None) -> float | None:
    return after / before if before and after is not None else None


def _judged(candidates: Sequence[Candidate], by: Cost) -> tuple[Candidate, ...]:
    """Each with whether it is best; the best first, and each group by its cost."""

    def cost(candidate: Candidate) -> float:
        found = getattr(candidate.ratios, by)
        return math.inf if found is None else found

    able = [candidate for candidate in candidates if not candidate.why and candidate.sigma is not None]

    def is_beaten(candidate: Candidate) -> Candidate | None:
        own = (cost(candidate), -(candidate.sigma or 0.0))
        others = ((cost(other), -(other.sigma or 0.0), other) for other in able if other is not candidate)
        return next((o for c, s, o in others if c <= own[0] and s <= own[1] and (c, s) != own), None)

    judged = []
    for candidate in candidates:
        if candidate.why or candidate.sigma is None:
            judged.append(candidate)
            continue
        better = is_beaten(candidate)
        why = "" if better is None else f"{better.block} costs no more and sees no less"
        judged.append(replace(candidate, is_best=better is None, why=why))
    return tuple(sorted(judged, key=lambda one: (not one.is_best, cost(one))))
