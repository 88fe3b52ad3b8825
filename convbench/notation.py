"""How shapes, options and times are written in rows and on command lines. Imports no torch."""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from convbench.errors import OptionError
from convbench.inputs import Input
from convbench.reading import shown


def format_shapes(shapes: Iterable[Input]) -> str:
    """``1x64x56x56``; several inputs are joined by ``;``."""
    return ";".join(shape if isinstance(shape, str) else "x".join(map(str, shape)) for shape in shapes)


def format_options(options: Mapping[str, Any]) -> str:
    """Options as one JSON object, in their own order; what JSON cannot say is text in it."""
    try:
        return json.dumps(options, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(
            {name: value if _is_finite(value) else str(value) for name, value in options.items()}, default=str
        )


def _is_finite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def parse_options(pairs: Iterable[str]) -> dict[str, Any]:
    """``["kernels=[3,5]", "bias=True"]`` as a mapping; values are Python literals, anything else stays a string.

    Raises OptionError for a pair without ``=`` and for a key given twice.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise OptionError(f"option {shown(pair)}: write key=value, such as -p kernel_size=7 or -p kernels=[3,5]")
        if key in options:
            raise OptionError(f"option {shown(key)} is given twice")
        options[key] = literal(text.strip())
    return options


def literal(text: str) -> Any:
    """A Python literal as its value, any other text as itself; nothing is evaluated.

    Raises OptionError for a literal that is no plain value: numbers, texts, lists and mappings can be written down.
    """
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that escapes nothing
            value = ast.literal_eval(text)
            can_be_written = _is_plain(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    if not can_be_written:
        raise OptionError(f"{shown(text)} is no plain value: write a finite number, a text, a list or a mapping")
    return value


def format_value(value: Any) -> str:
    """A value as `literal` reads it; a text without quotes where it is a word that says nothing else."""
    if isinstance(value, str) and re.fullmatch(r"[^\W\d][\w./-]*", value) and literal(value) == value:
        return value
    return repr(value)


def plain(value: Any) -> Any:
    """``value`` with its tuples as lists, as JSON gives them back."""
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def timestamp() -> str:
    """The present time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
