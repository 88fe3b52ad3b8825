"""Time several calls against each other in one run: call by call in turn, medians and ratios to the first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def medians_ms(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each call over ``rounds`` turns, after two turns of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 2:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def print_ratios(title: str, calls: Mapping[str, Callable[[], object]], rounds: int = 15) -> None:
    """One line: each call's median, and its ratio to the first call, the straightforward form."""
    with torch.inference_mode():
        times = medians_ms(calls, rounds)
    (reference, base), *_ = times.items()
    parts = [f"{reference} {base:8.3f} ms"]
    parts += [f"{name} {value:8.3f} ms = {value / base:4.2f}×" for name, value in times.items() if name != reference]
    print(f"{title:<44} {'   '.join(parts)}", flush=True)
