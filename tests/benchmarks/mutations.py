"""Which small changes of the code no test notices.

    python -m tests.benchmarks.mutations                    160 mutations, spread over the groups below
    python -m tests.benchmarks.mutations --group store      those of one group
    python -m tests.benchmarks.mutations --count 400 --seed 7 --jobs 2

Each mutation changes one operator, constant, condition or statement in a copy of the project, and runs the tests of its
group there until one fails. A survivor is a missing test, or has its reason in ``mutations.toml``. Exit status 1 if one
has neither. The tests run in forks of a process that has imported torch, which takes longer than most of them do.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240

GROUPS: dict[str, tuple[list[str], list[str]]] = {
    # group: (files, tests)
    "execution": (["convbench/execution"], ["tests/execution"]),
    "workers": (["convbench/workers"], ["tests/workers"]),
    "statistics": (["convbench/statistics.py"], ["tests/statistics"]),
    "cost": (["convbench/measures/cost/rules"], ["tests/cost"]),
    "erf": (
        [f"convbench/measures/erf/{name}.py" for name in ("metrics", "moments", "gaussian", "replknet", "outline")],
        ["tests/erf"],
    ),
    "store": (["convbench/sweeps/store.py"], ["tests/sweep/test_store.py"]),
}

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change: the file, the line, what it was and what it is, and the whole source with it."""

    group: str
    path: str
    line: int
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """How ``mutations.toml`` names it, without the line, which moves."""
        return f"{self.path}: {self.before} → {self.after}"


def changes(node: ast.AST) -> Iterator[Callable[[], None]]:
    """Everything that can be done to ``node`` in place."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            yield lambda place=place, operator=operator: node.ops.__setitem__(place, _COMPARISONS[type(operator)]())
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield lambda: setattr(node, "op", _ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield lambda: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.BoolOp):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda: setattr(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield lambda: setattr(node, "value", node.value + 1)
    elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or (
        isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant)
    ):
        yield lambda: setattr(node, "value", ast.Constant(None))


def places(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that may be changed: not docstrings, annotations, decorators, nor what stands at module level."""
    for top in ast.walk(tree):
        if isinstance(top, ast.FunctionDef):
            for statement in top.body:
                yield from ast.walk(statement)


Place = tuple[Path, int, int]
"""A file, the number of a node among its `places`, the number of a change among the node's `changes`."""


def candidates(path: Path) -> list[Place]:
    """Every place of one file where something can be changed."""
    nodes = list(places(ast.parse(path.read_text(encoding="utf-8"))))
    return [(path, number, change) for number, node in enumerate(nodes) for change in range(len(list(changes(node))))]


def mutate(group: str, place: Place) -> Mutation:
    """The mutation at one place."""
    path, number, change = place
    tree = ast.parse(path.read_text(encoding="utf-8"))
    node = list(places(tree))[number]
    before = ast.unparse(node).splitlines()[0]
    list(changes(node))[change]()
    after = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
    line = getattr(node, "lineno", 0)
    return Mutation(group, str(path.relative_to(ROOT)), line, before, after, ast.unparse(tree))


def draw(groups: list[str], count: int, seed: int) -> list[Mutation]:
    """``count`` mutations, as many from each group as it has and its share allows."""
    luck = random.Random(seed)
    drawn: list[Mutation] = []
    for order, group in enumerate(groups):
        pool = [place for name in GROUPS[group][0] for file in _files(ROOT / name) for place in candidates(file)]
        share = (count - len(drawn)) // (len(groups) - order)
        drawn += [mutate(group, place) for place in luck.sample(pool, min(share, len(pool)))]
    return drawn


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def survives(mutation: Mutation) -> bool:
    """Whether every test of its group passes with it. One that hangs or ends the process is noticed."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name)
        for part in ("convbench", "blocks", "tests", "pyproject.toml"):
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
            else:
                shutil.copy(ROOT / part, folder / part)
        (folder / mutation.path).write_text(mutation.source, encoding="utf-8")
        return _run_tests(folder, GROUPS[mutation.group][1]) == 0


def _run_tests(folder: Path, tests: list[str]) -> int:
    process = os.fork()
    if not process:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        os.chdir(folder)
        sys.path[:] = [str(folder), str(folder / "blocks"), *(entry for entry in sys.path if not _is_ours(entry))]
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not valgrind", *tests])))
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -1


def _is_ours(entry: str) -> bool:
    return Path(entry or ".").resolve() in (ROOT, ROOT / "blocks")


def main() -> int:
    """Run them, and print each survivor with its reason, or that it has none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=GROUPS, action="append")
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    import hypothesis  # noqa: F401  (what every test needs is imported once, before the forks)
    import numpy  # noqa: F401, ICN001
    import pytest  # noqa: F401
    import torch

    torch.set_num_threads(1)
    reasons = tomllib.loads((Path(__file__).with_suffix(".toml")).read_text(encoding="utf-8"))["survivors"]
    drawn = draw(arguments.group or list(GROUPS), arguments.count, arguments.seed)
    unexplained = explained = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutation, survived in zip(drawn, pool.map(survives, drawn), strict=True):
            if not survived:
                continue
            reason = reasons.get(mutation.name)
            explained += reason is not None
            unexplained += reason is None
            print(f"{mutation.path}:{mutation.line}: {mutation.before} → {mutation.after}: {reason or 'NOT NOTICED'}")
    killed = len(drawn) - explained - unexplained
    print(f"{len(drawn)} mutations: {killed} noticed, {explained} explained, {unexplained} not noticed")
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
