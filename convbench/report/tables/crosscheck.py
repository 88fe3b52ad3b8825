"""How other counters' figures differ from convbench's, itemised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from convbench.measures.cost import Reconciliation, ToolCheck


def crosscheck_table(reconciliation: Reconciliation) -> Table:
    """One row a tool with its total, and under it one row for each operator that it counts otherwise."""
    titles = ("counter / operator", "MACs here", "MACs there", "difference", "reason")
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
    for check in reconciliation.checks:
        table.add_row(check.tool, f"{check.convbench:,}", *_total(check))
        for item in check.differences:
            change = f"{item.other - item.convbench:+,}"
            table.add_row(f"  {item.operator}", f"{item.convbench:,}", f"{item.other:,}", change, item.reason)
    return table


def crosscheck_rows(reconciliation: Reconciliation) -> list[dict[str, Any]]:
    """The same as rows of a file; the row of a tool's total has no operator."""
    rows: list[dict[str, Any]] = []
    for check in reconciliation.checks:
        total = {"tool": check.tool, "operator": None, "macs": check.convbench, "other_macs": check.total}
        rows.append({**total, "reason": check.error})
        rows += [
            {
                "tool": check.tool,
                "operator": item.operator,
                "macs": item.convbench,
                "other_macs": item.other,
                "reason": item.reason,
            }
            for item in check.differences
        ]
    return rows


def _total(check: ToolCheck) -> tuple[str, str, str]:
    if check.total is None:
        return "–", "–", f"could not count: {check.error}"
    return f"{check.total:,}", f"{check.total - check.convbench:+,}", "" if check.differences else "agrees"
