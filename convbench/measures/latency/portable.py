"""Cases that a fresh process can build: what exists in this process alone is written to a file first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convbench.case import Case
from convbench.registry import Entry, resolve


def portable(case: Case, folder: Path) -> Case:
    """``case``, or where its target was registered at run time in this process, the same with its module saved.

    Raises UsageError for a target that is unknown or cannot be built, TargetError for one that cannot be pickled.
    """
    entry = _entry(case)
    if entry is None or (isinstance(entry.target, str) and not entry.origin.startswith("convbench.register")):
        return case
    from convbench.target.blueprint import blueprint, save_instance

    plan = blueprint(case)
    reference = save_instance(plan.module(device="cpu"), folder / f"{case.key}.pt")
    return replace(
        case,
        target=reference,
        dim=None,
        options=(),
        shapes=plan.shapes(),
        batch=1,
        size=None,
        input_grad=case.input_grad if case.input_grad is not None else plan.kind == "block",
        weights=None,
        pretrained=False,
        transforms=(),
    )


def _entry(case: Case) -> Entry | None:
    return None if case.target.startswith("saved:") else resolve(case.target).entry
