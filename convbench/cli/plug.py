"""``convbench plug``: a block in a host's place of convolutions, or after its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.case import Case
from convbench.cli.app import app
from convbench.cli.console import note, out, print_line, print_table
from convbench.cli.measuring import carrying_out, make_plan, save, tell_problems
from convbench.cli.options import CaseFlags, Measures, Outputs, TimingFlags, complete_target, takes_flags
from convbench.cli.saving import save_contents
from convbench.errors import UsageError
from convbench.reference import read_case, read_cases
from convbench.registry import resolve
from convbench.report.io.formats import check_outputs

if TYPE_CHECKING:
    from convbench.plugging.change import Prepared
    from convbench.plugging.measure import Order

_EXAMPLES = """\b
Examples:
  convbench plug PyConv --into torchvision:resnet50 --device meta
  convbench plug PyConv MRFA DRConv --into torchvision:resnet18 --save plugged.py
  convbench plug DRConv --into timm:resnet18 --where 'layer3.*conv1' -p regions=4 -o plugged.csv
  convbench plug MRFA --into timm:convnext_tiny --where depthwise --size 96 --measure latency
  convbench plug UniConvNetBlock --into torchvision:resnet18 --after layer2 --after layer3
  convbench plug my_blocks.py:MyConv --into timm:mobilenetv3_small_100 --where all --mode training
"""

Into = Annotated[
    str,
    typer.Option(
        "--into",
        metavar="HOST",
        autocompletion=complete_target,
        show_default=False,
        help="The host: a registered network, timm:model, torchvision:model or your own file.py:Class.",
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONVS",
        show_default=False,
        help="Which convs it replaces: 3x3 (but no depthwise), depthwise, all, or a regular expression for their "
        "names.  [default: 3x3]",
    ),
]
After = Annotated[
    list[str] | None,
    typer.Option(
        "--after",
        metavar="STAGE",
        show_default=False,
        help="Insert it after this submodule instead, such as layer2 or stages.1; repeatable.",
    ),
]
HostOption = Annotated[
    list[str] | None,
    typer.Option("--host-option", metavar="KEY=VALUE", help="An option of the host; repeatable."),
]


@app.command(epilog=_EXAMPLES)
@takes_flags
def plug(
    case: CaseFlags,
    timing: TimingFlags,
    blocks: Annotated[
        list[str],
        typer.Argument(
            metavar="BLOCK",
            autocompletion=complete_target,
            show_default=False,
            help="The blocks, each plugged in by itself: a registered name, file.py:Class or package.module:Class; "
            "-p sets their options.",
        ),
    ],
    into: Into,
    where: Where = None,
    after: After = None,
    host_option: HostOption = None,
    save_as: Annotated[
        list[Path] | None,
        typer.Option(
            "--save",
            metavar="FILE",
            show_default=False,
            help="Write the plugged host: as code, .py, or as weights, .pt; repeatable.",
        ),
    ] = None,
    measure: Measures = None,
    output: Outputs = None,
) -> None:
    """Plug blocks into a host, and measure the host against itself.

    Each replacement has the conv's widths and stride, and its output's shape. A block without an output width
    (MRFA) replaces convs that keep width and size, or goes in after stages. The other flags describe the host; every
    layer that was asked for is listed, with the reason where it stayed as it was.
    """
    from convbench.measures.table import check_measures
    from convbench.plugging.change import summary
    from convbench.plugging.measure import compare_with_host
    from convbench.records import record_of
    from convbench.report.tables.case import conditions
    from convbench.report.tables.plug import changes_rows, changes_table, plug_table

    output = check_outputs(output or ())
    files = check_outputs(save_as or (), (".py", ".pt", ".pth"))
    if files and len(blocks) > 1:
        raise UsageError(f"--save writes one plugged host, and there are {len(blocks)} blocks")
    default = ["params", "cost", "memory"] + (["latency"] if case.device != "meta" else [])
    measures = check_measures(measure or default, case.device)
    plan = make_plan(measures, timing)
    order = make_order(case, blocks, into, where, after, host_option)
    order = replace(order, also={"code" if path.suffix == ".py" else "weights" for path in files})
    found: list[Prepared] = []
    written: list[int] = []

    def hear(plugged: Prepared) -> None:
        found.append(plugged)
        written.append(save_contents({path: _content(plugged, path) for path in files}))

    measured = carrying_out(lambda measurer: compare_with_host(order, plan, measurer, note, hear), output)
    saved = save(output, measured, {"layers": changes_rows(found)} if found else None)
    for plugged in found:
        print_table(changes_table(plugged.changes))
        lines = summary(plugged.block, plugged.changes, plugged.params, keeps_shape=plugged.keeps_shape)
        print_line("")
        for line in lines:
            print_line(line)
        print_line("")
    records = [record_of(outcome) for outcome in measured.outcomes]
    if len(records) > 1:
        out().print(conditions(*records))
        print_table(plug_table(*records))
    if "latency" in measures:
        note("ratio of latencies: measured call by call in the same rounds")
    tell_problems(measured.outcomes)
    raise typer.Exit(measured.exit_code or saved or max(written, default=0))


def make_order(
    case: Case,
    blocks: Sequence[str] | None,
    into: str,
    where: str | None,
    after: Sequence[str] | None,
    host_option: Sequence[str] | None,
) -> Order:
    """What is to be plugged in where: ``-p`` is for the blocks, and other flags for the host. Raises UsageError."""
    from convbench.notation import parse_options
    from convbench.plugging.measure import Order

    if after and where:
        raise UsageError("give either --where, which replaces convs, or --after, which inserts the block")
    plugged = read_cases(blocks, Case("", options=case.options), ())
    if any(block.transforms for block in plugged):
        raise UsageError("a block is plugged in as it is: +refocus and the like are for the host of --into")
    host = read_case(into, replace(case, options=tuple(parse_options(host_option or ()).items())))
    for one in (*plugged, host):
        resolve(one.target)
    return Order(host, list(dict.fromkeys(plugged)), where or "3x3", after or ())


def _content(plugged: Prepared, path: Path) -> str | bytes:
    if path.suffix == ".py":
        return plugged.code or ""
    return Path(plugged.weights or "").read_bytes()
