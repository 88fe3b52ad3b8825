"""Maps written down by hand: boxes, their convolutions, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from convbench.measures.erf import ErfSettings, Given

EXACT = {"dtype": "float64", "probe": "ones", "seeds": 1, "bootstrap": 0}


def settings(samples: int = 1, **changes: object) -> ErfSettings:
    """One sample in float64 with every output channel weighted by one: what closed forms are exact for."""
    return ErfSettings(**{**EXACT, "samples": samples, **changes})  # type: ignore[arg-type]


def ones(shape: tuple[int, int, int], samples: int = 1) -> Given:
    return Given(torch.ones(samples, *shape, dtype=torch.float64))


def constant_conv(
    kernel: int | tuple[int, int],
    channels: int = 1,
    *,
    padding: int | str = "same",
    value: float = 1.0,
    **options: object,
) -> nn.Conv2d:
    """A convolution without bias whose weights are all ``value``."""
    conv = nn.Conv2d(channels, channels, kernel, padding=padding, bias=False, **options)  # type: ignore[arg-type]
    nn.init.constant_(conv.weight, value)
    return conv


def dilated(taps: Sequence[float], dilation: int) -> np.ndarray:
    """Taps with ``dilation − 1`` zeros between them."""
    spread = np.zeros((len(taps) - 1) * dilation + 1)
    spread[::dilation] = taps
    return spread


def composed(*filters: Sequence[float] | np.ndarray) -> np.ndarray:
    """The convolution of one-dimensional filters."""
    result = np.ones(1)
    for taps in filters:
        result = np.convolve(result, taps)
    return result


def placed(field: np.ndarray, size: int, top: int, left: int | None = None) -> np.ndarray:
    """``field`` with its first pixel at (top, left) of a square image of zeros; what passes the border is cut."""
    left = top if left is None else left
    margin = max(field.shape)
    image = np.zeros((size + 2 * margin, size + 2 * margin))
    image[top + margin : top + margin + field.shape[0], left + margin : left + margin + field.shape[1]] = field
    return image[margin:-margin, margin:-margin]


def centred(taps: np.ndarray, size: int, centre: int) -> np.ndarray:
    """The separable map of odd-length taps around pixel (centre, centre)."""
    return placed(np.outer(taps, taps), size, centre - len(taps) // 2)
