"""Does a target deploy? One check a function, in a table; every result with its reason."""

from __future__ import annotations

from convbench.verify.result import CheckResult, Status
from convbench.verify.table import CHECKS, Check, choose_checks

__all__ = ["CHECKS", "Check", "CheckResult", "Status", "choose_checks"]
