"""What a report holds before it takes a form: records, where they were measured, and what was saved beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convbench.pictures.field import Drawing, Field
    from convbench.records import Record

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What a file holds.

    environment: of the machine that measured the records; empty where it is not known.
    sections: break-downs by name (``modules``, ``operators``), each a table. command: the one that measured.
    fields: effective receptive fields with their maps, for the formats that can show them; drawing: how they do.
    columns: what the documents (Markdown, LaTeX) print, instead of their own choice; data files always carry all.
    sources: the reports that this one was joined from, where their environments differ; ``environment`` is then empty.
    title: a page's heading. origin: the name of the file it was read from. damage: lines of it that could not be read.
    """

    records: Sequence[Record]
    environment: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    command: str = ""
    fields: Sequence[Field] = ()
    drawing: Drawing | None = None
    columns: tuple[str, ...] = ()
    sources: tuple[Report, ...] = ()
    title: str = ""
    origin: str = ""
    damage: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Report, ...]:
        """One report an environment: the sources, or this report alone."""
        return self.sources or (self,)
