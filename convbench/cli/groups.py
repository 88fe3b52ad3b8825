"""Several batches, thread counts or executions in one ``compare``: what is timed beside what, and held against what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

from convbench.case import CONDITIONS, Case
from convbench.cli.options import key_flags
from convbench.errors import UsageError, placed
from convbench.reference import baseline_index

if TYPE_CHECKING:
    from convbench.measures.carry_out import Measurer
    from convbench.measures.outcome import Outcome
    from convbench.measures.table import Plan

VARYING = ("batch", "threads", "execution")
GridFlags = Annotated[Mapping[str, Sequence[str]], key_flags([CONDITIONS[name] for name in VARYING], several=True)]


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that are timed in the same rounds; baseline: the index of the one that ratios refer to."""

    cases: tuple[Case, ...]
    baseline: int


def read_grid(texts: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
    """The values of each condition that varies: ``{"batches": ["1,8"]}`` as ``{"batch": [1, 8]}``.

    Raises UsageError.
    """
    found: dict[str, list[Any]] = {}
    for name in VARYING:
        key = CONDITIONS[name]
        parts = [part.strip() for text in texts.get(key.plural, ()) for part in text.split(",")]
        values = [placed(key.flag, key.parse, part) for part in parts]
        if values:
            found[name] = list(dict.fromkeys(values))
    return found


def groups_of(cases: Sequence[Case], grid: Mapping[str, Sequence[Any]], baseline: str | None) -> list[Group]:
    """What is timed beside what.

    One group for each batch and thread count, since both change what everything takes. The executions of a target are a
    group of their own, held against the first of them, unless a baseline is named: then all targets are one.
    Raises UsageError.
    """
    found: list[Group] = []
    for values in product(*(grid.get(name, (None,)) for name in ("batch", "threads"))):
        own = {name: value for name, value in zip(("batch", "threads"), values, strict=True) if value is not None}
        conditioned = [replace(case, **own) for case in cases]
        if "execution" not in grid:
            found.append(Group(tuple(conditioned), baseline_index(conditioned, baseline)))
            continue
        each = [tuple(replace(case, execution=one) for one in grid["execution"]) for case in conditioned]
        if baseline is None:
            found += [Group(executions, 0) for executions in each]
        else:
            together = tuple(case for executions in each for case in executions)
            found.append(Group(together, baseline_index(together, baseline)))
    return found


def carry_out_groups(
    measurer: Measurer, groups: Sequence[Group], plan: Plan, note: Callable[[str], None]
) -> list[Outcome]:
    """Outcomes of all groups, one after another; a group that cannot be measured is outcomes that say why.

    Raises UsageError where that is so of the first, and Interrupted with what was complete.
    """
    from convbench.measures.carry_out import Interrupted
    from convbench.measures.outcome import Outcome

    done: list[Outcome] = []
    for group in groups:
        try:
            done += measurer.carry_out(group.cases, plan, group.baseline, note)
        except Interrupted as stop:
            raise Interrupted([*done, *stop.outcomes]) from None
        except UsageError as error:
            if not done:
                raise
            refused = [Outcome(case) for case in group.cases]
            for outcome in refused:
                outcome.fail("latency", error)
            done += refused
    return done
