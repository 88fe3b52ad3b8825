"""``convbench profile``: everything about one target."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import out, print_heading, print_table
from convbench.cli.measuring import exit_code, latency_settings, measuring, save, start, tell_problems
from convbench.cli.options import CaseFlags, Measures, Outputs, Target, TimingFlags, takes_flags
from convbench.cli.saving import save_contents
from convbench.errors import UsageError
from convbench.report.io.formats import PICTURES, check_outputs

if TYPE_CHECKING:
    from convbench.measures.cost import ModuleCost, Reconciliation, Roofline
    from convbench.measures.outcome import Outcome

_EXAMPLES = """\b
Examples:
  convbench profile MRFA --dim 64
  convbench profile Conv2Former --dim 96 -p kernel_size=7 --mode training -o conv2former.json
  convbench profile timm:resnet50 --device meta --tree --depth 2
  convbench profile MRFA --mode training --measure memory --at-peak --memory-timeline mrfa.png
  convbench profile my_blocks.py:MyBlock --shape 8,32,28,28 --measure cost --strict
"""


@app.command(epilog=_EXAMPLES)
@takes_flags
def profile(
    target: Target,
    flags: CaseFlags,
    timing: TimingFlags,
    measure: Measures = None,
    tree: Annotated[bool, typer.Option("--tree", help="Also cost by module.")] = False,
    depth: Annotated[int | None, typer.Option("--depth", help="Depth of the tree.", show_default=False)] = None,
    by_operator: Annotated[bool, typer.Option("--by-operator", help="Also cost by operator.")] = False,
    at_peak: Annotated[
        bool,
        typer.Option("--at-peak", help="Also what is alive at the memory peak: by module, and the largest tensors."),
    ] = False,
    cross_check: Annotated[
        bool,
        typer.Option("--cross-check", help="Also count with torch's and fvcore's counters and explain differences."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when an operator has no cost formula.")] = False,
    memory_timeline: Annotated[
        Path | None,
        typer.Option("--memory-timeline", metavar="FILE", help="Draw allocation over the call: .png or .csv."),
    ] = None,
    output: Outputs = None,
) -> None:
    """Measure one target: parameters, MACs and FLOPs, latency, memory, receptive field."""
    from convbench.measures.carry_out import Interrupted, profile_case
    from convbench.measures.table import Plan, check_measures
    from convbench.report.plots.memory_timeline import timeline_content
    from convbench.report.tables.crosscheck import crosscheck_rows, crosscheck_table

    output = check_outputs(output or ())
    drawings = check_outputs([memory_timeline] if memory_timeline is not None else (), (*PICTURES, ".csv"))
    measures = check_measures(measure, flags.device)
    case = flags.case(target)
    settings = latency_settings(timing) if "latency" in measures else None
    plan = Plan(measures, strict=strict, latency=settings)
    since = start(output)
    interrupted = False
    with measuring(flags.device, measures) as tell:
        try:
            outcome = profile_case(case, plan, tell)
        except Interrupted as stop:
            outcome, interrupted = stop.outcomes[0], True
    sections = _sections(outcome, tree=tree, depth=depth, by_operator=by_operator, at_peak=at_peak)
    other_counts = _cross_check(outcome) if cross_check else None
    if other_counts is not None:
        sections["cross_check"] = crosscheck_rows(other_counts)
    saved = save(output, [outcome], since, sections)
    if outcome.memory is not None:
        saved |= save_contents({path: partial(timeline_content, outcome.memory, path.suffix) for path in drawings})
    _print(outcome, tree=tree, depth=depth, by_operator=by_operator, at_peak=at_peak)
    if other_counts is not None:
        out().print()
        print_table(crosscheck_table(other_counts))
    tell_problems([outcome])
    raise typer.Exit(130 if interrupted else exit_code([outcome]) or saved)


def _print(outcome: Outcome, *, tree: bool, depth: int | None, by_operator: bool, at_peak: bool) -> None:
    from convbench.report.tables.case import conditions, operator_table, profile_table, tree_table
    from convbench.report.tables.memory import peak_modules_table, peak_tensors_table

    print_heading(outcome.name, conditions(outcome.record()))
    print_table(profile_table(outcome, _roof(outcome)))
    if tree and outcome.cost is not None:
        out().print()
        print_table(tree_table(outcome.cost, depth))
    if by_operator and outcome.cost is not None:
        out().print()
        print_table(operator_table(outcome.cost))
    if at_peak and outcome.memory is not None:
        for table in (peak_modules_table(outcome.memory), peak_tensors_table(outcome.memory)):
            out().print()
            print_table(table)


def _roof(outcome: Outcome) -> Roofline | None:
    """The least time that this machine's peaks allow, where it is calibrated for the case's device and threads."""
    from convbench.calibration import load_calibration
    from convbench.measures.cost import roofline

    case, cost = outcome.case, outcome.cost
    calibration = None if case.device_type == "meta" else load_calibration(case.device, case.threads)
    dtype = case.autocast or (outcome.subject.dtype if outcome.subject is not None else "")
    if cost is None or calibration is None or dtype not in calibration.flops_per_s:
        return None
    if cost.is_spelled_out:
        return None  # what runs may be less than what is counted
    return roofline(cost.flops, cost.bytes_moved, calibration.flops_per_s[dtype], calibration.bytes_per_s)


def _cross_check(outcome: Outcome) -> Reconciliation:
    """Count with other tools too."""
    from convbench.measures.cost import cross_check

    if outcome.subject is None or outcome.cost is None:
        raise UsageError("--cross-check compares costs: measure them, --measure cost")
    subject = outcome.subject
    return cross_check(subject.module, subject.args, outcome.cost, subject.kwargs, input_grad=subject.input_grad)


def _sections(
    outcome: Outcome, *, tree: bool, depth: int | None, by_operator: bool, at_peak: bool
) -> dict[str, list[dict[str, Any]]]:
    cost, memory = outcome.cost, outcome.memory
    sections: dict[str, list[dict[str, Any]]] = {}
    if cost is not None and tree:
        sections["modules"] = [_flat(row) for row in cost.modules if depth is None or row.depth <= depth]
    if cost is not None and by_operator:
        sections["operators"] = [{**dataclasses.asdict(row), "kind": row.kind.value} for row in cost.operators]
    if memory is not None and at_peak:
        sections["peak_modules"] = [dataclasses.asdict(share) for share in memory.by_module]
        sections["peak_tensors"] = [
            {**dataclasses.asdict(tensor), "shape": "x".join(map(str, tensor.shape))} for tensor in memory.top_tensors
        ]
    return sections


def _flat(row: ModuleCost) -> dict[str, Any]:
    """One level of columns: totals under their own names, what ran in the module itself as ``own_…``."""
    return {
        "path": row.path,
        "type": row.type,
        "depth": row.depth,
        "calls": row.calls,
        "output_shapes": " ".join("x".join(map(str, shape)) for shape in row.output_shapes),
        **dataclasses.asdict(row.total),
        **{f"own_{name}": value for name, value in dataclasses.asdict(row.own).items()},
    }
