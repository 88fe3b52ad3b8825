"""Where a block's code comes from: its files, their digest, and the commit they belong to."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_LIBRARIES = ("torch", "builtins")
_GIT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """files: the files, or the folder of Python files, whose contents one after the other have the digest ``sha256``.

    git_commit, git_dirty: the commit that is checked out where the files are, and whether tracked files differ from it;
    None outside a repository, and where the files are not in it.
    """

    files: tuple[str, ...]
    sha256: str | None
    git_commit: str | None
    git_dirty: bool | None


def source_of(module: nn.Module) -> Source:
    """The source of every class that ``module`` is built from, torch's own left out."""
    kinds = {kind for part in module.modules() for kind in type(part).__mro__}
    names = {kind.__module__ for kind in kinds if kind.__module__.partition(".")[0] not in _LIBRARIES}
    paths = {_file_of(name) for name in names}
    return source_files(path for path in paths if path is not None)


def source_files(paths: Iterable[Path]) -> Source:
    """The source in the files ``paths``."""
    ordered = sorted(paths)
    return _source(ordered, tuple(f"{path.parent.name}/{path.name}" for path in ordered))


def source_tree(folder: Path) -> Source:
    """The source in all Python files below ``folder``."""
    return _source(sorted(folder.rglob("*.py")), (f"{folder.name}/",))


def _source(paths: list[Path], names: tuple[str, ...]) -> Source:
    if not paths:
        return Source((), None, None, None)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    return Source(names, digest, *git_state(paths[0]))


def git_state(file: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the repository that tracks ``file``; ``(None, None)`` where none does."""
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None, None
    changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return _git(file.parent, "rev-parse", "HEAD"), None if changes is None else bool(changes)


def _file_of(module: str) -> Path | None:
    place = getattr(sys.modules.get(module), "__file__", None)
    path = Path(place) if place else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
