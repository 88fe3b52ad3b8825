"""Bringing targets up inside a worker: built, called once, warmed up, given lanes."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field

from convbench.case import Case
from convbench.errors import ConvbenchError
from convbench.execution.out_of_memory import is_out_of_memory
from convbench.execution.runtimes import RUNTIMES, Running, running
from convbench.measures.latency.timing.accelerator import capture, graph_clock, host_clock, unrolled
from convbench.measures.latency.timing.calls import Guard, make_call
from convbench.measures.latency.timing.clock import Call, Clock
from convbench.measures.latency.timing.kernels import kernels_of
from convbench.measures.latency.timing.order import Cache
from convbench.measures.latency.timing.result import Status
from convbench.measures.latency.timing.rounds import Lane
from convbench.measures.latency.timing.warmup import WarmUp, longest_ns, warm_up
from convbench.target.packed import Packed
from convbench.workers.environment import exports_folder


@dataclass(slots=True)
class Participant:
    """A target that takes part in the rounds, with what was learned while it was brought up.

    unreplayable: why its call could not be captured as a graph. ran: the runtime that runs it, where that is not torch.
    """

    owner: int
    case: Case
    call: Call
    guard: Guard
    clock: Clock
    batch: int
    first_ns: int = 0
    compile_ns: int | None = None
    eager: Lane | None = None
    device: Lane | None = None
    unreplayable: str | None = None
    ran: Running | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def lanes(self) -> list[Lane]:
        """Its lanes: one a column."""
        return [lane for lane in (self.eager, self.device) if lane is not None]


def enlist(owner: int, packed: Packed, cache: Cache) -> Participant:
    """Build the case and make its first call; what another runtime runs is exported and checked before."""
    subject = packed.blueprint().subject()
    case = subject.case
    shape = subject.shapes[0] if subject.shapes else ()
    runtime = RUNTIMES.get(case.execution)
    if runtime is None:
        ran, (call, guard) = None, make_call(subject)
    else:
        ran = running(subject.step(), case.execution, case.threads, exports_folder(), packed.digest)
        call, guard = ran.session.call, nullcontext
    clock = host_clock(case.device, cache, own_threads=runtime is not None and runtime.own_threads)
    participant = Participant(owner, case, call, guard, clock, batch=shape[0] if shape else 1, ran=ran)
    participant.notes += [] if ran is None else ran.notes
    with guard():
        if case.execution == "compiled":
            participant.compile_ns = clock.once(call)
        participant.first_ns = clock.once(call)
    return participant


def make_ready(participant: Participant, cache: Cache, budget_s: float, *, replay: bool) -> None:
    """Warm it up and give it its lanes; ``replay``: also one that replays the call as a CUDA graph."""
    owner, guard, longest = participant.owner, participant.guard, longest_ns(participant.clock, budget_s)
    with guard():
        warmed = warm_up(participant.call, participant.clock, longest)
    if not warmed.settled:
        participant.notes.append(
            f"its time had not settled after {warmed.calls} warm-up calls in {warmed.elapsed_ns / 1e9:.1f} s"
        )
    participant.eager = Lane(owner, participant.call, guard, participant.clock, repeats(participant.clock, warmed))
    if not replay:
        return
    device, clock = participant.case.device, graph_clock(participant.case.device, cache)
    try:
        played = capture(participant.call, guard, device)
        warm_up(played, clock, longest)
        calls = unrolled(played, clock)
        if calls > 1:
            played = capture(participant.call, guard, device, calls)
            clock.once(played)
    except Exception as error:  # whatever a target does that a graph cannot hold
        participant.unreplayable = _short(error)
        error.__traceback__ = None  # the frames hold what was captured
        return
    participant.device = Lane(owner, played, guard, clock, unrolled=calls)


def repeats(clock: Clock, warmed: WarmUp) -> int:
    """Calls in one sample: as many as make it as long as the clock needs."""
    return max(1, math.ceil(clock.minimum_ns / max(1.0, warmed.median_ns)))


def failure(error: Exception) -> tuple[Status, str]:
    """The status of a target whose own code raised ``error``, and the reason in one line."""
    text = str(error) if isinstance(error, ConvbenchError) else f"{type(error).__name__}: {_short(error)}"
    return ("oom" if is_out_of_memory(error) else "error"), text


def recorded_kernels(participant: Participant) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What one call runs, and what there is to say of that."""
    if participant.ran is not None:
        return participant.ran.session.kernels, ()
    try:
        return kernels_of(participant.call, participant.guard, participant.case.device), ()
    except Exception as error:  # a profiler that fails must not take the figure with it
        return (), (f"kernels were not recorded: {_short(error)}",)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
