"""How far the samples of one process can be trusted: the share of time that something else took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convbench.measures.latency.timing.clock import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

Noise = Literal["quiet", "noisy", "invalid"]

NOISY = 0.05
INVALID = 0.40
_INTERRUPTED = 1.1  # wall over CPU time


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Shares, between 0 and 1, of what disturbed a target's samples in one process; None where it cannot be known.

    interrupted: turns whose wall time is over 1.1 times the CPU time of their thread.
    faults: of the time of a call that went into page faults; faults_per_call: how many those were.
    steal: of the machine's processor time that the hypervisor gave to others.
    switches_per_sample: times that the process was taken off its processor.
    """

    interrupted: float | None
    faults: float
    faults_per_call: float
    steal: float | None
    switches_per_sample: float


def interruptions(samples: Sequence[Sample]) -> NDArray[Any] | None:
    """Of each turn, whether it was taken off its processor; shape (n,). None where the clock cannot tell."""
    import numpy as np

    timed = [sample.cpu_ns for sample in samples if sample.cpu_ns is not None]
    if len(timed) < len(samples):
        return None
    interrupted: NDArray[Any] = np.array([sample.turn_ns for sample in samples]) > _INTERRUPTED * np.array(timed)
    return interrupted


def disturbance(samples: Sequence[Sample], repeats: int, fault_cost_ns: float, steal: float | None) -> Disturbance:
    """What disturbed ``samples``, each of ``repeats`` calls. fault_cost_ns: the time that a page fault takes here."""
    import numpy as np

    turns = np.array([sample.turn_ns for sample in samples])
    interrupted = interruptions(samples)
    faults = sum(sample.faults for sample in samples)
    calls = sum(repeats + sample.primings for sample in samples)
    return Disturbance(
        interrupted=None if interrupted is None else float(interrupted.mean()),
        faults=min(1.0, faults * fault_cost_ns / max(1.0, float(turns.sum()))),
        faults_per_call=faults / calls,
        steal=steal,
        switches_per_sample=sum(sample.switches for sample in samples) / len(samples),
    )


def grade(share: float) -> Noise:
    """``quiet`` under 5%, ``invalid`` from 40%, ``noisy`` between."""
    if share < NOISY:
        return "quiet"
    return "invalid" if share >= INVALID else "noisy"


class StealMeter:
    """Share of the machine's processor time that the hypervisor gave to others since the meter was made (Linux)."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._start = self._read()

    def share(self) -> float | None:
        """Steal over all time but idle's; None where the kernel does not tell."""
        now = self._read()
        if self._start is None or now is None:
            return None
        steal, busy = now[0] - self._start[0], now[1] - self._start[1]
        return steal / busy if busy > 0 else 0.0

    def _read(self) -> tuple[int, int] | None:
        """Ticks stolen, and ticks in which a processor was wanted: user, nice, system, irq, softirq and steal."""
        try:
            fields = [int(field) for field in self._stat.read_text().splitlines()[0].split()[1:9]]
            user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        except (OSError, ValueError, IndexError):
            return None
        return steal, user + nice + system + irq + softirq + steal
