"""``convbench verify``: does a target deploy?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from convbench.case import Case
from convbench.cli.app import app
from convbench.cli.asking import asking, named, save_table
from convbench.cli.console import fail, out, print_heading, print_table
from convbench.cli.measuring import start
from convbench.cli.options import Outputs, Targets, Timeout, case_flags, takes_flags
from convbench.errors import UsageError
from convbench.reference import read_cases
from convbench.report.io.formats import check_outputs
from convbench.verify.carry_out import Verified, prepare, results
from convbench.verify.table import CHECKS, choose_checks

_CONDITIONS = ("dim", "size", "shapes", "weights", "pretrained", "seed")

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


@app.command(epilog=_EXAMPLES)
@takes_flags
def verify(
    case: Annotated[
        Case,
        case_flags(
            ("options", "device", "transforms", *_CONDITIONS),
            size="Height and width.  [default: the first that the target takes of 16, 56; networks: 64, 65, 224]",
            device="cpu, cuda, cuda:0, mps or xpu.  [default: cpu]",
        ),
    ],
    targets: Targets = None,
    check: Annotated[list[str] | None, _names("--check", "Run only this check; repeatable.")] = None,
    skip: Annotated[list[str] | None, _names("--skip", "Do not run this check; repeatable.")] = None,
    require: Annotated[list[str] | None, _names("--require", "Count this check as required; repeatable.")] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Compare every tensor's gradient by itself, not several at once.")
    ] = False,
    timeout: Timeout = None,
    output: Outputs = None,
) -> None:
    """Check that targets deploy: gradients, modes, layouts, precision, copies, tracing, export, compilation.

    Every result comes with its reason. Without names, all registered blocks are verified. Parameters are moved off
    their initial values first, because zeros and layer scales of 1e-6 hide what is behind them.
    """
    from convbench.report.tables.verify import verify_matrix, verify_rows, verify_table

    output = check_outputs(output or ())
    checks = choose_checks(check or (), skip or (), require or ())
    cases = read_cases(targets, case, _CONDITIONS)
    if case.device_type == "meta":
        raise UsageError(
            "verify computes, and nothing is computed on meta: use --device cpu (building on meta is a check)"
        )
    since = start(output)
    done: list[Verified] = []
    interrupted = False
    with asking(timeout) as (ask, tell):
        prepared = [prepare(ask, target.case, target.name, tell) for target in named(cases)]
        try:
            for verified in prepared:
                done.append(verified)
                for result in results(ask, verified, checks, tell, thorough=thorough):
                    verified.results.append(result)  # one by one, so that an interrupted run keeps what is complete
        except KeyboardInterrupt:
            interrupted = True
        rows = [row for item in done for row in verify_rows(_about(item), item.results)]
        saved = save_table(output, "checks", rows, ask, since)
    for item in done:
        print_heading(item.name, _conditions(item))
        print_table(verify_table(item.results))
        out().print()
    if len(done) > 1 and not interrupted:
        print_table(verify_matrix({item.name: item.results for item in done}))
    raise typer.Exit(130 if interrupted else _exit_code(done) or saved)


def _about(item: Verified) -> dict[str, Any]:
    from convbench.version import __version__

    found = item.prepared
    return {
        "target": item.case.target,
        "options": found.options if found else None,
        "input_shape": found.input_shape if found else None,
        "device": item.case.device,
        "convbench_version": __version__,
        "torch_version": found.torch_version if found else None,
    }


def _conditions(item: Verified) -> str:
    about = _about(item)
    known = [about["input_shape"], about["device"], about["torch_version"] and f"torch {about['torch_version']}"]
    return " · ".join(filter(None, known))


def _exit_code(done: Sequence[Verified]) -> int:
    """0; 1 when a required check failed; 3 when a target ended the process. Both are said on stderr."""
    failed = False
    for item in done:
        checks = [result.check for result in item.results if result.failed and not result.ended]
        left = [result.check for result in item.results if result.ended]
        if checks:
            fail(f"{item.name}: required checks failed: {', '.join(checks)}")
        if left:
            fail(f"{item.name}: its code ended the process, or did not come back: {', '.join(left)}")
        failed |= bool(checks)
    if failed:
        return 1
    return 3 if any(result.ended for item in done for result in item.results) else 0
