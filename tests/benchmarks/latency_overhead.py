"""What the harness adds to a short call: its samples against a bare ``perf_counter_ns`` loop, in bursts by turns.

    python -m tests.benchmarks.latency_overhead            (20 s)

Prints the median time of both and the median of the paired ratios with its 95% interval.
"""

from __future__ import annotations

import argparse
import os
import sys
from time import perf_counter_ns

BURST = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bursts", type=int, default=4000, help=f"of {BURST} calls each")
    bursts = parser.parse_args().bursts
    _restart_with_timing_environment()

    import numpy as np
    import torch

    from convbench.case import Case
    from convbench.measures.latency.timing.calls import make_call
    from convbench.measures.latency.timing.clock import CpuClock, collector_off
    from convbench.measures.latency.timing.rounds import Lane, Rounds
    from convbench.measures.latency.timing.warmup import warm_up
    from convbench.statistics import log_ratio_interval
    from convbench.target.blueprint import make_subject

    torch.set_num_threads(1)
    subject = make_subject(Case(f"{__file__.replace('overhead', 'targets')}:Depthwise", dim=64, size=10))
    module, (x,) = subject.module, subject.args
    call, guard = make_call(subject)
    clock = CpuClock()

    def harness() -> float:
        lane = Lane(0, call, guard, clock)
        Rounds([lane], np.random.default_rng(0)).run(BURST, sys.maxsize)
        return float(np.median(lane.times_ms)) * 1e3

    def bare() -> float:
        times = []
        with torch.inference_mode():
            for _ in range(BURST):
                start = perf_counter_ns()
                module(x)
                times.append(perf_counter_ns() - start)
        return float(np.median(times)) / 1e3

    with collector_off():
        with guard():
            warm_up(call, clock)
        pairs = []
        for burst in range(bursts):
            first, second = (harness, bare) if burst % 2 else (bare, harness)
            a, b = first(), second()
            pairs.append((a, b) if burst % 2 else (b, a))
    ours, theirs = np.array(pairs).T
    ratio = log_ratio_interval(ours, theirs).exp
    print(f"bare loop {np.median(theirs):.2f} µs, harness {np.median(ours):.2f} µs a call, {bursts} bursts of {BURST}")
    print(f"ratio {ratio.centre:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]")
    print(f"the harness adds {100 * (ratio.centre - 1):+.2f}% (wanted: under 1%)")


def _restart_with_timing_environment() -> None:
    """The allocator and the thread count are read when a process starts."""
    from convbench.workers.environment import timing_environment

    if "CONVBENCH_PAD" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **timing_environment(1)})


if __name__ == "__main__":
    main()
