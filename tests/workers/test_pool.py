"""Asking many things of workers that may die: every request is answered, in its order."""

from __future__ import annotations

from pathlib import Path

import pytest

from convbench.workers.pool import ask_each
from convbench.workers.text import brief

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _jobs_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def test_one_worker_answers_until_it_dies_and_is_then_replaced() -> None:
    requests = [{"do": "worker_jobs:echo", "say": "1"}, {"do": "worker_jobs:fail", "how": "other"}]
    requests += [{"do": "worker_jobs:echo", "say": "2"}, {"do": "worker_jobs:fail", "how": "killed"}]
    requests += [{"do": "worker_jobs:fail", "how": "own"}, {"do": "worker_jobs:echo", "say": "3"}]
    answers = list(ask_each(requests))
    assert [answer.request for answer in answers] == requests
    one, divided, two, killed, refused, three = answers
    assert [one.value["said"], two.value["said"], three.value["said"]] == ["1", "2", "3"]
    assert one.value["pid"] == two.value["pid"] != three.value["pid"]
    assert divided.failure is not None
    assert (divided.failure.status, divided.failure.refused) == ("error", False)
    assert divided.failure.reason == "ZeroDivisionError: division by zero"
    assert killed.failure is not None
    assert killed.failure.status == "oom"
    assert refused.failure is not None
    assert (refused.failure.kind, refused.failure.refused) == ("ShapeError", True)


def test_a_hang_is_one_timeout() -> None:
    (answer,) = ask_each([{"do": "worker_jobs:hang"}], timeout_s=0.5)
    assert answer.failure is not None
    assert answer.failure.status == "timeout"


def test_a_reason_is_brief_and_printable() -> None:
    assert brief("a\n\nb\tc\x1b[2J\udce9") == "a\nb\\tc\\x1b[2J\\udce9"
    assert brief("1\n2\n3\n4") == "1\n2\n3 …"
    assert len(brief("é" * 5_000_000)) == 500


def test_a_worker_in_which_a_thread_goes_on_is_replaced() -> None:
    echo = {"do": "worker_jobs:echo", "say": ""}
    before, _, after = ask_each([echo, {"do": "awkward_jobs:run", "how": "leaves_a_thread"}, echo])
    assert before.value["pid"] != after.value["pid"]
