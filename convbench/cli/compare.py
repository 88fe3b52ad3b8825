"""``convbench compare``: several targets under the same conditions, timed in the same rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from convbench.case import CONDITIONS, Case
from convbench.cli.app import app
from convbench.cli.console import note, out, print_footnote, print_line, print_table
from convbench.cli.groups import GridFlags, Group, carry_out_groups, groups_of, read_grid
from convbench.cli.measuring import carrying_out, make_plan, save, tell_problems
from convbench.cli.options import Measures, Outputs, Targets, TimingFlags, case_flags, takes_flags
from convbench.reference import PER_TARGET, labels, read_cases
from convbench.report.io.formats import check_outputs

_EXAMPLES = """\b
Examples:
  convbench compare MRFA PyConv Conv2Former --dim 64 -o compare.csv
  convbench compare Conv3x3 'PyConv*' --baseline Conv3x3 --measure latency --rigorous
  convbench compare MRFA my_blocks.py:MyBlock --dim 128 --device meta
  convbench compare 'PyConv(kernels=[3,5])' PyConv@dim=96 Conv3x3 Conv3x3+refocus+fused
  convbench compare MRFA PyConv --execution eager,compiled,onnxruntime,openvino --measure latency
  convbench compare MRFA PyConv --batch 1,8,32 --threads 1,2 --measure latency
  convbench compare --measure params --measure cost
"""

# --batch and --threads take several values here; --compile stays beside --execution.
_CaseFlags = Annotated[Case, case_flags([name for name in CONDITIONS if name not in ("batch", "threads")])]


@app.command(epilog=_EXAMPLES)
@takes_flags
def compare(
    case: _CaseFlags,
    grid: GridFlags,
    timing: TimingFlags,
    targets: Targets = None,
    measure: Measures = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="The target that ratios refer to.  [default: the first]", show_default=False),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when an operator has no cost formula.")] = False,
    output: Outputs = None,
) -> None:
    """Measure several targets side by side; without names, all registered blocks.

    A verdict says whether a target is faster or slower than the baseline by over 1%, the same within that, or unclear,
    and then what would help. A target that is named twice is held against itself: an A/A trial.
    """
    from convbench.measures.table import check_measures
    from convbench.report.tables.case import compare_table, conditions
    from convbench.report.tables.scaling import scaling_table

    output = check_outputs(output or ())
    measures = check_measures(measure, case.device)
    groups = groups_of(read_cases(targets, case, PER_TARGET), read_grid(grid), baseline)
    plan = make_plan(measures, timing, strict=strict)
    measured = carrying_out(lambda measurer: carry_out_groups(measurer, groups, plan, note), output)
    saved = save(output, measured)
    from convbench.records import record_of

    records = [record_of(outcome) for outcome in measured.outcomes]
    print_line(conditions(*records))
    print_table(compare_table(records))
    scaling = scaling_table(measured.outcomes) if "latency" in measures else None
    if scaling is not None:
        out().print()
        print_table(scaling)
    if "latency" in measures:
        print_footnote(f"ratio: latency over that of {_held_against(groups)}, measured call by call in the same rounds")
        _tell_noise_floor(groups[0].cases[0], records[0].device_name)
    tell_problems(measured.outcomes)
    raise typer.Exit(measured.exit_code or saved)


def _held_against(groups: Sequence[Group]) -> str:
    """Who the ratios refer to, in words."""
    (first, *others) = groups
    if not others:
        return labels(first.cases)[first.baseline]
    executions = {group.cases[group.baseline].execution for group in groups}
    if len({case.target for case in first.cases}) == 1 and len(first.cases) > 1:
        return f"the same target, {' or '.join(sorted(executions))}"
    return f"{first.cases[first.baseline].target} under the same conditions"


def _tell_noise_floor(case: Case, device_name: str | None) -> None:
    from convbench.calibration import load_calibration

    found = load_calibration(case.device, case.threads, device_name)
    if found is None or found.noise_floor is None:
        print_footnote("how small a difference this machine can show is not known: convbench calibrate")
    else:
        print_footnote(
            f"calibrated {found.created_at}: differences under {found.noise_floor:.1%} cannot be told apart here"
        )
