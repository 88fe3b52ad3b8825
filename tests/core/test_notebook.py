"""A notebook, run as Jupyter runs it: a class of a cell is a target, and results show themselves."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

CELLS = (
    """
import torch
from torch import nn
import convbench

class Mine(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1, bias=False)
    def forward(self, x):
        return self.conv(x)

found = convbench.compare([Mine, Mine(8), "Conv3x3"], 8, size=4, measures="params,cost")
found
""",
    "convbench.profile(Mine(8), shape=(1, 8, 4, 4), measures='cost').macs",
    "found.plot()",
)


def test_a_notebook_measures_a_class_of_its_own_cells() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    table, macs, picture = (cell["outputs"][-1]["data"] for cell in notebook.cells)
    assert table["text/html"].count("<td>Mine</td>") == 2
    assert [line.split()[0] for line in table["text/plain"].splitlines()[:4]] == ["Target", "Mine", "Mine", "Conv3x3"]
    assert macs["text/plain"] == str(8 * 8 * 16)
    assert "image/png" in picture
