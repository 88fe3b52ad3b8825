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
    "se": ("Squeeze-and-Excitation Networks (CVPR 2018)", "1709.01507", 2018),
    "eca": (
        "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks (CVPR 2020)",
        "1910.03151",
        2020,
    ),
    "cbam": ("CBAM: Convolutional Block Attention Module (ECCV 2018)", "1807.06521", 2018),
    "coordatt": ("Coordinate Attention for Efficient Mobile Network Design (CVPR 2021)", "2103.02907", 2021),
    "simam": (
        "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks (ICML 2021)",
        "",
        2021,
    ),
    "ema": ("Efficient Multi-Scale Attention Module with Cross-Spatial Learning (ICASSP 2023)", "2305.13563", 2023),
    "van": ("Visual Attention Network (CVM 2023)", "2202.09741", 2023),
    "lska": (
        "Large Separable Kernel Attention: Rethinking the Large Kernel Attention Design in CNN (ESWA 2024)",
        "2309.01439",
        2024,
    ),
    "lsknet": ("Large Selective Kernel Network for Remote Sensing Object Detection (ICCV 2023)", "2303.09030", 2023),
    "inceptionnext": ("InceptionNeXt: When Inception Meets ConvNeXt (CVPR 2024)", "2303.16900", 2024),
    "pkinet": ("Poly Kernel Inception Network for Remote Sensing Detection (CVPR 2024)", "2403.06258", 2024),
    "hornet": (
        "HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions (NeurIPS 2022)",
        "2207.14284",
        2022,
    ),
    "focalnet": ("Focal Modulation Networks (NeurIPS 2022)", "2203.11926", 2022),
    "starnet": ("Rewrite the Stars (CVPR 2024)", "2403.19967", 2024),
    "condconv": (
        "CondConv: Conditionally Parameterized Convolutions for Efficient Inference (NeurIPS 2019)",
        "1904.04971",
        2019,
    ),
    "dynamicconv": ("Dynamic Convolution: Attention over Convolution Kernels (CVPR 2020)", "1912.03458", 2020),
    "odconv": ("Omni-Dimensional Dynamic Convolution (ICLR 2022)", "2209.07947", 2022),
    "involution": (
        "Involution: Inverting the Inherence of Convolution for Visual Recognition (CVPR 2021)",
        "2103.06255",
        2021,
    ),
    "fasternet": (
        "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks (CVPR 2023)",
        "2303.03667",
        2023,
    ),
    "ghostnet": ("GhostNet: More Features from Cheap Operations (CVPR 2020)", "1911.11907", 2020),
    "mixconv": ("MixConv: Mixed Depthwise Convolutional Kernels (BMVC 2019)", "1907.09595", 2019),
    "coordconv": (
        "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution (NeurIPS 2018)",
        "1807.03247",
        2018,
    ),
    "scconv": ("SCConv: Spatial and Channel Reconstruction Convolution for Feature Redundancy (CVPR 2023)", "", 2023),
    "repvgg": ("RepVGG: Making VGG-style ConvNets Great Again (CVPR 2021)", "2101.03697", 2021),
    "replknet": (
        "Scaling Up Your Kernels to 31x31: Revisiting Large Kernel Design in CNNs (CVPR 2022)",
        "2203.06717",
        2022,
    ),
    "unireplknet": (
        "UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio, Video, Point Cloud, Time-Series and Image "
        "Recognition (CVPR 2024)",
        "2311.15599",
        2024,
    ),
    "spd": (
        "No More Strided Convolutions or Pooling: A New CNN Building Block for Low-Resolution Images and Small Objects "
        "(ECML PKDD 2022)",
        "2208.03641",
        2022,
    ),
    "hwd": (
        "Haar wavelet downsampling: A simple but effective downsampling module (Pattern Recognition 2023)",
        "",
        2023,
    ),
    "dcnv2": ("Deformable ConvNets v2: More Deformable, Better Results (CVPR 2019)", "1811.11168", 2019),
    "internimage": (
        "InternImage: Exploring Large-Scale Vision Foundation Models with Deformable Convolutions (CVPR 2023)",
        "2211.05778",
        2023,
    ),
    "dcnv4": (
        "Efficient Deformable ConvNets: Rethinking Dynamic and Sparse Operator for Vision Applications (CVPR 2024)",
        "2401.06197",
        2024,
    ),
    "dscnet": (
        "Dynamic Snake Convolution based on Topological Geometric Constraints for Tubular Structure Segmentation "
        "(ICCV 2023)",
        "2307.08388",
        2023,
    ),
    "ldconv": (
        "LDConv: Linear deformable convolution for improving convolutional neural networks (IVC 2024)",
        "2311.11587",
        2024,
    ),
    "wtconv": ("Wavelet Convolutions for Large Receptive Fields (ECCV 2024)", "2407.05848", 2024),
}


# Inputs that the usual 56 and 224 would not suit: these networks align corners on grids of 8n + 1.
_SIZES = {"pyconvsegnet": 225}


def _entry(
    name: str,
    kind: str,
    target: str,
    source: str,
    summary: str,
    family: str = "network",
    keeps_shape: bool = False,
    stride: int | None = None,
) -> Entry:
    paper, arxiv, year = _PAPERS[source]
    return {
        "name": name,
        "kind": kind,
        "target": f"convblocks.{target}",
        "summary": summary,
        "paper": paper,
        "arxiv": arxiv,
        "year": year,
        "size": _SIZES.get(name.partition("_")[0]),
        "family": family,
        "keeps_shape": keeps_shape,
        "stride": stride,
    }


# Name, target, paper, what it is; by family. All but the downsampling ones keep the shape as they are built by default.
_BLOCKS: dict[str, list[tuple[str, str, str, str]]] = {
    "large-kernel": [
        ("MRFA", "mrfa:MRFA", "uniconvnet", "three-layer receptive-field aggregator, depthwise kernels 7, 9 and 11"),
        ("UniConvNetBlock", "uniconvnet:UniConvNetBlock", "uniconvnet", "MRFA, deformable conv and MLP, each residual"),
        (
            "Conv2Former",
            "conv2former:Conv2FormerBlock",
            "conv2former",
            "convolutional modulation and MLP, each residual",
        ),
        ("LKA", "large_kernel:LKA", "van", "attention by a 21×21 kernel, taken apart into 5×5, 7×7 dilated and 1×1"),
        ("LSKA", "large_kernel:LSKA", "lska", "LKA with each depthwise kernel as a row and a column"),
        ("LSK", "large_kernel:LSK", "lsknet", "two large depthwise kernels, selected between at each pixel"),
        (
            "InceptionDWConv",
            "large_kernel:InceptionDWConv",
            "inceptionnext",
            "depthwise 3×3, 1×11 and 11×1 on an eighth of the channels each",
        ),
        ("GnConv", "modulation:GnConv", "hornet", "recursive gated convolution, widths halved order by order"),
        ("WTConv", "wavelets:WTConv", "wtconv", "small depthwise kernels in the wavelet domain"),
    ],
    "dynamic": [
        ("DRConv", "factories:drconv", "drconv", "one generated filter for each region of the image, chosen by argmax"),
        ("DRConvExperts", "factories:drconv_experts", "drconv", "region filters mixed from experts, chosen by argmax"),
        (
            "Involution",
            "dynamic:Involution",
            "involution",
            "a generated kernel for each pixel, shared by groups of channels",
        ),
        ("CondConv", "dynamic:CondConv", "condconv", "kernel mixed from experts by sigmoid routing"),
        ("DynamicConv", "dynamic:DynamicConv", "dynamicconv", "kernel mixed from experts by softmax attention"),
        ("ODConv", "dynamic:ODConv", "odconv", "kernel scaled along taps, input, output and experts"),
    ],
    "deformable": [
        ("DCNv2", "deformable:DCNv2", "dcnv2", "conv whose taps are moved by offsets and weighed by masks"),
        ("DCNv3", "deformable:DCNv3", "internimage", "depthwise moved taps in groups, masks normalised by softmax"),
        ("DCNv4", "deformable:DCNv4", "dcnv4", "depthwise moved taps in groups, masks unbounded"),
        ("SnakeConv", "deformable:SnakeConv", "dscnet", "a row or column of taps that bends and stays connected"),
        ("LDConv", "deformable:LDConv", "ldconv", "any number of moved taps, at a cost linear in it"),
    ],
    "multi-scale": [
        ("PyConv", "factories:pyconv", "pyconv", "pyramid of kernel sizes, each with its own groups, concatenated"),
        ("PyConv2d", "factories:pyconv2d", "pyconv", "pyramid of levels with widths, kernels and groups of their own"),
        ("PyConv2", "factories:pyconv2", "pyconv", "pyramid of two levels, kernels 3 and 5"),
        ("PyConv3", "factories:pyconv3", "pyconv", "pyramid of three levels, kernels 3, 5 and 7"),
        ("PyConv4", "factories:pyconv4", "pyconv", "pyramid of four levels, kernels 3, 5, 7 and 9"),
        ("PyConvBasicBlock1", "factories:pyconv_basic_block1", "pyconv", "ResNet basic block of two PyConvs"),
        ("PyConvBasicBlock2", "factories:pyconv_basic_block2", "pyconv", "ResNet basic block of a PyConv and a 1×1"),
        ("PyConvBottleneck", "factories:pyconv_bottleneck", "pyconv", "ResNet bottleneck around a PyConv"),
        ("PyConvBNReLU", "factories:pyconv_bn_relu", "pyconv", "PyConv with batch norm and ReLU on every level"),
        ("PKI", "large_kernel:PKI", "pkinet", "depthwise kernels 3 to 11 summed, scaled by context anchor attention"),
        (
            "FocalModulation",
            "modulation:FocalModulation",
            "focalnet",
            "query times gated context of growing depthwise kernels",
        ),
        (
            "MixConv",
            "lightweight:MixConv",
            "mixconv",
            "depthwise kernels 3, 5, 7, 9, each on a quarter of the channels",
        ),
    ],
    "re-parameterised": [
        ("RefConv", "factories:refconv", "refconv", "convolution whose kernel is refocused from a frozen basis"),
        ("RefConvBlock", "factories:refconv_block", "refconv", "RefConv, batch norm, hardswish"),
        ("RepVGG", "reparameterised:RepVGG", "repvgg", "3×3, 1×1 and identity in training, one 3×3 when fused"),
        (
            "RepLargeKernel",
            "reparameterised:RepLargeKernel",
            "replknet",
            "depthwise 31×31 beside 5×5, one kernel when fused",
        ),
        (
            "DilatedReparam",
            "reparameterised:DilatedReparam",
            "unireplknet",
            "depthwise 13×13 beside dilated small ones, one kernel when fused",
        ),
    ],
    "lightweight": [
        ("PConv", "lightweight:PConv", "fasternet", "3×3 conv of a quarter of the channels, the others as they are"),
        ("FasterNetBlock", "lightweight:FasterNetBlock", "fasternet", "PConv and a 1×1 MLP, residual"),
        (
            "StarBlock",
            "modulation:StarBlock",
            "starnet",
            "product of two linear branches between depthwise 7×7 convs, residual",
        ),
        (
            "GhostConv",
            "lightweight:GhostConv",
            "ghostnet",
            "half of the channels by a conv, half by a depthwise conv of those",
        ),
        ("SCConv", "lightweight:SCConv", "scconv", "spatial and channel reconstruction of redundant features"),
        ("CoordConv", "lightweight:CoordConv", "coordconv", "conv that sees its coordinates as channels"),
    ],
    "attention": [
        ("SE", "attention:SE", "se", "channels scaled by squeeze and excitation"),
        ("ECA", "attention:ECA", "eca", "channels scaled by a 1-D conv over their means"),
        ("CBAM", "attention:CBAM", "cbam", "attention over channels, then over places"),
        ("CoordAtt", "attention:CoordAtt", "coordatt", "attention along rows and along columns"),
        ("SimAM", "attention:SimAM", "simam", "attention without parameters, from each value's distance to its mean"),
        ("EMA", "attention:EMA", "ema", "grouped coordinate attention with cross-spatial learning"),
    ],
    "downsampling": [
        ("SPDConv", "wavelets:SPDConv", "spd", "space to depth, then a conv without stride"),
        ("HaarDownsampling", "wavelets:HaarDownsampling", "hwd", "Haar transform, then a 1×1 conv"),
    ],
    "baseline": [
        ("Conv3x3", "factories:conv3x3", "batchnorm", "baseline: 3×3 conv, batch norm, ReLU"),
        ("DepthwiseSeparable", "factories:depthwise_separable", "mobilenet", "baseline: depthwise conv, then 1×1 conv"),
        ("ConvNeXt", "baselines:ConvNeXtBlock", "convnext", "baseline: depthwise 7×7, LayerNorm and MLP, residual"),
        ("Bottleneck", "factories:bottleneck", "resnet", "baseline: ResNet's 1×1, 3×3, 1×1 with a shortcut"),
    ],
}

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
    *(
        _entry(name, "block", target, source, text, family, family != "downsampling", 1 + (family == "downsampling"))
        for family, rows in _BLOCKS.items()
        for name, target, source, text in rows
    ),
    *(_entry(name, "network", f"networks.{module}:{name}", source, text) for name, module, source, text in _NETWORKS),
]
