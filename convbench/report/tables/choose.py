"""The blocks that may go into a host, by cost and receptive field, as a terminal table and as rows for files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from convbench.plugging.choose import Candidate, Choice


def choice_table(choice: Choice) -> Table:
    """One row a candidate: the best first, then what was left out and why."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("block", "layers", "params", "MACs", "memory", "latency", "ERF σ (px)", "best", "left out because"):
        table.add_column(title, justify="right" if title in _RIGHT else "left")
    for candidate in choice.candidates:
        ratios = candidate.ratios
        table.add_row(
            Text(candidate.block, "bold" if candidate.is_best else ""),
            f"{candidate.changed}/{candidate.asked}" if candidate.asked else "–",
            *("–" if ratio is None else f"×{ratio:.3f}" for ratio in (ratios.params, ratios.macs, ratios.memory)),
            "–" if ratios.latency is None else f"×{ratios.latency:.3f}",
            "–" if candidate.sigma is None else f"{candidate.sigma:.2f}",
            "yes" if candidate.is_best else "",
            Text(candidate.why),
        )
    return table


_RIGHT = ("layers", "params", "MACs", "memory", "latency", "ERF σ (px)")


def choice_rows(choice: Choice) -> list[dict[str, Any]]:
    """One row a candidate, numbers unrounded."""
    return [_row(candidate) for candidate in choice.candidates]


def _row(candidate: Candidate) -> dict[str, Any]:
    ratios = candidate.ratios
    return {
        "block": candidate.block,
        "layers_changed": candidate.changed,
        "layers_asked": candidate.asked,
        "params_ratio": ratios.params,
        "macs_ratio": ratios.macs,
        "memory_ratio": ratios.memory,
        "latency_ratio": ratios.latency,
        "erf_sigma": candidate.sigma,
        "best": candidate.is_best,
        "left_out_because": candidate.why or None,
    }
