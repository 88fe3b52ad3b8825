"""Texts from strangers' code, made fit for a terminal, a table and a file."""

from __future__ import annotations


def brief(text: str, lines: int = 3, characters: int = 500) -> str:
    """``text`` as at most so many lines and characters, all of them printable and encodable."""
    kept = [line.strip() for line in text[: 20 * characters].splitlines() if line.strip()]
    if len(kept) > lines:
        kept = [*kept[: lines - 1], kept[lines - 1] + " …"]
    shown = "\n".join("".join(map(visible, line)) for line in kept)
    return shown if len(shown) <= characters else shown[: characters - 2] + " …"


def visible(character: str) -> str:
    """``character``, or its escape where it controls a terminal or is half of a surrogate pair."""
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def text_of(error: BaseException, characters: int) -> str:
    """What ``error`` says, plain and bounded, also where asking it for its text fails."""
    try:
        return str.__str__(str(error))[:characters]
    except BaseException:  # a target's own __str__ may raise anything
        return "an error that cannot be shown as text"
