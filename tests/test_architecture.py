"""Dependencies point one way, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import convbench

PACKAGE = Path(convbench.__file__).parent
BLOCKS = Path(__import__("convblocks").__file__).parent

# What each part may import of the others. cli → run, report → measures → timing → statistics; the rest are leaves.
LEAVES = {"errors", "registry", "case", "records"}
CORE = LEAVES | {"machine", "subject", "targets", "devices", "hosts", "checkpoint", "transforms"}
MAY_IMPORT = {
    "errors": set(),
    "registry": {"errors"},
    "case": {"errors"},
    "records": {"errors"},
    "statistics": {"errors"},
    "devices": {"errors", "machine"},
    "targets": LEAVES | {"devices"},
    "hosts": CORE,
    "checkpoint": {"errors"},
    "transforms": {"errors"},
    "subject": CORE,
    "timing": CORE | {"statistics"},
    "measures": CORE | {"timing", "statistics", "run.process", "environment"},
    "report": LEAVES | {"measures", "run.outcome", "run.store", "calibration", "machine"},
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module name with whether it is imported at run time (not for typing only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) not in typing_only


def part(module: str) -> str:
    """``convbench.measures.cost.counter`` as ``measures``."""
    return module.split(".")[1] if "." in module else ""


def sources(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py"))


@pytest.mark.parametrize("owner", sorted(MAY_IMPORT))
def test_dependencies_point_one_way(owner: str) -> None:
    files = [PACKAGE / f"{owner}.py"] if (PACKAGE / f"{owner}.py").exists() else sources(PACKAGE / owner)
    assert files
    allowed = {owner, *MAY_IMPORT[owner]}
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files
        for module, at_run_time in imports(path)
        if at_run_time and module.startswith("convbench.") and not _allowed(module, allowed)
    ]
    assert not wrong


def _allowed(module: str, allowed: set[str]) -> bool:
    name = module.removeprefix("convbench.")
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


def test_blocks_know_nothing_of_the_tool_and_the_tool_names_no_blocks() -> None:
    assert not [path for path in sources(BLOCKS) for module, _ in imports(path) if module.split(".")[0] == "convbench"]
    assert not [
        path for path in sources(PACKAGE) for module, _ in imports(path) if module.split(".")[0] == "convblocks"
    ]


def test_measures_do_not_print() -> None:
    wrong = [path for path in sources(PACKAGE / "measures") for module, _ in imports(path) if module.startswith("rich")]
    assert not wrong


def test_reports_need_no_torch() -> None:
    wrong = [
        path for path in sources(PACKAGE / "report") for module, _ in imports(path) if module.split(".")[0] == "torch"
    ]
    assert not wrong


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
