"""What a device can do at most: floating-point operations of a large matrix product, bytes of a large copy.

Measured in a fresh process with the threads of the measurements that it is compared with. The best repetition counts,
since everything that disturbs one makes it slower.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from convbench.case import DTYPES
from convbench.execution.device import Device, device_name, require_device, synchronise, torch_dtype, use_one_precision
from convbench.machine import machine
from convbench.workers.worker import Send

_FIRST_SIDE, _LAST_SIDE, _LAST_SIDE_ON_ACCELERATORS = 256, 4096, 16384
_LONG_ENOUGH_S = 0.05
_LEAST_REPETITIONS = 3
_SMALLEST_COPY_BYTES, _LARGEST_COPY_BYTES = 2**28, 2**30
_CACHES = 4  # times the last cache: then little of a copy is served from it
_READINGS = 10_000


def name_of(request: Mapping[str, Any], _send: Send) -> str:
    """The worker's job: what the hardware of ``device`` calls itself. Raises DeviceError where it is not there."""
    require_device(request["device"])
    return device_name(request["device"])


def run(request: Mapping[str, Any], send: Send) -> dict[str, Any]:
    """The worker's job: the fields of `convbench.measures.calibrate.Peaks`."""
    torch.set_num_threads(request["threads"])
    Device(request["device"]).use()
    use_one_precision()
    device, seconds = torch.device(request["device"]), request["seconds"]
    flops: dict[str, float | None] = {}
    for name in DTYPES:
        send({"doing": name})
        flops[name] = peak_flops(torch_dtype(name), device, seconds)
    send({"doing": "copy"})
    resolution, cost = timer()
    size = copy_size(machine().caches)
    return {
        "flops_per_s": {name: rate for name, rate in flops.items() if rate is not None},
        "bytes_per_s": copy_bandwidth(size, device, seconds),
        "copy_bytes": size,
        "timer_resolution_ns": resolution,
        "timer_cost_ns": cost,
    }


def peak_flops(dtype: torch.dtype, device: torch.device, seconds: float) -> float | None:
    """Operations a second, 2·n³ for each n×n product, best size and repetition; None where there is no such product."""
    best = None
    for side in _sides(device):
        try:
            rate = _product_rate(side, dtype, device, 0.0)
        except (RuntimeError, TypeError):  # no kernel for this dtype, or no room for this size
            break
        best = max(best or (0.0, 0), (rate, side))
        if 2 * side**3 / rate > _LONG_ENOUGH_S:
            break
    return None if best is None else max(best[0], _product_rate(best[1], dtype, device, seconds))


def _sides(device: torch.device) -> Iterator[int]:
    """Sizes of matrices, each twice the one before."""
    side, largest = _FIRST_SIDE, _LAST_SIDE if device.type == "cpu" else _LAST_SIDE_ON_ACCELERATORS
    while side <= largest:
        yield side
        side *= 2


def _product_rate(side: int, dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: torch.mm(a, b), device, seconds)


def copy_bandwidth(size: int, device: torch.device, seconds: float) -> float:
    """Bytes a second, read and written, of copying ``size`` bytes: 2·size for each copy, best repetition."""
    source, target = (torch.ones(size // 4, dtype=torch.float32, device=device) for _ in range(2))
    return 2 * 4 * source.numel() / _fastest(lambda: target.copy_(source), device, seconds)


def copy_size(caches: Mapping[str, int]) -> int:
    """Bytes to copy so that caches do not serve them, between 256 MiB and 1 GiB; ``caches``: bytes by level."""
    wanted = _CACHES * max(caches.values(), default=0)
    return min(max(wanted, _SMALLEST_COPY_BYTES), _LARGEST_COPY_BYTES)


def timer() -> tuple[int, float]:
    """Shortest step of ``perf_counter_ns`` and the time that reading it takes, nanoseconds."""
    readings = [time.perf_counter_ns() for _ in range(_READINGS)]
    steps = [after - before for before, after in pairwise(readings)]
    return min((step for step in steps if step > 0), default=0), (readings[-1] - readings[0]) / len(steps)


def _fastest(call: Callable[[], Tensor], device: torch.device, seconds: float) -> float:
    """Seconds of the fastest of repeated calls, at least three, for about ``seconds``; one more comes first."""
    _timed(call, device)
    fastest, repetitions, deadline = math.inf, 0, time.perf_counter() + seconds
    while repetitions < _LEAST_REPETITIONS or time.perf_counter() < deadline:
        fastest = min(fastest, _timed(call, device))
        repetitions += 1
    return fastest


def _timed(call: Callable[[], Tensor], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start
