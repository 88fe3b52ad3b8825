"""``convbench choose``: which block to put into a host, within a budget."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from convbench.cli.app import app
from convbench.cli.console import note, print_footnote, print_line, print_table
from convbench.cli.measuring import carrying_out, make_plan, save, tell_problems
from convbench.cli.options import CaseFlags, Outputs, Targets, TimingFlags, takes_flags
from convbench.cli.plug import After, HostOption, Into, Where, make_order
from convbench.errors import OptionError, UsageError, nearest
from convbench.reading import shown
from convbench.report.io.formats import check_outputs

if TYPE_CHECKING:
    from convbench.measures.carry_out import Measurer
    from convbench.measures.outcome import Outcome
    from convbench.plugging.choose import Choice

_EXAMPLES = """\b
Examples:
  convbench choose --into torchvision:resnet18 --max-macs 1.2 --max-latency 2
  convbench choose PyConv MRFA 'PyConv(kernels=[3,5])' --into timm:resnet18 --by macs -o choice.csv
  convbench choose --into timm:convnext_tiny --where depthwise --max-params 1 --size 96
  convbench choose --into yolo.py:yolov8n --size 320 --layer model.9 --max-macs 1
"""


@app.command(epilog=_EXAMPLES)
@takes_flags
def choose(
    case: CaseFlags,
    timing: TimingFlags,
    into: Into,
    blocks: Targets = None,
    where: Where = None,
    after: After = None,
    host_option: HostOption = None,
    max_params: Annotated[
        float | None,
        typer.Option(metavar="RATIO", show_default=False, help="The most parameters, as a multiple of the host's."),
    ] = None,
    max_macs: Annotated[
        float | None,
        typer.Option(metavar="RATIO", show_default=False, help="The most MACs, as a multiple of the host's."),
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO", show_default=False, help="The most peak memory, as a multiple of the host's own."
        ),
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(metavar="RATIO", show_default=False, help="The most latency, as a multiple of the host's."),
    ] = None,
    by: Annotated[str, typer.Option(help="What counts as cost: latency, or macs, which times nothing.")] = "latency",
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Whose output the receptive field is probed at.  [default: the last feature map]",
        ),
    ] = None,
    output: Outputs = None,
) -> None:
    """Find which blocks are worth putting into a host: by cost, and by the effective receptive field that they give it.

    Each block, of all registered ones unless some are named, takes the place of the host's convs as in `plug`. All are
    counted without computing; what keeps the budget is then measured, in the same rounds, and is best when no other
    costs less and sees further. The fields are of fresh weights unless the host's are given: they say what a
    block can reach, and nothing about accuracy.
    """
    from convbench.measures.erf.settings import ErfSettings
    from convbench.plugging.choose import Budget, Cost
    from convbench.plugging.choose import choose as try_out
    from convbench.report.tables.choose import choice_rows, choice_table

    output = check_outputs(output or ())
    if by not in get_args(Cost):
        raise OptionError(f"--by {shown(by)} is neither latency nor macs.{nearest(by, get_args(Cost))}")
    if case.device == "meta":
        raise UsageError("choose measures receptive fields, and nothing is computed on meta; plug counts there")
    if max_latency is not None and by != "latency":
        raise UsageError("--max-latency needs --by latency: by macs nothing is timed")
    budget = Budget(max_params, max_macs, max_memory, max_latency)
    order = make_order(case, blocks, into, where, after, host_option)
    plan = make_plan(("latency", "erf"), timing)
    if layer is not None:
        plan = replace(plan, settings={**plan.settings, "erf": ErfSettings(layer=layer)})
    choices: list[Choice] = []

    def measure(measurer: Measurer) -> list[Outcome]:
        choices.append(try_out(order, budget, plan, measurer, by, note))  # type: ignore[arg-type]
        return choices[0].outcomes

    measured = carrying_out(measure, output)
    saved = save(output, measured, {"choice": choice_rows(choices[0])} if choices else None)
    if choices:
        print_table(choice_table(choices[0]))
        best = [candidate.block for candidate in choices[0].candidates if candidate.is_best]
        print_line("")
        print_line(f"best by {by} and ERF σ: {', '.join(best)}" if best else "no block keeps the budget")
        print_footnote("×: multiples of the host's own; ERF σ: spread of what a pixel of the last feature map reads")
    tell_problems([outcome for outcome in measured.outcomes if outcome.results])
    raise typer.Exit(measured.exit_code if measured.interrupted else saved)
