"""Results as terminal tables. Every figure carries its unit and convention; not measured shows as ``–``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from convbench.column import columns_of
from convbench.records import DESCRIPTIONS, Record
from convbench.report.columns import SUMMARY, figure, mark, written
from convbench.report.labels import row_labels
from convbench.report.units import bytes_, count, milliseconds, significant

if TYPE_CHECKING:
    from convbench.measures.cost import Cost, Roofline
    from convbench.measures.erf import Erf
    from convbench.measures.latency import Latency
    from convbench.measures.memory import Memory
    from convbench.measures.outcome import Outcome
    from convbench.measures.params import Params

Line = tuple[str, str, str]

_ALLOCATORS = {
    "kept": "heap kept (--allocator default: as glibc does by itself)",
    "default": "glibc's default heap (--allocator kept: freed memory kept)",
    "system": "the system's allocator",
}


def conditions(*records: Record) -> str:
    """One line that says under which conditions the records were taken: those that all of them share."""
    first, *others = map(_conditions, records)
    return " · ".join(part for part in first if all(part in other for other in others))


def _conditions(record: Record) -> list[str]:
    threads = f"{record.threads} thread" + ("s" if record.threads != 1 else "")
    parts = [
        record.input_shape,
        f"{record.device} ({record.device_name})",
        record.dtype,
        record.memory_format if record.memory_format != "contiguous" else None,
        record.mode,
        record.execution,
        *_made_of_it(record),
        threads if record.device == "cpu" else None,
    ]
    return [part for part in parts if part]


def _made_of_it(record: Record) -> list[str]:
    """What was done to the target before it was measured: transformations, autocast, a checkpoint."""
    given = json.loads(record.given or "{}")
    made = ["+".join(given.get("transforms") or ())]
    made += [f"{name} {given[name]}" for name in ("autocast", "weights") if given.get(name)]
    return [part for part in made if part]


def profile_table(outcome: Outcome, roof: Roofline | None = None) -> Table:
    """Figure, value, and what the value means, one row each."""
    table = Table("figure", "value", "convention", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = "right"
    for line in profile_lines(outcome, roof):
        table.add_row(*line)
    return table


def profile_lines(outcome: Outcome, roof: Roofline | None = None) -> list[Line]:
    """The rows of `profile_table`; ``roof`` is the least time that the device's peaks allow."""
    results = outcome.results
    lines: list[Line] = []
    if "params" in results:
        lines += _param_lines(results["params"])
    if "cost" in results:
        lines += _cost_lines(results["cost"], training=outcome.case.mode == "training")
    latency = results.get("latency")
    if latency is not None and (latency.median_ms or latency.instructions):
        lines += _latency_lines(latency)
    if roof is not None:
        lines.append(_roof_line(roof, latency))
    if "memory" in results:
        lines += _memory_lines(results["memory"])
    if "erf" in results:
        lines += _erf_lines(results["erf"])
    for name in results.keys() - {"params", "cost", "latency", "memory", "erf"}:
        lines += _lines_of(results[name])
    return lines


def _lines_of(result: Any) -> list[Line]:
    """The rows of a measure that needs none of its own making: its columns."""
    kind: Any = type(result)
    lines = []
    for place in columns_of(kind).values():
        column, value = place.column, place.read(result)
        if value is not None:
            lines.append((column.title.lower(), f"{written(column, value)} {column.unit}".rstrip(), column.convention))
    return lines


def _param_lines(params: Params) -> list[Line]:
    frozen = params.params - params.trainable_params
    lines = [("parameters", f"{params.params:,}", f"{frozen:,} frozen" if frozen else "all trainable")]
    if params.buffers:
        lines.append(("buffers", f"{params.buffers:,}", "elements"))
    return [*lines, ("weights", bytes_(params.weight_bytes), "parameters and buffers")]


def _cost_lines(cost: Cost, *, training: bool) -> list[Line]:
    bound = "at least " if cost.uncounted else ""
    step = "forward + backward; " if training else ""
    lines = [("MACs", f"{bound}{cost.macs:,}", f"{step}multiply–accumulates of conv, linear, matmul; no bias")]
    if cost.is_spelled_out:
        lines.append(
            ("algorithmic MACs", f"{cost.algorithmic_macs:,}", "what its algorithm needs; the row above is spelled out")
        )
    if cost.sampling_macs:
        lines.append(("sampling MACs", f"{cost.sampling_macs:,}", "deformable sampling's weighted sums, not in MACs"))
    lines.append(("FLOPs", f"{bound}{cost.flops:,}", "2·MACs + bias, norm, activation, pooling, …"))
    lines.append(
        ("bytes moved", bytes_(cost.bytes_moved), "eager: every operator reads its inputs, writes its outputs")
    )
    lines.append(("arithmetic intensity", f"{significant(cost.arithmetic_intensity)} FLOP/B", "FLOPs / bytes moved"))
    if cost.padding_macs_share:
        lines.append(("MACs on padding", f"{cost.padding_macs_share:.1%}", "share that multiplies zero padding"))
    if cost.batch_independent_macs:
        lines.append(("batch-independent", f"{cost.batch_independent_macs:,}", "MACs that do not grow with the batch"))
    if cost.uncounted:
        named = ", ".join(f"{item.name} ×{item.calls}" for item in cost.uncounted)
        lines.append(("not counted", named, "no cost formula: MACs and FLOPs are lower bounds"))
    return lines


def _latency_lines(latency: Latency) -> list[Line]:
    if latency.instructions is not None:
        return [("instructions", f"{latency.instructions:,}", "executed by one call, counted by valgrind")]
    interval = _interval(latency.low_ms, latency.high_ms)
    processes = f"{latency.processes} process" + ("es" if latency.processes != 1 else "")
    sampled = f"median of {latency.samples:,} samples in {processes}, {latency.noise}"
    if latency.allocator is not None:
        sampled += f"; {_ALLOCATORS.get(latency.allocator, latency.allocator)}"
    lines = [
        ("latency", f"{mark(latency.noise)}{milliseconds(latency.median_ms)}", f"{interval}; {sampled}"),
        ("latency p10 – p90", f"{milliseconds(latency.p10_ms)} – {milliseconds(latency.p90_ms)}", "of single samples"),
        ("first call", milliseconds(latency.first_ms), "in a fresh process"),
        ("throughput", f"{count(latency.throughput_per_s)}/s", "batch size over median latency"),
    ]
    if latency.compile_ms is not None:
        lines.append(("compile time", milliseconds(latency.compile_ms), "the call that compiles, from an empty cache"))
    if latency.session_ms is not None:
        exported = "–" if latency.export_ms is None else milliseconds(latency.export_ms)
        lines.append(("export, session", f"{exported}, {milliseconds(latency.session_ms)}", "exported once, loaded"))
    if latency.device is not None:
        device = latency.device
        bound = "launch-bound: the host takes longer" if device.launch_bound else "the host keeps up"
        interval = f"{_interval(device.low_ms, device.high_ms)}; CUDA graph, {device.cache} cache; {bound}"
        lines.append(("device latency", milliseconds(device.median_ms), interval))
    return lines


def _interval(low_ms: float | None, high_ms: float | None) -> str:
    if low_ms is None or high_ms is None:
        return "spread not known"
    return f"95% [{milliseconds(low_ms)}, {milliseconds(high_ms)}]"


def _roof_line(roof: Roofline, latency: Latency | None) -> Line:
    measured = None if latency is None else latency.median_ms
    reached = (
        "" if not measured else f"; the measured latency reaches {roof.attainable_ms / measured:.0%} of that speed"
    )
    return "roofline", milliseconds(roof.attainable_ms), f"{roof.bound}-bound by this machine's peaks{reached}"


def _memory_lines(memory: Memory) -> list[Line]:
    phases = (
        ""
        if memory.backward_peak_bytes is None
        else f"; forward {bytes_(memory.forward_peak_bytes)}, backward {bytes_(memory.backward_peak_bytes)}"
    )
    meaning = f"weights, input and all tensors alive at once; {memory.method}{phases}"
    lines = [
        ("peak memory", bytes_(memory.peak_bytes), meaning),
        ("peak activations", bytes_(memory.activation_peak_bytes), "peak − weights − input"),
    ]
    if memory.saved_for_backward_bytes is not None:
        lines.append(("saved for backward", bytes_(memory.saved_for_backward_bytes), "kept from forward to backward"))
    if memory.workspace_bytes is not None:
        lines.append(("library workspace", bytes_(memory.workspace_bytes), "fresh process's high-water mark − tensors"))
    return lines


def _erf_lines(erf: Erf) -> list[Line]:
    metrics = erf.metrics
    drawn = f"{erf.initialisations} initialisations × {erf.samples} samples, {erf.inputs}"
    lines = [("ERF σ", _pixels(metrics.sigma_px), f"of Σ|∂score/∂input|, {erf.statistic}, probe {erf.probe}; {drawn}")]
    for share, side, ratio in (
        ("20", metrics.side_20_px, metrics.area_ratio_20),
        ("50", metrics.side_50_px, metrics.area_ratio_50),
        ("99", metrics.side_99_px, metrics.area_ratio_99),
    ):
        area = "–" if ratio is None else f"{ratio:.2%}"
        meaning = f"centred square with {share}% of the map; r = {area} of the input"
        lines.append((f"ERF side {share}%", _pixels(side), meaning))
    agd = "–" if metrics.agd is None else f"{metrics.agd:.3f}"
    return [*lines, ("ERF AGD", agd, metrics.agd_reason or "1 = Gaussian of the map's own second moments")]


def _pixels(value: float | None) -> str:
    return "–" if value is None else f"{significant(value, 3)} px"


def compare_table(records: Sequence[Record]) -> Table:
    """One row a target; columns that nobody filled are left out."""
    columns = [name for name in SUMMARY if any(getattr(record, name) is not None for record in records)]
    troubled = any(record.status != "ok" for record in records)
    titles = ["target", *(DESCRIPTIONS[name].summary for name in columns), *(["status"] if troubled else [])]
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, record in zip(row_labels(records), records, strict=True):
        cells = [figure(name, record) for name in columns]
        table.add_row(label, *cells, *([record.status] if troubled else []))
    return table


def tree_table(cost: Cost, depth: int | None = None) -> Table:
    """Cost by module; a parent's figures include its children's, its own MACs do not: those add up to the total."""
    titles = ("module", "type", "calls", "MACs", "share", "own MACs", "FLOPs", "bytes moved", "output")
    table = _numbers(*titles, text=("module", "type", "output"))
    for row in cost.modules:
        if depth is not None and row.depth > depth:
            continue
        total = row.total
        share = total.macs / cost.macs if cost.macs else 0.0
        name = "  " * row.depth + (row.path.rpartition(".")[2] or "(whole)")
        macs = (f"{total.macs:,}", f"{share:.1%}", f"{row.own.macs:,}")
        output = " ".join("×".join(map(str, shape)) for shape in row.output_shapes)
        figures = (*macs, f"{total.flops:,}", bytes_(total.bytes_moved))
        table.add_row(name, row.type, f"{row.calls}", *figures, output)
    return table


def operator_table(cost: Cost) -> Table:
    """Cost by operator; the rows add up to the total exactly."""
    table = _numbers("operator", "ledger", "calls", "MACs", "FLOPs", "bytes moved", text=("operator", "ledger"))
    for row in sorted(cost.operators, key=lambda row: (-row.macs, -row.flops, -row.bytes_moved)):
        figures = (f"{row.calls}", f"{row.macs:,}", f"{row.flops:,}", bytes_(row.bytes_moved))
        table.add_row(row.name, str(row.kind.value), *figures)
    return table


def _numbers(*titles: str, text: Sequence[str]) -> Table:
    """A plain table whose columns are right-aligned but for those that hold text."""
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for title, column in zip(titles, table.columns, strict=True):
        column.justify = "left" if title in text else "right"
    return table
