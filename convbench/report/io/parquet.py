"""Parquet: the records with their types; environment and command in the file's metadata, break-downs beside it."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from convbench.records import COLUMNS, column_types
from convbench.report.io.cells import rows_of
from convbench.report.io.document import Report
from convbench.report.io.json_file import to_json

METADATA_KEY = b"convbench"


def to_parquet(report: Report) -> dict[str, bytes]:
    """The table of records under ``""``, and each break-down under its name."""
    about = json.loads(to_json(report)[""])
    del about["records"]
    about = {key: value for key, value in about.items() if key not in report.sections}
    table = pa.Table.from_pylist(rows_of(report.records), schema=schema())
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(about)})
    return {
        "": _bytes(table),
        **{name: _bytes(pa.Table.from_pylist(list(rows))) for name, rows in report.sections.items()},
    }


def schema() -> Any:
    """The Arrow schema of records: strings, 64-bit integers and doubles, each nullable."""
    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(name, arrow[column_types()[name]]) for name in COLUMNS])


def _bytes(table: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
