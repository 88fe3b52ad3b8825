"""How shapes, options and times are written in rows and reports."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from convbench.case import Case
from convbench.inputs import Input

GIVEN = ("dim", "options", "dtype", "autocast", "weights", "pretrained", "transforms", "input_grad", "seed")
"""Fields of a case that have no column of their own, and those whose column says what they came to."""


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


def format_given(case: Case) -> str:
    """What ``case`` says beyond the columns of a record, defaults left out; `Case.from_json` takes it back."""
    row, usual = case.to_json(), Case("").to_json()
    return format_options({name: row[name] for name in GIVEN if row[name] != usual[name]})


def timestamp() -> str:
    """The present time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
