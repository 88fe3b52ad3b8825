"""Any record at all, for property-based tests of the formats."""

from __future__ import annotations

from hypothesis import strategies as st

from convbench.records import COLUMNS, SCHEMA_VERSION, STATUSES, Record, column_types

# What UTF-8 can hold; an empty text is what "not measured" looks like in CSV, and no field ever holds one.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_VALUES = {
    str: TEXTS,
    int: st.integers(1, 2**63 - 1),
    float: st.floats(0, allow_nan=False, allow_infinity=False),
}
_REQUIRED = {
    "target": TEXTS,
    "status": st.sampled_from(STATUSES),
    "schema_version": st.integers(1, SCHEMA_VERSION),
}

RECORDS = st.builds(
    Record,
    **{name: _REQUIRED[name] if name in _REQUIRED else st.none() | _VALUES[column_types()[name]] for name in COLUMNS},
)
