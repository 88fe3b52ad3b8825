"""How far two outputs are apart, whatever structure they come in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from convbench.verify.result import Failed


def tensors_in(output: Any) -> list[Tensor]:
    """Every tensor of an output: tuples, lists and mappings are entered. Raises Failed where there is none."""
    found = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    if not found:
        raise Failed(f"the output is a {type(output).__name__} without tensors")
    return found


def relative_difference(actual: Any, expected: Any, what: str) -> float:
    """Largest difference of any element over the largest magnitude of its tensor; the worst tensor counts.

    Values that are not finite must stand at the same places. Raises Failed where number or shapes of tensors differ.
    """
    left, right = tensors_in(actual), tensors_in(expected)
    if [tensor.shape for tensor in left] != [tensor.shape for tensor in right]:
        raise Failed(f"{what}: gives {shapes_of(left)}, expected {shapes_of(right)}")
    return max(_difference(a, b) for a, b in zip(left, right, strict=True))


def root_mean_square_difference(actual: Any, expected: Any, leave_out: float = 0.0) -> float:
    """Root mean square of the differences over that of the expected values; the worst tensor counts.

    leave_out: share of each tensor's elements, those furthest apart, that do not count.
    """
    ratios = [0.0]
    for left, right in zip(tensors_in(actual), tensors_in(expected), strict=True):
        a, b = (tensor.detach().cpu().to(torch.float64).flatten() for tensor in (left, right))
        kept = a.numel() - int(leave_out * a.numel())
        gap = float((a - b).abs().sort().values[:kept].norm())
        norm = float(b.norm())
        ratios.append(gap / norm if norm else (float("inf") if gap else 0.0))
    return max(ratios)


def require_close(actual: Any, expected: Any, tolerance: float, what: str) -> float:
    """`relative_difference`, which Failed reports where it is above ``tolerance``."""
    difference = relative_difference(actual, expected, what)
    if not difference <= tolerance:
        raise Failed(f"{what}: differs by {difference:.1e} of the largest value (allowed: {tolerance:.0e})")
    return difference


def require_equal(actual: Any, expected: Any, what: str) -> None:
    """Raise Failed unless every bit agrees."""
    left, right = tensors_in(actual), tensors_in(expected)
    same = len(left) == len(right) and all(_equal(a, b) for a, b in zip(left, right, strict=True))
    if not same:
        raise Failed(f"{what}: differs by {relative_difference(left, right, what):.1e} of the largest value")


def shapes_of(tensors: list[Tensor]) -> str:
    """``2×64×8×8, 2×10``."""
    return ", ".join("×".join(map(str, tensor.shape)) or "a scalar" for tensor in tensors)


def _equal(left: Tensor, right: Tensor) -> bool:
    same_kind = left.shape == right.shape and left.dtype == right.dtype
    return same_kind and torch.allclose(left, right, rtol=0, atol=0, equal_nan=True)


def _difference(actual: Tensor, expected: Tensor) -> float:
    if expected.numel() == 0:
        return 0.0
    a, b = (tensor.detach().cpu().to(torch.float64) for tensor in (actual, expected))
    finite = a.isfinite()
    if not torch.equal(finite, b.isfinite()):
        return float("inf")
    a, b = a[finite], b[finite]
    if a.numel() == 0:
        return 0.0
    largest = float(b.abs().max())
    gap = float((a - b).abs().max())
    return gap / largest if largest else (float("inf") if gap else 0.0)
