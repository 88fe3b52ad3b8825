"""What a user may choose about counting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CostSettings:
    """strict: fail where an operator has no cost rule, instead of giving a lower bound."""

    strict: bool = False
