"""Replicates, groups, and targets that hang or take the process with them: with workers that follow a script."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convbench.case import Case
from convbench.errors import DeviceLostError
from convbench.measures.latency import pool as module
from convbench.measures.latency.pool import Pool
from convbench.measures.latency.session import Session
from convbench.measures.latency.settings import LatencySettings, Progress
from convbench.measures.latency.timing.beacon import CONTROL, Beacon
from convbench.measures.latency.timing.order import JOB, Order
from convbench.measures.latency.timing.result import ProcessTiming, TargetTiming
from convbench.target.packed import Packed
from convbench.workers.process import WorkerCrash, WorkerTimeout
from tests.latency.made import QUIET, timing

Say = Callable[[Mapping[str, Any]], None]
Scene = Callable[[Order, Say], ProcessTiming]


class Stage:
    """Where workers act: one scene a request, and then as is usual."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []
        self.orders: list[Order] = []
        self.started = self.prepared = self.ended = 0
        self.log: list[str] = []


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()

    class Actor:
        def __init__(self, *, env: Mapping[str, str]) -> None:
            stage.started += 1
            self.ready = False
            assert env["OMP_NUM_THREADS"] == "1"

        def __enter__(self) -> Actor:
            return self

        def __exit__(self, *_: object) -> None:
            stage.ended += 1

        def prepare(self, job: str) -> None:
            assert job == JOB
            stage.prepared += 1

        def wait_ready(self, timeout_s: float) -> None:
            if not self.ready:  # whoever waits for one that is up does not wait
                stage.log.append("ready")
            self.ready = True

        def run(
            self, request: Mapping[str, Any], *, timeout_s: float, on_message: Say, deadline_s: float | None = None
        ) -> Any:
            order = Order.from_request(request)
            stage.orders.append(order)
            stage.log.append("run")
            scene = stage.scenes.pop(0) if stage.scenes else usual
            return scene(order, on_message).to_json()

    monkeypatch.setattr(module, "Worker", Actor)
    return stage


def usual(order: Order, _say: Say, **changes: Any) -> ProcessTiming:
    """Everyone is timed."""
    targets = {index: timing(1.0 + index, None if index == order.baseline else 0.1 * index) for index in order.cases}
    return ProcessTiming(**{"targets": targets, "control": timing(1.0, 0.0), "rounds": 100, **changes})


def loses(index: int, status: str = "error") -> Scene:
    def scene(order: Order, say: Say) -> ProcessTiming:
        made = usual(order, say)
        return ProcessTiming({**made.targets, index: TargetTiming(status, "why")}, made.control)  # type: ignore[arg-type]

    return scene


def ends_at(owner: int, error: Exception) -> Scene:
    """The worker hangs or dies while it is ``owner``'s turn."""

    def scene(order: Order, _say: Say) -> ProcessTiming:
        assert order.beacon is not None
        Beacon(order.beacon).mark(owner)
        raise error

    return scene


def puts_off(*indices: int) -> Scene:
    def scene(order: Order, say: Say) -> ProcessTiming:
        made = usual(order, say)
        return ProcessTiming({i: t for i, t in made.targets.items() if i not in indices}, made.control, indices)

    return scene


def play(
    count: int, replicates: int = 3, baseline: int = 0, tell: Callable[[Progress], None] = lambda _: None
) -> Session:
    cases = [Packed(Case("Module", size=index + 1), "module.pt") for index in range(count)]
    with Pool(1, replicates) as pool:
        session = Session(cases, baseline, LatencySettings(), replicates, 10.0, pool, tell)
        session.run()
    return session


def members(stage: Stage) -> list[list[int]]:
    return [list(order.cases) for order in stage.orders]


def timed(session: Session) -> dict[int, int]:
    """How many processes timed each target."""
    return {index: len(found) for index, found in session.gathered.timings.items()}


def test_every_replicate_is_a_process_of_its_own_with_its_own_order(stage: Stage) -> None:
    session = play(3)
    assert members(stage) == [[0, 1, 2]] * 3
    assert stage.started == stage.prepared == 3
    assert stage.ended >= 3
    assert timed(session) == {0: 3, 1: 3, 2: 3}
    assert [order.seed for order in stage.orders] == [0, 1, 2]
    assert [order.kernels for order in stage.orders] == [True, False, False]
    assert [order.shuffled for order in stage.orders] == [False, True, True]
    assert len(session.gathered.controls) == 3


def test_the_time_for_a_block_is_shared_by_its_processes(stage: Stage) -> None:
    play(2, replicates=4)
    assert {order.budget_s for order in stage.orders} == {2.5}


def test_the_baseline_comes_first(stage: Stage) -> None:
    play(3, baseline=2)
    assert members(stage)[0] == [2, 0, 1]
    assert stage.orders[0].baseline == 2


def test_a_target_that_fails_is_not_tried_again(stage: Stage) -> None:
    stage.scenes = [usual, loses(1)]
    session = play(3)
    assert members(stage) == [[0, 1, 2], [0, 1, 2], [0, 2]]
    assert session.gathered.failures[1].status == "error"
    assert timed(session) == {0: 3, 1: 1, 2: 3}


def test_a_target_that_hangs_is_left_out_and_the_replicate_redone(stage: Stage) -> None:
    stage.scenes = [usual, ends_at(1, WorkerTimeout("silence"))]
    session = play(3)
    assert members(stage) == [[0, 1, 2], [0, 1, 2], [0, 2], [0, 2]]
    assert session.gathered.failures[1].status == "timeout"
    assert timed(session) == {0: 3, 1: 1, 2: 3}


@pytest.mark.parametrize("owner", [0, CONTROL])
def test_a_baseline_that_hangs_leaves_latencies_without_ratios(stage: Stage, owner: int) -> None:
    stage.scenes = [ends_at(owner, WorkerTimeout("silence"))]
    session = play(3, replicates=1)
    assert members(stage) == [[0, 1, 2], [1, 2]]
    assert stage.orders[1].baseline is None
    assert session.gathered.failures[0].status == "timeout"
    assert timed(session) == {1: 1, 2: 1}


def test_a_target_that_brings_its_process_down_is_an_error(stage: Stage) -> None:
    stage.scenes = [ends_at(2, WorkerCrash(-11, "Segmentation fault"))]
    session = play(3, replicates=1)
    assert session.gathered.failures[2].status == "error"
    assert "signal 11" in str(session.gathered.failures[2].error)
    assert timed(session) == {0: 1, 1: 1}


def test_a_target_killed_beside_others_gets_a_process_with_the_baseline_alone(stage: Stage) -> None:
    stage.scenes = [ends_at(2, WorkerCrash(-9, ""))]
    session = play(3, replicates=2)
    assert members(stage) == [[0, 1, 2], [0, 1], [0, 2], [0, 1], [0, 2]]
    assert not session.gathered.failures
    assert timed(session) == {0: 4, 1: 2, 2: 2}


def test_a_target_killed_beside_the_baseline_alone_ran_out_of_memory(stage: Stage) -> None:
    dies = ends_at(2, WorkerCrash(-9, ""))
    stage.scenes = [dies, usual, dies]
    session = play(3, replicates=2)
    assert session.gathered.failures[2].status == "oom"
    assert members(stage) == [[0, 1, 2], [0, 1], [0, 2], [0, 1]]
    assert timed(session) == {0: 2, 1: 2}


def test_targets_that_do_not_fit_are_measured_in_groups_that_share_the_baseline(stage: Stage) -> None:
    stage.scenes = [puts_off(2, 3, 4), puts_off(4)]
    session = play(5, replicates=2)
    assert members(stage) == [[0, 1, 2, 3, 4], [0, 2, 3, 4], [0, 4], [0, 1], [0, 2, 3], [0, 4]]
    assert timed(session) == {0: 6, 1: 2, 2: 2, 3: 2, 4: 2}
    assert len(session.gathered.controls) == 6


def test_a_worker_that_dies_before_anyones_turn_is_an_error_of_the_whole(stage: Stage) -> None:
    def dies(order: Order, say: Say) -> ProcessTiming:
        raise WorkerCrash(1, "ImportError: libtorch")

    stage.scenes = [dies]
    with pytest.raises(WorkerCrash, match="libtorch"):
        play(2)


def test_a_target_that_ends_the_devices_context_is_its_own_record_and_the_others_go_on(stage: Stage) -> None:
    stage.scenes = [usual, ends_at(2, DeviceLostError("RuntimeError: CUDA error: an illegal memory access"))]
    session = play(4)
    assert members(stage) == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 3], [0, 1, 3]]
    assert (session.gathered.failures[2].status, timed(session)) == ("error", {0: 3, 1: 3, 2: 1, 3: 3})
    assert "illegal memory access" in str(session.gathered.failures[2].error)


def test_after_a_failed_capture_the_process_is_replaced(stage: Stage) -> None:
    def cannot_be_captured(order: Order, say: Say) -> ProcessTiming:
        return ProcessTiming({}, unreplayable={1: "operation not permitted when stream is capturing"})

    stage.scenes = [cannot_be_captured]
    session = play(3)
    assert timed(session) == {0: 3, 1: 3, 2: 3}
    assert [set(order.eager_only) for order in stage.orders] == [set(), {1}, {1}, {1}]
    assert stage.started == 4


def test_ctrl_c_keeps_complete_processes_and_the_last_look_of_the_one_at_work(stage: Stage) -> None:
    def interrupted(order: Order, say: Say) -> ProcessTiming:
        say({"look": usual(order, say).to_json()})
        raise KeyboardInterrupt

    stage.scenes = [usual, interrupted]
    session = play(2, replicates=5)
    assert session.gathered.interrupted
    assert timed(session) == {0: 2, 1: 2}


def test_ctrl_c_before_the_first_look_keeps_the_complete_processes(stage: Stage) -> None:
    def interrupted(order: Order, say: Say) -> ProcessTiming:
        say({"phase": "building", "target": 0})
        raise KeyboardInterrupt

    def looks(order: Order, say: Say) -> ProcessTiming:
        say({"look": usual(order, say).to_json()})
        return usual(order, say)

    stage.scenes = [looks, interrupted]
    session = play(2, replicates=5)
    assert timed(session) == {0: 1, 1: 1}  # and not the first one's look once more


def test_progress_tells_where_it_is(stage: Stage) -> None:
    def talks(order: Order, say: Say) -> ProcessTiming:
        say({"phase": "building", "target": 0})
        say({"phase": "warming up", "target": CONTROL})
        say({"alive": 40})
        say({"look": usual(order, say).to_json()})
        return usual(order, say)

    stage.scenes = [talks]
    told: list[str] = []
    play(2, replicates=1, tell=lambda progress: told.append(str(progress)))
    begun, *rest = told
    assert begun == "process 1/1: starting 1 process"
    # How long is left depends on the clock; that it is said does not.
    assert [re.sub(r", about \d+ s left: ", ", ", line) for line in rest] == [
        "process 1/1, building Module@size=1",
        "process 1/1, warming up Module@size=1 again",
        "process 1/1, measuring, 40 rounds",
        "process 1/1, measuring Module@size=2, 100 rounds, 2 ms [2, 2], 1.105× [1.105, 1.105]",
    ]


def test_none_starts_up_while_another_measures(stage: Stage) -> None:
    play(2, replicates=4)
    assert stage.log == ["ready"] * 4 + ["run"] * 4


def test_at_most_five_wait_at_a_time(stage: Stage) -> None:
    with Pool(1, 8) as pool:
        assert pool.waiting == stage.started == 5
    play(2, replicates=8)
    assert stage.started == stage.prepared == 5 + 8


def test_nothing_is_left_behind(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    play(2)
    assert list(tmp_path.iterdir()) == []


def disturbed(share: float, elapsed_s: float = 2.0) -> Scene:
    """A process in which so many samples were interrupted; its ratio says which it was."""

    def scene(order: Order, say: Say) -> ProcessTiming:
        noise = replace(QUIET, interrupted=share)
        targets = {index: timing(1.0, None if index == 0 else share, disturbance=noise) for index in order.cases}
        return ProcessTiming(targets, timing(1.0, 0.0), rounds=100, elapsed_s=elapsed_s)

    return scene


def shares(session: Session) -> list[float]:
    return [target.disturbance.interrupted for target in session.gathered.timings[1] if target.disturbance]  # type: ignore[misc]


def test_a_disturbed_process_is_replaced_while_there_is_time(stage: Stage) -> None:
    """Of 2 · 10 s, three processes of 2 s leave time for seven more."""
    stage.scenes = [disturbed(0.1), disturbed(0.6), disturbed(0.5), disturbed(0.7), disturbed(0.0), disturbed(0.2)]
    session = play(2, replicates=3)
    assert shares(session) == [0.1, 0.0, 0.2]
    assert len(session.gathered.controls) == 3
    assert "3 of 6 processes left out: others wanted the same cores" in session.gathered.notes


def test_a_quiet_measurement_takes_no_more_processes_than_asked_for(stage: Stage) -> None:
    stage.scenes = [disturbed(share) for share in (0.1, 0.39, 0.0)]
    assert shares(play(2, replicates=3)) == [0.1, 0.39, 0.0]


def test_disturbed_processes_stay_where_there_is_no_time_for_others(stage: Stage) -> None:
    stage.scenes = [disturbed(0.5, elapsed_s=6.0) for _ in range(3)]
    assert shares(play(2, replicates=3)) == [0.5] * 3


def test_at_most_as_many_processes_again_are_taken(stage: Stage) -> None:
    stage.scenes = [disturbed(0.5, elapsed_s=0.1) for _ in range(9)]
    assert len(shares(play(2, replicates=3))) == 3
    assert len(stage.orders) == 6


def test_each_process_need_not_be_as_precise_as_the_mean_of_all(stage: Stage) -> None:
    play(2, replicates=4)
    assert {(order.precision, order.margin) for order in stage.orders} == {(0.02, 0.02)}
