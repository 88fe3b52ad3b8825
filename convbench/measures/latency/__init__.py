"""Latency: how long one call takes, and whether one target is faster than another."""

from typing import TYPE_CHECKING

from convbench.lazy import lazily

if TYPE_CHECKING:
    from convbench.measures.latency.measure import compare_latency, measure_latency, start_workers
    from convbench.measures.latency.pool import Pool
    from convbench.measures.latency.result import (
        Control,
        DeviceLatency,
        Latency,
        LatencyComparison,
        LatencyInterrupted,
        Ratio,
    )
    from convbench.measures.latency.settings import LatencySettings, Progress

__all__ = [
    "Control",
    "DeviceLatency",
    "Latency",
    "LatencyComparison",
    "LatencyInterrupted",
    "LatencySettings",
    "Pool",
    "Progress",
    "Ratio",
    "compare_latency",
    "measure_latency",
    "start_workers",
]

__getattr__ = lazily(
    __name__,
    {
        "measure": "compare_latency measure_latency start_workers",
        "pool": "Pool",
        "result": "Control DeviceLatency Latency LatencyComparison LatencyInterrupted Ratio",
        "settings": "LatencySettings Progress",
    },
)
