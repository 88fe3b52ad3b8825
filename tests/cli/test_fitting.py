"""Tables within a terminal's width: nothing wrapped by the terminal, no figure cut, no blank that fills a line up."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from convbench.cli.fitting import Trimmed, fitted

PROSE = "multiply–accumulates of convolutions, linear layers and products, no bias"


def drawn(table: Table, width: int) -> list[list[str]]:
    """The lines of each part."""
    parts = []
    for part in fitted(table, width):
        console = Console(width=10_000, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(Trimmed(part), end="")
        parts.append(capture.get().splitlines())
    return parts


def figures(*rows: tuple[str, ...], titles: tuple[str, ...], prose: bool) -> Table:
    table = Table(*titles, box=None, pad_edge=False)
    for column in table.columns[1 : len(titles) - prose]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table


def test_a_table_that_fits_is_one_and_ends_where_its_text_ends() -> None:
    table = figures(("MACs", "1", "short"), ("parameters", "22", "a longer one"), titles=("f", "v", "c"), prose=True)
    assert drawn(table, 80) == [["f            v  c", "MACs         1  short", "parameters  22  a longer one"]]


def test_prose_folds_under_itself() -> None:
    table = figures(("MACs", "70,296,576", PROSE), titles=("figure", "value", "convention"), prose=True)
    (lines,) = drawn(table, 60)
    assert max(map(cell_len, lines)) <= 60
    assert " ".join(" ".join(line.split()) for line in lines[1:]) == f"MACs 70,296,576 {PROSE}"
    assert lines[2].startswith(" " * lines[1].index("multiply"))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_figures_that_have_no_room_go_on_below_beside_the_names_again(width: int) -> None:
    titles = ("target", *(f"column {index}" for index in range(9)))
    table = figures(("PyConv", *(f"{index * 1111:,}" for index in range(9))), titles=titles, prose=False)
    parts = drawn(table, width)
    assert len(parts) > 1
    assert all(cell_len(line) <= width for lines in parts for line in lines)
    assert all(lines[1].startswith("PyConv") for lines in parts)
    printed = [cell for lines in parts for cell in lines[1].split()[1:]]
    assert printed == [f"{index * 1111:,}" for index in range(9)]


def test_a_narrow_terminal_loses_no_character() -> None:
    name = "a_name_longer_than_the_terminal"
    table = figures((name, "1,234,567", PROSE), titles=("figure", "value", "convention"), prose=True)
    parts = drawn(table, 24)
    assert all(cell_len(line) <= 24 for lines in parts for line in lines)
    assert "".join(line[:12].strip() for line in parts[0][1:]).startswith(name[:12])
    assert "1,234,567" in " ".join(parts[0])


def test_a_row_that_has_nothing_in_the_columns_below_is_not_repeated() -> None:
    table = figures(
        ("sigma", "3.5 [3.4, 3.6]", PROSE), ("mode", "abs", ""), titles=("figure", "MRFA", "definition"), prose=True
    )
    first, second = drawn(table, 30)
    assert [line.split()[0] for line in first] == ["figure", "sigma", "mode"]
    assert not any(line.startswith("mode") for line in second)
