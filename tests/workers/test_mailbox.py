"""Lines from a pipe: whole, in order, in bounded memory, and without end only as long as the pipe has none."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from convbench.workers import mailbox
from convbench.workers.mailbox import Mailbox, TooLong


@contextmanager
def filled() -> Iterator[tuple[Mailbox, int]]:
    """A mailbox that is being filled, and the descriptor to write to."""
    read, write = os.pipe()
    box = Mailbox()
    reader = threading.Thread(target=box.fill_from, args=(os.fdopen(read, "rb", buffering=0),))
    reader.start()
    try:
        yield box, write
    finally:
        box.close()
        os.close(write)
        reader.join(10)
        assert not reader.is_alive()


def test_lines_come_whole_and_in_order_and_an_unfinished_one_is_dropped() -> None:
    read, write = os.pipe()
    box = Mailbox()
    for part in (b"on", b"e\n\ntwo\nth", b"ree\nunfinished"):
        os.write(write, part)
    os.close(write)
    box.fill_from(os.fdopen(read, "rb", buffering=0))
    assert [box.take(0) for _ in range(5)] == [b"one", b"", b"two", b"three", None]


def test_nothing_in_time_is_said() -> None:
    with filled() as (box, write):
        with pytest.raises(TimeoutError):
            box.take(0.01)
        os.write(write, b"late\n")
        assert box.take(10) == b"late"


def test_an_endless_line_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_LONGEST_LINE", 1000)
    with filled() as (box, write):
        os.write(write, b"fits\n" + b"x" * 1001)
        assert box.take(10) == b"fits"
        with pytest.raises(TooLong, match="in one message"):
            box.take(10)


def test_who_is_not_listened_to_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_WAITING_BYTES", 10)
    with filled() as (box, write):
        os.set_blocking(write, False)
        with suppress(BlockingIOError):
            while True:
                os.write(write, b"123456789\n" * 100)
        assert [box.take(10) for _ in range(3)] == [b"123456789"] * 3
        assert box._bytes <= 20


def test_closing_wakes_who_waits() -> None:
    with filled() as (box, _):
        threading.Timer(0.05, box.close).start()
        assert box.take(10) is None
