"""The command line where the platform lacks what Linux has: modules, functions of ``os``, constants."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cli.conftest import Cli

# What libraries import is their own affair: they have their own ways on other platforms.
ELSEWHERE = """
import builtins, os

imported = builtins.__import__


def importing(name, globals=None, locals=None, fromlist=(), level=0):
    importer = str((globals or {}).get("__name__", "")).partition(".")[0]
    if name in ("fcntl", "resource", "pwd", "grp", "termios") and importer in ("convbench", "__main__"):
        raise ImportError(f"{name} is not of this platform")
    return imported(name, globals, locals, fromlist, level)


builtins.__import__ = importing
del os.sched_getaffinity
"""


def test_every_measure_is_taken_without_the_modules_of_unix(installed: Cli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE)
    paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    quick = ("--processes", "1", "--max-time", "0.5")
    result = installed("profile", "Conv3x3", "--dim", "8", "--size", "8", *quick, PYTHONPATH=paths)
    assert result.code == 0, result.err
    for figure in ("parameters", "MACs", "latency", "peak memory", "ERF σ"):
        assert f"\n{figure} " in result.out
    assert "platform" not in result.err
