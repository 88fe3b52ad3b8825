"""Convolution blocks and networks of the field, in plain torch: ``from convblocks import MRFA``.

Names are imported on first use, so that reading the catalogue costs no torch import. The networks' factories are
there under their registered names: ``from convblocks import uniconvnet_a``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from convblocks.catalogue import ENTRIES

if TYPE_CHECKING:
    from convblocks.attention import CBAM, ECA, EMA, SE, CoordAtt, SimAM
    from convblocks.baselines import Bottleneck, ConvBNReLU, ConvNeXtBlock, DepthwiseSeparable
    from convblocks.conv2former import Conv2FormerBlock
    from convblocks.deform import DeformableConv
    from convblocks.deformable import DCNv2, DCNv3, DCNv4, LDConv, SnakeConv
    from convblocks.drconv import DRConv, DRConvExperts
    from convblocks.dynamic import CondConv, DynamicConv, Involution, ODConv
    from convblocks.large_kernel import CAA, LKA, LSK, LSKA, PKI, InceptionDWConv
    from convblocks.lightweight import CoordConv, FasterNetBlock, GhostConv, MixConv, PConv, SCConv
    from convblocks.modulation import FocalModulation, GnConv, StarBlock
    from convblocks.mrfa import MRFA
    from convblocks.norm import LayerNorm2d
    from convblocks.pyconv import PyConv2, PyConv2d, PyConv3, PyConv4, PyConvBNReLU
    from convblocks.pyconv_blocks import PyConvBasicBlock1, PyConvBasicBlock2, PyConvBottleneck
    from convblocks.refconv import RefConv, RefConvBlock, fuse, refocus
    from convblocks.reparameterised import DilatedReparam, RepLargeKernel, RepVGG
    from convblocks.uniconvnet import UniConvNetBlock
    from convblocks.wavelets import HaarDownsampling, SPDConv, WTConv

_HOME = {
    "DCNv2": "deformable",
    "DCNv3": "deformable",
    "DCNv4": "deformable",
    "SnakeConv": "deformable",
    "LDConv": "deformable",
    "LKA": "large_kernel",
    "LSKA": "large_kernel",
    "LSK": "large_kernel",
    "InceptionDWConv": "large_kernel",
    "GnConv": "modulation",
    "WTConv": "wavelets",
    "PKI": "large_kernel",
    "FocalModulation": "modulation",
    "MixConv": "lightweight",
    "Involution": "dynamic",
    "CondConv": "dynamic",
    "DynamicConv": "dynamic",
    "ODConv": "dynamic",
    "RepVGG": "reparameterised",
    "RepLargeKernel": "reparameterised",
    "DilatedReparam": "reparameterised",
    "PConv": "lightweight",
    "FasterNetBlock": "lightweight",
    "StarBlock": "modulation",
    "GhostConv": "lightweight",
    "SCConv": "lightweight",
    "CoordConv": "lightweight",
    "SE": "attention",
    "ECA": "attention",
    "CBAM": "attention",
    "CoordAtt": "attention",
    "SimAM": "attention",
    "EMA": "attention",
    "SPDConv": "wavelets",
    "HaarDownsampling": "wavelets",
    "CAA": "large_kernel",
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
    "CAA",
    "CBAM",
    "ECA",
    "EMA",
    "LKA",
    "LSK",
    "LSKA",
    "MRFA",
    "PKI",
    "SE",
    "Bottleneck",
    "CondConv",
    "Conv2FormerBlock",
    "ConvBNReLU",
    "ConvNeXtBlock",
    "CoordAtt",
    "CoordConv",
    "DCNv2",
    "DCNv3",
    "DCNv4",
    "DRConv",
    "DRConvExperts",
    "DeformableConv",
    "DepthwiseSeparable",
    "DilatedReparam",
    "DynamicConv",
    "FasterNetBlock",
    "FocalModulation",
    "GhostConv",
    "GnConv",
    "HaarDownsampling",
    "InceptionDWConv",
    "Involution",
    "LDConv",
    "LayerNorm2d",
    "MixConv",
    "ODConv",
    "PConv",
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
    "RepLargeKernel",
    "RepVGG",
    "SCConv",
    "SPDConv",
    "SimAM",
    "SnakeConv",
    "StarBlock",
    "UniConvNetBlock",
    "WTConv",
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
