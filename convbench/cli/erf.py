"""``convbench erf``: effective receptive fields as pictures and as figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import fail, note, print_table, warn
from convbench.cli.measuring import command, progress
from convbench.cli.options import (
    Batch,
    CaseFlags,
    Device,
    Dim,
    Options,
    Seed,
    Shapes,
    Size,
    Targets,
    Weights,
    expand_targets,
    takes_flags,
)
from convbench.cli.saving import save_report
from convbench.errors import ConvbenchError, UsageError
from convbench.report.io.formats import FIELDS, PICTURES, check_outputs

if TYPE_CHECKING:
    from convbench.case import Case
    from convbench.measures.erf import ErfSettings
    from convbench.report.plots.erf_plot import LabelledErf

erf_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Effective receptive fields: what one output pixel sees of the input, drawn and measured.",
)
app.add_typer(erf_app, name="erf")


@dataclass(frozen=True, slots=True)
class ErfFlags:
    """The flags that describe receptive fields, as given."""

    dim: Dim = None
    option: Options = None
    size: Size = None
    batch: Batch = None
    shape: Shapes = None
    device: Device = "cpu"
    weights: Weights = None
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The host's published weights.")] = False
    seed: Seed = 0
    samples: Annotated[int, typer.Option("--samples", help="Inputs for each initialisation.")] = 32
    seeds: Annotated[int, typer.Option("--seeds", help="Initialisations that are pooled.")] = 8
    statistic: Annotated[str, typer.Option("--statistic", help="abs |g|, square g² or relu max(g, 0).")] = "abs"
    probe: Annotated[str, typer.Option("--probe", help="Weights of output channels in the score: signs or ones.")] = (
        "signs"
    )
    layer: Annotated[str | None, typer.Option("--layer", help="Probe a submodule, such as stages.2.5.")] = None
    depth: Annotated[
        list[int] | None, typer.Option("--depth", help="Stack the target this many times; repeatable.  [default: 1]")
    ] = None
    layer_scale: Annotated[
        float | None, typer.Option("--layer-scale", help="Value for layer scales that are still untrained.")
    ] = None
    inputs: Annotated[str, typer.Option("--inputs", help="noise, a folder of images, or a tensor file.")] = "noise"
    precision: Annotated[
        float | None, typer.Option("--precision", help="Stop sampling at this relative standard error, such as 0.01.")
    ] = None
    dtype: Annotated[str, typer.Option("--dtype", help="float32, float64; bfloat16 moves the map.")] = "float32"
    mode: Annotated[
        str, typer.Option("--mode", help="convbench, or replknet: that project's numbers, for published r tables.")
    ] = "convbench"
    full: Annotated[bool, typer.Option("--full", help="Compute the whole map, not only what the centre sees.")] = False

    def cases(self, targets: Sequence[str] | None) -> list[Case]:
        """A case for each target. Raises UsageError."""
        shared = ("dim", "option", "size", "batch", "shape", "device", "weights", "pretrained", "seed")
        flags = CaseFlags(**{name: getattr(self, name) for name in shared})
        return [flags.case(name) for name in expand_targets(targets)]

    def settings(self) -> list[ErfSettings]:
        """How the fields are measured, once for each depth. Raises UsageError."""
        from convbench.measures.erf import ErfSettings, inputs_from

        own = ("samples", "seeds", "statistic", "probe", "layer", "layer_scale", "precision", "dtype", "mode", "seed")
        chosen: dict[str, Any] = {name: getattr(self, name) for name in own}
        if self.weights is not None or self.pretrained:
            chosen["seeds"] = 1  # trained weights are one set
        chosen |= {"evaluation": "full" if self.full else "auto", "inputs": inputs_from(self.inputs)}
        return [ErfSettings(**chosen, depth=depth) for depth in dict.fromkeys(self.depth or [1])]


_PLOT_EXAMPLES = """\b
Examples:
  convbench erf plot
  convbench erf plot MRFA PyConv --depth 1 --depth 4 -o depth.pdf
  convbench erf plot uniconvnet_a --layer-scale 1 --seeds 1
"""


@erf_app.command("plot", epilog=_PLOT_EXAMPLES)
@takes_flags
def plot(
    flags: ErfFlags,
    targets: Targets = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="Picture: .png, .svg or .pdf.  [default: erf.png]"),
    ] = None,
) -> None:
    """Draw receptive fields and their radial profiles; without names, those of all registered blocks."""
    paths = check_outputs(output or [Path("erf.png")], PICTURES)
    fields, code = _measure(flags, targets)
    raise typer.Exit(code or _save(paths, fields, as_data=True))


_MEASURE_EXAMPLES = """\b
Examples:
  convbench erf measure MRFA PyConv --dim 64
  convbench erf measure torchvision:resnet18 --size 224 --layer layer2 -o resnet18.json
  convbench erf measure MRFA --inputs photos/ --shape 1,64,56,56 -o mrfa.npz
"""
Files = Annotated[
    list[Path] | None,
    typer.Option("-o", "--output", metavar="FILE", help="Also write a table, a picture, or .npz with the maps."),
]


@erf_app.command("measure", epilog=_MEASURE_EXAMPLES)
@takes_flags
def measure(flags: ErfFlags, targets: Targets = None, output: Files = None) -> None:
    """Print every figure of the receptive fields, with 95% intervals over samples."""
    from convbench.report.tables.erf import measure_table

    output = check_outputs(output or (), FIELDS)
    fields, code = _measure(flags, targets)
    saved = _save(output, fields)
    if fields:
        print_table(measure_table(fields))
    raise typer.Exit(code or saved)


_COMPARE_EXAMPLES = """\b
Examples:
  convbench erf compare PyConv MRFA --dim 64
  convbench erf compare Conv3x3 MRFA ConvNeXt --depth 4 -o fields.csv
"""


@erf_app.command("compare", epilog=_COMPARE_EXAMPLES)
@takes_flags
def compare(flags: ErfFlags, targets: Targets = None, output: Files = None) -> None:
    """Print the figures of several targets as ratios to the first."""
    from convbench.report.tables.erf import compare_table

    output = check_outputs(output or (), FIELDS)
    fields, code = _measure(flags, targets)
    saved = _save(output, fields)
    if fields:
        print_table(compare_table(fields))
    raise typer.Exit(code or saved)


def _measure(flags: ErfFlags, targets: Sequence[str] | None) -> tuple[list[LabelledErf], int]:
    """The fields that could be measured, and the exit code; Ctrl-C keeps those that were complete."""
    from convbench.execution.device import require_device
    from convbench.measures.erf import NOTHING_TO_RAISE, measure_erf
    from convbench.report.plots.erf_plot import LabelledErf
    from convbench.target.blueprint import blueprint

    if flags.device == "meta":
        raise UsageError("a receptive field needs computing, and nothing is computed on meta: use --device cpu")
    require_device(flags.device)
    wanted = [(blueprint(case), settings) for case in flags.cases(targets) for settings in flags.settings()]
    fields: list[LabelledErf] = []
    code = 0
    with progress() as tell:
        for plan, settings in wanted:
            tell(f"{plan.name}: {len(fields) + 1} of {len(wanted)}")
            try:
                build: Any = plan.module() if plan.case.weights or plan.case.pretrained else plan.module
                erf = measure_erf(build, plan.shapes()[0], settings, device=plan.case.device)
            except KeyboardInterrupt:
                fail(f"interrupted; {len(fields)} of {len(wanted)} receptive fields are complete")
                code = 130
                break
            except ConvbenchError as error:
                if len(wanted) == 1:
                    raise
                warn(f"{plan.name}: {error}")
                code = 3
                continue
            fields.append(LabelledErf(plan.name, erf))
            for message in erf.warnings:
                if message != NOTHING_TO_RAISE:
                    warn(f"{plan.name}: {message}")
            if erf.reason is not None:
                note(f"{plan.name}: computed on the whole image: {erf.reason}")
    if fields and all(NOTHING_TO_RAISE in field.erf.warnings for field in fields):
        warn(NOTHING_TO_RAISE)
    return fields, code


def _save(paths: Sequence[Path], fields: Sequence[LabelledErf], *, as_data: bool = False) -> int:
    if not paths or not fields:
        return 0
    from convbench.environment import environment
    from convbench.report.tables.erf import erf_report

    about = json.loads(json.dumps(environment().to_json(), default=str))
    return save_report(paths, erf_report(fields, (), about, command()), as_data=as_data)
