"""Names of targets as typed: wildcards, and one name twice."""

from __future__ import annotations

import pytest

from convbench.case import Case
from convbench.records import Record
from convbench.reference import read_cases
from convbench.report.tables.case import compare_table


@pytest.mark.parametrize(
    ("typed", "cases"),
    [
        (["MRFA", "MRFA"], ["MRFA", "MRFA"]),
        (["MRFA", "MRF?", "a.py:B"], ["MRFA", "a.py:B"]),
        (["MRF?", "MRFA"], ["MRFA"]),
        (["MRF?@dim=8", "MRFA"], ["MRFA@dim=8", "MRFA"]),
    ],
)
def test_a_name_that_is_typed_twice_is_an_a_a_trial(typed: list[str], cases: list[str]) -> None:
    assert [case.label for case in read_cases(typed, Case(""))] == cases


def test_rows_of_one_target_are_told_apart() -> None:
    first, second = (Record("MRFA", options="{}", input_shape="1x64x56x56") for _ in range(2))
    other = Record("MRFA", options="{}", input_shape="8x64x56x56")

    def labels(*records: Record) -> list[str]:
        return list(compare_table(records).columns[0].cells)

    assert labels(first, second) == ["MRFA #1", "MRFA #2"]
    assert labels(first, other) == ["MRFA@shape=1x64x56x56", "MRFA@shape=8x64x56x56"]
