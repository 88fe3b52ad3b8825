"""``convbench verify``: does a target deploy?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import fail, out, print_heading, print_table
from convbench.cli.measuring import command, progress
from convbench.cli.options import (
    CaseFlags,
    Dim,
    Fused,
    Options,
    Outputs,
    Pretrained,
    Refocus,
    Seed,
    Shapes,
    Targets,
    Weights,
    expand_targets,
    takes_flags,
)
from convbench.cli.saving import save_report
from convbench.report.io.document import Report
from convbench.report.io.formats import check_outputs
from convbench.verify.table import CHECKS, choose_checks

if TYPE_CHECKING:
    from convbench.case import Case
    from convbench.verify.result import CheckResult
    from convbench.verify.trial import Trial

_EXAMPLES = """\b
Examples:
  convbench verify MRFA --skip compile
  convbench verify 'PyConv*' DRConv --skip compile --skip onnx -o verify.md
  convbench verify Conv2Former -p kernel_size=7 --check gradients --check batch-independence
  convbench verify timm:mobilenetv3_small_100 --skip compile --require channels-last
  convbench verify my_blocks.py:MyBlock --shape 2,32,14,14 -o verify.csv

\b
Checks (*: required; a failure of one exits with 1):
""" + "\n".join(f"  {check.name + '*' * check.required:20} {check.question}" for check in CHECKS)


def _complete_check(incomplete: str) -> list[str]:
    return [check.name for check in CHECKS if check.name.startswith(incomplete)]


def _names(flag: str, text: str) -> Any:
    return typer.Option(flag, metavar="NAME", help=text, autocompletion=_complete_check, show_default=False)


@dataclass(frozen=True, slots=True)
class VerifyFlags:
    """The flags that describe what is verified, as given."""

    dim: Dim = None
    option: Options = None
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            help="Height and width.  [default: the first that the target takes of 16, 56; networks: 64, 65, 224]",
            show_default=False,
        ),
    ] = None
    shape: Shapes = None
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0, mps or xpu.")] = "cpu"
    weights: Weights = None
    pretrained: Pretrained = False
    refocus: Refocus = False
    fused: Fused = False
    seed: Seed = 0

    def case(self, target: str) -> Case:
        """The case of ``target`` under these flags. Raises UsageError."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return CaseFlags(**given).case(target)


@app.command(epilog=_EXAMPLES)
@takes_flags
def verify(
    flags: VerifyFlags,
    targets: Targets = None,
    check: Annotated[list[str] | None, _names("--check", "Run only this check; repeatable.")] = None,
    skip: Annotated[list[str] | None, _names("--skip", "Do not run this check; repeatable.")] = None,
    require: Annotated[list[str] | None, _names("--require", "Count this check as required; repeatable.")] = None,
    output: Outputs = None,
) -> None:
    """Check that targets deploy: gradients, modes, layouts, precision, copies, tracing, export, compilation.

    Every result comes with its reason. Without names, all registered blocks are verified. Parameters are moved off
    their initial values first, because zeros and layer scales of 1e-6 hide what is behind them.
    """
    from convbench.report.tables.verify import verify_matrix, verify_rows, verify_table
    from convbench.verify.run import prepare, run_checks

    output = check_outputs(output or ())
    checks = choose_checks(check or (), skip or (), require or ())
    trials = [prepare(flags.case(name)) for name in expand_targets(targets)]
    done: dict[str, list[CheckResult]] = {}
    rows: list[dict[str, Any]] = []
    done_of: list[tuple[Trial, list[CheckResult]]] = []
    interrupted = False
    while trials and not interrupted:
        trial = trials.pop(0)
        results = done.setdefault(_label(trial, done), [])
        try:
            with progress() as tell:
                for result in run_checks(trial, checks, tell):
                    results.append(result)  # one by one, so that an interrupted run keeps what is complete
        except KeyboardInterrupt:
            interrupted = True
        rows += verify_rows(_about(trial), results)
        done_of.append((trial, results))
    saved = _save(output, rows)
    for trial, results in done_of:
        print_heading(trial.design.name, _conditions(trial))
        print_table(verify_table(results))
        out().print()
    if len(done) > 1 and not interrupted:
        print_table(verify_matrix(done))
    raise typer.Exit(130 if interrupted else _exit_code(done) or saved)


def _label(trial: Trial, taken: Mapping[str, object]) -> str:
    name = trial.design.name
    return name if name not in taken else f"{name} ({trial.design.case.target})"


def _about(trial: Trial) -> dict[str, Any]:
    import torch

    from convbench import __version__
    from convbench.records import format_options, format_shapes

    case = trial.design.case
    transforms = {"transforms": "+".join(case.transforms)} if case.transforms else {}
    return {
        "target": case.target,
        "options": format_options({**trial.design.options, **transforms}),
        "input_shape": format_shapes(trial.shapes),
        "device": case.device,
        "convbench_version": __version__,
        "torch_version": str(torch.__version__),
    }


def _conditions(trial: Trial) -> str:
    about = _about(trial)
    return f"{about['input_shape']} · {about['device']} · torch {about['torch_version']}"


def _save(paths: Sequence[Path], rows: Sequence[dict[str, Any]]) -> int:
    if not paths:
        return 0
    from convbench.environment import environment

    return save_report(paths, Report((), environment().to_json(), {"checks": rows}, command()))


def _exit_code(done: dict[str, list[CheckResult]]) -> int:
    """0, or 1 when a required check failed, which is said on stderr."""
    failures = {name: [result.check for result in results if result.failed] for name, results in done.items()}
    for name, checks in failures.items():
        if checks:
            fail(f"{name}: required checks failed: {', '.join(checks)}")
    return 1 if any(failures.values()) else 0
