"""Print what counting costs beside a plain forward pass, FlopCounterMode and fvcore: CPU time and memory, in one run.

    python tests/benchmarks/cost.py [--size 224] [--rounds 7] [NETWORK …]

The networks are PyConvResNets, -50 and -152 by default. Counting gives MACs, FLOPs and bytes for each
operator and module. Targets: at most 1.5× the forward pass on meta tensors, at least 8× faster than fvcore on real
tensors, at most 50 MiB above the imports and the network, no torch._dynamo.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

DEFAULT = ("pyconvresnet50", "pyconvresnet152")

FIRST_COUNT = """
import resource, sys, time, torch
from convbench.measures.cost import measure_cost
from convblocks.networks import pyconvresnet
network = getattr(pyconvresnet, {name!r})().eval()
x = torch.empty(1, 3, {size}, {size})
network.requires_grad_(False)
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
cost = measure_cost(network, (x,))
taken = time.process_time() - start
above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(f"first count in a fresh process: {{taken:.3f}} s CPU, {{above:.1f}} MiB above imports and network, "
      f"torch._dynamo imported: {{'torch._dynamo' in sys.modules}}")
"""


def medians_s(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each call, called in turn; the first turn warms up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def compare(name: str, size: int, rounds: int) -> None:
    """One network: every way to count it against the plain forward pass on meta tensors."""
    import torch

    from convbench.measures.cost import measure_cost
    from convbench.measures.cost.other_counters import fvcore_counts, torch_counts
    from convblocks.networks import pyconvresnet

    real, x = getattr(pyconvresnet, name)().eval(), torch.rand(1, 3, size, size)
    double, meta = getattr(pyconvresnet, name)().eval().to("meta"), x.to("meta")
    with torch.no_grad():
        times = medians_s(
            {
                "forward on meta": lambda: double(meta),
                "convbench": lambda: measure_cost(real, (x,)),
                "convbench, training": lambda: measure_cost(real, (x,), training=True, input_grad=False),
                "FlopCounterMode on meta": lambda: torch_counts(
                    double, (meta,), {}, training=False, input_grad=False, method="meta"
                ),
            },
            rounds,
        )
        times |= medians_s({"fvcore on real": lambda: fvcore_counts(real, (x,), {})}, 1)
        times |= medians_s({"forward on real": lambda: real(x)}, 1)
    cost = measure_cost(real, (x,))
    floor, ours = times["forward on meta"], times["convbench"]
    print(f"{name} at {size}: {cost.macs:,} MACs, {len(cost.modules)} modules, {len(cost.operators)} operators")
    for way, seconds in times.items():
        print(f"  {way:24} {seconds:8.4f} s CPU   {seconds / floor:6.2f}× the first   {seconds / ours:7.2f}× convbench")


def main() -> None:
    """Run every comparison, and the first count of each network in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=DEFAULT)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.networks:
        compare(name, options.size, options.rounds)
        program = FIRST_COUNT.format(name=name, size=options.size)
        printed = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
        )
        print(f"  {printed.stdout.strip()}")


if __name__ == "__main__":
    main()
