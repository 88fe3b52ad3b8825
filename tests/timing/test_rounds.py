"""Rounds: every lane once, in random order, paired whatever fails, until the deadline."""

from __future__ import annotations

import weakref
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from scipy import stats

from convbench.measures.latency.timing.clock import Call, CpuClock, Sample
from convbench.measures.latency.timing.rounds import Lane, Rounds, Witness
from tests.timing.machines import Host

NEVER = 10**18


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host().install(monkeypatch)


def lane(owner: int, call: Call, repeats: int = 1) -> Lane:
    return Lane(owner, call, nullcontext, CpuClock(cpu_time=False), repeats)


def rounds_of(*lanes: Lane, witness: Witness | None = None, seed: int = 0) -> Rounds:
    return Rounds(lanes, np.random.default_rng(seed), witness)


def test_each_lane_has_one_sample_a_round(host: Host) -> None:
    lanes = [lane(0, host.call(100)), lane(1, host.call(200), repeats=3), lane(2, host.call(300))]
    rounds = rounds_of(*lanes)
    assert rounds.run(10, NEVER)
    assert rounds.completed == 10
    assert [one.times_ms.tolist() for one in lanes] == [[1e-4] * 10, [2e-4] * 10, [3e-4] * 10]


def test_the_order_is_uniform_over_all_permutations(host: Host) -> None:
    turns: list[int] = []
    lanes = [lane(owner, host.call(1)) for owner in range(3)]
    rounds_of(*lanes, witness=Witness(turn=turns.append)).run(1200, NEVER)
    orders = Counter(tuple(turns[at : at + 3]) for at in range(0, len(turns), 3))
    assert len(orders) == 6
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert stats.chisquare(list(orders.values())).pvalue > 0.001


def test_another_seed_gives_another_order_and_the_same_seed_the_same(host: Host) -> None:
    def order(seed: int) -> list[int]:
        turns: list[int] = []
        lanes = [lane(owner, host.call(1)) for owner in range(4)]
        rounds_of(*lanes, witness=Witness(turn=turns.append), seed=seed).run(20, NEVER)
        return turns

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_what_slows_a_round_slows_all_its_lanes(host: Host) -> None:
    """The machine halves its speed for a while: the paired ratio does not notice."""

    def call(nanoseconds: int) -> Call:
        return lambda: host.work(nanoseconds * (2 if 10**6 < host.now < 4 * 10**6 else 1))

    a, b = lane(0, call(1000)), lane(1, call(1100))
    rounds_of(a, b).run(2000, NEVER)
    assert len(set(a.times_ms)) == 2
    ratios = b.times_ms / a.times_ms
    assert np.mean(np.isclose(ratios, 1.1)) > 0.99  # all but the rounds in which the speed changed


def test_the_deadline_ends_them_within_a_chunk(host: Host) -> None:
    one = lane(0, host.call(1_000_000))
    rounds = rounds_of(one)
    assert not rounds.run(100, host.now + 9_000_000)  # a turn is a priming call and a timed one
    assert rounds.completed == len(one.samples) == 5


def test_the_fewest_rounds_are_taken_whatever_the_deadline(host: Host) -> None:
    one = lane(0, host.call(1_000_000))
    rounds = rounds_of(one)
    assert not rounds.run(100, host.now, at_least=3)
    assert rounds.completed == len(one.samples) == 3


def test_a_lane_that_raises_leaves_and_the_others_stay_paired(host: Host) -> None:
    calls = iter(range(10**6))

    def fails_in_the_fifth_round() -> None:
        if next(calls) == 9:  # two calls a round: the timed one of the fifth
            raise ValueError("kernel size")
        host.work(1)

    good, bad, other = lane(0, host.call(5)), lane(1, fails_in_the_fifth_round), lane(2, host.call(7))
    rounds = rounds_of(good, bad, other)
    assert rounds.run(20, NEVER)
    assert isinstance(rounds.failed[1], ValueError)
    assert [one.owner for one in rounds.lanes] == [0, 2]
    assert len(good.samples) == len(other.samples) == rounds.completed == 20


def test_lanes_of_one_owner_leave_together(host: Host) -> None:
    def fails() -> None:
        raise ValueError

    turns: list[int] = []
    lanes = [lane(0, host.call(5)), *[lane(1, fails) for _ in range(5)]]
    rounds = rounds_of(*lanes, witness=Witness(turn=turns.append))
    rounds.run(3, NEVER)
    assert [one.owner for one in rounds.lanes] == [0]
    assert turns.count(1) == 1  # none of its other lanes has a turn once one has failed


def test_when_all_have_failed_it_ends() -> None:
    def fails() -> None:
        raise ValueError

    rounds = rounds_of(lane(0, fails))
    assert not rounds.run(3, NEVER)
    assert rounds.lanes == []


def test_a_failure_that_the_device_reports_late_is_that_lanes(host: Host) -> None:
    class Broken(CpuClock):
        def collect(self) -> list[Sample]:
            raise RuntimeError("an illegal memory access was encountered")

    bad = Lane(1, host.call(5), nullcontext, Broken(cpu_time=False))
    good = lane(0, host.call(5))
    rounds = rounds_of(good, bad)
    rounds.run(3, NEVER)
    assert set(rounds.failed) == {1}
    assert len(good.samples) == 3


@pytest.mark.parametrize("late", [False, True])
def test_what_a_failed_call_had_allocated_is_let_go(host: Host, late: bool) -> None:
    """The exception is kept, and its frames would keep what the call had made for as long as the others are timed."""
    made: list[weakref.ref[np.ndarray]] = []

    def fail() -> None:
        output = np.zeros(10)
        made.append(weakref.ref(output))
        raise RuntimeError("no room for more")

    class LateClock(CpuClock):
        def collect(self) -> list[Sample]:
            fail()
            return super().collect()

    failing = Lane(1, host.call(100), nullcontext, LateClock(cpu_time=False), 1) if late else lane(1, fail)
    rounds = rounds_of(lane(0, host.call(100)), failing)
    rounds.run(5, NEVER)
    assert str(rounds.failed[1]) == "no room for more"
    assert made[0]() is None


def test_chunks_that_do_not_count_are_taken_again(host: Host) -> None:
    trusted = iter([True, False, True, True])
    one = Lane(0, host.call(5), nullcontext, CpuClock(cpu_time=False))
    one.clock.chunk = 10
    rounds = rounds_of(one, witness=Witness(trusted=lambda: next(trusted)))
    assert rounds.run(30, NEVER)
    assert (rounds.completed, rounds.dropped, len(one.samples)) == (30, 10, 30)


def test_a_device_held_back_for_ever_does_not_hold_up_for_ever(host: Host) -> None:
    one = lane(0, host.call(1_000))
    rounds = rounds_of(one, witness=Witness(trusted=lambda: False))
    assert not rounds.run(100, host.now + 10_000_000, at_least=3)
    assert (rounds.completed, one.samples) == (0, [])
    assert rounds.dropped > 0


def test_a_sign_of_life_comes_every_second_also_within_a_round(host: Host) -> None:
    signs: list[int] = []
    slow = [lane(owner, host.call(700_000_000)) for owner in range(3)]
    rounds_of(*slow, witness=Witness(alive=lambda: signs.append(host.now))).run(4, NEVER)
    assert len(signs) == 12  # a turn takes 1.4 s


def test_the_guard_is_entered_around_the_calls_and_not_timed(host: Host) -> None:
    class Guard:
        entered = False

        def __enter__(self) -> None:
            host.work(1_000_000)
            Guard.entered = True

        def __exit__(self, *_: object) -> None:
            Guard.entered = False

    def call() -> None:
        assert Guard.entered
        host.work(10)

    one = Lane(0, call, Guard, CpuClock(cpu_time=False))
    rounds = rounds_of(one)
    rounds.run(2, NEVER)
    assert not rounds.failed
    assert [sample.wall_ns for sample in one.samples] == [10, 10]
