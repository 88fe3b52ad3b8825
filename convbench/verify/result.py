"""What a check says. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "fail", "not applicable", "skipped"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check of one target.

    required: whether a failure of this check is a failure of the target.
    status: ``not applicable`` where the check means nothing for this target; ``skipped`` where it was not run.
    reason: of a failure, what was expected and what came; of a pass, what is worth knowing; may be empty.
    ended: whether the target ended the process that checked it, or never came back.
    """

    check: str
    required: bool
    status: Status
    reason: str
    seconds: float
    ended: bool = False

    @property
    def failed(self) -> bool:
        """Whether this result fails the target."""
        return self.required and self.status == "fail"


class Failed(Exception):  # noqa: N818
    """The target does not do what the check expects; the message says what came instead."""


class NotApplicable(Exception):  # noqa: N818
    """The check means nothing for this target; the message says why."""


class Skipped(Exception):  # noqa: N818
    """The check could not be run here; the message says what is missing."""
