"""Measure everything in this folder again: about an hour of one quiet machine.

    python reports/rebuild.py            # all of it
    python reports/rebuild.py erf paper  # some of it

Every step is a list of commands that can be typed as they are printed. An interrupted sweep goes on where it stopped;
`--fresh` forgets what it kept.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = Path("reports/.cache")
PEERS = KEPT / "profilers"


@dataclass(frozen=True)
class Command:
    """accepted: exit codes that are no failure; convbench exits with 3 where a case failed and the rest went on."""

    line: str
    accepted: tuple[int, ...] = (0,)
    variables: Mapping[str, str] = field(default_factory=dict)


STEPS: dict[str, list[Command]] = {
    "calibrate": [Command("convbench calibrate")],
    "erf": [
        Command("convbench erf plot --dim 64 --layer-scale 1 -o reports/erf.png -o reports/erf.svg", (0, 3)),
        Command(
            "convbench erf measure --dim 64 --layer-scale 1 -o reports/erf.csv -o reports/erf.json -o reports/erf.npz",
            (0, 3),
        ),
    ],
    "headline": [
        Command(
            "convbench compare Conv3x3 DepthwiseSeparable Bottleneck ConvNeXt MRFA UniConvNetBlock Conv2Former DRConv "
            "DRConvExperts RefConv RefConvBlock PyConv PyConvBNReLU PyConvBottleneck --baseline Conv3x3 --dim 64 "
            "--max-time 5 -o reports/headline.csv -o reports/headline.json",
            (0, 3),
        ),
        Command(
            "convbench report reports/headline.json -o reports/headline.md -o reports/headline.tex "
            "--plots reports/headline "
            "--columns target,params,macs,latency_ms,ratio,ratio_low,ratio_high,verdict,peak_bytes,erf_sigma,erf_agd"
        ),
    ],
    "zoo": [
        Command(
            "convbench sweep --dim 32,64,128,256 --size 14,28,56,112 --measure params,cost,memory,latency --max-time 1 "
            f"--timeout 300 --store {KEPT}/zoo.jsonl -o reports/zoo.csv -o reports/zoo.json",
            (0, 3),
        ),
        Command(
            "convbench report reports/zoo.json reports/erf.npz -o reports/zoo.html --plots reports/plots "
            "--title 'The block zoo: dim 32–256, inputs 14–112'"
        ),
    ],
    # 1: a published figure differs without an explanation, which is a result.
    "paper": [Command("convbench paper -o reports/paper.csv -o reports/paper.md", (0, 1))],
    "claims": [Command("python reports/claims.py")],
    "profilers": [
        Command(f"python -m pip install --quiet --no-deps --upgrade --target {PEERS} -r reports/profilers.txt"),
        Command("python reports/profilers.py", variables={"PYTHONPATH": str(ROOT / PEERS)}),
    ],
}


def run(command: Command) -> None:
    """Run one command in the repository's root; stop everything where it fails."""
    words = shlex.split(command.line)
    programs = {"python": sys.executable, "convbench": str(Path(sys.executable).with_name("convbench"))}
    print(f"$ {command.line}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [programs[words[0]], *words[1:]], cwd=ROOT, env={**os.environ, **command.variables}, check=False
    )
    print(f"  {time.monotonic() - began:.0f} s, exit code {done.returncode}", flush=True)
    if done.returncode not in command.accepted:
        sys.exit(done.returncode or 1)


def main(arguments: Sequence[str]) -> None:
    names = [name for name in arguments if name != "--fresh"]
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        sys.exit(f"no step is named {unknown[0]!r}: they are {', '.join(STEPS)}")
    if "--fresh" in arguments:
        shutil.rmtree(ROOT / KEPT, ignore_errors=True)
    (ROOT / KEPT).mkdir(parents=True, exist_ok=True)
    for name in names or STEPS:
        print(f"# {name}", flush=True)
        for command in STEPS[name]:
            run(command)


if __name__ == "__main__":
    main(sys.argv[1:])
