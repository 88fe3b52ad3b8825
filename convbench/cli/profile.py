"""``convbench profile``: everything about one target."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import out, print_heading, print_table
from convbench.cli.measuring import carry_out, make_plan, save, tell_problems
from convbench.cli.options import CaseFlags, Measures, Outputs, Target, TimingFlags, takes_flags
from convbench.cli.saving import save_contents
from convbench.errors import UsageError
from convbench.reference import read_case
from convbench.report.io.formats import PICTURES, check_outputs

if TYPE_CHECKING:
    from convbench.measures.cost.result import ModuleCost
    from convbench.measures.cost.roof import Roofline
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
    case: CaseFlags,
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
    from convbench.measures.table import check_measures
    from convbench.report.plots.memory_timeline import timeline_content

    output = check_outputs(output or ())
    drawings = check_outputs([memory_timeline] if memory_timeline is not None else (), (*PICTURES, ".csv"))
    case = read_case(target, case)
    measures = check_measures(measure, case.device)
    if depth is not None and not (tree and depth >= 0):
        raise UsageError(f"--depth is that of --tree, from 0 on: give --tree --depth 2, got --depth {depth}")
    needs = {
        "cost": {"--cross-check": cross_check, "--tree": tree, "--by-operator": by_operator},
        "memory": {"--at-peak": at_peak, "--memory-timeline": memory_timeline is not None},
    }
    for needed, flags_given in needs.items():
        for flag, is_given in flags_given.items():
            if is_given and needed not in measures:
                raise UsageError(f"{flag} shows {needed}, which is not measured: add --measure {needed}")
    asked = (*measures, "cross-check") if cross_check and "cross-check" not in measures else measures
    measured = carry_out([case], make_plan(asked, timing, strict=strict), output)
    (outcome,) = measured.outcomes
    sections = _sections(outcome, tree=tree, depth=depth, by_operator=by_operator, at_peak=at_peak)
    saved = save(output, measured, sections)
    memory = outcome.results.get("memory")
    if memory is not None:
        saved |= save_contents({path: partial(timeline_content, memory, path.suffix) for path in drawings})
    _print(outcome, tree=tree, depth=depth, by_operator=by_operator, at_peak=at_peak)
    tell_problems([outcome])
    raise typer.Exit(measured.exit_code or saved)


def _print(outcome: Outcome, *, tree: bool, depth: int | None, by_operator: bool, at_peak: bool) -> None:
    from convbench.report.tables.case import conditions, operator_table, profile_table, tree_table
    from convbench.report.tables.crosscheck import crosscheck_table
    from convbench.report.tables.memory import peak_modules_table, peak_tensors_table

    cost, memory, checks = (outcome.results.get(name) for name in ("cost", "memory", "cross-check"))
    from convbench.records import record_of

    print_heading(outcome.name, conditions(record_of(outcome)))
    tables = [profile_table(outcome, _roof(outcome))]
    tables += [tree_table(cost, depth)] if tree and cost is not None else []
    tables += [operator_table(cost)] if by_operator and cost is not None else []
    tables += [peak_modules_table(memory), peak_tensors_table(memory)] if at_peak and memory is not None else []
    tables += [crosscheck_table(checks)] if checks is not None else []
    for index, table in enumerate(tables):
        if index:
            out().print()
        print_table(table)


def _roof(outcome: Outcome) -> Roofline | None:
    """The least time that this machine's peaks allow, where it is calibrated for the case's device and threads."""
    from convbench.calibration import load_calibration
    from convbench.measures.cost.roof import roofline

    case, cost, identity = outcome.case, outcome.results.get("cost"), outcome.identity
    if cost is None or identity is None or case.device_type == "meta":
        return None
    calibration = load_calibration(case.device, case.threads, identity.device_name)
    dtype = case.autocast or identity.dtype or ""
    if calibration is None or dtype not in calibration.flops_per_s:
        return None
    if cost.is_spelled_out:
        return None  # what runs may be less than what is counted
    return roofline(cost.flops, cost.bytes_moved, calibration.flops_per_s[dtype], calibration.bytes_per_s)


def _sections(
    outcome: Outcome, *, tree: bool, depth: int | None, by_operator: bool, at_peak: bool
) -> dict[str, list[dict[str, Any]]]:
    from convbench.report.tables.crosscheck import crosscheck_rows

    cost, memory, checks = (outcome.results.get(name) for name in ("cost", "memory", "cross-check"))
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
    if checks is not None:
        sections["cross_check"] = crosscheck_rows(checks)
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
