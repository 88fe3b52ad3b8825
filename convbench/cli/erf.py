"""``convbench erf``: effective receptive fields as pictures and as figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.case import Case
from convbench.cli.app import app
from convbench.cli.asking import Ask, Target, asking, looked_over, save_table, surroundings, value_for
from convbench.cli.command import Commands
from convbench.cli.console import fail, note, print_footnote, print_table, warn
from convbench.cli.measuring import command, start
from convbench.cli.options import Outputs, Targets, Timeout, case_flags, takes_flags
from convbench.cli.options import Target as TargetName
from convbench.cli.saving import save_contents, save_report
from convbench.errors import UsageError
from convbench.measures.erf.result import NOTHING_TO_RAISE, Erf
from convbench.reference import read_case, read_cases
from convbench.report.io.formats import FIELDS, PICTURES, check_outputs
from convbench.target.packed import Packed
from convbench.text import once_a_kind

if TYPE_CHECKING:
    from rich.table import Table

    from convbench.pictures.field import Drawing

erf_app = Commands(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Effective receptive fields: what one output pixel sees of the input, drawn and measured.",
)
app.add_typer(erf_app, name="erf")

_CONDITIONS = ("dim", "size", "batch", "shapes", "weights", "pretrained", "seed")
"""Those in which the targets of one picture or table may differ."""
ErfCase = Annotated[
    Case,
    case_flags(
        ("options", "device", *_CONDITIONS),
        device="cpu, cuda, cuda:0, mps or xpu.  [default: cpu]",
    ),
]


@dataclass(frozen=True, slots=True)
class ErfFlags:
    """The flags that describe receptive fields, as given."""

    samples: Annotated[int, typer.Option("--samples", help="Inputs for each initialisation.")] = 32
    seeds: Annotated[int, typer.Option("--seeds", help="Initialisations that are pooled.")] = 8
    statistic: Annotated[str, typer.Option("--statistic", help="abs |g|, square g² or relu max(g, 0).")] = "abs"
    probe: Annotated[str, typer.Option("--probe", help="Weights of output channels in the score: signs or ones.")] = (
        "signs"
    )
    layer: Annotated[
        list[str] | None, typer.Option("--layer", help="Probe a submodule, such as stages.2.5; repeatable.")
    ] = None
    depth: Annotated[
        list[str] | None,
        typer.Option("--depth", help="Stack the target this many times: 4, or 1,2,4,8 side by side.  [default: 1]"),
    ] = None
    layout: Annotated[
        str | None,
        typer.Option("--layout", help="Of the probed output: NCHW, NHWC, NLC, NCL.  [default: as operators made it]"),
    ] = None
    grid: Annotated[
        str | None, typer.Option("--grid", metavar="H,W", help="Rows and columns of tokens, such as 14,14.")
    ] = None
    layer_scale: Annotated[
        float | None, typer.Option("--layer-scale", help="Value for layer scales that are still untrained.")
    ] = None
    inputs: Annotated[
        list[str] | None,
        typer.Option("--inputs", help="noise, a folder of images, a tensor file; repeatable.  [default: noise]"),
    ] = None
    precision: Annotated[
        float | None, typer.Option("--precision", help="Stop sampling at this relative standard error, such as 0.01.")
    ] = None
    dtype: Annotated[str, typer.Option("--dtype", help="float32, float64; bfloat16 moves the map.")] = "float32"
    mode: Annotated[
        str, typer.Option("--mode", help="convbench, or replknet: that project's numbers, for published r tables.")
    ] = "convbench"
    full: Annotated[bool, typer.Option("--full", help="Compute the whole map, not only what the centre sees.")] = False
    timeout: Timeout = None

    def variants(self, case: Case) -> list[_Variant]:
        """Every combination of depth, layer and inputs for a case. Raises UsageError."""
        from convbench.measures.erf import ErfSettings

        own = ("samples", "seeds", "statistic", "probe", "layout", "layer_scale", "precision", "dtype", "mode")
        chosen: dict[str, Any] = {"seed": case.seed, **{name: getattr(self, name) for name in own}}
        chosen["grid"] = None if self.grid is None else read_grid(self.grid)
        if case.weights is not None or case.pretrained:
            chosen["seeds"] = 1  # trained weights are one set
        chosen["evaluation"] = "full" if self.full else "auto"
        layers: list[str | None] = [*dict.fromkeys(self.layer or ())] or [None]
        inputs = list(dict.fromkeys(self.inputs or ["noise"]))
        found = []
        for each, layer, depth in itertools.product(inputs, layers, self._depths()):
            settings = {**chosen, "depth": depth, "layer": layer}
            ErfSettings(**settings)  # raises what is wrong with them
            name = f" {layer}" if len(layers) > 1 else ""
            found.append(_Variant(settings, each, name + (f" ({each})" if len(inputs) > 1 else "")))
        return found

    def _depths(self) -> list[int]:
        words = [word.strip() for text in self.depth or ["1"] for word in text.split(",")]
        for word in words:
            if not word.isdecimal():
                raise UsageError(f"--depth takes whole numbers such as 4 or 1,2,4,8; got {word!r}")
        return list(dict.fromkeys(map(int, words)))


@dataclass(frozen=True, slots=True)
class _Variant:
    """One way of probing a target. settings: of `ErfSettings`, but for the inputs. suffix: tells it from others."""

    settings: Mapping[str, Any]
    inputs: str
    suffix: str


def read_grid(text: str) -> tuple[int, int]:
    """``H,W`` as numbers. Raises UsageError."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--grid is the rows and columns of tokens, such as 14,14; got {text!r}")
    return int(parts[0]), int(parts[1])


_PLOT_EXAMPLES = """\b
Examples:
  convbench erf plot
  convbench erf plot MRFA PyConv --depth 1,4 -o depth.pdf
  convbench erf plot MRFA PyConv --depth 1,2,4,8,16 --growth -o growth.pdf
  convbench erf plot uniconvnet_a --layer-scale 1 --seeds 1
"""


@dataclass(slots=True)
class _Found:
    """What could be measured, what could not and why, as rows of files, and the exit code."""

    fields: list[Erf] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    code: int = 0


@erf_app.command("plot", epilog=_PLOT_EXAMPLES)
@takes_flags
def plot(
    case: ErfCase,
    flags: ErfFlags,
    targets: Targets = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="Picture: .png, .svg or .pdf.  [default: erf.png]"),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="Of colours: log, linear or both.  [default: both for one target, else log]"),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option("--columns", help="Panels side by side.  [default: as many as fit]", show_default=False),
    ] = None,
    width: Annotated[
        float, typer.Option("--width", help="Inches: 3.3 fits one column of a paper, 7 both; text keeps its size.")
    ] = 7.0,
    common: Annotated[
        bool, typer.Option("--common", help="One window for all panels, not one that fits each.")
    ] = False,
    growth: Annotated[
        bool, typer.Option("--growth", help="Curves of size and AGD over several --depth, or --layer, not maps.")
    ] = False,
    no_heading: Annotated[
        bool, typer.Option("--no-heading", help="Leave out the lines that say what was probed, and how.")
    ] = False,
) -> None:
    """Draw receptive fields and their radial profiles; without names, those of all registered blocks."""
    from convbench.pictures.field import Drawing

    drawing = Drawing(width, scale, columns, not no_heading, common, growth)  # type: ignore[arg-type]
    if growth and len(flags.variants(case)) == 1:
        raise UsageError("--growth needs several depths or layers: --depth 1,2,4,8, or --layer more than once")
    paths = check_outputs(output or [Path("erf.png")], PICTURES)
    found, saved = _measure(case, flags, targets, paths, drawing, as_data=True)
    raise typer.Exit(found.code or saved)


_LAYERS_EXAMPLES = """\b
Examples:
  convbench erf layers torchvision:resnet50 --size 224
  convbench erf layers MRFA --dim 64 --all -o mrfa.csv
"""


@erf_app.command("layers", epilog=_LAYERS_EXAMPLES)
@takes_flags
def layers(
    target: TargetName,
    case: ErfCase,
    every: Annotated[
        bool, typer.Option("--all", help="Also layers whose output sees just what the last one did.")
    ] = False,
    output: Outputs = None,
    timeout: Timeout = None,
) -> None:
    """Print the theoretical receptive field, stride and start of every layer: what its kernels reach."""
    from convbench.report.tables.layers import layer_rows, layers_table

    paths = check_outputs(output or ())
    case, since = read_case(target, case, _CONDITIONS), start(paths)
    with asking(timeout) as (ask, tell):
        (wanted,) = looked_over(ask, [case])
        tell(f"{wanted.name}: propagating")
        found = value_for(wanted, ask, {"do": "convbench.measures.erf.layers:run"})
        rows = layer_rows(found["layers"])
        saved = save_table(paths, "layers", rows, ask, since)
    table, left_out = layers_table(rows, every)
    print_table(table)
    if left_out:
        note(f"{left_out} layers that see just what the one before them sees are left out: --all prints them")
    raise typer.Exit(saved)


_REGIONS_EXAMPLES = """\b
Examples:
  convbench erf regions DRConv --layer conv_guide --size 56
  convbench erf regions drconv_shufflenetv2_x1_0 --layer stage1_block2.masknet --inputs photos/
"""


@erf_app.command("regions", epilog=_REGIONS_EXAMPLES)
@takes_flags
def regions(
    target: TargetName,
    case: ErfCase,
    layer: Annotated[str, typer.Option("--layer", help="The guide: its largest channel is a pixel's region.")],
    inputs: Annotated[str, typer.Option("--inputs", help="noise, a folder of images, or a tensor file.")] = "noise",
    samples: Annotated[int, typer.Option("--samples", min=1, max=12, help="Inputs drawn side by side.")] = 4,
    width: Annotated[float, typer.Option("--width", min=2, max=40, help="Of the picture, in inches.")] = 7.0,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="Picture: .png, .svg or .pdf.  [default: regions.png]"),
    ] = None,
    timeout: Timeout = None,
) -> None:
    """Draw which channel of a layer is largest at each pixel: the regions of a region-aware convolution."""
    from convbench.measures.erf.regions import RegionMap
    from convbench.pictures.regions import draw_regions, regions_picture
    from convbench.workers.codec import decode

    paths = check_outputs(output or [Path("regions.png")], PICTURES)
    case = read_case(target, case, _CONDITIONS)
    with asking(timeout) as (ask, tell):
        (wanted,) = looked_over(ask, [case])
        tell(f"{wanted.name}: drawing")
        job = {"do": "convbench.measures.erf.regions:run", "layer": layer, "inputs": inputs, "samples": samples}
        found = value_for(wanted, ask, job)
    maps = [decode(RegionMap, item) for item in found["maps"]]
    title = f"{wanted.name}, {layer}: the largest of {maps[0].channels} channels at each pixel; {found['inputs']}"
    figure = draw_regions([(item.image, item.regions) for item in maps], maps[0].channels, title, width)
    contents = {path: regions_picture(figure, path.suffix[1:].lower()) for path in paths}
    raise typer.Exit(save_contents(contents, as_data=True))


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
def measure(case: ErfCase, flags: ErfFlags, targets: Targets = None, output: Files = None) -> None:
    """Print every figure of the receptive fields, with 95% intervals over initialisations and inputs."""
    from convbench.report.tables.erf import measure_table

    raise typer.Exit(_tabulate(case, flags, targets, output, measure_table).code)


_COMPARE_EXAMPLES = """\b
Examples:
  convbench erf compare PyConv MRFA --dim 64
  convbench erf compare Conv3x3 MRFA ConvNeXt --depth 4 -o fields.csv
"""


@erf_app.command("compare", epilog=_COMPARE_EXAMPLES)
@takes_flags
def compare(case: ErfCase, flags: ErfFlags, targets: Targets = None, output: Files = None) -> None:
    """Print the figures of several targets and how they differ from the first's: intervals, ratios, verdicts."""
    from convbench.report.tables.erf import compare_table, comparison_note

    found = _tabulate(case, flags, targets, output, compare_table, compared=True)
    if len(found.fields) > 1:
        note(comparison_note(found.fields))
    raise typer.Exit(found.code)


def _tabulate(
    case: Case,
    flags: ErfFlags,
    targets: Sequence[str] | None,
    output: Sequence[Path] | None,
    table: Callable[[Sequence[Erf]], Table],
    *,
    compared: bool = False,
) -> _Found:
    found, saved = _measure(case, flags, targets, check_outputs(output or (), FIELDS), compared=compared)
    if found.fields:
        print_table(table(found.fields))
        for line in once_a_kind(_doubts(found.fields)):
            print_footnote(line)
    found.code = found.code or saved
    return found


def _doubts(fields: Sequence[Erf]) -> Iterator[str]:
    """What a reader of the figures must know."""
    for erf in fields:
        yield from (f"{erf.label}: {message}" for message in erf.warnings if message != NOTHING_TO_RAISE)
    if fields and all(NOTHING_TO_RAISE in erf.warnings for erf in fields):
        yield NOTHING_TO_RAISE


def _measure(
    case: Case,
    flags: ErfFlags,
    targets: Sequence[str] | None,
    output: Sequence[Path],
    drawing: Drawing | None = None,
    *,
    as_data: bool = False,
    compared: bool = False,
) -> tuple[_Found, int]:
    """Each target at each depth, and the exit code of writing them; Ctrl-C keeps what was complete.

    Raises UsageError before anything is measured.
    """
    from convbench.report.tables.erf import erf_report

    if case.device_type == "meta":
        raise UsageError("a receptive field needs computing, and nothing is computed on meta: use --device cpu")
    cases = read_cases(targets, case, _CONDITIONS)
    since, found = start(output), _Found()
    flags.variants(case)  # raises what is wrong with them, before anything is imported
    with asking(flags.timeout) as (ask, tell):
        wanted = [(target, variant) for target in looked_over(ask, cases) for variant in flags.variants(target.case)]
        try:
            for number, (target, variant) in enumerate(wanted, start=1):
                tell(f"{target.name}: {number} of {len(wanted)}")
                _measure_one(target, variant, ask, found, alone=len(wanted) == 1)
        except KeyboardInterrupt:
            fail(f"interrupted; {len(found.fields)} of {len(wanted)} receptive fields are complete")
            found.code = 130
        about = surroundings(ask, since) if output else {}
    for line in _doubts(found.fields) if as_data else ():
        warn(line)
    if as_data and not found.fields:
        return found, 0  # there is nothing to draw
    report = replace(erf_report(found.fields, found.failed, about, command(), compared=compared), drawing=drawing)
    return found, save_report(output, report, as_data=as_data)


def _measure_one(target: Target, variant: _Variant, ask: Ask, found: _Found, *, alone: bool) -> None:
    from convbench.workers.codec import decode

    job = {
        "do": "convbench.measures.erf.job:run",
        "packed": Packed(target.case).to_json(),
        "settings": variant.settings,
        "inputs": variant.inputs,
    }
    failure, answer = target.failure, None
    if failure is None:
        answer = ask(job)
        failure = answer.failure
    if answer is None or failure is not None:
        assert failure is not None
        if failure.refused and alone:
            raise UsageError(failure.reason)
        warn(f"{target.name}{variant.suffix}: {failure.status}: {failure.reason}")
        about = {"target": f"{target.name}{variant.suffix}", "depth": variant.settings["depth"]}
        found.failed.append({**about, "status": failure.status, "error": failure.reason})
        found.code = 3
        return
    erf = replace(decode(Erf, answer.value["erf"]), label=target.name + variant.suffix)
    found.fields.append(erf)
    if erf.reason is not None:
        where = "the whole image" if erf.method == "full" else "the part of the image that its samples reach"
        note(f"{erf.label}: computed on {where}: {erf.reason}")
