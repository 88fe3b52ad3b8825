"""Whether this tool can be trusted on the GPU of this machine: one command, at most 9 minutes, one JSON verdict.

    python -m tests.gpu_smoke [--device cuda:0]

Every check is a fact about the hardware that the tool must see: a kernel of known length takes that long, a graph does
not show its launch, a wide product runs near the card's own speed, an identical pair is not told apart and one of 10%
more work is, one target's illegal access is its own record, a command gives both columns. Prints one JSON object:
``verdict`` is ``pass``, ``fail`` or ``no device``; ``checks`` has, by name, whether it held, what was found, and the
seconds it took. Exits with 0 for a pass, 3 for a failure, 2 without a device. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convbench.case import Case
from convbench.execution.device import Device
from convbench.measures.latency import LatencySettings, compare_latency
from convbench.measures.latency.timing.accelerator import capture, graph_clock, host_clock
from convbench.measures.latency.timing.gpu import Watch
from convbench.measures.latency.timing.order import Cache

LIMIT_S = 9 * 60.0
_SELF = Path(__file__).resolve()
_QUICK = LatencySettings(processes=3, max_time_s=3.0, timeout_s=90.0)

Check = Callable[[str], Mapping[str, Any]]


class Work(nn.Module):
    """So many thousands of multiplications of each value: work that grows with ``steps`` and with nothing else."""

    def __init__(self, dim: int = 64, steps: int = 40) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = x * 1.0001
        return x


class Illegal(nn.Module):
    """Reads far outside of its tensor after some calls, which ends the context of whoever shares it."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        index = torch.full((1,), 2**40 if self.calls > 5 else 0, device=x.device)
        return x.flatten()[index]


class Waits(nn.Module):
    """Asks for a value on the host, which no graph can hold."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def median_ms(clock: Any, call: Callable[[], object], samples: int = 60) -> float:
    for _ in range(samples):
        clock.sample(call, 1)
    return float(np.median([sample.wall_ns for sample in clock.collect()])) / 1e6


def a_replay_hides_its_launch(device: str) -> Mapping[str, Any]:
    """Fifty tiny kernels: by the host some 5 µs each, on the device 1 to 3."""
    x = torch.randn(1024, device=device)

    def call() -> Tensor:
        y = x
        for _ in range(50):
            y = y + 1
        return y

    played = capture(call, torch.inference_mode, device)
    clock = graph_clock(device, "warm")
    replayed, eager = median_ms(clock, played), median_ms(host_clock(device, "warm"), call)
    single = capture(lambda: x + 1, torch.inference_mode, device)
    one = median_ms(graph_clock(device, "warm"), single)
    found = {"eager_ms": eager, "device_ms": replayed, "one_kernel_ms": one, "exposed": clock.exposed}
    # One replay of one kernel is one kernel: with its launch in it, it would be 5 µs and more.
    return {"held": replayed < eager / 1.5 and one < 5e-3 and clock.exposed <= 6, **found}


def a_sleep_of_known_length_takes_as_long(device: str) -> Mapping[str, Any]:
    """Cycles are counted by the device itself: ten times as many must take ten times as long."""
    here = Device(device)
    clock = host_clock(device, "warm")
    short, long = (median_ms(clock, lambda cycles=cycles: here.sleep(cycles), 20) for cycles in (10**6, 10**7))
    return {"held": 9 < long / short < 11, "short_ms": short, "long_ms": long, "ratio": long / short}


def a_product_takes_the_same_either_way(device: str) -> Mapping[str, Any]:
    a, b = (torch.randn(4096, 4096, device=device, dtype=torch.float16) for _ in range(2))
    eager = median_ms(host_clock(device, "warm"), lambda: a @ b)
    replayed = median_ms(graph_clock(device, "warm"), capture(lambda: a @ b, torch.inference_mode, device))
    found = {"eager_ms": eager, "device_ms": replayed, "tflops": 2 * 4096**3 / replayed / 1e9}
    return {"held": abs(eager / replayed - 1) < 0.15, **found}


def a_cold_cache_is_slower(device: str) -> Mapping[str, Any]:
    x = torch.randn(4_000_000, device=device)
    played = capture(x.sum, torch.inference_mode, device)
    caches: tuple[Cache, ...] = ("cold", "warm")
    cold, warm = (median_ms(graph_clock(device, cache), played) for cache in caches)
    return {"held": cold > warm, "cold_ms": cold, "warm_ms": warm}


def the_watch_reads_the_clock(device: str) -> Mapping[str, Any]:
    watch = Watch.of(Device(device))
    trusted = watch.chunk_is_trusted()
    notes = watch.notes()
    return {"held": trusted and any("clock" in note for note in notes), "notes": notes}


def verdicts_are_right(device: str) -> Mapping[str, Any]:
    """The same work once more, and a tenth more of it."""
    case = Case(f"{_SELF}:Work", dim=64, size=112, device=device, options=(("steps", 40),))
    more = replace(case, options=(("steps", 44),))
    comparison = compare_latency([case, case, more], 0, replace(_QUICK, processes=5))
    _, same, slower = comparison.ratios
    assert same is not None
    assert slower is not None
    sides = [(ratio.verdict, ratio.ratio, ratio.low, ratio.high) for ratio in (same, slower)]
    device_sides = [ratio.device and (ratio.device.verdict, ratio.device.ratio) for ratio in (same, slower)]
    held = same.verdict not in ("faster", "slower") and slower.device is not None
    held = held and slower.device.verdict == "slower"  # type: ignore[union-attr]
    rounds = [latency.samples / max(1, latency.processes) for latency in comparison.latencies]
    notes = [latency.notes for latency in comparison.latencies]
    found = {"eager": sides, "device": device_sides, "rounds_a_process": rounds, "notes": notes}
    return {"held": held and min(rounds) >= 20, **found}


def a_lost_context_is_one_record(device: str) -> Mapping[str, Any]:
    """The second target ends the context, the third cannot be captured; the first and the fourth have both columns."""
    names = ("Work", "Illegal", "Waits", "Work")
    cases = [Case(f"{_SELF}:{name}", dim=64, size=28, device=device) for name in names]
    latencies = compare_latency(cases, 0, _QUICK).latencies
    statuses = [latency.status for latency in latencies]
    columns = [latency.device is not None for latency in latencies]
    errors = [latency.error for latency in latencies]
    held = statuses == ["ok", "error", "ok", "ok"] and columns == [True, False, False, True]
    return {"held": held, "statuses": statuses, "device_columns": columns, "errors": errors}


def the_command_gives_both_columns(device: str) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mrfa.json"
        arguments = ["profile", "MRFA", "--device", device, "--max-time", "3", "-o", str(path)]
        done = subprocess.run(
            [sys.executable, "-m", "convbench", *arguments], capture_output=True, text=True, check=False, timeout=200
        )
        if done.returncode or not path.is_file():
            return {"held": False, "exit_code": done.returncode, "stderr": done.stderr[-2000:]}
        saved = json.loads(path.read_text())
    (record,) = saved["records"]
    keys = ("latency_ms", "device_latency_ms", "launch_bound", "latency_noise", "peak_bytes", "status", "error")
    accelerators = saved["environment"].get("accelerators")
    return {
        "held": record["status"] == "ok" and None not in (record["latency_ms"], record["device_latency_ms"]),
        **{key: record.get(key) for key in keys},
        "accelerators": accelerators,
        "stderr": done.stderr[-1000:],
    }


def every_device_is_its_own(device: str) -> Mapping[str, Any]:
    """With two: events and waiting on the last go there, while the first is kept busy."""
    count = torch.cuda.device_count()
    if count < 2:
        return {"held": True, "devices": count, "skipped": "there is one device"}
    last = Device(f"cuda:{count - 1}")
    x = torch.randn(2048, 2048, device=last.torch)
    clock = host_clock(str(last.torch), "warm")
    alone = median_ms(clock, lambda: x @ x)
    Device("cuda:0").sleep(2 * 10**9)
    beside = median_ms(clock, lambda: x @ x)
    Device("cuda:0").synchronise()
    return {"held": abs(beside / alone - 1) < 0.2, "devices": count, "alone_ms": alone, "beside_ms": beside}


CHECKS: tuple[Check, ...] = (
    the_watch_reads_the_clock,
    a_sleep_of_known_length_takes_as_long,
    a_replay_hides_its_launch,
    a_product_takes_the_same_either_way,
    a_cold_cache_is_slower,
    every_device_is_its_own,
    the_command_gives_both_columns,
    a_lost_context_is_one_record,
    verdicts_are_right,
)


def verdict(
    device: str, checks: tuple[Check, ...] = CHECKS, now: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """What the checks found; those that the time has run out for are failures that say so."""
    begun, found = now(), {}
    for check in checks:
        name, since = check.__name__, now()
        if since - begun > LIMIT_S:
            found[name] = {"held": False, "error": "not reached within the time"}
            continue
        print(f"{since - begun:5.0f} s  {name}", file=sys.stderr, flush=True)
        try:
            result = dict(check(device))
        except Exception as error:  # whatever fails is what this is for
            result = {"held": False, "error": f"{type(error).__name__}: {str(error)[:500]}"}
        found[name] = {**result, "held": bool(result["held"]), "seconds": round(now() - since, 1)}
    held = all(result["held"] for result in found.values())
    return {"verdict": "pass" if held else "fail", "seconds": round(now() - begun, 1), "checks": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    device = parser.parse_args().device
    if not torch.cuda.is_available():
        print(json.dumps({"verdict": "no device", "torch": torch.__version__}))
        return 2
    here = Device(device)
    here.use()
    about = {
        "device": device,
        "name": here.name,
        "uuid": here.uuid,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_SELF.parent.parent), os.environ.get("PYTHONPATH", "")])
    found = verdict(device)
    print(json.dumps({**about, **found}, default=str, indent=1))
    return 0 if found["verdict"] == "pass" else 3


if __name__ == "__main__":
    sys.exit(main())
