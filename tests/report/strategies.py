"""Any record at all, for property-based tests of the formats."""

from __future__ import annotations

from hypothesis import strategies as st

from convbench.records import COLUMNS, Record
from convbench.report.columns import column_types

# What UTF-8 can hold; an empty text is what "not measured" looks like in CSV, and no field ever holds one.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_VALUES = {
    str: TEXTS,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
}
_REQUIRED = ("target", "status", "schema_version")

RECORDS = st.builds(
    Record,
    **{
        name: _VALUES[column_types()[name]] if name in _REQUIRED else st.none() | _VALUES[column_types()[name]]
        for name in COLUMNS
    },
)
