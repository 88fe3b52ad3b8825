"""Print how fast the networks are against straightforward implementations of the same, each pair timed in one run.

    python tests/benchmarks/networks.py [NAME…] [--rounds 9] [--size 224] [--batch 1] [--threads 1] [--training]

Medians of interleaved calls, CPU, float32, inference unless ``--training`` (forward and backward); below 1× is faster.
"""

from __future__ import annotations

import argparse
import importlib
from functools import partial

import straightforward
import torch
from interleave import medians_ms
from torch import Tensor, nn

from convblocks.catalogue import ENTRIES

DEFAULT = [
    "uniconvnet_a",
    "uniconvnet_n0",
    "uniconvnet_t",
    "conv2former_n",
    "conv2former_t",
    "pyconvresnet18",
    "pyconvresnet50",
    "pyconvhgresnet50",
    "pyconvsegnet_pyconvresnet50",
    "drconv_shufflenetv2_x0_5",
    "drconv_shufflenetv2_x1_0",
]


def build(name: str) -> nn.Module:
    """The registered network, its layer scales and offsets raised so that every branch counts."""
    module, _, attribute = next(entry["target"] for entry in ENTRIES if entry["name"] == name).partition(":")
    network: nn.Module = getattr(importlib.import_module(module), attribute)()
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if "scale" in key or "gamma" in key:
                parameter.fill_(0.1)
            elif key.endswith(("offset.weight", "mask.weight")):
                nn.init.normal_(parameter, std=0.02)
    return network.eval()


def train(network: nn.Module, x: Tensor) -> None:
    network(x).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=DEFAULT, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--training", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} thread(s)")
    for name in arguments.names:
        network = build(name)
        twin = straightforward.network(network)
        size = arguments.size // 8 * 8 + 1 if "segnet" in name else arguments.size
        x = torch.randn(arguments.batch, 3, size, size)
        with torch.inference_mode():
            expected = twin(x)
            difference = ((network(x) - expected).abs().max() / expected.abs().max()).item()
        call = partial(train, x=x) if arguments.training else None
        forms = {"straightforward": twin.train(arguments.training), "convblocks": network.train(arguments.training)}
        with torch.inference_mode(not arguments.training):
            times = medians_ms(
                {form: partial(call, module) if call else partial(module, x) for form, module in forms.items()},
                arguments.rounds,
            )
        ratio = times["convblocks"] / times["straightforward"]
        columns = "   ".join(f"{form} {time:9.2f} ms" for form, time in times.items())
        print(f"{name:<30} {columns}   {ratio:4.2f}×   difference / largest output {difference:.1e}", flush=True)


if __name__ == "__main__":
    main()
