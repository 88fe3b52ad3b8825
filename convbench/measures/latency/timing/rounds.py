"""Rounds in which calls take turns in random order, so that whatever disturbs the machine disturbs all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from convbench.measures.latency.timing.calls import Guard
from convbench.measures.latency.timing.clock import Call, Clock, Sample

_SIGN_OF_LIFE_NS = 1_000_000_000


@dataclass(slots=True, eq=False)
class Lane:
    """One call with its clock. Lanes of one owner fail together.

    repeats: calls in one sample. samples: one a round, in the order of the rounds.
    """

    owner: int
    call: Call
    guard: Guard
    clock: Clock
    repeats: int = 1
    samples: list[Sample] = field(default_factory=list)

    @property
    def times_ms(self) -> NDArray[np.float64]:
        """Time of one call in each round, ms."""
        return np.array([sample.wall_ns for sample in self.samples], dtype=np.float64) / (1e6 * self.repeats)


@dataclass(frozen=True, slots=True)
class Witness:
    """What the rounds tell while they run. Nothing here is called inside a sample.

    turn: the owner whose turn it is. alive: at least once a second. trusted: whether the chunk that just ended counts.
    """

    turn: Callable[[int], None] = lambda _: None
    alive: Callable[[], None] = lambda: None
    trusted: Callable[[], bool] = lambda: True


class Rounds:
    """Rounds of one sample for each lane. ``failed`` holds the owners whose call raised, with the exception."""

    def __init__(self, lanes: Sequence[Lane], rng: np.random.Generator, witness: Witness | None = None) -> None:
        self.lanes = list(lanes)
        self.failed: dict[int, Exception] = {}
        self.completed = 0
        self.dropped = 0
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
            self.failed[lane.owner] = error.with_traceback(None)  # its frames hold tensors
        now = perf_counter_ns()
        if now - self._last_sign > _SIGN_OF_LIFE_NS:
            self._witness.alive()
            self._last_sign = now

    def _dismiss_failed(self) -> None:
        if self.failed:
            self.lanes = [lane for lane in self.lanes if lane.owner not in self.failed]

    def _end_chunk(self, done: int) -> None:
        trusted = self._witness.trusted()
        taken = dict(self._collect())
        self._dismiss_failed()
        if not trusted:
            self.dropped += done
            return
        for lane in self.lanes:
            lane.samples.extend(taken[id(lane)])
        self.completed += done

    def _collect(self) -> Iterator[tuple[int, list[Sample]]]:
        for lane in self.lanes:
            try:
                yield id(lane), lane.clock.collect()
            except Exception as error:  # a device reports a call's failure only when it is waited for
                self.failed[lane.owner] = error.with_traceback(None)  # its frames hold tensors
