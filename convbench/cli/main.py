"""The complete command line: importing the command modules registers them on the app."""

from __future__ import annotations

from convbench.cli import catalogue, check, choose, compare, erf, machine, paper, plug, profile, report, sweep, verify  # noqa: F401
from convbench.cli.app import app

__all__ = ["app"]
