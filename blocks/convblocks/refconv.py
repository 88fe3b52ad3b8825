"""RefConv: re-parameterised refocusing convolution (TNNLS 2025, arXiv:2310.10563)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks
from convblocks.checks import Pair
from convblocks.reparameterised import Reparameterised

Padding = str | Pair


class RefConv(nn.Module):
    """Conv whose kernel is a frozen basis plus a learnt map of it: (N, in, H, W) → (N, out, Ho, Wo).

    W = weight + convmap(weight), where ``weight`` (out, in/groups, k, k) is a buffer, seen as one image of
    n = out·in/groups channels, and ``convmap`` a bias-free conv n→n of kernel ``map_k`` with in·out/groups² groups.
    out·in·map_k² trainable parameters; a forward costs out·in·k²·map_k² MACs more than the conv, whatever the image.

    A fresh basis is Kaiming-uniform, as a conv's weight is: a zero basis would give zero for ever. ``from_conv`` takes
    a trained one. ``zero_init`` starts ``convmap`` at zero, so that W is the basis. The default init of the authors,
    which leaves W elsewhere, is a conv's.

    ``bias`` adds a trainable bias. An even ``map_k``, which the paper has not, is padded by one less before than after,
    so that the map keeps the kernel's size. ``padding`` may be "same" or "valid" as a conv's. Raises ValueError for
    groups that do not divide both widths and for a ``map_k`` above the kernel size.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: Pair = 1,
        padding: Padding | None = None,
        groups: int = 1,
        map_k: int = 3,
        dilation: Pair = 1,
        bias: bool = False,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("kernel_size", kernel_size),
            ("map_k", map_k),
        ):
            checks.positive("RefConv", name, value)
        checks.groups("RefConv", in_channels, out_channels, groups)
        if map_k > kernel_size:
            raise ValueError(f"RefConv: map_k must not exceed the kernel size {kernel_size}, got {map_k}")
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.stride, self.dilation = (
            checks.pair("RefConv", name, value) for name, value in (("stride", stride), ("dilation", dilation))
        )
        self.groups = groups
        self.padding = _padding(kernel_size // 2 if padding is None else padding, self.stride)
        basis = torch.empty(out_channels, in_channels // groups, kernel_size, kernel_size)
        self.register_buffer("weight", nn.init.kaiming_uniform_(basis, a=5**0.5))
        channels = out_channels * in_channels // groups
        self.convmap = nn.Conv2d(
            channels,
            channels,
            map_k,
            padding=map_k // 2 if map_k % 2 else 0,  # an even map is padded in `kernel`
            groups=in_channels * out_channels // groups**2,
            bias=False,
        )
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)
        if zero_init:
            nn.init.zeros_(self.convmap.weight)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, map_k: int = 3, zero_init: bool = True) -> RefConv:
        """The conv's weight as the basis, on its device and in its dtype; a bias stays trainable.

        Raises ValueError unless the kernel is square and the padding mode zeros.
        """
        if conv.kernel_size[0] != conv.kernel_size[1] or conv.padding_mode != "zeros":
            raise ValueError(
                "RefConv replaces a conv with a square kernel and zero padding, got kernel_size "
                f"{conv.kernel_size} and padding_mode {conv.padding_mode!r}"
            )
        refconv = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            _pair(conv.stride),
            conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
            conv.groups,
            map_k,
            _pair(conv.dilation),
            conv.bias is not None,
            zero_init,
        ).to(conv.weight)
        with torch.no_grad():
            refconv.weight.copy_(conv.weight)
        refconv.bias = conv.bias
        return refconv.train(conv.training)

    def kernel(self) -> Tensor:
        """W: (out, in/groups, k, k), the kernel that the image meets."""
        as_image = self.weight.reshape(1, -1, self.kernel_size, self.kernel_size)
        map_k = self.convmap.kernel_size[0]
        if map_k % 2 == 0:
            as_image = F.pad(as_image, (map_k // 2 - 1, map_k // 2, map_k // 2 - 1, map_k // 2))
        change: Tensor = self.convmap(as_image)
        return self.weight + change.view_as(self.weight)

    def to_conv(self) -> nn.Conv2d:
        """A plain conv with kernel W and the same key ``weight``: the same outputs at no extra cost."""
        with torch.no_grad():
            kernel = self.kernel()
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            bias=False,
            device=kernel.device,
            dtype=kernel.dtype,
        )
        conv.weight = nn.Parameter(kernel)
        conv.bias = self.bias
        return conv.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, groups={self.groups}"
        )


def _padding(value: Padding, stride: tuple[int, int]) -> str | tuple[int, int]:
    if not isinstance(value, str):
        return checks.pair("RefConv", "padding", value, least=0)
    if value not in ("same", "valid"):
        raise ValueError(f"RefConv: padding must be a whole number, two of them, same or valid, got {value!r}")
    if value == "same" and stride != (1, 1):
        raise ValueError(f"RefConv: padding same needs a stride of 1, got {stride}")
    return value


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


class RefConvBlock(nn.Module):
    """RefConv 3×3, batch norm, hardswish: (N, in, H, W) → (N, out, Ho, Wo)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        groups: int = 1,
        map_k: int = 3,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        checks.positive("RefConvBlock", "stride", stride)
        self.conv = RefConv(in_channels, out_channels, 3, stride, groups=groups, map_k=map_k, zero_init=zero_init)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


def refocus(
    model: nn.Module, map_k: int = 3, zero_init: bool = True, biased: bool = False, inplace: bool = False
) -> nn.Module:
    """Replace every k×k conv (k odd, k ≥ map_k ≥ 3) by a RefConv that holds its weights.

    Replaced are plain ``nn.Conv2d`` modules with a square kernel, zero padding and no bias; with ``biased`` also those
    with a bias, which stays trainable (ConvNeXt's depthwise convs have one). 1×1 convs and subclasses of Conv2d with a
    forward of their own stay. With ``zero_init`` the swap leaves the network's outputs unchanged.

    Returns a refocused copy and leaves ``model`` as it was, unless ``inplace``. A baseline's checkpoint loads with only
    ``convmap.*`` missing. Warns where no conv qualifies. Raises ValueError for an even ``map_k`` or one below 3.
    """
    checks.odd("refocus", "map_k", map_k)
    if map_k < 3:
        raise ValueError(f"refocus: map_k must be at least 3, got {map_k}")

    def qualifies(module: nn.Module) -> bool:
        return (
            type(module) is nn.Conv2d
            and module.kernel_size[0] == module.kernel_size[1] >= map_k
            and module.kernel_size[0] % 2 == 1
            and module.padding_mode == "zeros"
            and (biased or module.bias is None)
        )

    def replacement(module: nn.Module) -> nn.Module:
        assert isinstance(module, nn.Conv2d)
        return RefConv.from_conv(module, map_k, zero_init)

    refocused, count = _swap(model, qualifies, replacement, inplace)
    if not count:
        hint = "" if biased else "; biased=True takes convs with a bias as well"
        warnings.warn(
            f"refocus: no bias-free odd k×k Conv2d with k ≥ {map_k} in {type(model).__name__}{hint}", stacklevel=2
        )
    return refocused


def fuse(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Replace every RefConv by the plain conv that it amounts to, under the same key ``weight``, and so every block of
    ``convblocks.reparameterised`` by its conv with a bias (and activation), from the running statistics.

    The outputs in evaluation stay (but for rounding), and the cost is the baseline's. Returns a fused copy and leaves
    ``model`` as it was, unless ``inplace``.
    """

    def replacement(module: nn.Module) -> nn.Module:
        assert isinstance(module, RefConv | Reparameterised)
        return module.to_conv()

    fused, _ = _swap(model, lambda module: isinstance(module, RefConv | Reparameterised), replacement, inplace)
    return fused


def _swap(
    model: nn.Module,
    qualifies: Callable[[nn.Module], bool],
    replacement: Callable[[nn.Module], nn.Module],
    inplace: bool,
) -> tuple[nn.Module, int]:
    """``model`` (or a copy) with its qualifying modules replaced, shared ones by one replacement; and their number."""
    model = model if inplace else copy.deepcopy(model)
    swapped: dict[nn.Module, nn.Module] = {}

    def swap(module: nn.Module) -> nn.Module:
        if module not in swapped:
            swapped[module] = replacement(module)
        return swapped[module]

    if qualifies(model):
        return swap(model), 1
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children leaves out a module's second name
            if child is not None and qualifies(child):
                setattr(parent, name, swap(child))
    return model, len(swapped)
