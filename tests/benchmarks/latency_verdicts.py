"""How often `compare` is right: identical blocks, and blocks that are slower by 5% and 10% by construction.

    python -m tests.benchmarks.latency_verdicts            (30 min)

Every trial compares a depthwise convolution of 320 channels with a second one like it, with one of 336 (+5%) and with
one of 352 (+10%), in fresh processes. In every second trial a second process multiplies matrices meanwhile. Prints how
often the identical pair was called different, how often the slower ones were found, and how often the intervals cover
the true ratio: 1, and for the wider ones the geometric mean of all other trials, since a call has a part that does not
grow with the width.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convbench.case import Case
from convbench.measures.latency import LatencyComparison, LatencySettings, Ratio, compare_latency

TARGET = f"{Path(__file__).parent / 'latency_targets.py'}:Depthwise"
DIMS = {"A/A": 320, "+5%": 336, "+10%": 352}
LOAD = "import os, torch; a = torch.randn(512, 512); mine = os.getppid()\nwhile os.getppid() == mine: a @ a"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--only", choices=DIMS, action="append", help="these pairs alone; repeatable")
    arguments = parser.parse_args()
    dims = {name: DIMS[name] for name in arguments.only or DIMS}
    cases = [Case(TARGET, dim=dim, size=arguments.size) for dim in (320, *dims.values())]
    found: dict[str, list[Ratio]] = {name: [] for name in dims}
    loaded: list[bool] = []
    for trial in range(arguments.trials):
        loaded.append(trial % 2 == 1)
        started = time.monotonic()
        with load(loaded[-1]):
            settings = LatencySettings(processes=arguments.processes, seed=1000 * trial)
            comparison = compare_latency(cases, 0, settings)
        print(f"{trial + 1:3} {'load ' if loaded[-1] else 'quiet'} {describe(comparison)}", end="")
        print(f"  {time.monotonic() - started:.0f} s", flush=True)
        for name, ratio in zip(dims, comparison.ratios[1:], strict=True):
            assert ratio is not None
            found[name].append(ratio)
    summarise(found, loaded)


@contextmanager
def load(wanted: bool) -> Iterator[None]:
    """A second process that is busy meanwhile."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", LOAD], env={"OMP_NUM_THREADS": "1"}) as process:
        try:
            yield
        finally:
            process.kill()


def describe(comparison: LatencyComparison) -> str:
    """One line: the control, and every ratio with its interval and verdict."""
    control = comparison.control
    parts = [] if control is None else [f"control {control.ratio:.3f} [{control.low:.3f}, {control.high:.3f}]"]
    parts += [f"{r.ratio:.3f} [{r.low:.3f}, {r.high:.3f}] {r.verdict:<7}" for r in comparison.ratios if r is not None]
    noise = comparison.latencies[0].noise
    return f"{noise:<7} {'  '.join(parts)}"


def summarise(found: dict[str, list[Ratio]], loaded: Sequence[bool]) -> None:
    """The figures that a reader wants, for all trials and for the halves."""
    for label, wanted in (("all", (True, False)), ("quiet", (False,)), ("load", (True,))):
        trials = [trial for trial, under_load in enumerate(loaded) if under_load in wanted]
        chosen = {name: [ratios[trial] for trial in trials] for name, ratios in found.items()}
        if not trials:
            continue
        for name, ratios in chosen.items():
            if name == "A/A":
                different = sum(ratio.verdict in ("faster", "slower") for ratio in ratios)
                same = sum(ratio.verdict == "same" for ratio in ratios)
                print(f"{label}: identical blocks called different in {different} of {len(ratios)}, the same in {same}")
            else:
                hits = sum(ratio.verdict == "slower" for ratio in ratios)
                print(f"{label}: {name} found in {hits / len(ratios):.0%} of {len(ratios)}")
            covered = statistics.fmean(covers(ratios, index, name == "A/A") for index in range(len(ratios)))
            width = statistics.median(ratio.high / ratio.low - 1 for ratio in ratios)
            mean = math.exp(statistics.fmean(math.log(ratio.ratio) for ratio in ratios))
            print(f"{label}: {name} mean ratio {mean:.4f}, covered in {covered:.0%}, median width {width:.1%}")


def covers(ratios: Sequence[Ratio], index: int, identical: bool) -> bool:
    """Whether an interval covers the truth, which for unequal blocks is what the other trials found."""
    others = [math.log(ratio.ratio) for at, ratio in enumerate(ratios) if at != index]
    truth = 1.0 if identical else math.exp(statistics.fmean(others)) if others else ratios[index].ratio
    return ratios[index].low <= truth <= ratios[index].high


if __name__ == "__main__":
    main()
