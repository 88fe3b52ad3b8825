"""``convbench paper``: published figures against measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import app
from convbench.cli.asking import asking, save_table
from convbench.cli.console import fail, out, print_table
from convbench.cli.measuring import start
from convbench.cli.options import Outputs, Timeout
from convbench.report.io.formats import check_outputs

if TYPE_CHECKING:
    from convbench.paper import Comparison

_EXAMPLES = """\b
Examples:
  convbench paper
  convbench paper UniConvNet Conv2Former -o paper.csv -o paper.md
  convbench paper 'pyconv*'
  convbench paper uniconvnet_p0
"""


def _complete_system(incomplete: str) -> list[str]:
    from convbench.paper.figures import published

    systems = dict.fromkeys(figure.system for figure in published())
    return [system for system in systems if system.lower().startswith(incomplete.lower())]


@app.command(epilog=_EXAMPLES)
def paper(
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYSTEM",
            autocompletion=_complete_system,
            show_default=False,
            help="The beginning of a system's name, or a wildcard on system or target.  [default: all]",
        ),
    ] = None,
    timeout: Timeout = None,
    output: Outputs = None,
) -> None:
    """Compare what papers print about networks with what the networks are: parameters and cost.

    The cost is counted in each publication's own convention. A figure agrees when it is equal at the digits printed,
    is close within 1%, and else differs; known errata carry their explanation. Exits with 1 when a figure differs
    without one. Everything is counted on the meta device.
    """
    from convbench.paper import published, select
    from convbench.paper.measure import compare_published
    from convbench.report.tables.paper import explanations, paper_rows, paper_table

    output = check_outputs(output or ())
    figures = select(published(), systems or ())
    done: list[Comparison] = []
    interrupted = False
    since = start(output)
    with asking(timeout) as (ask, tell):
        try:
            for comparison in compare_published(figures, ask):  # one by one: an interrupted run keeps what is complete
                done.append(comparison)
                tell(f"{_name(comparison)}: {comparison.verdict}")
        except KeyboardInterrupt:
            interrupted = True
        saved = save_table(output, "figures", paper_rows(done), ask, since)
    print_table(paper_table(done))
    for line in explanations(done):
        out().print(line)
    raise typer.Exit(130 if interrupted else _exit_code(done) or saved)


def _exit_code(comparisons: list[Comparison]) -> int:
    """0; 1 when a figure differs and nobody knows why; 3 when one could not be measured."""
    differing = [_name(item) for item in comparisons if item.verdict == "differs"]
    failed = [_name(item) for item in comparisons if item.verdict == "not measured"]
    if differing:
        fail(f"figures differ without an explanation: {'; '.join(differing)}")
    if failed:
        fail(f"figures could not be measured: {'; '.join(failed)}")
    return 1 if differing else 3 if failed else 0


def _name(comparison: Comparison) -> str:
    figure = comparison.figure
    return f"{figure.system} {figure.variant} at {figure.resolution}"
