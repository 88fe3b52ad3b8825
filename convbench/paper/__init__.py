"""Published figures against measured ones."""

from __future__ import annotations

from convbench.paper.figures import Published, published, select
from convbench.paper.result import Comparison, Finding, Verdict

__all__ = ["Comparison", "Finding", "Published", "Verdict", "published", "select"]
