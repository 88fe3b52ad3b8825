"""Validation of constructor arguments: every message names the value, the rule and the nearest values that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real


def positive(owner: str, name: str, value: int) -> int:
    """``value`` as an int >= 1; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{owner}: {name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def non_negative(owner: str, name: str, value: int) -> int:
    """``value`` as an int >= 0; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{owner}: {name} must be a whole number of at least 0, got {value!r}")
    return int(value)


Pair = int | Sequence[int]
"""One number for both axes, or one for rows and one for columns."""


def pair(owner: str, name: str, value: Pair, least: int = 1) -> tuple[int, int]:
    """``value`` as (rows, columns), each an int of at least ``least`` (0 or 1); ValueError otherwise."""
    both = value if isinstance(value, Sequence) else (value, value)
    if isinstance(both, str | bytes) or len(both) != 2:
        raise ValueError(f"{owner}: {name} must be a whole number or two of them (rows, columns), got {value!r}")
    check = positive if least else non_negative
    return check(owner, name, both[0]), check(owner, name, both[1])


def odd(owner: str, name: str, value: int) -> int:
    """``value`` as an odd int >= 1, so that padding (value − 1)/2 keeps the size; ValueError otherwise."""
    positive(owner, name, value)
    if value % 2 == 0:
        raise ValueError(
            f"{owner}: {name} must be odd to keep the size, got {value} (nearest: {value - 1}, {value + 1})"
        )
    return int(value)


def multiple(owner: str, name: str, value: int, of: int, why: str) -> int:
    """``value`` as a positive multiple of ``of``; ValueError with the reason and the nearest multiples otherwise."""
    positive(owner, name, value)
    if value % of:
        below = value // of * of
        near = f"{below}, {below + of}" if below else str(of)
        raise ValueError(f"{owner} {why}: {name} must be a multiple of {of}, got {value} (nearest: {near})")
    return int(value)


def probability(owner: str, name: str, value: float) -> float:
    """``value`` as a float in [0, 1); ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < 1:
        raise ValueError(f"{owner}: {name} must be at least 0 and less than 1, got {value!r}")
    return float(value)


def hidden_width(owner: str, dim: int, ratio: float) -> int:
    """Width round(dim·ratio) of an expanding layer; ValueError unless the ratio is positive and gives at least 1."""
    if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0 < ratio < float("inf"):
        raise ValueError(f"{owner}: mlp_ratio must be a positive number, got {ratio!r}")
    width = round(dim * float(ratio))
    if width < 1:
        raise ValueError(f"{owner}: mlp_ratio {ratio} leaves no channel of {dim}; it must be at least {1 / dim:g}")
    return width


def groups(owner: str, in_channels: int, out_channels: int, value: int) -> int:
    """``value`` as a group count that divides both widths; ValueError naming the valid counts otherwise."""
    positive(owner, "groups", value)
    if in_channels % value or out_channels % value:
        valid = [g for g in range(1, min(in_channels, out_channels) + 1) if not (in_channels % g or out_channels % g)]
        near = sorted(valid, key=lambda g: abs(g - value))[:3]
        raise ValueError(
            f"{owner}: groups must divide both the {in_channels} input and the {out_channels} output channels, "
            f"got {value} (nearest: {', '.join(map(str, sorted(near)))})"
        )
    return int(value)


def int_list(owner: str, name: str, values: Sequence[int]) -> list[int]:
    """``values`` as a non-empty list of ints >= 1; ValueError otherwise."""
    if isinstance(values, str | bytes) or not isinstance(values, Sequence) or not values:
        raise ValueError(f"{owner}: {name} must be a list of at least one whole number, got {values!r}")
    return [positive(owner, f"each of {name}", value) for value in values]


def feature_map(owner: str, channels: int, shape: Sequence[int]) -> None:
    """ValueError unless ``shape`` is (N, channels, H, W)."""
    if len(shape) != 4 or shape[1] != channels:
        raise ValueError(f"{owner} takes an input of shape (N, {channels}, H, W), got {tuple(shape)}")
