"""What is known about latencies and their ratios once they are measured."""

from __future__ import annotations

from dataclasses import dataclass, field

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

    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    first_ms: float | None = None
    compile_ms: float | None = None
    samples: int = 0
    processes: int = 0
    noise: Noise | None = None
    outlier_share: float | None = None
    throughput_per_s: float | None = None
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

    ratio: float
    low: float
    high: float
    verdict: Verdict
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
