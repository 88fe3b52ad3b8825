"""Measuring a host against itself with a block in it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cloudpickle

from convbench.case import Case
from convbench.execution.device import require_device
from convbench.execution.guard import seeded
from convbench.measures.carry_out import Interrupted, Measurer
from convbench.measures.outcome import Outcome
from convbench.measures.table import Plan
from convbench.plug.block import Block
from convbench.plug.change import Plugged
from convbench.plug.insert import insert_after
from convbench.plug.replace import replace_convs
from convbench.registry import resolve
from convbench.target.blueprint import Blueprint, blueprint
from convbench.target.packed import pack_instance


def plug_into(case: Case, block: Block, where: str, after: Sequence[str]) -> Plugged:
    """The host of ``case`` with the block in its convs' place that match ``where``, or after the stages ``after``.

    In eval mode on the case's device; equal seeds give equal modules. Raises UsageError.
    """
    require_device(case.device)
    design = blueprint(case)
    host, args = design.module().eval(), design.args()
    with seeded(case.seed, case.device):
        return insert_after(host, args, block, after) if after else replace_convs(host, args, block, where)


def compare_with_host(case: Case, block: Block, plugged: Plugged, plan: Plan, measurer: Measurer) -> list[Outcome]:
    """The outcomes of the host and of the plugged host, timed in the same rounds; the host is the baseline.

    Raises UsageError, and Interrupted with what was complete.
    """
    design = blueprint(case)
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder, _taken_along(case.target, block.reference):
        packed = pack_instance(plugged.module, _plugged_case(case, design), Path(folder))
        outcomes: list[Outcome] = []
        try:
            outcomes = measurer.carry_out([case, packed], plan)
        except Interrupted as stop:
            outcomes = stop.outcomes
            raise
        finally:
            for outcome in outcomes[1:]:
                _name(outcome, design, block)
    return outcomes


def _plugged_case(case: Case, design: Blueprint) -> Case:
    """The host's conditions for the plugged module, which has the host's options and weights in it already."""
    return replace(
        case,
        dim=None,
        options=(),
        weights=None,
        pretrained=False,
        transforms=(),
        shapes=design.shapes(),
        batch=1,
        size=None,
        input_grad=design.kind == "block" if case.input_grad is None else case.input_grad,
    )


def _name(outcome: Outcome, design: Blueprint, block: Block) -> None:
    """Say in the record what the plugged module is."""
    name = f"{design.name}+{block.name}"
    outcome.case = replace(outcome.case, target=name)
    if outcome.identity is not None:
        options = {**design.options, "plugged": {block.name: dict(block.options)}}
        outcome.identity = replace(outcome.identity, name=name, kind=design.kind, options=options)


@contextmanager
def _taken_along(*references: str) -> Iterator[None]:
    """Pickle the classes of users' files by value: no measuring process could import them by name."""
    folders = {Path(r.location).resolve().parent for r in map(resolve, references) if r.scheme == "file"}
    modules = [m for m in list(sys.modules.values()) if _folder(m) in folders and m.__name__ != "__main__"]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _folder(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve().parent if file else None
