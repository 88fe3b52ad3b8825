"""What the checks of a target said, as a terminal table and as rows for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from convbench.verify.result import CheckResult

_COLOURS = {"pass": "green", "fail": "bold red", "not applicable": "dim", "skipped": "yellow"}
_SYMBOLS = {"pass": "ok", "fail": "FAIL", "not applicable": "n/a", "skipped": "–"}


def verify_table(results: Sequence[CheckResult]) -> Table:
    """One row a check: its status, whether it is required, and the reason."""
    table = Table("check", "", "status", "seconds", "reason", box=None, header_style="bold", pad_edge=False)
    table.columns[3].justify = "right"
    for result in results:
        status = Text(result.status, _COLOURS[result.status])
        table.add_row(result.check, _weight(result), status, f"{result.seconds:.1f}", Text(result.reason))
    return table


def verify_matrix(results: Mapping[str, Sequence[CheckResult]]) -> Table:
    """One row a check, one column a target."""
    table = Table("check", "", box=None, header_style="bold", pad_edge=False)
    for name in results:
        table.add_column(Text(name))
    for row in zip(*results.values(), strict=True):
        cells = [Text(_SYMBOLS[result.status], _COLOURS[result.status]) for result in row]
        table.add_row(row[0].check, _weight(row[0]), *cells)
    return table


def _weight(result: CheckResult) -> str:
    return "required" if result.required else "optional"


def verify_rows(about: Mapping[str, Any], results: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """One row a check for files; ``about`` names the target and the conditions."""
    return [
        {
            **about,
            "check": result.check,
            "required": result.required,
            "status": result.status,
            "reason": result.reason,
            "seconds": round(result.seconds, 3),
        }
        for result in results
    ]
