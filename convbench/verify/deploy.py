"""Checks of the ways out of eager Python: TorchScript, torch.export, ONNX, torch.compile.

Each captured form is compared on another input than the one it was captured with: what was baked in then shows.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convbench.target.references import require_extra
from convbench.verify.agreement import require_close, tensors_in
from convbench.verify.calls import apart, first_line
from convbench.verify.result import Failed, Skipped
from convbench.verify.trial import Args, Trial

_ONNX_ALLOWANCE = 10.0
"""How much further than torch's own kernels onnxruntime's may be from eager's."""


def trace(trial: Trial) -> str:
    """A TorchScript trace, saved and loaded again, agrees on other values; says whether it does on other sizes."""
    with _quiet(), torch.no_grad():
        options: dict[str, Any] = {"check_trace": False, "strict": False}  # not strict: mappings may come out
        traced = torch.jit.trace(trial.module, trial.args, **options)  # type: ignore[no-untyped-call]
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file, map_location=trial.device)  # type: ignore[no-untyped-call]
        difference = _agreement(trial, loaded, trial.draw(seed=4), "the trace")
        sizes = _other_sizes(trial, loaded)
    return f"{apart(difference)}{sizes}"


def _other_sizes(trial: Trial, traced: Any) -> str:
    shape = trial.shapes[0] or (1,)
    batch, *_, height, width = shape if len(shape) == 4 else (shape[0], 0, 0)
    size = (height + 2, width + 4) if height else None
    try:
        args = trial.draw(seed=4, batch=batch + 1, size=size)
        expected = trial.infer(trial.module, args)
    except Exception:  # the target takes no other size: then there is nothing to say
        return ""
    try:
        require_close(traced(*args), expected, trial.tolerance, "other sizes")
    except Exception:
        return ", for the traced shape only"
    return ", other sizes too"


def export(trial: Trial) -> str:
    """The exported program agrees on other values; with any batch size if the target allows it."""
    with _quiet(), torch.no_grad():
        try:
            batch = torch.export.Dim("batch", min=1)
            shapes = tuple({0: batch} for _ in trial.args)
            program = torch.export.export(trial.module, trial.args, dynamic_shapes=shapes).module()
            difference = _agreement(trial, program, trial.draw(seed=4, batch=trial.shapes[0][0] + 1), "the program")
            return f"{apart(difference)}, any batch size"
        except Exception as error:
            program = torch.export.export(trial.module, trial.args).module()
            difference = _agreement(trial, program, trial.draw(seed=4), "the program")
            return f"{apart(difference)}, for the exported batch size only ({first_line(error)})"


def onnx(trial: Trial) -> str:
    """The ONNX model, run by onnxruntime on the CPU, agrees on other values."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require_extra(package, "onnx", "the onnx check")
    module = trial.awake().cpu()
    args = tuple(arg.cpu() for arg in trial.args)
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder:
        path = Path(folder) / "model.onnx"
        with _quiet(), torch.no_grad():
            torch.onnx.export(module, args, path, dynamo=True, verbose=False)
        outputs = _run_onnx(path, tuple(arg.cpu() for arg in trial.draw(seed=4)))
    expected = tensors_in(trial.infer(trial.module, trial.draw(seed=4)))
    return apart(require_close(outputs, expected, _ONNX_ALLOWANCE * trial.tolerance, "onnxruntime"))


def _run_onnx(path: Path, args: Args) -> list[Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    if len(names) != len(args):
        raise Failed(f"the model has {len(names)} inputs, not {len(args)}: an input is not used")
    feeds = {name: arg.numpy() for name, arg in zip(names, args, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, feeds)]


def compiled(trial: Trial) -> str:
    """torch.compile of inference agrees; says whether it is one graph."""
    with _quiet(), torch.no_grad(), _fresh_compiler():
        try:
            return f"{apart(_compiled_agreement(trial, fullgraph=True))}, one graph"
        except Failed:
            raise
        except Exception as error:  # whatever keeps it from being one graph, several may do
            if "InvalidCxxCompiler" in str(error):  # wrapped differently from version to version
                raise Skipped(f"torch.compile needs a C++ compiler: {first_line(error)}") from error
            torch._dynamo.reset()
            return f"{apart(_compiled_agreement(trial, fullgraph=False))}, with graph breaks ({first_line(error)})"


def _compiled_agreement(trial: Trial, *, fullgraph: bool) -> float:
    module = torch.compile(trial.module, fullgraph=fullgraph)
    module(*(arg.clone() for arg in trial.args))
    return _agreement(trial, module, trial.draw(seed=4), "the compiled module")


def _agreement(trial: Trial, captured: Callable[..., Any], args: Args, what: str) -> float:
    expected = trial.infer(trial.module, args)
    return require_close(captured(*(arg.clone() for arg in args)), expected, trial.tolerance, what)


@contextlib.contextmanager
def _fresh_compiler() -> Iterator[None]:
    """Compiled code is kept by code object: without a reset one module's failures would decide about the next."""
    torch._dynamo.reset()
    try:
        yield
    finally:
        torch._dynamo.reset()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters print, warn and log at length; what matters of it is raised."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
