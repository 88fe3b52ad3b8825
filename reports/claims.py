"""What the papers claim of these blocks, and what this tool measures of it: reports/claims.md.

    python reports/claims.py

Counts and fields are taken here, in a minute; ratios of latency are those of reports/headline.csv, so of the machine
that it names. A claim is confirmed, refuted, or not measurable, and each line says by which command.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import convbench
from convbench.measures.erf import ErfSettings
from convbench.records import Record

HERE = Path(__file__).resolve().parent
SHAPE = (1, 64, 56, 56)


@dataclass(frozen=True)
class Finding:
    """One claim in a paper's sense, what was measured, and what follows."""

    paper: str
    claim: str
    measured: str
    verdict: str
    command: str


def cost(target: str | nn.Module, **given: object) -> Record:
    """Parameters and cost, counted on meta."""
    return convbench.profile(target, measures=["params", "cost"], device="meta", **given)


def timed(target: str) -> str:
    """The published ratio to Conv3x3, with its interval."""
    with (HERE / "headline.csv").open(encoding="utf-8", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["target"] == target)
    return f"{float(row['ratio']):.2f}× [{float(row['ratio_low']):.2f}, {float(row['ratio_high']):.2f}]"


def uniconvnet() -> Finding:
    found = cost("uniconvnet_t")
    return Finding(
        "UniConvNet",
        "UniConvNet-T has 30 M parameters and 5.1 G FLOPs at 224",
        f"{found.params / 1e6:.2f} M, {found.macs / 1e9:.3f} G MACs",
        verdict(round(found.params / 1e6) == 30 and round(found.macs / 1e9, 1) == 5.1),
        "convbench paper uniconvnet_t",
    )


def refconv() -> Finding:
    host = cost("torchvision:resnet18")
    train = cost("torchvision:resnet18", conditions={"transforms": ("refocus",)})
    fused = cost("torchvision:resnet18", conditions={"transforms": ("refocus", "fuse")})
    names = ("params", "macs", "flops", "bytes_moved")
    ratios = [getattr(fused, name) / getattr(host, name) for name in names if getattr(host, name, None)]
    return Finding(
        "RefConv",
        "no extra inference cost",
        f"fused: {', '.join(f'{ratio:.3f}×' for ratio in ratios)} of parameters, MACs, FLOPs, bytes of ResNet-18; "
        f"unfused: {train.macs / host.macs:.3f}× MACs",
        verdict(all(ratio == 1 for ratio in ratios), "once fused, and only then"),
        "convbench compare torchvision:resnet18 torchvision:resnet18+refocus+fused --device meta",
    )


def pyconv() -> Finding:
    plain, block = cost("Conv3x3", dim=64), cost("PyConv", dim=64)
    return Finding(
        "PyConv",
        "no more cost than a standard convolution",
        f"{block.macs / plain.macs:.2f}× MACs, {block.params / plain.params:.2f}× parameters, "
        f"{timed('PyConv')} latency",
        "confirmed for MACs and parameters, refuted for latency on this CPU",
        "convbench compare Conv3x3 PyConv --dim 64",
    )


def drconv() -> Finding:
    plain, block = cost("Conv3x3", dim=64), cost("DRConv", dim=64)
    return Finding(
        "DRConv",
        "little more compute than a standard convolution",
        f"{block.algorithmic_macs / plain.macs:.2f}× MACs by its algorithm, {block.macs / plain.macs:.1f}× as "
        f"spelled out in tensor operators, {timed('DRConv')} latency",
        "confirmed for the algorithm, refuted for what training and export run, and for latency on this CPU",
        "convbench compare Conv3x3 DRConv --dim 64",
    )


class Attention(nn.Module):
    """Self-attention of one head over all pixels, with its four projections."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.flatten(2).transpose(1, 2) for part in self.qkv(x).chunk(3, 1))
        weights = (q @ k.transpose(1, 2)).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).unflatten(2, x.shape[2:]))


def conv2former() -> Finding:
    sizes = (14, 28, 56, 112)
    own = [cost("Conv2Former", dim=64, size=size).macs / size**2 for size in sizes]
    attention = [cost(Attention(64), shape=(1, 64, size, size)).macs / size**2 for size in sizes]
    shown = "; ".join(f"{size}²: {a / b:.2f}×" for size, a, b in zip(sizes, attention, own, strict=True))
    linear = max(own) / min(own) < 1.001
    return Finding(
        "Conv2Former",
        "linear in the number of pixels where self-attention is quadratic",
        f"Conv2Former: {own[0]:,.0f} MACs a pixel at every size; attention alone, of one Conv2Former block: {shown}",
        verdict(linear and attention[-1] > 10 * attention[0] / 2, "attention alone is the cheaper one on small maps"),
        "convbench profile Conv2Former --dim 64 --size 112 --device meta",
    )


def depthwise(*kernels: int) -> nn.Module:
    """Depthwise convolutions one after the other."""
    return nn.Sequential(*(nn.Conv2d(64, 64, k, padding=k // 2, groups=64, bias=False) for k in kernels))


def stacked_kernels() -> Iterator[Finding]:
    torch.manual_seed(0)
    settings = ErfSettings(samples=32)
    fields = (convbench.erf(depthwise(*sizes), shape=SHAPE, settings=settings) for sizes in ((7, 9, 11), (25,)))
    three, one = (field.metrics for field in fields)
    agd, sigma, side = ([getattr(found, name) or 0.0 for found in (three, one)] for name in _FIGURES)
    yield Finding(
        "UniConvNet",
        "7, 9 and 11 one after the other see as large a field as one 25×25, and a more Gaussian one",
        f"AGD {agd[0]:.3f} against {agd[1]:.3f}; σ {sigma[0]:.1f} px against {sigma[1]:.1f} px",
        f"more Gaussian: {verdict(agd[0] > agd[1])}; as large: {verdict(sigma[0] >= sigma[1])}",
        "python reports/claims.py",
    )
    yield Finding(
        "UniConvNet",
        "the field that is used is smaller than the theoretical one, which stacking small kernels gives",
        f"of the 25 px in theory, half of the mass is in {side[0]:.0f} px where kernels are stacked, in "
        f"{side[1]:.0f} px of the one kernel",
        verdict(side[0] < side[1] < 25),
        "python reports/claims.py",
    )


_FIGURES = ("agd", "sigma_px", "side_50_px")


def beyond() -> Iterator[Finding]:
    why = "not measurable here: it needs trained weights, and no command compares kernels yet"
    yield Finding(
        "RefConv",
        "refocused kernels are less redundant",
        "–",
        why,
        "–",
    )
    yield Finding(
        "all",
        "accuracy on ImageNet, COCO, ADE20K",
        "–",
        "not measurable here: this tool trains nothing",
        "–",
    )
    yield Finding(
        "PyConv",
        "its levels run in parallel",
        "–",
        "not measured: the machine of the reports has two cores, shared with other work",
        "convbench sweep PyConv Conv3x3 --dim 64 --threads 1,2,4,8 --measure latency",
    )


def verdict(holds: bool, but: str = "") -> str:
    """In words; ``but``: what a reader must know where it is confirmed."""
    return ("confirmed" + (f": {but}" if but else "")) if holds else "refuted"


def findings() -> Iterator[Finding]:
    single: tuple[Callable[[], Finding], ...] = (uniconvnet, refconv, pyconv, drconv, conv2former)
    for take in single:
        yield take()
    yield from stacked_kernels()
    yield from beyond()


def main() -> None:
    lines = [
        "# What the papers claim, and what is measured",
        "",
        "Claims are told in the papers' sense, not in their words. Written by `python reports/claims.py`.",
        "",
        "| paper | claim | measured | verdict | command |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {f.paper} | {f.claim} | {f.measured} | {f.verdict} | `{f.command}` |" for f in findings()]
    text = "\n".join([*lines, ""]).replace("| `–` |", "| – |")
    (HERE / "claims.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
