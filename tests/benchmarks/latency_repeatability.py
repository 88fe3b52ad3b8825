"""How far repeated measurements of one block spread: `measure_latency` against torch's blocked_autorange.

    python -m tests.benchmarks.latency_repeatability            (4 min)

By turns, each time in fresh processes: what ``convbench profile`` measures, and ``Timer.blocked_autorange`` in one
process with one thread, as its documentation shows it. Prints the coefficient of variation of both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

AUTORANGE = """
import sys, torch
from torch.utils.benchmark import Timer
from convbench.case import Case
from convbench.target.blueprint import make_subject
subject = make_subject(Case(sys.argv[1]))
timer = Timer("module(x)", globals={"module": subject.module, "x": subject.args[0]})
with torch.inference_mode():
    timer.timeit(25)
    print(timer.blocked_autorange(min_run_time=float(sys.argv[2])).median * 1e3)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="MRFA")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    from convbench.case import Case
    from convbench.measures.latency import measure_latency

    figures: dict[str, list[float]] = {"convbench": [], "blocked_autorange": [], "blocked_autorange, 2 s": []}
    seconds: dict[str, list[float]] = {name: [] for name in figures}

    def take(name: str, value: float | None, started: float) -> None:
        assert value is not None
        figures[name].append(value)
        seconds[name].append(time.monotonic() - started)

    for run in range(arguments.runs):
        started = time.monotonic()
        take("convbench", measure_latency(Case(arguments.target)).median_ms, started)
        for name, run_time in (("blocked_autorange", 0.2), ("blocked_autorange, 2 s", 2.0)):
            started = time.monotonic()
            take(name, _autorange(arguments.target, run_time), started)
        print(f"{run + 1:3}: " + "  ".join(f"{values[-1]:.3f} ms" for values in figures.values()), flush=True)
    for name, values in figures.items():
        variation = statistics.stdev(values) / statistics.fmean(values)
        print(
            f"{name:<24} mean {statistics.fmean(values):.3f} ms  CV {variation:.2%}  "
            f"({statistics.fmean(seconds[name]):.1f} s a run, imports included)"
        )


def _autorange(target: str, run_time: float) -> float:
    done = subprocess.run(
        [sys.executable, "-c", AUTORANGE, target, str(run_time)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
