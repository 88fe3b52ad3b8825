"""Texts from strangers' code, made fit for a terminal, a table and a file."""

from __future__ import annotations

from convbench.text import visible


def brief(text: str, lines: int = 3, characters: int = 500) -> str:
    """``text`` as at most so many lines and characters, all of them printable and encodable."""
    kept = [line.strip() for line in text[: 20 * characters].splitlines() if line.strip()]
    if len(kept) > lines:
        kept = [*kept[: lines - 1], kept[lines - 1] + " …"]
    shown = visible("\n".join(kept))
    return shown if len(shown) <= characters else shown[: characters - 2] + " …"


def text_of(error: BaseException, characters: int) -> str:
    """What ``error`` says, plain and bounded, also where asking it for its text fails."""
    try:
        return str.__str__(str(error))[:characters]
    except BaseException:  # a target's own __str__ may raise anything
        return "an error that cannot be shown as text"
