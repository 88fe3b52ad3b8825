"""What comparing with other counters gives."""

from __future__ import annotations

from dataclasses import dataclass

UNEXPLAINED = "unexplained: please report it"


@dataclass(frozen=True, slots=True)
class Difference:
    """An operator, or a family of operators, that two tools do not count alike; figures in multiply–accumulates."""

    operator: str
    convbench: int
    other: int
    reason: str

    @property
    def explained(self) -> bool:
        """Whether the cause is known."""
        return self.reason != UNEXPLAINED


@dataclass(frozen=True, slots=True)
class ToolCheck:
    """Another tool's count against convbench's, in multiply–accumulates.

    total: the tool's own; None if it could not count, and then ``error`` says why.
    convbench: what it is compared with: forward and backward for FlopCounterMode, the forward pass for fvcore.
    differences: itemised; they add up to ``total − convbench``.
    """

    tool: str
    convbench: int
    total: int | None
    differences: tuple[Difference, ...] = ()
    error: str | None = None

    @property
    def agrees(self) -> bool:
        """Counted, and equal but for differences with a known cause."""
        return self.total is not None and all(difference.explained for difference in self.differences)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The checks, one a tool."""

    checks: tuple[ToolCheck, ...]

    @property
    def agrees(self) -> bool:
        """Whether every tool that could count agrees."""
        return all(check.agrees for check in self.checks if check.total is not None)
