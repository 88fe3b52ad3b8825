"""What the columns of a record mean to a reader: title, unit, convention. Files use the bare names; pages use these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convbench.records import COLUMNS, Record

Role = Literal["target", "condition", "result", "origin"]


@dataclass(frozen=True, slots=True)
class Column:
    """title: short, without the unit. unit: of the raw number. convention: what exactly the number is.

    role: whether it names what was measured, under which conditions, what came out, or where and when.
    """

    title: str
    unit: str
    convention: str
    role: Role = "result"


_TARGET: dict[str, Column] = {
    "target": Column("Target", "", "what was measured", "target"),
    "kind": Column("Kind", "", "block (feature map in, feature map out) or network (image in)", "condition"),
    "options": Column("Options", "", "the target's effective options, defaults included", "target"),
    "given": Column("As given", "", "what was asked for beyond the columns: width, options, weights", "origin"),
    "input_shape": Column("Input", "", "N×C×H×W; several inputs are joined by ;", "target"),
}
_CONDITIONS: dict[str, Column] = {
    "device": Column("Device", "", "where it ran; meta: nothing was computed", "condition"),
    "device_name": Column("Device name", "", "the processor", "condition"),
    "dtype": Column("Dtype", "", "of weights and input", "condition"),
    "memory_format": Column("Memory format", "", "contiguous or channels_last", "condition"),
    "mode": Column(
        "Mode",
        "",
        "inference; training: forward + backward; forward: the forward half of that, with gradients",
        "condition",
    ),
    "execution": Column("Execution", "", "eager or compiled", "condition"),
    "threads": Column("Threads", "", "CPU threads of the timed calls", "condition"),
}
_SIZE: dict[str, Column] = {
    "params": Column("Parameters", "", "elements of all parameters, frozen ones included"),
    "trainable_params": Column("Trainable", "", "elements of parameters that require a gradient"),
    "buffers": Column("Buffers", "", "elements of buffers"),
    "weight_bytes": Column("Weights", "B", "bytes of parameters and buffers"),
}
_COST: dict[str, Column] = {
    "macs": Column(
        "MACs", "", "multiply–accumulates of convolutions, linear and matrix products of one call, biases not counted"
    ),
    "algorithmic_macs": Column("Algorithmic MACs", "", "MACs that the target's algorithm needs, however it is written"),
    "sampling_macs": Column("Sampling MACs", "", "weighted sums of deformable sampling, not in MACs"),
    "flops": Column("FLOPs", "", "every floating-point operation of one call; 2 per multiply–accumulate"),
    "bytes_moved": Column("Bytes moved", "B", "eager: every operator reads its inputs and writes its outputs once"),
    "arithmetic_intensity": Column("Intensity", "FLOP/B", "FLOPs / bytes moved"),
    "uncounted": Column("Uncounted", "", "operators without a cost formula: MACs and FLOPs are lower bounds"),
}
_LATENCY: dict[str, Column] = {
    "latency_ms": Column("Latency", "ms", "median time of one call over all processes"),
    "latency_low_ms": Column("Latency, low", "ms", "lower end of the median's 95% interval"),
    "latency_high_ms": Column("Latency, high", "ms", "upper end of the median's 95% interval"),
    "latency_p10_ms": Column("Latency p10", "ms", "a tenth of the calls were faster"),
    "latency_p90_ms": Column("Latency p90", "ms", "a tenth of the calls were slower"),
    "latency_first_ms": Column("First call", "ms", "first call in a fresh process"),
    "latency_samples": Column("Samples", "", "timed samples over all processes"),
    "latency_processes": Column("Processes", "", "fresh measuring processes"),
    "latency_noise": Column("Noise", "", "quiet, noisy (read with care) or invalid (do not use)"),
    "throughput_per_s": Column("Throughput", "1/s", "samples of the batch a second"),
}
_MEMORY: dict[str, Column] = {
    "peak_bytes": Column("Peak memory", "B", "highest simultaneous allocation during the call, weights and input too"),
    "activation_peak_bytes": Column("Peak activations", "B", "peak memory − weights − input"),
    "saved_for_backward_bytes": Column("Saved for backward", "B", "kept from the forward to the backward pass"),
}
_ERF: dict[str, Column] = {
    "erf_sigma": Column("ERF σ", "px", "standard deviation of the effective receptive field, input pixels"),
    "erf_r20": Column("ERF r20", "", "share of the input's area in the smallest centred square with 20% of the map"),
    "erf_r30": Column("ERF r30", "", "share of the input's area in the smallest centred square with 30% of the map"),
    "erf_r50": Column("ERF r50", "", "share of the input's area in the smallest centred square with 50% of the map"),
    "erf_r99": Column("ERF r99", "", "share of the input's area in the smallest centred square with 99% of the map"),
    "erf_agd": Column("ERF AGD", "", "closeness of the map to a Gaussian of its own second moments, in (0, 1]"),
}
_COMPARISON: dict[str, Column] = {
    "baseline": Column("Baseline", "", "the target that the ratio refers to"),
    "ratio": Column("Ratio", "", "latency over the baseline's, call by call in the same rounds"),
    "ratio_low": Column("Ratio, low", "", "lower end of the ratio's 95% interval"),
    "ratio_high": Column("Ratio, high", "", "upper end of the ratio's 95% interval"),
    "verdict": Column("Verdict", "", "faster, slower, same or unclear, beyond the margin that the noise allows"),
}
_ORIGIN: dict[str, Column] = {
    "status": Column("Status", "", "ok, oom, timeout, error or interrupted"),
    "error": Column("Error", "", "why the status is not ok"),
    "schema_version": Column("Schema", "", "version of the record's columns", "origin"),
    "convbench_version": Column("convbench", "", "version that measured", "origin"),
    "torch_version": Column("torch", "", "version that ran", "origin"),
    "created_at": Column("Measured at", "", "UTC", "origin"),
}
DESCRIPTIONS: dict[str, Column] = {
    **_TARGET,
    **_CONDITIONS,
    **_SIZE,
    **_COST,
    **_LATENCY,
    **_MEMORY,
    **_ERF,
    **_COMPARISON,
    **_ORIGIN,
}


def filled_columns(records: Sequence[Record]) -> list[str]:
    """The columns that at least one record fills, in schema order."""
    return [name for name in COLUMNS if any(getattr(record, name) is not None for record in records)]


def constant_columns(records: Sequence[Record]) -> list[str]:
    """The filled columns in which several records all say the same."""
    if len(records) < 2:
        return []
    return [name for name in filled_columns(records) if len({getattr(record, name) for record in records}) == 1]
