"""Wrong command lines, many of them: ``python -m tests.benchmarks.fuzz_cli --lines 1000 --seed 0``.

Most run in this process, the jobs of workers as well; a share runs as commands of their own, with streams closed, full
or broken and odd surroundings. Prints every line that ended in a traceback, an internal error or another exit code
than 0, 1, 2, 3 and 130, or printed what steers a terminal; exits with 1 if there was any.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import time
from collections import Counter
from itertools import islice

from tests.fuzz.command_lines import faults, lines, run_apart, run_here


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", type=float, default=0.05, help="share of lines that are commands of their own")
    parser.add_argument("--verbose", action="store_true", help="print every line before it runs")
    flags = parser.parse_args()
    chance, codes, missed = random.Random(flags.seed), Counter[str](), 0
    began = time.monotonic()
    for number, words in enumerate(islice(lines(flags.seed), flags.lines), start=1):
        shown = ascii(shlex.join(words))[1:-1][:600]
        if flags.verbose:
            print(f"{number}: {shown}", flush=True)
        ran = run_apart(words, chance) if chance.random() < flags.apart else run_here(words)
        codes[str(ran.code)] += 1
        for fault in faults(ran):
            missed += 1
            print(f"{number}: convbench {shown}\n    {fault!a}", flush=True)
    told = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
    print(f"{flags.lines} lines in {time.monotonic() - began:.0f} s, {missed} findings; exit codes {told}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
