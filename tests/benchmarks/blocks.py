"""Print how the blocks' operators compare with straightforward forms of them, each pair timed in one run.

    python tests/benchmarks/blocks.py [--rounds 15] [--threads 1]

Medians of interleaved calls, CPU, float32, no gradients but in the lines that say so; below 1× is faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial

import straightforward
import torch
from interleave import medians_ms, print_ratios
from torch import Tensor, nn

import convblocks
from convblocks.deform import deformable_sample


def drconv(rounds: int) -> None:
    """One filter a pixel against every filter at every pixel."""
    for batch, dim, size, kernel, regions in (
        (1, 64, 56, 3, 8),
        (4, 64, 56, 3, 8),
        (1, 64, 56, 1, 8),
        (1, 128, 28, 3, 8),
        (1, 64, 56, 3, 4),
        (1, 256, 14, 3, 8),
    ):
        block = convblocks.DRConv(dim, dim, kernel, regions=regions, padding=kernel // 2).eval()
        x = torch.randn(batch, dim, size, size)
        calls = {"all regions": partial(straightforward.all_regions, block, x), "DRConv": partial(block, x)}
        print_ratios(f"DRConv k{kernel} {dim}ch {size}² batch {batch}, {regions} regions", calls, rounds)


def layer_norm(rounds: int) -> None:
    """The channels-first LayerNorm against its formula and against a copying permute."""
    for shape in ((1, 16, 56, 56), (1, 64, 56, 56), (4, 64, 56, 56), (1, 256, 14, 14)):
        norm = convblocks.LayerNorm2d(shape[1])
        forms = {
            "six temporaries": straightforward.SixTemporariesNorm(norm),
            "permute and copy": straightforward.PermutingNorm(norm),
            "LayerNorm2d": norm,
        }
        print_ratios(f"LayerNorm {shape}", _on_same_input(forms, torch.randn(shape)), rounds)


def mrfa(rounds: int) -> None:
    """MRFA against the same with straightforward norms."""
    for batch, dim, size in ((1, 32, 56), (1, 64, 56), (4, 64, 56), (1, 128, 28)):
        block = convblocks.MRFA(dim).eval()
        forms = {
            "six temporaries": straightforward.mrfa(block, straightforward.SixTemporariesNorm),
            "permute and copy": straightforward.mrfa(block, straightforward.PermutingNorm),
            "MRFA": block,
        }
        title = f"MRFA {dim}ch {size}² batch {batch}"
        print_ratios(title, _on_same_input(forms, torch.randn(batch, dim, size, size)), rounds)


def _on_same_input(forms: Mapping[str, nn.Module], x: Tensor) -> dict[str, Callable[[], Tensor]]:
    return {name: partial(form, x) for name, form in forms.items()}


def pyconv(rounds: int) -> None:
    """Pyramids against the same convs on the input as it comes."""
    cases: list[tuple[str, nn.Module, int]] = [
        ("PyConv4 64ch 56²", convblocks.PyConv4(64, 64), 56),
        ("PyConv4 HG 128ch 56²", convblocks.PyConv4(128, 128, groups=[32] * 4), 56),
        ("PyConv3 128ch 28²", convblocks.PyConv3(128, 128), 28),
        ("PyConv2 256ch 14²", convblocks.PyConv2(256, 256), 14),
        ("PyConv4 512ch 14²", convblocks.PyConv4(512, 512), 14),
    ]
    for title, block, size in cases:
        levels = list(block.eval().children())
        x = torch.randn(1, levels[0].in_channels, size, size)
        calls = {"as it comes": partial(straightforward.concatenate, levels, x), "PyConv": partial(block, x)}
        print_ratios(title, calls, max(rounds // 2, 3))


def deformable_sampling(rounds: int) -> None:
    """Both forms of the sampling against grid_sample on normalised coordinates, and the errors against float64."""
    forms = {"grid_sample": straightforward.grid_sampling, "deformable": deformable_sample}
    for batch, channels, size, groups in ((1, 24, 56, 3), (1, 64, 56, 8), (1, 64, 56, 4), (1, 192, 14, 24)):
        operands = (
            torch.randn(batch, size, size, channels),
            torch.randn(batch, size, size, groups * 18),
            torch.randn(batch, size, size, groups * 9),
        )
        title = f"deformable sampling {channels}ch {size}² {groups} groups"
        print_ratios(title, {name: partial(form, *operands, groups) for name, form in forms.items()}, rounds)
        times = medians_ms({name: partial(_backward, form, operands, groups) for name, form in forms.items()}, rounds)
        print(f"{'  with backward':<44} {times['deformable'] / times['grid_sample']:4.2f}×")
        exact = straightforward.grid_sampling(*(operand.double() for operand in operands), groups)
        for name, form in forms.items():
            error = (form(*operands, groups) - exact).abs().max() / exact.abs().max()
            print(f"{'  largest error / largest output, ' + name:<44} {error:.1e}")


def _backward(form: Callable[..., Tensor], operands: tuple[Tensor, ...], groups: int) -> None:
    form(*(operand.detach().requires_grad_() for operand in operands), groups).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} thread(s)")
    for benchmark in (drconv, layer_norm, mrfa, pyconv, deformable_sampling):
        benchmark(arguments.rounds)


if __name__ == "__main__":
    main()
