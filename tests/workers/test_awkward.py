"""Whatever a job does, it is one answer, the next request is answered too, and nothing stays behind."""

from __future__ import annotations

import os
import re
import time
from uuid import uuid4

import pytest
from awkward_jobs import ANSWERS, FAILS
from marked import alive_under

from convbench.workers import said
from convbench.workers.pool import Answer, ask_each

WELL = {"do": "awkward_jobs:well"}


def asked(how: str) -> Answer:
    """The answer for ``how``, once that of a good request after it has been checked, and that all is over."""
    mark = uuid4().hex
    requests = [{"do": "awkward_jobs:run", "how": how}, WELL]
    awkward, well = ask_each(
        requests, timeout_s=1.5 if FAILS.get(how, ("", ""))[1] == "timeout" else 60, env={"MARK": mark}
    )
    assert well.failure is None
    told = dict(well.value)
    told.pop("pid")
    assert told == {"directory": os.getcwd(), "left": None, "recursion": 1000, "collects": True, "term": True}
    assert alive_under(mark) == []
    return awkward


@pytest.mark.parametrize("how", FAILS)
def test_a_failure_is_one_brief_reason(how: str) -> None:
    _, status, reason = FAILS[how]
    failure = asked(how).failure
    assert failure is not None
    assert failure.status == status
    assert re.search(reason, failure.reason, re.DOTALL)
    assert len(failure.reason) <= 500
    assert failure.reason.count("\n") <= 2
    assert failure.reason.replace("\n", "").isprintable()
    assert not failure.refused


@pytest.mark.parametrize("how", ANSWERS)
def test_what_is_no_failure_is_answered(how: str) -> None:
    answer = asked(how)
    assert answer.failure is None
    gave = answer.value["gave"]
    expected = {
        "forks_into_our_loop": "parent",
        "forks_and_the_child_fails": "parent",
        "gives_half_a_character": "caf?",
        "reads_its_input": "",
        "stores_no_core": [0],
    }
    assert gave == expected.get(how, gave)


def test_what_is_printed_is_shown_in_bounds_and_as_text(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(said, "_shown", said._Shown())
    asked("prints_a_flood")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "a flood 0 \\x1b[2J" in shown.err
    assert "\x1b" not in shown.err
    assert len(shown.err) < 100_000
    assert "prints on" in shown.err


def test_a_death_is_known_at_once_though_a_child_holds_the_pipe() -> None:
    began = time.monotonic()
    requests = [{"do": "awkward_jobs:run", "how": "dies_while_a_child_holds_the_pipe"}]
    (answer,) = ask_each(requests, timeout_s=100)
    assert answer.failure is not None
    assert time.monotonic() - began < 50


def test_a_deadline_holds_though_messages_flow() -> None:
    request = {"do": "worker_jobs:slow_but_alive"}
    (answer,) = ask_each([request], deadline_s=1.2)
    assert answer.failure is not None
    assert answer.failure.status == "timeout"
    assert "longer than 1.2 s" in answer.failure.reason
