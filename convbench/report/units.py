"""Numbers for readers: SI prefixes for counts, binary ones for bytes. Files never use these; they keep raw numbers."""

from __future__ import annotations

import math

_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def count(value: float | None) -> str:
    """``70296576`` as ``70.30 M``; below 1000 as it is; nothing as ``–``."""
    if value is None:
        return "–"
    for scale, prefix in _SI:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {prefix}"
    return f"{value:,.0f}" if float(value).is_integer() else significant(value)


def bytes_(value: float | None) -> str:
    """``117964800`` as ``112.5 MiB``; nothing as ``–``."""
    if value is None:
        return "–"
    for scale, unit in _BINARY:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{value:,.0f} B"


def milliseconds(value: float | None) -> str:
    """A duration in ms as s, ms or µs, whichever reads best; nothing as ``–``."""
    if value is None:
        return "–"
    if abs(value) >= 1e3:
        return f"{significant(value / 1e3)} s"
    if abs(value) >= 1:
        return f"{significant(value)} ms"
    return f"{significant(value * 1e3)} µs"


def significant(value: float, digits: int = 4) -> str:
    """``value`` with ``digits`` significant digits and no exponent: ``112.5``, ``0.6342``, ``70.30``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}"
