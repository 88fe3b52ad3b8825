"""Rounds in which calls take turns in random order, so that whatever disturbs the machine disturbs all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from convbench.errors import DeviceLostError
from convbench.measures.latency.timing.calls import Guard
from convbench.measures.latency.timing.clock import Call, Clock, Sample

_SIGN_OF_LIFE_NS = 1_000_000_000
LEAST_MS = 1e-6
"""A nanosecond, which no call stays under."""


@dataclass(slots=True, eq=False)
class Lane:
    """One call with its clock. Lanes of one owner fail together.

    repeats: calls in one sample. unrolled: how many of the target's calls one of these makes.
    samples: one a round, in the order of the rounds. spare: those of chunks that did not count.
    """

    owner: int
    call: Call
    guard: Guard
    clock: Clock
    repeats: int = 1
    unrolled: int = 1
    samples: list[Sample] = field(default_factory=list)
    spare: list[Sample] = field(default_factory=list)

    @property
    def resolution_ms(self) -> float:
        """How far the time of one call may be off because the clock ticks."""
        return self.clock.resolution_ns / (1e6 * self.repeats * self.unrolled)

    @property
    def times_ms(self) -> NDArray[np.float64]:
        """Time of one call in each round, ms; half a tick where the clock saw none pass."""
        walls = np.array([sample.wall_ns for sample in self.samples], dtype=np.float64)
        return np.maximum(walls / (1e6 * self.repeats * self.unrolled), max(self.resolution_ms / 2, LEAST_MS))


@dataclass(frozen=True, slots=True)
class Witness:
    """What the rounds tell while they run. Nothing here is called inside a sample.

    turn: the owner whose turn it is. alive: at least once a second. trusted: whether the chunk that just ended counts.
    lost: asked after a failure, whether the device is lost to everyone.
    """

    turn: Callable[[int], None] = lambda _: None
    alive: Callable[[], None] = lambda: None
    trusted: Callable[[], bool] = lambda: True
    lost: Callable[[], bool] = lambda: False


class Rounds:
    """Rounds of one sample for each lane. ``failed`` holds the owners whose call raised, with the exception.

    Where nothing was trusted, ``untrusted`` says so, and what was taken counts after all.
    """

    def __init__(self, lanes: Sequence[Lane], rng: np.random.Generator, witness: Witness | None = None) -> None:
        self.lanes = list(lanes)
        self.failed: dict[int, Exception] = {}
        self.completed = 0
        self.dropped = 0
        self.untrusted = False
        self._rng = rng
        self._witness = witness or Witness()
        self._last_sign = perf_counter_ns()

    def run(self, rounds: int, deadline_ns: int, at_least: int = 0) -> bool:
        """Go on until ``rounds`` are complete or, after ``at_least``, until the deadline (``perf_counter_ns``).

        Returns whether the rounds were completed.
        """
        while self.completed < rounds and self.lanes:
            enough = self.completed >= at_least or self.dropped > 0
            if enough and perf_counter_ns() >= deadline_ns:
                return False
            chunk = min(lane.clock.chunk for lane in self.lanes)
            self._chunk(min(chunk, rounds - self.completed), deadline_ns, at_least)
        return self.completed >= rounds

    def _chunk(self, rounds: int, deadline_ns: int, at_least: int) -> None:
        done = 0
        while done < rounds and self.lanes:
            if self.completed + done >= at_least and perf_counter_ns() >= deadline_ns:
                break
            for index in self._order():
                self._turn(self.lanes[index])
            self._dismiss_failed()
            done += 1
        self._end_chunk(done)

    def _order(self) -> Iterable[int]:
        order: list[int] = self._rng.permutation(len(self.lanes)).tolist()
        return order

    def _turn(self, lane: Lane) -> None:
        if lane.owner in self.failed:
            return
        self._witness.turn(lane.owner)
        try:
            with lane.guard():
                lane.clock.sample(lane.call, lane.repeats)
        except Exception as error:  # a target's own code may fail on any call
            self._fail(lane.owner, error)
        now = perf_counter_ns()
        if now - self._last_sign > _SIGN_OF_LIFE_NS:
            self._witness.alive()
            self._last_sign = now

    def _fail(self, owner: int, error: Exception) -> None:
        """Note a failure of ``owner`` alone. Raises DeviceLostError where it is everyone's."""
        if self._witness.lost():
            raise DeviceLostError(f"{type(error).__name__}: {error}") from None
        self.failed[owner] = error.with_traceback(None)  # its frames hold tensors

    def make_do(self) -> None:
        """Where no chunk was trusted, have those count that were not."""
        if self.completed or not self.dropped:
            return
        self.untrusted = True
        for lane in self.lanes:
            lane.samples, lane.spare = lane.spare, []
        self.completed = self.dropped

    def _dismiss_failed(self) -> None:
        if self.failed:
            self.lanes = [lane for lane in self.lanes if lane.owner not in self.failed]

    def _end_chunk(self, done: int) -> None:
        trusted = self._witness.trusted()
        taken = dict(self._collect())
        self._dismiss_failed()
        if not trusted:
            self.dropped += done
            for lane in self.lanes:
                lane.spare.extend(taken[id(lane)])
            return
        for lane in self.lanes:
            lane.samples.extend(taken[id(lane)])
        self.completed += done

    def _collect(self) -> Iterator[tuple[int, list[Sample]]]:
        for lane in self.lanes:
            self._witness.turn(lane.owner)
            try:
                yield id(lane), lane.clock.collect()
            except Exception as error:  # a device reports a call's failure only when it is waited for
                self._fail(lane.owner, error)
