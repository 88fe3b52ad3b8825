"""Convolution blocks and networks of five papers, in plain torch: ``from convblocks import MRFA``.

Names are imported on first use, so that reading the catalogue costs no torch import. The networks' factories are
there under their registered names: ``from convblocks import uniconvnet_a``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from convblocks.catalogue import ENTRIES

if TYPE_CHECKING:
    from convblocks.baselines import Bottleneck, ConvBNReLU, ConvNeXtBlock, DepthwiseSeparable
    from convblocks.conv2former import Conv2FormerBlock
    from convblocks.deform import DeformableConv
    from convblocks.drconv import DRConv, DRConvExperts
    from convblocks.mrfa import MRFA
    from convblocks.norm import LayerNorm2d
    from convblocks.pyconv import PyConv2, PyConv2d, PyConv3, PyConv4, PyConvBNReLU
    from convblocks.pyconv_blocks import PyConvBasicBlock1, PyConvBasicBlock2, PyConvBottleneck
    from convblocks.refconv import RefConv, RefConvBlock, fuse, refocus
    from convblocks.uniconvnet import UniConvNetBlock

_HOME = {
    "Bottleneck": "baselines",
    "Conv2FormerBlock": "conv2former",
    "ConvBNReLU": "baselines",
    "ConvNeXtBlock": "baselines",
    "DRConv": "drconv",
    "DRConvExperts": "drconv",
    "DeformableConv": "deform",
    "DepthwiseSeparable": "baselines",
    "LayerNorm2d": "norm",
    "MRFA": "mrfa",
    "PyConv2": "pyconv",
    "PyConv2d": "pyconv",
    "PyConv3": "pyconv",
    "PyConv4": "pyconv",
    "PyConvBNReLU": "pyconv",
    "PyConvBasicBlock1": "pyconv_blocks",
    "PyConvBasicBlock2": "pyconv_blocks",
    "PyConvBottleneck": "pyconv_blocks",
    "RefConv": "refconv",
    "RefConvBlock": "refconv",
    "UniConvNetBlock": "uniconvnet",
    "fuse": "refconv",
    "refocus": "refconv",
}

__all__ = [
    "MRFA",
    "Bottleneck",
    "Conv2FormerBlock",
    "ConvBNReLU",
    "ConvNeXtBlock",
    "DRConv",
    "DRConvExperts",
    "DeformableConv",
    "DepthwiseSeparable",
    "LayerNorm2d",
    "PyConv2",
    "PyConv2d",
    "PyConv3",
    "PyConv4",
    "PyConvBNReLU",
    "PyConvBasicBlock1",
    "PyConvBasicBlock2",
    "PyConvBottleneck",
    "RefConv",
    "RefConvBlock",
    "UniConvNetBlock",
    "fuse",
    "refocus",
]


_NETWORKS = {entry["name"]: entry["target"].partition(":")[0] for entry in ENTRIES if entry["kind"] == "network"}


def __getattr__(name: str) -> Any:
    home = f"{__name__}.{_HOME[name]}" if name in _HOME else _NETWORKS.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_NETWORKS])
