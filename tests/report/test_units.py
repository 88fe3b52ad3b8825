"""Numbers for readers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.report.units import bytes_, count, milliseconds, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (70296576, "70.30 M"),
        (0, "0"),
        (999, "999"),
        (1000, "1.000 k"),
        (3.82e9, "3.820 G"),
        (2e12, "2.000 T"),
        (None, "–"),
    ],
)
def test_counts(value: float | None, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(117964800, "112.5 MiB"), (1023, "1,023 B"), (1024, "1.000 KiB"), (3 * 2**30, "3.000 GiB"), (None, "–")],
)
def test_bytes(value: float | None, text: str) -> None:
    assert bytes_(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0525, "52.50 µs"), (1.31, "1.310 ms"), (2500, "2.500 s"), (None, "–")])
def test_durations(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


@given(st.floats(1e-9, 1e15), st.integers(2, 8))
def test_significant_digits_are_kept(value: float, digits: int) -> None:
    shown = float(significant(value, digits).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.5 * 10 ** (1 - digits) * 1.0001)
