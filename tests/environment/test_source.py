"""Source of blocks: files, digests, commits."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from convbench.source import Source, git_state, source_files, source_of, source_tree
from convbench.target.blueprint import build

BLOCK = """
from torch import nn
from inner_part import Inner

class Outer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.inner = Inner()
"""
INNER = """
from torch import nn
class Inner(nn.Identity):
    pass
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "outer_part.py").write_text(BLOCK)
    (tmp_path / "inner_part.py").write_text(INNER)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "outer_part.py", "inner_part.py")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "Add parts")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout


def digest(*texts: str) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()


@pytest.fixture
def outer(repository: Path) -> nn.Module:
    yield build(f"{repository / 'outer_part.py'}:Outer")  # type: ignore[misc]
    for name in ("outer_part", "inner_part"):
        sys.modules.pop(name, None)


def test_every_class_of_a_block_has_its_file_in_the_digest(outer: nn.Module, repository: Path) -> None:
    found = source_of(outer)
    folder = repository.name
    assert found.files == (f"{folder}/inner_part.py", f"{folder}/outer_part.py")
    assert found.sha256 == digest(INNER, BLOCK)
    assert found.git_commit == git(repository, "rev-parse", "HEAD").strip()
    assert found.git_dirty is False


def test_a_change_makes_it_dirty_and_changes_the_digest(outer: nn.Module, repository: Path) -> None:
    (repository / "untracked.txt").write_text("no part of it")
    assert source_of(outer).git_dirty is False
    (repository / "inner_part.py").write_text(INNER + "# changed\n")
    changed = source_of(outer)
    assert changed.git_dirty is True
    assert changed.sha256 == digest(INNER + "# changed\n", BLOCK)


def test_files_outside_a_repository_or_untracked_in_one_have_no_commit(repository: Path, tmp_path: Path) -> None:
    (repository / "new.py").write_text("")
    assert git_state(repository / "new.py") == (None, None)
    assert git_state(Path("/proc/self/status")) == (None, None)


def test_without_git_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = source_files([repository / "inner_part.py"])
    assert (found.git_commit, found.git_dirty) == (None, None)
    assert found.sha256 == digest(INNER)


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(1, 1, 1), lambda: nn.Sequential(nn.ReLU())])
def test_torchs_own_modules_have_no_source_to_record(make: Callable[[], nn.Module]) -> None:
    assert source_of(make()) == Source((), None, None, None)


def test_a_class_without_a_file_is_left_out() -> None:
    kind = type("Typed", (nn.Module,), {"__module__": "typed_at_the_prompt"})
    assert source_of(kind()).sha256 is None


def test_a_tree_is_one_digest(repository: Path) -> None:
    assert source_tree(repository).files == (f"{repository.name}/",)
    assert source_tree(repository).sha256 == digest(INNER, BLOCK)
