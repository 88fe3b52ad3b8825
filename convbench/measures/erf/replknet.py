"""RepLKNet's figures of an effective receptive field, for comparison with tables published with them.

Their map: relu of the gradient of Σ relu(features) at output pixel (h//2, w//2), summed over input channels, mean over
images. Their ratio: of log10(1 + map)/max, the share inside centred squares of odd side from 3, until it exceeds t. The
logarithm makes it depend on the gradient's scale, so it never stands beside convbench's own r.
Source: Ding et al. 2022 (arXiv:2203.06717), the project's erf scripts.
"""

from __future__ import annotations

import numpy as np

from convbench.measures.erf.result import Floats, RepLKNetFigures

SHARES = (0.2, 0.3, 0.5, 0.99)


def replknet_figures(map_: Floats) -> RepLKNetFigures:
    """map_: (H, W), the mean over images of the rectified gradient, at its own scale."""
    height, width = map_.shape
    logarithm = np.log10(map_ + 1)
    scaled = logarithm / logarithm.max()
    total = scaled.sum()
    row, column = height // 2, width // 2
    sides: dict[float, int | None] = dict.fromkeys(SHARES)
    for half in range(1, height // 2):
        square = scaled[row - half : row + half + 1, column - half : column + half + 1]
        share = square.sum() / total
        for threshold in SHARES:
            if sides[threshold] is None and share > threshold:
                sides[threshold] = 2 * half + 1
    ratios = {share: None if side is None else side / height * side / width for share, side in sides.items()}
    return RepLKNetFigures(sides, ratios)
