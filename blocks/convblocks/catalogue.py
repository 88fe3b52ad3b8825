"""What ``convblocks`` offers, as plain data: reading the list imports no torch.

Each entry names a factory by ``"module:attribute"``. A block's factory is called as ``f(dim, **options)`` and takes a
feature map of ``dim`` channels; a network's as ``f(num_classes=1000, in_chans=3, **options)`` and takes images.
The options, their types and defaults are the factory's signature.
"""

from __future__ import annotations

from typing import Any

Entry = dict[str, Any]

_PAPERS: dict[str, tuple[str, str, int]] = {
    "uniconvnet": (
        "UniConvNet: Expanding Effective Receptive Field while Maintaining Asymptotically Gaussian Distribution for "
        "ConvNets of Any Scale (ICCV 2025)",
        "2508.09000",
        2025,
    ),
    "drconv": ("Dynamic Region-Aware Convolution (CVPR 2021)", "2003.12243", 2021),
    "conv2former": (
        "Conv2Former: A Simple Transformer-Style ConvNet for Visual Recognition (TPAMI 2024)",
        "2211.11943",
        2024,
    ),
    "refconv": (
        "RefConv: Re-parameterized Refocusing Convolution for Powerful ConvNets (TNNLS 2025)",
        "2310.10563",
        2025,
    ),
    "pyconv": (
        "Pyramidal Convolution: Rethinking Convolutional Neural Networks for Visual Recognition (2020)",
        "2006.11538",
        2020,
    ),
    "batchnorm": (
        "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift (ICML 2015)",
        "1502.03167",
        2015,
    ),
    "mobilenet": (
        "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications (2017)",
        "1704.04861",
        2017,
    ),
    "convnext": ("A ConvNet for the 2020s (CVPR 2022)", "2201.03545", 2022),
    "resnet": ("Deep Residual Learning for Image Recognition (CVPR 2016)", "1512.03385", 2016),
}


# Inputs that the usual 56 and 224 would not suit: these networks align corners on grids of 8n + 1.
_SIZES = {"pyconvsegnet": 225}


def _entry(name: str, kind: str, target: str, family: str, summary: str) -> Entry:
    paper, arxiv, year = _PAPERS[family]
    return {
        "name": name,
        "kind": kind,
        "target": f"convblocks.{target}",
        "summary": summary,
        "paper": paper,
        "arxiv": arxiv,
        "year": year,
        "size": _SIZES.get(name.partition("_")[0]),
    }


_BLOCKS: list[tuple[str, str, str, str]] = [
    ("MRFA", "mrfa:MRFA", "uniconvnet", "three-layer receptive-field aggregator, depthwise kernels 7, 9 and 11"),
    ("UniConvNetBlock", "uniconvnet:UniConvNetBlock", "uniconvnet", "MRFA, deformable conv and MLP, each residual"),
    ("DRConv", "factories:drconv", "drconv", "one generated filter for each region of the image, chosen by argmax"),
    ("DRConvExperts", "factories:drconv_experts", "drconv", "region filters mixed from experts, chosen by argmax"),
    ("Conv2Former", "conv2former:Conv2FormerBlock", "conv2former", "convolutional modulation and MLP, each residual"),
    ("RefConv", "factories:refconv", "refconv", "convolution whose kernel is refocused from a frozen basis"),
    ("RefConvBlock", "factories:refconv_block", "refconv", "RefConv, batch norm, hardswish"),
    ("PyConv", "factories:pyconv", "pyconv", "pyramid of kernel sizes, each with its own groups, concatenated"),
    ("PyConvBottleneck", "factories:pyconv_bottleneck", "pyconv", "ResNet bottleneck around a PyConv"),
    ("PyConvBNReLU", "factories:pyconv_bn_relu", "pyconv", "PyConv with batch norm and ReLU on every level"),
    ("Conv3x3", "factories:conv3x3", "batchnorm", "baseline: 3×3 conv, batch norm, ReLU"),
    ("DepthwiseSeparable", "factories:depthwise_separable", "mobilenet", "baseline: depthwise conv, then 1×1 conv"),
    ("ConvNeXt", "baselines:ConvNeXtBlock", "convnext", "baseline: depthwise 7×7, LayerNorm and MLP, residual"),
    ("Bottleneck", "factories:bottleneck", "resnet", "baseline: ResNet's 1×1, 3×3, 1×1 with a shortcut"),
]

_UNICONVNET = ("a", "p0", "p1", "p2", "n0", "n1", "n2", "n3", "t", "s", "b", "l", "xl")
_BACKBONES = ("resnet", "pyconvresnet", "pyconvhgresnet")

_NETWORKS: list[tuple[str, str, str, str]] = [
    *((f"uniconvnet_{size}", "uniconvnet", "uniconvnet", f"UniConvNet-{size.upper()}") for size in _UNICONVNET),
    *((f"conv2former_{size}", "conv2former", "conv2former", f"Conv2Former-{size.upper()}") for size in "ntsbl"),
    *(
        (f"pyconvresnet{layers}", "pyconvresnet", "pyconv", f"PyConvResNet-{layers}")
        for layers in (18, 34, 50, 101, 152)
    ),
    *(
        (f"pyconvhgresnet{layers}", "pyconvresnet", "pyconv", f"PyConvHGResNet-{layers}, more groups on wider pyramids")
        for layers in (50, 101, 152)
    ),
    *(
        (
            f"pyconvsegnet_{backbone}{layers}",
            "pyconvsegnet",
            "pyconv",
            f"PyConvSegNet on {backbone}-{layers}, segmentation; height and width less one are multiples of 8",
        )
        for backbone in _BACKBONES
        for layers in (50, 101, 152)
    ),
    *(
        (
            f"drconv_shufflenetv2_x{scale}",
            "drconv_shufflenetv2",
            "drconv",
            f"ShuffleNetV2 {scale.replace('_', '.')}× with region-aware 1×1 convs",
        )
        for scale in ("0_5", "1_0", "1_5")
    ),
]

ENTRIES: list[Entry] = [
    *(_entry(name, "block", target, family, text) for name, target, family, text in _BLOCKS),
    *(_entry(name, "network", f"networks.{module}:{name}", family, text) for name, module, family, text in _NETWORKS),
]
