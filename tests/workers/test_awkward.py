"""Whatever a job does, it is one answer, the next request is answered too, and nothing stays behind."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from awkward_jobs import ANSWERS, FAILS, FOREVER_S
from marked import alive_under, left_after

from convbench.workers import said
from convbench.workers.pool import Answer, ask_each
from convbench.workers.process import Worker

WELL = {"do": "awkward_jobs:well"}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[Answer, Answer]]:
    """What became of each behaviour, and of the good request after it, that was put to the same worker."""
    mark = uuid4().hex
    names = [*FAILS, *ANSWERS]
    requests = [request for how in names for request in ({"do": "awkward_jobs:run", "how": how}, WELL)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "run", _patient_with_all_but_what_hangs)
        given = list(ask_each(requests, env={"MARK": mark}))
    assert alive_under(mark) == []
    return dict(zip(names, zip(given[::2], given[1::2], strict=True), strict=True))


_run = Worker.run


def _patient_with_all_but_what_hangs(worker: Worker, request: Mapping[str, Any], **limits: Any) -> Any:
    """A hang is one after any time; what does not hang may take as long as a busy machine makes it."""
    hangs = FAILS.get(request.get("how", ""), (None, "", ""))[1] == "timeout"
    return _run(worker, request, **{**limits, "timeout_s": 1.5 if hangs else 300})


@pytest.mark.parametrize("how", FAILS)
def test_a_failure_is_one_brief_reason(answers: dict[str, tuple[Answer, Answer]], how: str) -> None:
    _, status, reason = FAILS[how]
    failure = answers[how][0].failure
    assert failure is not None
    assert failure.status == status
    assert re.search(reason, failure.reason, re.DOTALL)
    assert len(failure.reason) <= 500
    assert failure.reason.count("\n") <= 2
    assert failure.reason.replace("\n", "").isprintable()
    assert not failure.refused


@pytest.mark.parametrize("how", ANSWERS)
def test_what_is_no_failure_is_answered(answers: dict[str, tuple[Answer, Answer]], how: str) -> None:
    expected = {
        "forks_into_our_loop": "parent",
        "forks_and_the_child_fails": "parent",
        "gives_half_a_character": "caf?",
        "reads_its_input": "",
        "stores_no_core": [0],
    }
    answer = answers[how][0]
    assert answer.failure is None
    assert answer.value == expected.get(how, answer.value)


@pytest.mark.parametrize("how", [*FAILS, *ANSWERS])
def test_the_next_request_is_answered_as_if_nothing_had_been(
    answers: dict[str, tuple[Answer, Answer]], how: str
) -> None:
    well = answers[how][1]
    assert well.failure is None
    assert well.value == {
        "directory": os.getcwd(),
        "left": None,
        "recursion": sys.getrecursionlimit(),
        "collects": True,
        "term": True,
    }


def test_a_family_of_a_killed_guard_is_ended() -> None:
    mark = uuid4().hex
    list(ask_each([{"do": "awkward_jobs:run", "how": "kills_its_guard"}], timeout_s=60, env={"MARK": mark}))
    assert left_after(mark, 5) == []


def test_what_is_printed_is_shown_in_bounds_and_as_text(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(said, "_shown", said._Shown())
    list(ask_each([{"do": "awkward_jobs:run", "how": "prints_a_flood"}], timeout_s=60))
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "a flood 0 \\x1b[2J" in shown.err
    assert "\x1b" not in shown.err
    assert len(shown.err) < 100_000
    assert "prints on" in shown.err


def test_a_death_is_known_at_once_though_a_child_holds_the_pipe() -> None:
    requests = [{"do": "awkward_jobs:run", "how": "dies_while_a_child_holds_the_pipe"}]
    (answer,) = ask_each(requests, timeout_s=FOREVER_S / 3)
    assert answer.failure is not None
    assert answer.failure.status == "error"  # not a timeout, and the child sleeps on for longer


def test_a_deadline_holds_though_messages_flow() -> None:
    request = {"do": "worker_jobs:slow_but_alive"}
    (answer,) = ask_each([request], deadline_s=1.2)
    assert answer.failure is not None
    assert answer.failure.status == "timeout"
    assert "longer than 1.2 s" in answer.failure.reason
