"""Text from outside, as text: names, options, messages and errors show themselves, whatever characters they hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable


def visible(text: str) -> str:
    r"""``text`` with each character that is none to the eye by its escape, such as ``\x1b``; line ends are kept.

    So nothing steers a terminal, turns the direction of the text around it, hides, or is half of a surrogate pair.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """``text``, visible, on one line: for a cell, a heading, a message."""
    return visible(" ".join(text.split()))


def _shown(character: str) -> str:
    if character.isprintable() or character == "\n" or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def once_a_kind(messages: Iterable[str]) -> list[str]:
    """Messages in order, those that differ in their numbers alone as the first of them and how many there are."""
    kinds: dict[str, list[str]] = {}
    for message in messages:
        kinds.setdefault(re.sub(r"\d[\d.,]*", "#", message), []).append(message)
    return [found[0] if len(set(found)) == 1 else f"{found[0]} (×{len(found)})" for found in kinds.values()]
