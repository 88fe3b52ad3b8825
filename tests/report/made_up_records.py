"""Made-up records that follow simple laws, so that what is drawn from them is known."""

from __future__ import annotations

import json
import math

from convbench.records import Record

TARGETS = {
    # name: (MACs a pixel and squared channel, GMAC/s, overhead in ms)
    "Conv3x3": (9.0, 60.0, 0.01),
    "MRFA": (3.125, 12.0, 0.20),
    "Conv2Former": (11.0, 30.0, 0.12),
    "PyConv": (4.2, 18.0, 0.08),
    "DRConv": (13.0, 25.0, 0.30),
    "ConvNeXt": (8.0, 70.0, 0.02),
    "DepthwiseSeparable": (1.6, 12.0, 0.03),
    "Bottleneck": (1.06, 5.0, 0.05),
}
ENVIRONMENT = {
    "machine": {"os": "Linux", "kernel": "6.1", "cpu": "Test CPU 1", "logical_cores": 2, "governor": None},
    "python": "CPython 3.12.1",
    "torch": {"version": "2.14.1", "capability": "AVX2", "build": "built with care, " * 20},
    "packages": {"numpy": "2.4.6"},
    "execution": {"threads": 1, "case_threads": [1], "allocator": {}, "deterministic": False},
    "start": {"utc": "2026-01-02T03:04:05Z", "load_1m": 0.25},
    "end": {"utc": "2026-01-02T03:05:05Z", "load_1m": 0.5},
}


def record(target: str = "MRFA", dim: int = 64, size: int = 56, **changes: object) -> Record:
    """A record of ``target``: MACs ∝ dim²·size², latency = overhead + MACs / rate, memory ∝ dim·size²."""
    work, rate, overhead = TARGETS[target]
    macs = round(work * dim**2 * size**2)
    latency = overhead + macs / rate / 1e6
    values: dict[str, object] = {
        "target": target,
        "kind": "block",
        "options": json.dumps({"dim": dim}),
        "input_shape": f"1x{dim}x{size}x{size}",
        "device": "cpu",
        "device_name": "Test CPU 1",
        "dtype": "float32",
        "memory_format": "contiguous",
        "mode": "inference",
        "execution": "eager",
        "threads": 1,
        "params": round(work * dim**2),
        "trainable_params": round(work * dim**2),
        "buffers": 0,
        "weight_bytes": 4 * round(work * dim**2),
        "macs": macs,
        "algorithmic_macs": macs,
        "sampling_macs": 0,
        "flops": 2 * macs + 5 * dim * size**2,
        "bytes_moved": 4 * 30 * dim * size**2,
        "arithmetic_intensity": (2 * macs + 5 * dim * size**2) / (4 * 30 * dim * size**2),
        "latency_ms": latency,
        "latency_low_ms": latency * 0.99,
        "latency_high_ms": latency * 1.015,
        "latency_p10_ms": latency * 0.97,
        "latency_p90_ms": latency * 1.1,
        "latency_first_ms": latency * 8 + 1 / 3,
        "latency_samples": 900,
        "latency_processes": 3,
        "latency_noise": "quiet",
        "throughput_per_s": 1e3 / latency,
        "peak_bytes": 4 * 12 * dim * size**2,
        "activation_peak_bytes": 4 * 10 * dim * size**2,
        "erf_sigma": math.sqrt(work),
        "erf_r50": 0.01 * work,
        "erf_agd": 1 / (1 + work / 10),
        "convbench_version": "0.1.0",
        "torch_version": "2.14.1",
        "created_at": "2026-01-02T03:04:05Z",
    }
    return Record(**{**values, **changes})  # type: ignore[arg-type]


def zoo(dims: tuple[int, ...] = (32, 64, 128, 256), sizes: tuple[int, ...] = (14, 28, 56, 112)) -> list[Record]:
    """Every target at every width and resolution."""
    return [record(target, dim, size) for target in TARGETS for dim in dims for size in sizes]
