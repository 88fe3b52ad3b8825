"""Damaged inputs for every loader and parser, many of them: ``python -m tests.benchmarks.fuzz_readers --calls 200000``.

Prints the calls of each reader and, by kind and place, whatever was neither a value nor a ConvbenchError; exits with 1
if there was anything. Each finding's input is kept in the folder that ``--keep`` names.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.readers import fuzz, readers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose name holds this text")
    parser.add_argument("--keep", type=Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = flags.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        known = {key: reader for key, reader in readers(folder).items() if flags.only in key}
        share, missed = -(-flags.calls // len(known)), 0
        for key, reader in known.items():
            began = time.monotonic()
            found = fuzz(key, reader, share, flags.seed, folder)
            missed += sum(found.values())
            print(
                f"{key}: {share} calls in {time.monotonic() - began:.0f} s, {sum(found.values())} findings", flush=True
            )
            for text, times in found.most_common():
                print(f"    {times} × {text}")
    print(f"{share * len(known)} calls, {missed} findings")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
