"""Text from outside shows itself and steers nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.text import one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("axis [/nope] of :warning: is [red]bad[/red]", "axis [/nope] of :warning: is [red]bad[/red]"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("caf\udce9.pt", r"caf\udce9.pt"),
        ("MRFA\u202egnp.exe", r"MRFA\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\x9b31m", r"\x9b31m"),
        ("back\bspace\rreturn\0nul", r"back\x08space\rreturn\x00nul"),
        ("σ × 3 – ü 漢字 🙂\xa0€", "σ × 3 – ü 漢字 🙂\xa0€"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_what_is_seen(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_unseen_is_left(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert one_line(shown) == shown
