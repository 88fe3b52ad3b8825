"""The worker's job, run in this process: real calls by a scripted clock, the same on a busy machine."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convbench.case import Case
from convbench.errors import DeviceLostError
from convbench.measures.latency.timing import job
from convbench.measures.latency.timing.beacon import CONTROL, NOBODY, Beacon
from convbench.measures.latency.timing.clock import Clock, Sample
from convbench.measures.latency.timing.job import precise
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.participant import Participant
from convbench.measures.latency.timing.result import Column, ProcessTiming, TargetTiming
from convbench.measures.latency.timing.rounds import Lane
from convbench.statistics import Interval
from convbench.target.packed import Packed
from tests.timing.machines import TickingHost

TARGETS = Path(__file__).parent / "targets.py"


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _scripted_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    TickingHost().install(monkeypatch)


def case(name: str = "Plain", size: int = 6, **options: Any) -> Case:
    return Case(f"{TARGETS}:{name}", dim=8, size=size, options=tuple(options.items()))


def order(*cases: Case, budget_s: float = 0.2, precision: float = 10.0, margin: float = 10.0, **changes: Any) -> Order:
    """So imprecise that the first look is the last."""
    made = Order(dict(enumerate(map(Packed, cases))), 0, 1, budget_s, precision, margin, 0, "cold", False, None)
    return replace(made, **changes)


def run(asked: Order, messages: list[Mapping[str, Any]] | None = None) -> ProcessTiming:
    return ProcessTiming.from_json(job.run(asked.to_request(), (messages if messages is not None else []).append))


def test_every_target_and_the_control_are_timed_in_the_same_rounds() -> None:
    messages: list[Mapping[str, Any]] = []
    timing = run(order(case(), case(size=12), kernels=True), messages)
    assert timing.rounds >= 3
    assert timing.control is not None
    for target in (*timing.targets.values(), timing.control):
        assert target.status == "ok"
        assert target.eager is not None
        assert target.eager.samples == timing.rounds
        assert 0 < target.eager.p10_ms <= target.eager.median_ms.centre <= target.eager.p90_ms
        assert target.first_ms is not None
        assert target.device is None
    assert timing.targets[0].eager.log_ratio is None  # type: ignore[union-attr]
    assert timing.targets[1].eager.log_ratio is not None  # type: ignore[union-attr]
    assert timing.control.eager.log_ratio is not None  # type: ignore[union-attr]
    assert any("conv" in kernel for kernel in timing.targets[0].kernels)
    assert [m for m in messages if m.get("phase") == "building"] == [
        {"phase": "building", "target": owner} for owner in (0, CONTROL, 1)
    ]
    assert gc.isenabled()


def test_looks_come_at_50_rounds_and_its_doubles_until_it_is_precise() -> None:
    messages: list[Mapping[str, Any]] = []
    timing = run(order(case(), case(), budget_s=0.3, margin=1e-9), messages)
    looks = [message["look"]["rounds"] for message in messages if "look" in message]
    assert looks[:-1] == [50 * 2**n for n in range(len(looks) - 1)]
    assert len(looks) > 3
    assert looks[-1] == timing.rounds < 2 * looks[-2]  # the last is cut short by the deadline
    assert run(order(case(), budget_s=0.5, margin=1e-9)).rounds == 50  # a profile does not wait for its control


def test_the_time_begins_after_the_warm_up() -> None:
    """Warming up two instances takes 0.2 s each, which would leave nothing of 0.1 s."""
    timing = run(order(case(), budget_s=0.1, precision=1e-9))
    assert 0.1 <= timing.elapsed_s < 0.11
    assert timing.rounds > 100


def test_kernels_are_recorded_when_the_timing_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    monkeypatch.setattr(job, "recorded_kernels", lambda one: (rounds.append(len(one.eager.samples)) or ("k×1",), ()))
    timing = run(order(case(), case(size=7), kernels=True))
    assert rounds == [50, 50]
    assert {target.kernels for target in timing.targets.values()} == {("k×1",)}


class Script(Clock):
    """A clock that gives what is written down, (time, processor time) in ns a sample."""

    minimum_ns = warm_up_ns = resolution_ns = 0
    chunk = 1000

    def __init__(self, *samples: tuple[float, float]) -> None:
        self.samples = samples

    def once(self, call: object) -> int:
        return 1

    def sample(self, call: object, repeats: int) -> None: ...

    def collect(self) -> list[Sample]:
        return [Sample(wall, int(wall), int(cpu)) for wall, cpu in self.samples]


def lane(*samples: tuple[float, float]) -> Lane:
    made = Lane(0, lambda: None, nullcontext, Script(*samples))
    made.samples = made.clock.collect()
    return made


def test_a_ratio_is_to_both_instances_of_the_baseline() -> None:
    first, again = lane(*[(100, 100)] * 30), lane(*[(121, 121)] * 30)
    found = job._column(lane(*[(220, 220)] * 30), [first, again])
    assert found is not None
    assert found.log_ratio is not None
    assert found.log_ratio.exp.centre == pytest.approx(2.0)  # to √(100 · 121) = 110


def test_rounds_in_which_either_was_interrupted_do_not_count_where_others_do() -> None:
    """Of 50 rounds, 26 are left alone: the target was interrupted in the first 14, the baseline in the last 10."""
    slow, calm = (900, 100), (110, 110)
    target, base = lane(*[slow] * 14, *[calm] * 36), lane(*[(100, 100)] * 40, *[(500, 100)] * 10)
    found = job._column(target, [base])
    assert found is not None
    assert found.log_ratio is not None
    assert (found.calm, found.samples, found.is_disturbed) == (26, 50, False)
    assert found.log_ratio.exp.high == pytest.approx(1.1)
    assert found.median_ms.high * 1e6 == pytest.approx(900, rel=0.9)  # the median is of all samples


def test_a_process_without_undisturbed_rounds_says_so() -> None:
    found = job._column(lane(*[(900, 100)] * 31, *[(110, 110)] * 19), [lane(*[(100, 100)] * 50)])
    assert found is not None
    assert found.log_ratio is not None
    assert (found.calm, found.is_disturbed) == (19, True)
    assert found.log_ratio.exp.centre == pytest.approx(9.0)


def test_short_calls_are_repeated_within_a_sample() -> None:
    timing = run(order(Case(f"{TARGETS}:Counting", dim=1, size=1, options=(("fail_at", -1),))))
    target = timing.targets[0]
    assert target.eager is not None
    assert target.calls_per_sample == 3  # of about 25 µs, so that a sample is not shorter than 50 µs
    assert target.eager.median_ms.centre * 3 == pytest.approx(0.025, abs=0.001)


@pytest.mark.parametrize("fail_at", [1, 10, 150])
def test_a_target_that_raises_is_left_out_and_the_rest_goes_on(fail_at: int) -> None:
    """On its first call, while it is warmed up, or in the rounds."""
    timing = run(order(case(), case("Counting", fail_at=fail_at), case(size=7)))
    failed = timing.targets[1]
    assert (failed.status, failed.error, failed.eager) == ("error", "RuntimeError: shapes do not match", None)
    assert timing.targets[0].status == timing.targets[2].status == "ok"
    assert timing.targets[2].eager.log_ratio is not None  # type: ignore[union-attr]


def test_a_target_that_ends_the_devices_context_ends_the_process_in_its_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Everyone after it would fail as well; who asked learns from the beacon who it was."""
    monkeypatch.setattr(job.Device, "works", lambda self: False)
    path = tmp_path / "beacon"
    Beacon.create(path)
    with pytest.raises(DeviceLostError, match="shapes do not match"):
        run(order(case(), case("Counting", fail_at=60), case(size=7), beacon=path))
    assert Beacon.read(path) == 1


def test_a_target_that_cannot_be_captured_is_told_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot_be_captured(participant: Participant, *_: object, **__: object) -> None:
        participant.unreplayable = "it waits for the device" if participant.owner in (0, CONTROL) else None

    monkeypatch.setattr(job, "make_ready", cannot_be_captured)
    timing = run(order(case(), case(size=7)))
    assert (timing.targets, timing.unreplayable, timing.rounds) == ({}, {0: "it waits for the device"}, 0)


def test_a_device_that_is_always_held_back_gives_figures_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job.Watch, "chunk_is_trusted", lambda self: False)
    timing = run(order(case(), case(size=7)))
    assert timing.dropped_rounds == timing.rounds > 20
    assert timing.targets[1].eager is not None
    assert any("held back" in note for note in timing.targets[1].notes)


def test_a_target_that_cannot_be_built_says_why() -> None:
    timing = run(order(case(), case("Unbuildable")))
    assert timing.targets[1].error_type == "OptionError"
    assert "multiple of 3, got 8" in str(timing.targets[1].error)
    assert timing.targets[0].status == "ok"


def test_without_its_baseline_the_rest_has_no_ratios() -> None:
    timing = run(order(case("Counting", fail_at=150), case(), case(size=7)))
    assert timing.targets[0].status == "error"
    for index in (1, 2):
        assert timing.targets[index].status == "ok"
        assert timing.targets[index].eager.log_ratio is None  # type: ignore[union-attr]


def test_a_baseline_known_to_fail_leaves_a_control_of_the_next() -> None:
    timing = run(order(case(), case(size=7), baseline=None))
    assert timing.control is not None
    assert timing.control.eager.log_ratio is not None  # type: ignore[union-attr]
    assert timing.targets[1].eager.log_ratio is None  # type: ignore[union-attr]


def test_out_of_memory_beside_others_is_put_off_and_alone_is_a_status() -> None:
    beside = run(order(case(), case("Counting", fail_at=1, how="oom"), case(size=7)))
    assert beside.targets[1].status == "oom"  # only the baseline and its control were there
    late = run(order(case(), case(size=7), case("Counting", fail_at=1, how="oom")))
    assert late.deferred == (2,)
    assert 2 not in late.targets
    assert late.targets[1].status == "ok"


def test_targets_that_memory_has_no_room_for_are_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        fits_another = True

        def __init__(self) -> None:
            self.settled = 0

        def settle(self) -> None:
            self.settled += 1
            self.fits_another = self.settled < 3

        @classmethod
        def of(cls, device: str) -> Full:
            return cls()

    monkeypatch.setattr(job, "Headroom", Full)
    timing = run(order(case(), case(size=7), case(size=8), case(size=9)))
    assert set(timing.targets) == {0, 1}
    assert timing.deferred == (2, 3)


def test_the_order_of_building_is_drawn_anew_in_every_process_but_one_that_finds_out_about_memory() -> None:
    def built(**changes: Any) -> list[int]:
        messages: list[Mapping[str, Any]] = []
        timing = run(order(case(), case(size=7), case(size=8), **changes), messages)
        assert set(timing.targets) == {0, 1, 2}
        assert timing.control is not None
        return [message["target"] for message in messages if message.get("phase") == "building"]

    assert built(seed=5) == [0, CONTROL, 1, 2]
    orders = [built(seed=seed, shuffled=True) for seed in range(4)]
    assert all(sorted(one) == [CONTROL, 0, 1, 2] for one in orders)
    assert len({tuple(one) for one in orders}) > 2
    assert orders[0] == built(seed=0, shuffled=True)


def test_the_beacon_shows_nobody_when_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "beacon"
    Beacon.create(path)
    Beacon(path).mark(5)
    run(order(case(), beacon=path))
    assert Beacon.read(path) == NOBODY


def test_training_steps_are_timed() -> None:
    timing = run(order(replace(case(), mode="training")))
    assert timing.targets[0].status == "ok"


def column(half_width: float, ratio: Interval | None = None) -> TargetTiming:
    return TargetTiming(eager=Column(Interval(1, 1 - half_width, 1 + half_width), 1, 1, 100, 0, ratio))


@pytest.mark.parametrize(
    ("target", "control", "expected"),
    [
        (column(0.009), column(0.009, Interval(0, -0.004, 0.004)), True),
        (column(0.011), column(0.009, Interval(0, -0.004, 0.004)), False),
        (column(0.009), column(0.9, Interval(0, -0.4, 0.4)), True),  # nobody is shown the control's median
        (column(0.009, Interval(0, -0.006, 0.006)), column(0.009), False),
        (column(0.009, Interval(0.5, 0.49, 0.51)), column(0.009), False),  # a large ratio, and too wide
        (column(0.009, Interval(0.5, 0.496, 0.504)), column(0.009), True),
        (TargetTiming("error", "no"), column(0.009, Interval(0, -0.004, 0.004)), True),
    ],
)
def test_precision_and_not_significance_decides(target: TargetTiming, control: TargetTiming, expected: bool) -> None:
    assert precise(ProcessTiming({0: target}, control), 0.01, 0.01) == expected
