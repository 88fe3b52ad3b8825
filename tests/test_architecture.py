"""Dependencies point one way, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import convbench

PACKAGE = Path(convbench.__file__).parent
BLOCKS = Path(__import__("convblocks").__file__).parent

# What each part may import of the others, at run time and for types alike. A part is a package or, directly
# below convbench, a module. Read upwards: the parts of a row stand below the row's own.
LEAVES = {
    "column",
    "condition",
    "notation",
    "errors",
    "text",
    "reading",
    "registry",
    "reference",
    "case",
    "statistics",
    "environment",
    "machine",
    "source",
}
LEAVES |= {"calibration", "inputs"}
BASE = LEAVES | {"workers", "execution"}
MEASURES = BASE | {"target", "pictures", "measures", "records"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"api", "lazy", "measures", "plugging", "records", "registry", "sweeping", "target", "version"},
    "lazy": set(),
    "__main__": {"cli", "workers"},
    "column": set(),
    "errors": set(),
    "version": set(),
    "inputs": {"errors", "reading"},
    "condition": {"errors", "reading"},
    "notation": {"errors", "inputs", "reading"},
    "text": set(),
    "registry": {"errors", "reading"},
    "case": {"errors", "inputs", "reading", "condition", "notation"},
    "reference": {"case", "errors", "notation", "reading", "registry"},
    "statistics": {"errors"},
    "reading": {"errors"},
    "rows": {"errors", "reading", "records"},
    "machine": {"errors"},
    "source": {"errors"},
    "environment": {"version", "errors", "case", "machine", "source", "execution"},
    "calibration": {"errors", "machine"},
    "workers": {"errors", "text"},
    "execution": {"errors", "machine"},
    "target": LEAVES | {"execution"},
    "pictures": {"errors", "text"},
    "measures": BASE | {"target", "lazy", "pictures"},
    "records": {"version", "errors", "case", "column", "notation", "measures"},
    "report": LEAVES
    | {"pictures", "version", "records", "rows", "measures", "sweeps", "check", "plugging", "paper", "verify"},
    "paper": MEASURES,
    "plugging": MEASURES | {"lazy", "version"},
    "verify": MEASURES,
    "sweeps": MEASURES | {"rows"},
    "sweeping": {"api", "cluster", "sweeps"},
    "cluster": MEASURES | {"sweeps"},
    "check": MEASURES | {"sweeps", "rows"},
    "comparison": {"records", "report"},
    "api": MEASURES | {"sweeps", "comparison"},
    "cli": MEASURES | {"version", "api", "report", "sweeps", "cluster", "check", "paper", "plugging", "verify"},
}


def imports(path: Path) -> Iterator[str]:
    """Every module of ours that ``path`` imports, wherever in it, ``from convbench import …`` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "convbench":
            names = [alias.name for alias in node.names]
            yield from (f"convbench.{name if _is_part(name) else '__init__'}" for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _is_part(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def part(module: str) -> str:
    """``convbench.measures.cost.counter`` as ``measures``."""
    return module.split(".")[1] if "." in module else "__init__"


def sources(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py"))


def parts() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sources(PACKAGE):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return found


def test_the_list_names_every_part() -> None:
    assert set(parts()) == set(MAY_IMPORT)


@pytest.mark.parametrize("owner", sorted(MAY_IMPORT))
def test_dependencies_point_one_way(owner: str) -> None:
    allowed = {owner, *MAY_IMPORT[owner]}
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in parts()[owner]
        for module in imports(path)
        if module.split(".")[0] == "convbench" and part(module) not in allowed
    ]
    assert not wrong


def test_there_is_no_circle_among_the_parts() -> None:
    TopologicalSorter({owner: allowed - {owner} for owner, allowed in MAY_IMPORT.items()}).prepare()


def test_blocks_know_nothing_of_the_tool_and_the_tool_names_no_blocks() -> None:
    assert not [path for path in sources(BLOCKS) for module in imports(path) if module.split(".")[0] == "convbench"]
    assert not [path for path in sources(PACKAGE) for module in imports(path) if module.split(".")[0] == "convblocks"]


def test_measures_do_not_print() -> None:
    wrong = [path for path in sources(PACKAGE / "measures") for module in imports(path) if module.startswith("rich")]
    assert not wrong


def test_reports_need_no_torch() -> None:
    wrong = [
        path for path in sources(PACKAGE / "report") for module in imports(path) if module.split(".")[0] == "torch"
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["params", "cost.result", "latency.result", "memory.result", "erf.result"])
def test_results_can_be_read_and_rendered_without_torch_or_numpy(name: str) -> None:
    code = f"import sys, convbench.measures.{name}; assert not {{'torch', 'numpy', 'scipy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["profile", "--help"], ["--version"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['convbench', *sys.argv[1:]]\n"
        "from convbench.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy', 'fvcore', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
