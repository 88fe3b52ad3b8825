"""What other profilers count, against multiply–accumulates derived by hand and against convbench.

    python reports/profilers.py

Writes profilers.csv and profilers.json (every count as printed) and profilers.md (differences) beside this file. Each
tool runs in a process of its own, on a module built afresh, because several leave the module or torch changed. Tools
that are not installed are left out; profilers.txt lists them.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convbench import build
from convbench.environment import environment
from convbench.measures.cost import measure_cost
from convbench.report.io.row_files import Rows, write_rows

HERE = Path(__file__).resolve().parent
SIZE = 56
PIXELS = SIZE**2
C = 64
Q = C // 4
REGIONS = 8
Count = Callable[[nn.Module, Tensor], float]


@dataclass(frozen=True, slots=True)
class Case:
    """exact: multiply–accumulates of convolutions, linear and matrix products, from the layers' shapes by hand.

    training: the same of forward and backward; each costs what the forward costs once more for the gradient of the
    weights and once more for that of the input, where that one is needed. None where it was not derived.
    """

    target: str
    exact: int
    training: int | None
    options: Mapping[str, Any] = field(default_factory=dict)


def block(target: str, macs_per_pixel: int, **options: Any) -> Case:
    """A block of convolutions only."""
    return Case(target, macs_per_pixel * PIXELS, 3 * macs_per_pixel * PIXELS, options)


_REFOCUS = C**2 * 9 * 9
CASES = (
    block("Conv3x3", 9 * C**2),
    block("DepthwiseSeparable", 9 * C + C**2),
    block("ConvNeXt", 49 * C + 8 * C**2),
    block("MRFA", 50 * Q**2 + 601 * Q),
    block("Conv2Former", 11 * C**2 + (121 + 36) * C, kernel_size=11),
    block("PyConv", C * Q * (9 * 16 + 25 * 4 + 49 * 2 + 81) // 16),  # groups 1, 4, 8, 16
    # The kernel is made from a frozen basis, which needs no gradient.
    Case("RefConvBlock", 9 * C**2 * PIXELS + _REFOCUS, 3 * 9 * C**2 * PIXELS + 2 * _REFOCUS),
    # Straightforward form: every region's filter on every pixel, the guide, and the two layers that make the filters.
    Case(
        "DRConv",
        REGIONS * 9 * C**2 * PIXELS + 9 * C * REGIONS * PIXELS + 9 * (C * REGIONS**2 + REGIONS**2 * C**2),
        None,
    ),
)


def convbench(module: nn.Module, x: Tensor) -> float:
    return measure_cost(module, (x,)).macs


def convbench_training(module: nn.Module, x: Tensor) -> float:
    return measure_cost(module, (x,), training=True).macs


def flop_counter_mode(module: nn.Module, x: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops()


def flop_counter_mode_training(module: nn.Module, x: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(x.requires_grad_()).sum().backward()
    return counter.get_total_flops()


def fvcore(module: nn.Module, x: Tensor) -> float:
    from fvcore.nn import FlopCountAnalysis

    return FlopCountAnalysis(module, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


def thop(module: nn.Module, x: Tensor) -> float:
    from thop import profile

    return profile(module, inputs=(x,), verbose=False)[0]


def ptflops(module: nn.Module, x: Tensor) -> float:
    from ptflops import get_model_complexity_info

    return get_model_complexity_info(
        module, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, verbose=False, backend="pytorch"
    )[0]


def torchinfo(module: nn.Module, x: Tensor) -> float:
    from torchinfo import summary

    return summary(module, input_data=x, verbose=0).total_mult_adds


def torchprofile(module: nn.Module, x: Tensor) -> float:
    from torchprofile import profile_macs

    return profile_macs(module, x)


def calflops(module: nn.Module, x: Tensor) -> float:
    from calflops import calculate_flops

    return calculate_flops(module, args=[x], print_results=False, print_detailed=False, output_as_string=False)[1]


def onnx_tool(module: nn.Module, x: Tensor) -> float:
    import onnx_tool as tool

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "module.onnx")
        torch.onnx.export(module, (x,), path, dynamo=False)
        graph = tool.Model(path).graph
        graph.shape_infer(None)
        graph.profile()
        return float(sum(graph.macs))


@dataclass(frozen=True, slots=True)
class Tool:
    """package: what pip knows it as. macs: how many multiply–accumulates its unit stands for.

    training: counts forward and backward, where the tool can.
    """

    count: Count
    package: str
    unit: str
    macs: float = 1.0
    training: Count | None = None


TOOLS: dict[str, Tool] = {
    "convbench": Tool(convbench, "convbench", "MACs of conv, linear, matmul", training=convbench_training),
    "torch FlopCounterMode": Tool(flop_counter_mode, "torch", "2 a MAC", 0.5, flop_counter_mode_training),
    "fvcore": Tool(fvcore, "fvcore", "MACs and norms, called flops"),
    "thop": Tool(thop, "thop", "MACs and 2 a norm's element"),
    "ptflops": Tool(ptflops, "ptflops", "MACs, bias, norm, activation"),
    "torchinfo": Tool(torchinfo, "torchinfo", "parameters × outputs"),
    "torchprofile": Tool(torchprofile, "torchprofile", "MACs and norms"),
    "calflops": Tool(calflops, "calflops", "MACs"),
    "onnx-tool": Tool(onnx_tool, "onnx-tool", "MACs of every operator"),
}


def count_all(name: str) -> list[dict[str, Any]]:
    """One tool on every case, forward, and forward and backward where it can."""
    tool = TOOLS[name]
    rows = [count_one(name, case, "forward", tool.count, case.exact) for case in CASES]
    if tool.training is not None:
        rows += [
            count_one(name, case, "forward + backward", tool.training, case.training)
            for case in CASES
            if case.training is not None
        ]
    return rows


def count_one(name: str, case: Case, what: str, count: Count, exact: int) -> dict[str, Any]:
    tool = TOOLS[name]
    torch.manual_seed(0)
    module = build(case.target, dim=C, **case.options).eval()
    x = torch.randn(1, C, SIZE, SIZE)
    row: dict[str, Any] = {
        "target": case.target,
        "options": json.dumps({"dim": C, **case.options}),
        "input_shape": "x".join(map(str, x.shape)),
        "counted": what,
        "exact_macs": exact,
        "tool": name,
        "version": importlib.metadata.version(tool.package),
        "unit": tool.unit,
        "printed": None,
        "macs": None,
        "difference": None,
        "error": None,
    }
    try:
        # Gradients stay on: without them DRConv takes a way of fewer MACs than its straightforward form.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            printed = float(count(module, x))
        macs = printed * tool.macs
        return row | {"printed": printed, "macs": macs, "difference": macs / exact - 1}
    except Exception as error:  # what a tool cannot count is a result too
        return row | {"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]}


def in_own_process(name: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, __file__, "--tool", name], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode != 0:
        print(f"{name}: left out: {(done.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return []
    return list(json.loads(done.stdout.splitlines()[-1]))


def matrix(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A row a case and a column a tool: how far it is from the hand count."""
    table: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        exact = f"{row['exact_macs'] / 1e6:.3f}"
        start = {"target": row["target"], "input": row["input_shape"], "counted": row["counted"]}
        line = table.setdefault((row["target"], row["counted"]), {**start, "by hand (M MACs)": exact})
        line[f"{row['tool']} {row['version']}"] = "error" if row["error"] else difference(row["difference"])
    return sorted(table.values(), key=lambda line: line["counted"])


def difference(share: float) -> str:
    if abs(share) < 1e-12:
        return "0"
    return f"{100 * share:+.3g}%".replace("-", "−")


def main() -> None:
    if sys.argv[1:2] == ["--tool"]:
        print(json.dumps(count_all(sys.argv[2])))
        return
    command = shlex.join(["python", "reports/profilers.py"])
    rows = [row for name in TOOLS for row in in_own_process(name)]
    surroundings = environment().to_json()
    for name in ("profilers.csv", "profilers.json"):
        write_rows(HERE / name, Rows("counts", rows, surroundings, command))
    write_rows(HERE / "profilers.md", Rows("differences", matrix(rows), surroundings, command))


if __name__ == "__main__":
    main()
