"""What comparing gives in Python: a table of records that shows itself as the command line does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd  # noqa: TID253 - this module is imported where a table is made

from convbench.records import COLUMNS, Record
from convbench.report.notebook import records_figure, records_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Comparison(pd.DataFrame):
    """A row a record, columns as in `Record`; what is cut out of it is a plain DataFrame."""

    _metadata = ["records"]  # noqa: RUF012 - pandas reads it so
    records: tuple[Record, ...]

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    @classmethod
    def of(cls, records: Sequence[Record]) -> Comparison:
        """The table of ``records``; a whole number stays one beside a missing value."""
        rows = pd.DataFrame([record.to_row() for record in records], columns=list(COLUMNS)).convert_dtypes()
        made = cls(rows)
        made.records = tuple(records)
        return made

    def to_frame(self) -> pd.DataFrame:
        """A plain DataFrame of every column."""
        return pd.DataFrame(self)

    def plot(self, columns: Sequence[str] | None = None) -> Figure:  # type: ignore[override]
        """Bars of ``columns``, of parameters, MACs, latency and memory unless given."""
        return records_figure(self.records, columns)

    def __repr__(self) -> str:
        from convbench.report.io.printed import text_table

        return text_table(self.records)

    def _repr_html_(self) -> str:
        return records_html(self.records)


def to_frame(records: Sequence[Record]) -> Any:
    """`Comparison.of`, as a plain DataFrame."""
    return Comparison.of(records).to_frame()
