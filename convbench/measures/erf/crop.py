"""Cutting the input to what the probed pixel sees, for modules whose operators cannot be taken one by one.

The module itself runs on the part of the image that gradients of two samples reach, at the module's own stride. That
this gives the same gradient is verified on those samples; of every later one it is checked that it leaves the rim at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convbench.measures.erf.features import FeatureMap
from convbench.measures.erf.gradient import input_gradient
from convbench.measures.erf.result import Box

_LARGEST_SHARE = 0.5
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
_BATCH_ELEMENTS = 1 << 18
_CONTENT_DEPENDENT = (
    "grid_sampler", "gather", "scatter", "index", "take", "deform", "sort", "topk", "argmax", "argmin", "nonzero",
    "roi_align",
)  # fmt: skip


class FieldOutgrown(Exception):  # noqa: N818 - a finding: the caller measures on the full map instead
    """A sample reaches the rim of the crop that held the field of the first ones."""


@dataclass(frozen=True, slots=True)
class CropMap:
    """The module on ``box`` of the image, in which the probed pixel is at ``position``.

    reached: what the first samples reach. rim: width along height and width of the border that nothing reaches.
    """

    features: FeatureMap
    image: tuple[int, int]
    reached: Box
    box: Box
    position: tuple[int, int]
    rim: tuple[int, int]
    relu: bool
    batch: int

    def gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """See ``view.Evaluator``. Raises FieldOutgrown."""
        gradient = input_gradient(self.features, x, weights, self.position, self.relu)
        height, width = self.image
        (rows, columns), box = self.rim, self.box
        sides = (
            (box.top > 0, gradient[:, :, :rows]),
            (box.bottom < height, gradient[:, :, -rows:]),
            (box.left > 0, gradient[..., :columns]),
            (box.right < width, gradient[..., -columns:]),
        )
        if any(inside and bool(side.any()) for inside, side in sides):
            raise FieldOutgrown
        return gradient


def may_crop(operators: frozenset[str], dtype: torch.dtype) -> bool:
    """Whether the support of two samples can stand for that of others: not where content says what is looked at."""
    if not operators:
        return False
    depends = any(word in name for name in operators for word in _CONTENT_DEPENDENT)
    return not depends and dtype in _TOLERANCE


def crop(
    features: FeatureMap,
    x: Tensor,
    weights: Tensor,
    position: tuple[int, int],
    output_size: tuple[int, int],
    relu: bool,
) -> CropMap | None:
    """The module on the smallest part of the image that serves; None where that is most of it, or not exact.

    x: two samples (2, C, H, W) that show what can be reached; weights: (2, c).
    """
    image = (x.shape[2], x.shape[3])
    if any(size % count for size, count in zip(image, output_size, strict=True)):
        return None
    stride = (image[0] // output_size[0], image[1] // output_size[1])
    gradient = torch.cat([input_gradient(features, x[i : i + 1], weights[i : i + 1], position, relu) for i in range(2)])
    reached = gradient.ne(0).any(dim=0).any(dim=0)
    if not reached.any():
        return None
    rows, columns = (_ends(reached.any(dim=1 - axis)) for axis in range(2))
    box = Box(*_aligned(rows, stride[0], image[0]), *_aligned(columns, stride[1], image[1]))
    if box.height * box.width > _LARGEST_SHARE * image[0] * image[1]:
        return None
    inner = (position[0] - box.top // stride[0], position[1] - box.left // stride[1])
    batch = max(_BATCH_ELEMENTS // (x.shape[1] * box.height * box.width), 1)
    cropped = CropMap(features, image, Box(*rows, *columns), box, inner, stride, relu, min(batch, 64))
    part = (slice(None), slice(None), box.rows(Box.whole(*image)), box.columns(Box.whole(*image)))
    try:
        found = cropped.gradient(x[part], weights)
    except Exception:  # a module may need the size that it was given, or grow beyond the rim on the crop
        return None
    error = (found - gradient[part]).abs().max() / gradient.abs().max()
    return cropped if bool(error <= _TOLERANCE[x.dtype]) else None


def _ends(reached: Tensor) -> tuple[int, int]:
    pixels = reached.nonzero()
    return int(pixels[0]), int(pixels[-1]) + 1


def _aligned(span: tuple[int, int], stride: int, size: int) -> tuple[int, int]:
    """The span and a rim of one stride around it, in whole strides."""
    return max(span[0] // stride - 1, 0) * stride, min(((span[1] - 1) // stride + 2) * stride, size)
