"""What is known about latencies and their ratios once they are measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from convbench.column import column, derived, described, within
from convbench.measures.latency.timing.noise import Noise
from convbench.measures.latency.timing.order import Cache
from convbench.measures.latency.timing.result import Status
from convbench.statistics import Verdict


@dataclass(frozen=True, slots=True)
class DeviceLatency:
    """Time of one call replayed as a CUDA graph, ms, without the host's part; cache: state of the last cache.

    low_ms, high_ms: None below three processes. launch_bound: the eager call takes over 1.2 times as long: it waits
    for its launches.
    """

    median_ms: float = field(
        metadata=described(
            name="device_latency_ms",
            title="Device latency",
            unit="ms",
            convention="median time of one call replayed as a CUDA graph, without the host",
            show="milliseconds",
            summary="device latency",
        )
    )
    low_ms: float | None = field(
        metadata=described(
            name="device_latency_low_ms",
            title="Device latency, low",
            unit="ms",
            convention="lower end of the device median's 95% interval",
            show="milliseconds",
        )
    )
    high_ms: float | None = field(
        metadata=described(
            name="device_latency_high_ms",
            title="Device latency, high",
            unit="ms",
            convention="upper end of the device median's 95% interval",
            show="milliseconds",
        )
    )
    launch_bound: bool = field(
        metadata=described(
            title="Launch-bound",
            convention="whether the eager call takes over 1.2 times the device's time, waiting for its launches",
            said=lambda bound: {True: "yes", False: "no"}.get(bound),
        )
    )
    cache: Cache = field(metadata=described(name="device_cache", title="Cache", convention="cold or warm last cache"))


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one call, milliseconds; the interval covers the median at 95%.

    median_ms: geometric mean over processes of each process's median, each weighed by its precision; low_ms, high_ms:
        a t interval on logarithms over the processes, at least as wide as their own order-statistic intervals allow;
        None below three processes, whose spread is not known.
    p10_ms, p90_ms: quantiles of single samples, geometric means over processes.
    first_ms: first call in a fresh process, median over processes. compile_ms: of compiled targets, the call that
        compiles, from an empty cache.
    samples: timed samples in all processes, of calls_per_sample calls each. outlier_share: of samples beyond Tukey's
        fences, which stay in.
    noise: ``quiet``; ``noisy`` where at least 5% of the time or samples were disturbed, or there were too few;
        ``invalid`` from 40%, or where two instances of one target differ beyond the margin.
    allocator: what served the processes' memory, which decides by up to 2.6 times about the figure: ``kept`` or
        ``default`` of glibc, or the allocator that is preloaded.
    throughput_per_s: batch size over median. kernels: operators (on accelerators kernels) of one call, ``name×calls``.
    device: on CUDA; everything else is of eager calls then.
    instructions: executed by one call, where the metric is ``instructions``; then times are None.
    status: other than ``ok`` says why figures are missing; ``interrupted`` keeps those of the processes that were done.
    """

    median_ms: float | None = column(
        None,
        name="latency_ms",
        title="Latency",
        unit="ms",
        convention="median time of one call over all processes",
        show="milliseconds",
        summary="latency",
    )
    low_ms: float | None = column(
        None,
        name="latency_low_ms",
        title="Latency, low",
        unit="ms",
        convention="lower end of the median's 95% interval",
        show="milliseconds",
    )
    high_ms: float | None = column(
        None,
        name="latency_high_ms",
        title="Latency, high",
        unit="ms",
        convention="upper end of the median's 95% interval",
        show="milliseconds",
    )
    p10_ms: float | None = column(
        None,
        name="latency_p10_ms",
        title="Latency p10",
        unit="ms",
        convention="a tenth of the calls were faster",
        show="milliseconds",
    )
    p90_ms: float | None = column(
        None,
        name="latency_p90_ms",
        title="Latency p90",
        unit="ms",
        convention="a tenth of the calls were slower",
        show="milliseconds",
    )
    first_ms: float | None = column(
        None,
        name="latency_first_ms",
        title="First call",
        unit="ms",
        convention="first call in a fresh process",
        show="milliseconds",
    )
    compile_ms: float | None = None
    export_ms: float | None = column(
        None,
        title="Export",
        unit="ms",
        convention="exporting it for another runtime, once",
        show="milliseconds",
    )
    session_ms: float | None = column(
        None,
        title="Session",
        unit="ms",
        convention="loading what was exported, and preparing it to run",
        show="milliseconds",
    )
    samples: int = column(
        0, name="latency_samples", title="Samples", convention="timed samples over all processes", show="number"
    )
    processes: int = column(
        0, name="latency_processes", title="Processes", convention="fresh measuring processes", show="number"
    )
    noise: Noise | None = column(
        None, name="latency_noise", title="Noise", convention="quiet, noisy (read with care) or invalid (do not use)"
    )
    allocator: str | None = column(
        None,
        name="latency_allocator",
        title="Allocator",
        convention="kept: freed memory stays with the process; default: as glibc does by itself; or what is preloaded",
    )
    outlier_share: float | None = None
    throughput_per_s: float | None = column(
        None, title="Throughput", unit="1/s", convention="samples of the batch a second", show="number"
    )
    calls_per_sample: int = 1
    kernels: tuple[str, ...] = ()
    device: DeviceLatency | None = field(default=None, metadata=within())
    instructions: int | None = None
    notes: tuple[str, ...] = ()
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """Ratio of a second instance of the baseline to the first, truly 1, with its 95% interval, where that is known."""

    ratio: float | None = column(
        None,
        name="control_ratio",
        title="Control",
        convention="a second instance of the baseline over the first, in the same rounds; truly 1",
        show="fraction",
    )
    low: float | None = column(
        None,
        name="control_low",
        title="Control, low",
        convention="lower end of the control's 95% interval",
        show="fraction",
    )
    high: float | None = column(
        None,
        name="control_high",
        title="Control, high",
        convention="upper end of the control's 95% interval",
        show="fraction",
    )


@dataclass(frozen=True, slots=True)
class DeviceRatio:
    """Ratio of device latencies, replay by replay, with its 95% interval and its verdict at the same margin."""

    ratio: float | None = column(
        None,
        name="device_ratio",
        title="Device ratio",
        convention="device latency over the baseline's, replay by replay",
        show="fraction",
        summary="device ratio",
    )
    low: float | None = column(
        None,
        name="device_ratio_low",
        title="Device ratio, low",
        convention="lower end of the device ratio's 95% interval",
        show="fraction",
    )
    high: float | None = column(
        None,
        name="device_ratio_high",
        title="Device ratio, high",
        convention="upper end of the device ratio's 95% interval",
        show="fraction",
    )
    verdict: Verdict | None = column(
        None,
        name="device_verdict",
        title="Device verdict",
        convention="faster, slower, same or unclear on the device, at the verdict's margin",
        summary="device verdict",
    )


@dataclass(frozen=True, slots=True)
class Ratio:
    """Latency over the baseline's, from calls of the same rounds, with its 95% interval.

    low, high: the interval; None below three processes, whose spread is not known.
    margin: a ratio beyond 1 ± margin is ``faster`` or ``slower``, one whose interval lies within and holds 1 ``same``.
    adjusted_p: against the hypothesis that the true ratio lies within the margin, by Holm's procedure over all
        targets of the comparison.
    verdict: ``faster``, ``slower``, ``same``, ``unclear``. withheld: why there is none in spite of the interval.
    advice: why it is unclear, and what would help. device: the same of the device column, on CUDA.
    """

    ratio: float = field(
        metadata=described(
            title="Ratio",
            convention="latency over the baseline's, call by call in the same rounds",
            show="fraction",
            summary="ratio to baseline [95%]",
        )
    )
    low: float | None = field(
        metadata=described(
            name="ratio_low", title="Ratio, low", convention="lower end of the ratio's 95% interval", show="fraction"
        )
    )
    high: float | None = field(
        metadata=described(
            name="ratio_high", title="Ratio, high", convention="upper end of the ratio's 95% interval", show="fraction"
        )
    )
    verdict: Verdict = field(
        metadata=described(
            title="Verdict",
            convention="faster or slower by over the margin, same within it, or unclear",
            summary="verdict",
        )
    )
    margin: float = field(
        metadata=described(
            title="Margin", convention="share by which a ratio may differ from 1 and be the same", show="number"
        )
    )
    adjusted_p: float | None = column(
        None,
        title="Adjusted p",
        convention="that a ratio within the margin gave this, by Holm's procedure over all targets",
        show="number",
    )
    control: Control | None = field(default=None, metadata=within())
    device: DeviceRatio | None = field(default=None, metadata=within())
    withheld: str | None = None
    advice: str | None = None

    @derived(title="Reason", convention="why the verdict is unclear, and what would help")
    def verdict_reason(self) -> str | None:
        """Why there is no verdict, or no clearer one."""
        return self.withheld or self.advice


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """Latencies of several cases in the order asked for, and their ratios: None for the baseline and for failures.

    control: of the whole comparison; None where none could be measured. notes: what holds for all.
    """

    latencies: tuple[Latency, ...]
    ratios: tuple[Ratio | None, ...]
    baseline: int = 0
    control: Control | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def interrupted(self) -> bool:
        """Whether it was cut short."""
        return any(latency.status == "interrupted" for latency in self.latencies)


class LatencyInterrupted(KeyboardInterrupt):
    """Ctrl-C while measuring; ``partial`` holds what was complete. A KeyboardInterrupt, so that loops end as well."""

    def __init__(self, partial: LatencyComparison) -> None:
        super().__init__("interrupted")
        self.partial = partial
