"""Print peaks by storages, by a fresh process's high-water mark and by memray, beside those counted by hand.

    python tests/benchmarks/memory.py [--size 256]

All above the weights, CPU, float32, one thread. Storages + workspace is the high-water mark, and memray should agree
with it; the workspace is what libraries allocate inside operators, which no list of tensors shows.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from memray_peak import memray_peak

from convbench.case import Case
from convbench.measures.memory import measure_memory
from convbench.target.blueprint import make_subject

MIB = 2**20
PLAIN = "tests.memory.plain_mrfa:PlainMRFA"
TARGETS = (PLAIN, "MRFA", "Conv2Former", "PyConv", "ConvNeXt")
COUNTED_BY_HAND = {  # of 64 channels at 256²: peak, saved for backward
    (PLAIN, "inference"): (112.5, None),
    (PLAIN, "training"): (332.75, 276.75),
    ("MRFA", "inference"): (104.0, None),
    ("MRFA", "training"): (241.5, 205.5),
}
COLUMNS = ("hand", "storages", "saved, hand", "saved", "workspace", "sum", "memray", "difference", "seconds")


def main() -> None:
    """One row a block and mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    size: int = parser.parse_args().size
    print(f"64 channels at {size}², MiB above the weights")
    print(_line("", "", *COLUMNS))
    for target in TARGETS:
        for mode in ("inference", "training"):
            print(row(Case(target, dim=64, size=size, mode=mode), size == 256), flush=True)  # type: ignore[arg-type]


def row(case: Case, known: bool) -> str:
    """The figures of one case; ``known``: at the size that was counted by hand."""
    start = time.perf_counter()
    memory = measure_memory(make_subject(case))
    seconds = time.perf_counter() - start
    workspace = memory.workspace_bytes or 0
    total = memory.above_weights_bytes + workspace
    seen = memray_peak(case) + memory.input_bytes  # memray starts when the input is there
    peak, saved = COUNTED_BY_HAND.get((case.target, case.mode), (None, None)) if known else (None, None)
    return _line(
        "plain MRFA" if case.target == PLAIN else case.target,
        case.mode,
        _number(peak),
        _mib(memory.above_weights_bytes),
        _number(saved),
        _mib(memory.saved_for_backward_bytes),
        _mib(workspace),
        _mib(total),
        _mib(seen),
        f"{seen / total - 1:+.2%}",
        f"{seconds:.1f}",
    )


def _line(name: str, mode: str, *figures: str) -> str:
    return f"{name:12} {mode:10}" + "".join(f"{figure:>13}" for figure in figures)


def _mib(size: int | None) -> str:
    return "" if size is None else _number(size / MIB)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
