"""What is known about latencies and their ratios once they are measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from convbench.column import column, described
from convbench.measures.latency.timing.noise import Noise
from convbench.measures.latency.timing.order import Cache
from convbench.measures.latency.timing.result import Status
from convbench.statistics import Verdict


@dataclass(frozen=True, slots=True)
class DeviceLatency:
    """Time of one call replayed as a CUDA graph, ms, without the host's part; cache: state of the last cache.

    launch_bound: the host takes over a fifth of the eager time: the call waits for its launches.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    launch_bound: bool
    cache: Cache


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one call, milliseconds; the interval covers the median at 95%.

    median_ms: geometric mean over processes of each process's median; its interval is a t interval on logarithms over
        the processes, at least as wide as their own order-statistic intervals allow, and the latter for one process.
    p10_ms, p90_ms: quantiles of single samples, geometric means over processes.
    first_ms: first call in a fresh process, median over processes. compile_ms: of compiled targets, the call that
        compiles, from an empty cache.
    samples: timed samples in all processes, of calls_per_sample calls each. outlier_share: of samples beyond Tukey's
        fences, which stay in.
    noise: ``quiet``; ``noisy`` where at least 5% of the time or samples were disturbed; ``invalid`` from 40%, or where
        two instances of one target differ beyond the margin.
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
    samples: int = column(
        0, name="latency_samples", title="Samples", convention="timed samples over all processes", show="number"
    )
    processes: int = column(
        0, name="latency_processes", title="Processes", convention="fresh measuring processes", show="number"
    )
    noise: Noise | None = column(
        None, name="latency_noise", title="Noise", convention="quiet, noisy (read with care) or invalid (do not use)"
    )
    outlier_share: float | None = None
    throughput_per_s: float | None = column(
        None, title="Throughput", unit="1/s", convention="samples of the batch a second", show="number"
    )
    calls_per_sample: int = 1
    kernels: tuple[str, ...] = ()
    device: DeviceLatency | None = None
    instructions: int | None = None
    notes: tuple[str, ...] = ()
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """Ratio of a second instance of the baseline to the first, with its 95% interval: truly 1."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Latency over the baseline's, from calls of the same rounds, with its 95% interval.

    margin: what the verdict was held against: the asked one, or 1.5 times the control's upper bound where that is
        more. adjusted_p: against the hypothesis that the ratio is within the margin, after Holm's correction for all
        targets of the comparison.
    verdict: ``faster``, ``slower``, ``same``, ``unclear``. withheld: why there is none in spite of the interval.
    device_ratio: the same of the device column, on CUDA.
    """

    ratio: float = field(
        metadata=described(
            title="Ratio",
            convention="latency over the baseline's, call by call in the same rounds",
            show="fraction",
            summary="ratio to baseline [95%]",
        )
    )
    low: float = field(
        metadata=described(
            name="ratio_low", title="Ratio, low", convention="lower end of the ratio's 95% interval", show="fraction"
        )
    )
    high: float = field(
        metadata=described(
            name="ratio_high", title="Ratio, high", convention="upper end of the ratio's 95% interval", show="fraction"
        )
    )
    verdict: Verdict = field(
        metadata=described(
            title="Verdict",
            convention="faster, slower, same or unclear, beyond the margin that the noise allows",
            summary="verdict",
        )
    )
    margin: float
    adjusted_p: float | None = None
    control: Control | None = None
    device_ratio: float | None = None
    withheld: str | None = None


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
