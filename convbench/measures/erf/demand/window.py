"""Steps of operators that slide a window over the image, forwards or transposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from convbench.measures.erf.demand.graph import Boxes, Lengths, Operand
from convbench.measures.erf.demand.layout import Region, Span, pad_list


@dataclass(frozen=True, slots=True)
class Window:
    """Value pixel j sees input pixels j·stride − padding + dilation·t, 0 ≤ t < kernel, of ``size``."""

    size: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def reach(self, span: Span) -> Span:
        """The input pixels of a span of the output, inside the image or not."""
        start, end = span
        return start * self.stride - self.padding, (end - 1) * self.stride - self.padding + self.extent

    @property
    def extent(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    def inside(self, span: Span) -> Span:
        """``span`` within the image, at least one pixel of it."""
        start = min(max(span[0], 0), self.size - 1)
        return start, max(min(span[1], self.size), start + 1)


Apply = Callable[[Tensor, Sequence[int]], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class WindowStep:
    """windows: dimension → its axis (None: one pixel, never sliced) and its window. fill: what lies outside the image.

    apply: runs the operator without padding; with ``pads`` along each of those dimensions, alike at both ends.
    pads: whether the operator can pad zeros itself, which spares a copy.
    """

    source: Operand
    windows: Mapping[int, tuple[int | None, Window]]
    apply: Apply
    fill: float = 0.0
    pads: bool = False

    @property
    def operands(self) -> Sequence[Operand]:
        return [self.source]

    def reach(self, operand: Operand, axis: int, span: Span, within: bool) -> Span:
        for own, window in self.windows.values():
            if own == axis:
                return window.reach(span)
        return span

    def run(self, boxes: Boxes, region: Region, lengths: Lengths) -> Sequence[Tensor]:
        need = list(region)
        ends: dict[int, tuple[int, int]] = {}
        for dim, (axis, window) in self.windows.items():
            if axis is None:
                ends[dim] = (window.padding, window.padding)
                continue
            wanted = window.reach(region[axis])
            need[axis] = window.inside(wanted)
            ends[dim] = (need[axis][0] - wanted[0], wanted[1] - need[axis][1])
            if wanted[1] <= 0 or wanted[0] >= window.size:
                # All of it is padding: the one pixel taken is dropped again.
                ends[dim] = (-1, wanted[1] - wanted[0])
        tensor = boxes.take(self.source, (need[0], need[1]))
        if self.pads and all(low == high >= 0 for low, high in ends.values()):
            return self.apply(tensor, [low for low, _ in ends.values()])
        if any(pair != (0, 0) for pair in ends.values()):
            tensor = F.pad(tensor, pad_list(ends, tensor.dim()), value=self.fill)
        return self.apply(tensor, [0] * len(ends))


@dataclass(frozen=True, slots=True)
class TransposedStep:
    """Input pixel i adds to output pixels i·stride − padding + dilation·t, 0 ≤ t < kernel.

    apply: the transposed convolution without padding and bias. bias: (out_channels,) or None.
    """

    source: Operand
    windows: Mapping[int, tuple[int, Window]]
    apply: Callable[[Tensor], Tensor]
    bias: Tensor | None

    @property
    def operands(self) -> Sequence[Operand]:
        return [self.source]

    def reach(self, operand: Operand, axis: int, span: Span, within: bool) -> Span:
        for own, window in self.windows.values():
            if own == axis:
                start, end = span
                first = -(-(start + window.padding - window.extent + 1) // window.stride)
                # Between the taps of a kernel shorter than its stride an output pixel sees nothing.
                return first, max((end - 1 + window.padding) // window.stride + 1, first + 1)
        return span

    def run(self, boxes: Boxes, region: Region, lengths: Lengths) -> Sequence[Tensor]:
        need = list(region)
        for axis, window in self.windows.values():
            need[axis] = window.inside(self.reach(self.source, axis, region[axis], True))
        result = self.apply(boxes.take(self.source, (need[0], need[1])))
        ends = {}
        for dim, (axis, window) in self.windows.items():
            start = need[axis][0] * window.stride - window.padding
            ends[dim] = (start - region[axis][0], region[axis][1] - start - result.shape[dim])
        result = F.pad(result, pad_list(ends, result.dim()))
        if self.bias is not None:
            result = result + self.bias.reshape(-1, *[1] * len(self.windows))
        return [result]
