"""Worker processes: JSON in, JSON out, and every way in which a worker can fail to answer."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from convbench import errors
from convbench.workers.environment import timing_environment
from convbench.workers.mailbox import Mailbox
from convbench.workers.process import Worker, WorkerCrash, WorkerTimeout, run_in_worker

HERE = Path(__file__).parent
_take = Mailbox.take


@pytest.fixture(autouse=True)
def _jobs_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    """Whether the process ends in time: a killed one is reaped by init a moment later."""
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def test_result_and_messages_arrive_in_order_and_prints_stay_out() -> None:
    heard: list[Mapping[str, Any]] = []
    result = run_in_worker({"do": "worker_jobs:echo", "say": "ñ ×", "messages": 3}, on_message=heard.append)
    assert result["said"] == "ñ ×"
    assert heard == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_each_request_gets_a_process_of_its_own() -> None:
    pids = {run_in_worker({"do": "worker_jobs:echo", "say": ""})["pid"] for _ in range(2)}
    assert len(pids | {os.getpid()}) == 3


def test_environment_is_added_and_the_module_path_is_the_parents() -> None:
    result = run_in_worker({"do": "worker_jobs:echo", "say": ""}, env={"CONVBENCH_X": "1"})
    assert result["env"]["CONVBENCH_X"] == "1"
    assert result["env"]["PATH"] == os.environ["PATH"]
    assert next(entry for entry in result["path"] if entry in sys.path) == str(HERE)


def test_a_file_in_the_working_directory_shadows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert run_in_worker({"do": "worker_jobs:echo", "say": "unharmed"})["said"] == "unharmed"


def test_a_hanging_worker_is_killed_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Mapping[str, Any]] = []

    def take(mailbox: Mailbox, limit_s: float | None = None) -> bytes | None:
        return _take(mailbox, limit_s if heard else 300)

    monkeypatch.setattr(Mailbox, "take", take)
    with pytest.raises(WorkerTimeout, match=r"0\.1 s"):
        run_in_worker({"do": "worker_jobs:hang"}, timeout_s=0.1, on_message=heard.append)
    assert gone_within(heard[0]["child"], 60)


def test_the_limit_is_on_silence_not_on_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    def take(mailbox: Mailbox, limit_s: float | None = None) -> bytes | None:
        limits.append(limit_s)
        return _take(mailbox, 300)

    monkeypatch.setattr(Mailbox, "take", take)
    run_in_worker({"do": "worker_jobs:echo", "say": "", "messages": 4}, timeout_s=1.5)
    assert limits[-5:] == [1.5] * 5


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("own", errors.ShapeError, "dim must be a multiple of 4, got 30"),
        ("extra", errors.MissingExtraError, r"timm:resnet18 needs timm.*convbench\[hosts\]"),
        ("other", errors.MeasurementError, "ZeroDivisionError: division by zero"),
        ("exit", WorkerCrash, "(?s)exit code 3.*these are my last words"),
        ("killed", WorkerCrash, "signal 9"),
    ],
)
def test_a_failure_arrives_as_what_it_was(how: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        run_in_worker({"do": "worker_jobs:fail", "how": how})
    assert type(caught.value) is kind
    if how == "killed":
        assert caught.value.killed  # type: ignore[attr-defined]


def test_an_unknown_job_is_named() -> None:
    with pytest.raises(errors.MeasurementError, match=r"latencies"):
        run_in_worker({"do": "worker_jobs:latencies"})


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="cannot be sent"):
        run_in_worker({"do": "worker_jobs:echo", "say": object()})


def test_a_prepared_worker_waits_for_its_turn() -> None:
    with Worker() as first, Worker() as second:
        for worker in (first, second):
            worker.prepare("worker_jobs:echo")
        for worker in (second, first):
            worker.wait_ready()
        pids = [worker.run({"do": "worker_jobs:echo", "say": "1"})["pid"] for worker in (first, second)]
    assert pids[0] != pids[1]
    assert not any(alive(pid) for pid in pids)


def test_preparing_for_a_job_that_fails_to_import_raises() -> None:
    with Worker() as worker:
        worker.prepare("no_such_module:job")
        with pytest.raises(errors.MeasurementError, match="no_such_module"):
            worker.wait_ready()


def test_timing_environment_fixes_threads_and_heap_and_varies_the_pad() -> None:
    environments = [timing_environment(2) for _ in range(20)]
    assert all(e["OMP_NUM_THREADS"] == "2" and e["MALLOC_TOP_PAD_"] == "268435456" for e in environments)
    assert all(len(e["CONVBENCH_PAD"]) < 4096 for e in environments)
    assert len({e["CONVBENCH_PAD"] for e in environments}) > 10


def test_a_worker_that_cannot_be_started_is_an_error() -> None:
    with pytest.raises(errors.MeasurementError, match="no measuring process can be started"):
        Worker(env={"TOO_LONG": "x" * 10_000_000})


def test_a_long_request_arrives_whole() -> None:
    said = "é" * 1_000_000
    assert run_in_worker({"do": "worker_jobs:echo", "say": said})["said"] == said


def test_a_worker_killed_from_another_thread_is_a_crash() -> None:
    with Worker() as worker:
        assert worker.alive
        threading.Timer(0.3, worker.kill).start()
        with pytest.raises(WorkerCrash, match="SIGTERM"):
            worker.run({"do": "worker_jobs:hang"})
        assert not worker.alive


def test_an_interrupted_worker_takes_no_other_request() -> None:
    def interrupt(message: Mapping[str, Any]) -> None:
        raise KeyboardInterrupt

    with Worker() as worker:
        with pytest.raises(KeyboardInterrupt):
            worker.run({"do": "worker_jobs:slow_but_alive"}, on_message=interrupt)
        assert not worker.alive
