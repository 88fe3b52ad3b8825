"""How targets take larger batches and more threads, from the records of one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from convbench.report.columns import mark
from convbench.report.units import count

if TYPE_CHECKING:
    from convbench.measures.outcome import Outcome


def scaling_table(outcomes: Sequence[Outcome]) -> Table | None:
    """One row a target: images a second at each batch and thread count, the best batch, the speed-up over threads.

    The best batch is that of the highest throughput, at the fewest threads; the speed-up is of the same call by the
    most threads over the fewest, at the best batch. None where neither varies.
    """
    batches = sorted({outcome.case.batch for outcome in outcomes})
    threads = sorted({outcome.case.threads for outcome in outcomes})
    if len(batches) == len(threads) == 1:
        return None
    table = Table(
        "images/s",
        *(_title(batch, number, batches, threads) for number in threads for batch in batches),
        *(["best batch"] if len(batches) > 1 else []),
        *([f"speed-up, {threads[-1]} threads"] if len(threads) > 1 else []),
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    rows: dict[str, dict[tuple[int, int], Outcome]] = {}
    for outcome in outcomes:
        name = outcome.case.target + ("" if outcome.case.execution == "eager" else f" {outcome.case.execution}")
        rows.setdefault(name, {})[outcome.case.batch, outcome.case.threads] = outcome
    for name, row in rows.items():
        rates = {place: rate for place, outcome in row.items() if (rate := _rate(outcome)) is not None}
        reached = [(rates[batch, threads[0]], batch) for batch in batches if (batch, threads[0]) in rates]
        best = max(reached)[1] if reached else None
        cells = [_cell(row.get((batch, number))) for number in threads for batch in batches]
        cells += ["–" if best is None else str(best)] if len(batches) > 1 else []
        cells += [_speed_up(rates, best, threads)] if len(threads) > 1 else []
        table.add_row(Text(name), *cells)
    return table


def _title(batch: int, number: int, batches: Sequence[int], threads: Sequence[int]) -> str:
    parts = [f"batch {batch}"] if len(batches) > 1 else []
    parts += [f"{number} thread{'s' if number > 1 else ''}"] if len(threads) > 1 else []
    return ", ".join(parts)


def _rate(outcome: Outcome | None) -> float | None:
    rate: float | None = getattr(outcome.results.get("latency"), "throughput_per_s", None) if outcome else None
    return rate


def _cell(outcome: Outcome | None) -> str:
    rate = _rate(outcome)
    return "–" if rate is None or outcome is None else f"{mark(outcome.results['latency'].noise)}{count(rate)}"


def _speed_up(rates: dict[tuple[int, int], float], best: int | None, threads: Sequence[int]) -> str:
    if best is None or (best, threads[-1]) not in rates:
        return "–"
    return f"{rates[best, threads[-1]] / rates[best, threads[0]]:.2f}×"
