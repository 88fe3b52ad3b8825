"""The roofline: whether arithmetic or memory traffic bounds a time, and the time they allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convbench.errors import UsageError


@dataclass(frozen=True, slots=True)
class Roofline:
    """The least time that a device's peaks allow.

    bound: ``"compute"`` if arithmetic takes longer than the traffic at full speed (or as long), else ``"memory"``.
    attainable_ms: the longer of the two, in milliseconds; compute_ms, memory_ms: each alone.
    arithmetic_intensity: FLOPs for each byte of this work; ridge_flops_per_byte: where the device's two roofs meet.
    attainable_flops_per_s: the rate at ``attainable_ms``.
    """

    bound: Literal["compute", "memory"]
    attainable_ms: float
    compute_ms: float
    memory_ms: float
    arithmetic_intensity: float
    ridge_flops_per_byte: float
    attainable_flops_per_s: float


def roofline(flops: int, bytes_moved: int, peak_flops_per_s: float, bandwidth_bytes_per_s: float) -> Roofline:
    """Bound and attainable time of work that takes ``flops`` operations and moves ``bytes_moved`` bytes.

    Raises UsageError for negative work and for peaks that are not positive.
    Source: Williams, Waterman, Patterson 2009, "Roofline: an insightful visual performance model".
    """
    if flops < 0 or bytes_moved < 0:
        raise UsageError(f"work cannot be negative: got {flops} FLOPs and {bytes_moved} bytes")
    if not (peak_flops_per_s > 0 and bandwidth_bytes_per_s > 0):
        raise UsageError(
            f"a device's peaks must be positive: got {peak_flops_per_s} FLOP/s and {bandwidth_bytes_per_s} bytes/s"
        )
    compute_ms = 1e3 * flops / peak_flops_per_s
    memory_ms = 1e3 * bytes_moved / bandwidth_bytes_per_s
    attainable_ms = max(compute_ms, memory_ms)
    return Roofline(
        bound="compute" if compute_ms >= memory_ms else "memory",
        attainable_ms=attainable_ms,
        compute_ms=compute_ms,
        memory_ms=memory_ms,
        arithmetic_intensity=flops / bytes_moved if bytes_moved else float("inf") if flops else 0.0,
        ridge_flops_per_byte=peak_flops_per_s / bandwidth_bytes_per_s,
        attainable_flops_per_s=1e3 * flops / attainable_ms if attainable_ms else 0.0,
    )
