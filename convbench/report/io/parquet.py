"""Parquet: the records with their types; environment and command in the file's metadata, break-downs beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from convbench.errors import UsageError
from convbench.reading import MAX_BYTES, MAX_ROWS, parse_json, read_bytes, typed
from convbench.records import COLUMNS, column_types
from convbench.report.io.cells import Table, finite, require_columns, tables_of
from convbench.report.io.document import Report
from convbench.report.io.json_file import from_content, to_json

METADATA_KEY = b"convbench"


def to_parquet(report: Report) -> dict[str, bytes]:
    """Every table: the file's own under ``""``, each break-down under its name."""
    about = json.loads(to_json(report)[""])
    about = {key: value for key, value in about.items() if key != "records" and key not in report.sections}
    first, *rest = tables_of(report)
    whole = _arrow(first).replace_schema_metadata({METADATA_KEY: json.dumps(about)})
    return {"": _bytes(whole), **{table.name: _bytes(_arrow(table)) for table in rest}}


def _arrow(table: Table) -> Any:
    if not table.name:
        return pa.Table.from_pylist(list(table.rows), schema=schema())
    return pa.table({name: _column([finite(row.get(name)) for row in table.rows]) for name in table.columns})


def _column(values: list[Any]) -> Any:
    """Typed where Arrow finds one type for them all, else as text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values])


def schema() -> Any:
    """The Arrow schema of records: strings, 64-bit integers and doubles, each nullable."""
    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(name, arrow[column_types()[name]]) for name in COLUMNS])


def _bytes(table: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def load_parquet(path: Path) -> Report:
    """The report in a Parquet file. Raises UsageError."""
    data = read_bytes(path)
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        _require_modest(path, file.metadata)
        table = file.read()
        rows, about = table.to_pylist(), (table.schema.metadata or {}).get(METADATA_KEY, b"{}").decode()
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:  # damage shows in many ways
        raise UsageError(f"{path}: not Parquet: {next(iter(str(error).splitlines()), type(error).__name__)}") from error
    require_columns(path, table.column_names)
    content = parse_json(about, f"{path}, its metadata")
    return from_content(path, {**typed(content, dict[str, Any], f"{path}, its metadata"), "records": rows})


def _require_modest(path: Path, about: Any) -> None:
    """A small file can unpack to more than there is memory: what it says of itself is looked at first."""
    size = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
    if size > MAX_BYTES or about.num_rows > MAX_ROWS:
        raise UsageError(f"{path} unpacks to {size} bytes in {about.num_rows} rows: at most {MAX_BYTES} are read")
