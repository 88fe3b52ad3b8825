"""``convbench sweep``: a grid of cases, measured one by one into a file that a later call goes on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import err, note, out, print_table, verbosity, warn
from convbench.cli.measuring import command
from convbench.cli.options import Outputs, Targets, Trust, key_flags, takes_flags
from convbench.cli.saving import save_report
from convbench.errors import UsageError
from convbench.report.io.formats import check_outputs
from convbench.sweeps.settings import AXES, KEYS, SETTINGS, Given, settings_from_flags

if TYPE_CHECKING:
    from convbench.sweeps.study import Study
    from convbench.sweeps.sweep import Progress, Result

_FURTHER = [key.plural for key in AXES if key.name not in ("target", "dim", "size", "measures")]

_EXAMPLES = f"""\b
Examples:
  convbench sweep MRFA PyConv --dim 32,64 --size 14,28 --measure params,cost -o sweep.csv
  convbench sweep Conv3x3 --dim 64 --mode inference,training --measure latency --max-time 2 -o latency.html
  convbench sweep PyConv -p kernels=[3,5],[3,5,7] --size 28 --device meta
  convbench sweep study.toml --dry-run
  convbench sweep study.toml --slurm partition=gpu,exclusive=1,time=60 -o study.csv

\b
A study file has the same keys in the plural, each with one value or a list of values:
  targets = ["MRFA", "PyConv*", "timm:convnext_tiny"]
  dims = [32, 64, 128]             # blocks only: a network has none
  sizes = [14, 28, 56]
  measures = ["params", "cost", "latency"]
  [options]                        # of every target
  bias = [true, false]
  [options.PyConv]                 # of one target; a value that is a list is put in a list
  kernels = [[3, 5], [3, 5, 7]]
  [[grid]]                         # several grids: each takes what stands above and says what differs
  modes = "training"
Further keys: {", ".join(_FURTHER[:8])},
{", ".join(_FURTHER[8:])};
and one value each: {", ".join(key.plural for key in SETTINGS)}.

\b
The store (study.jsonl after study.toml, else sweep.jsonl) holds one JSON line a measured case:
  {{"key": …, "record": {{the columns}}, "task": {{the case, its measures}}, "environment": …, "wall_s": …, …}}
Each line is on disk before the next case begins. A case that it holds is not measured again; the files
named by -o are written from it at the end, and when the sweep is interrupted.
"""


GridFlags = Annotated[
    Mapping[str, Sequence[str]], key_flags([key for key in AXES if key.name != "target"], several=True)
]
SettingFlags = Annotated[Mapping[str, Any], key_flags(SETTINGS)]


@app.command(epilog=_EXAMPLES)
@takes_flags
def sweep(
    grid: GridFlags,
    settings: SettingFlags,
    targets: Targets = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--option", metavar="KEY=A,B,…", help="Values of an option; a list is one: kernels=[3,5],[3]."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE.jsonl", help="Where records are appended.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again what the store holds.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Measure again those cases of the store that failed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cases with their cost, memory and time; measure nothing.")
    ] = False,
    slurm: Annotated[
        str | None,
        typer.Option(
            "--slurm",
            metavar="NAME=VALUE,…",
            help="Run the cases as Slurm jobs, with these parameters of sbatch.",
            show_default=False,
        ),
    ] = None,
    trust: Trust = False,
    output: Outputs = None,
) -> None:
    """Measure every combination of targets and conditions: from flags, or from a study file (FILE.toml).

    Records are appended as they come. Interrupted or killed, the same command goes on where it stopped; a crash, a
    time-out or running out of memory is the record of its case. With --slurm, Ctrl-C leaves the jobs running.
    """
    from convbench.cluster.slurm import slurm_runner
    from convbench.sweeps.sweep import run_study
    from convbench.sweeps.vetting import require_modules

    outputs, place = _places(output or (), store, targets or ())
    outputs = check_outputs(outputs)
    study = read_study(targets or (), grid, settings, option or ())
    if not trust:
        require_modules(study.named_by_data)
    runner = slurm_runner(slurm)
    if dry_run:
        _print_plan(study, place, force=force, retry_failed=retry_failed)
        raise typer.Exit(0)
    with _telling(place) as tell:
        result = run_study(study, place, elsewhere=runner, force=force, retry_failed=retry_failed, tell=tell)
    saved = _finish(result, place, outputs)
    raise typer.Exit(130 if result.interrupted else 3 if any(r.status != "ok" for r in result.records) else saved)


def read_study(targets: Sequence[str], grid: GridFlags, settings: SettingFlags, options: Sequence[str]) -> Study:
    """The study of a file, of flags, or of a file with flags that override its keys. Raises UsageError."""
    from convbench.sweeps.study import make_study
    from convbench.sweeps.study_file import settings_from_file

    files = [name for name in targets if name.lower().endswith(".toml")]
    if len(files) > 1:
        raise UsageError(f"one study at a time, got {', '.join(files)}")
    named = [name for name in targets if name not in files]
    flags = dict(settings_from_flags({**grid, **({"targets": named} if named else {})}, options))
    flags |= {(name,): Given(value, KEYS[name].flag) for name, value in settings.items()}
    layers = [settings_from_file(Path(files[0]))] if files else []
    return make_study(*layers, [flags])


def _places(outputs: Sequence[Path], store: Path | None, targets: Sequence[str]) -> tuple[list[Path], Path]:
    """The files to export to, and the store: what --store or an output called .jsonl names, else its default."""
    lines = [path for path in outputs if path.suffix.lower() == ".jsonl"]
    if len(lines) + (store is not None) > 1:
        raise UsageError("a sweep has one store: name one file, by --store or by an -o that ends in .jsonl")
    study = next((Path(name) for name in targets if name.lower().endswith(".toml")), Path("sweep"))
    place = store or next(iter(lines), Path(f"{study.stem}.jsonl"))
    return [path for path in outputs if path not in lines], place


@contextmanager
def _telling(store: Path) -> Iterator[Callable[[Progress], None]]:
    """A function that shows how far the sweep is: one live line in a terminal, a line a case elsewhere.

    Nothing is drawn between events: a line that refreshes itself would take turns with the case on the processor.
    """
    from convbench.sweeps.events import Finished, Said

    def tell(progress: Progress) -> None:
        event = progress.event
        if isinstance(event, Said):
            note(event.text)
        elif isinstance(event, Finished):
            if event.record.status != "ok":
                reason = (event.record.error or "").splitlines()
                warn(f"{event.task.case.label}: {event.record.status}: {reason[0] if reason else 'no reason given'}")
            if not err().is_terminal:
                note(
                    f"[{progress.done}/{progress.total}] {event.task.case.label}: {event.wall_s:.1f} s{_left(progress)}"
                )

    if verbosity.quiet or not err().is_terminal:
        yield tell
        return
    from rich.live import Live
    from rich.text import Text

    with Live(
        Text(f"looking over the cases; records go to {store}"), console=err(), auto_refresh=False, transient=True
    ) as live:

        def draw(progress: Progress) -> None:
            tell(progress)
            share = progress.done / progress.total
            where = "" if isinstance(progress.event, Said) else f" · {progress.event.task.case.label}"
            live.update(Text(f"[{progress.done}/{progress.total}] {share:.0%}{_left(progress)}{where}"), refresh=True)

        yield draw


def _left(progress: Progress) -> str:
    if progress.left_s is None or progress.done == progress.total:
        return ""
    from convbench.report.tables.plan import duration

    return f", about {duration(progress.left_s)} left"


def _finish(result: Result, store: Path, outputs: Sequence[Path]) -> int:
    from convbench.report.io.stored import stored_report
    from convbench.report.tables.sweep import common_conditions, sweep_table

    saved = save_report(outputs, stored_report(result.entries, result.environments, command()))
    for text in result.damage:
        warn(text)
    records = result.records
    if records:
        out().print(common_conditions(records))
        print_table(sweep_table(records))
    if result.kept:
        note(f"{result.kept} of {len(records)} records were in {store} before")
    if result.interrupted:
        warn(f"interrupted after {len(records)} cases; the same command goes on from {store}")
        if result.parting_words:
            note(result.parting_words)
    note(f"records are in {store}")
    return saved


def _print_plan(study: Study, store: Path, *, force: bool, retry_failed: bool) -> None:
    from convbench.report.tables.plan import plan_summary, plan_table
    from convbench.sweeps.store import Contents, read_store
    from convbench.sweeps.survey import estimate
    from convbench.sweeps.sweep import missing

    held = read_store(store) if store.exists() else Contents({}, {}, {})
    todo = {task.key for task in missing(study.tasks, held, force=force, retry_failed=retry_failed)}
    with err().status("counting on the meta device") if err().is_terminal and not verbosity.quiet else nullcontext():
        estimates = estimate(study.tasks)
    print_table(plan_table(estimates, todo))
    out().print(plan_summary(estimates, todo, store))
    if any(estimate.call_s is not None for estimate in estimates):
        note("calls and times are estimates, from three times the roofline: good to an order of magnitude")
