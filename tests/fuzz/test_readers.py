"""Whatever is read from files and flags is accepted or refused in one message; see `readers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.readers import fuzz, readers

CALLS = 150
NAMES = (
    *(
        "shape",
        "reference",
        "options",
        "flags",
        "study",
        "csv",
        "json",
        "parquet",
        "store",
        "store line",
        "record to case",
    ),
    *("receptive fields", "description", "case", "task", "checkpoint", "safetensors"),
)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_input_is_a_value_or_a_message(name: str, tmp_path: Path) -> None:
    known = readers(tmp_path)
    assert set(NAMES) == set(known)
    found = fuzz(name, known[name], CALLS, seed=0, folder=tmp_path)
    assert not found, "\n".join(found)
