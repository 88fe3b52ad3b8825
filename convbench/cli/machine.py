"""``convbench env`` and ``convbench calibrate``: this machine, what it can do and what it can tell apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.case import Case
from convbench.cli.app import app
from convbench.cli.asking import asking, seconds_of, value_of
from convbench.cli.console import note, out, print_table, warn
from convbench.cli.measuring import progress
from convbench.cli.options import Device, Threads, Timeout
from convbench.errors import UsageError

if TYPE_CHECKING:
    from convbench.calibration import Calibration

_ENV_EXAMPLES = """\b
Examples:
  convbench env
  convbench env --json > environment.json
"""


@app.command(epilog=_ENV_EXAMPLES)
def env(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Print the environment record that every JSON report embeds."""
    with asking(None) as (ask, _):
        record = value_of(ask({"do": "convbench.environment:describe"}))
    if as_json:
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("item", "value", box=None, header_style="bold", pad_edge=False)
    for name, value in _leaves(record):
        if name != "torch.build":
            table.add_row(name, value)
    print_table(table)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{index}")
    else:
        yield (
            path,
            "unknown" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value),
        )


_CALIBRATE_EXAMPLES = """\b
Examples:
  convbench calibrate
  convbench calibrate --threads 2
  convbench calibrate --device cuda --json
"""


@app.command(epilog=_CALIBRATE_EXAMPLES)
def calibrate(
    device: Device = "cpu",
    threads: Threads = 1,
    timeout: Timeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Measure this machine's noise floor, peak FLOP/s and bandwidth, and keep them for profile and compare.

    Take a minute in which nothing else runs: what disturbs the calibration is said, not corrected.
    """
    from convbench.calibration import calibration_file
    from convbench.measures.calibrate import calibrate as measure

    patience = seconds_of(timeout)
    Case("calibration", device=device, threads=threads)  # raises what is wrong with these
    if device.partition(":")[0] == "meta":
        raise UsageError("calibrate times, and nothing is computed on meta: use --device cpu")
    with progress() as tell:
        found = measure(device, threads, progress=tell, note=note, timeout_s=patience)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        _print_calibration(found)
    for message in found.notes:
        warn(message)
    note(f"kept in {calibration_file(device, threads, found.device_name)}")


def _print_calibration(found: Calibration) -> None:
    from rich.table import Table

    from convbench.report.units import count

    plural = "s" if found.threads != 1 else ""
    out().print(f"{found.device} ({found.device_name}), {found.threads} thread{plural}, torch {found.torch_version}")
    table = Table("figure", "value", "how", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = "right"
    for dtype, rate in found.flops_per_s.items():
        table.add_row(f"peak {dtype}", f"{count(rate)}FLOP/s", "fastest large matrix product")
    table.add_row(
        "bandwidth", f"{count(found.bytes_per_s)}B/s", f"large copy, read + written; {count(found.copy_bytes)}B"
    )
    table.add_row("timer step", f"{found.timer_resolution_ns} ns", f"reading it takes {found.timer_cost_ns:.0f} ns")
    table.add_row("load", f"{found.load_1m:g}", "runnable processes over the minute before")
    table.add_row("governor", found.governor or "unknown", "of the processor's clock")
    for row in found.noise:
        interval = f"A/A ratio {row['ratio']:.4f} [{row['low']:.4f}, {row['high']:.4f}], {row['noise']}"
        table.add_row(f"noise at {row['input_shape']}", f"{row['smallest_difference']:.1%}", interval)
    print_table(table)
    if found.noise_floor is not None:
        out().print(f"\nDifferences under {found.noise_floor:.1%} cannot be told apart on this machine.")
