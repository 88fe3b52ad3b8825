"""The runtimes that ship, beside torch's own call: a module exported, loaded, bound to its inputs, checked, called.

Each is a row of `RUNTIMES`. What is exported is the graph that ``torch.export`` or tracing sees: where a block has a
cheaper form of its own in eager mode, its spelled-out one. None of the packages is imported before it is asked for.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor

from convbench.errors import MeasurementError, MissingExtraError
from convbench.execution.guard import unlogged
from convbench.execution.step import Step
from convbench.execution.tensors import tensors_in

TOLERANCE = 1e-3
"""Largest difference to eager's outputs, as a share of their largest value, at which the two compute the same."""


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded module. call: runs it on the bound inputs. outputs: of the last call. kernels: what it is made of.

    memory: what is read and written by address, which must not be freed while there are calls.
    """

    call: Callable[[], object]
    outputs: Callable[[], Sequence[Tensor]]
    kernels: tuple[str, ...] = ()
    memory: object = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a module gets into a runtime.

    packages: what must be installed, by the extra ``extra``. suffix: of the file that is exported. own_threads: whether
    calls are carried out by threads of its own, and not by the caller's.
    export: writes the file. load: a session from it, with so many threads.
    """

    packages: tuple[str, ...]
    extra: str
    suffix: str
    own_threads: bool
    export: Callable[[Step, Path], None]
    load: Callable[[Step, Path, int], Session]


@dataclass(frozen=True, slots=True)
class Running:
    """A module that a runtime runs. export_ns: None where an earlier process had exported it already."""

    session: Session
    export_ns: int | None
    session_ns: int
    notes: tuple[str, ...]


def running(step: Step, execution: str, threads: int, folder: Path, key: str) -> Running:
    """``step`` under the runtime ``execution``, checked against eager.

    folder, key: where the exported file is, under which name, for the processes that come after.
    Raises MissingExtraError without the package, and MeasurementError for what is no inference in float32 on the CPU,
    for a module that cannot be exported or loaded, and where the outputs differ.
    """
    runtime = RUNTIMES[execution]
    _require(step, execution)
    for package in runtime.packages:
        try:
            import_module(package)
        except ImportError as error:
            raise MissingExtraError(package, runtime.extra, f"timing under {execution}") from error
    place = folder / f"{key}-{execution}"
    path = place / f"module{runtime.suffix}"
    with torch.no_grad(), warnings.catch_warnings(), unlogged():
        warnings.simplefilter("ignore")  # exporters warn of every shape that they take as given
        expected = tensors_in(step.forward())
        export_ns = None
        if not place.exists():
            begun = folder / f"{place.name}.{os.getpid()}"  # whole or not at all, however the process ends
            begun.mkdir(parents=True)
            export_ns = _taking("exported", lambda: runtime.export(step, begun / path.name))
            begun.rename(place)
        loaded: list[Session] = []
        session_ns = _taking("loaded", lambda: loaded.append(runtime.load(step, path, threads)))
        (session,) = loaded
        _taking("run", session.call)
        note = _agreement(session.outputs(), expected, execution)
    spelled_out = any(hasattr(part, "algorithmic_macs") for part in step.module.modules())
    notes = (note, *([f"{execution} runs the graph as exported, its spelled-out form"] if spelled_out else []))
    return Running(session, export_ns, session_ns, notes)


def _require(step: Step, execution: str) -> None:
    tensors = (*step.args, *step.module.parameters())
    if step.mode != "inference" or step.autocast is not None:
        raise MeasurementError(f"{execution} runs inference alone: --mode inference without --autocast")
    if step.kwargs or not all(isinstance(argument, Tensor) for argument in step.args):
        raise MeasurementError(f"{execution} takes modules whose arguments are tensors, by position")
    if any(tensor.device.type != "cpu" or tensor.dtype != torch.float32 for tensor in tensors):
        raise MeasurementError(f"{execution} is timed on the CPU in float32: --device cpu --dtype float32")


def _taking(doing: str, step: Callable[[], object]) -> int:
    """Nanoseconds that ``step`` takes. Raises MeasurementError that says what could not be done."""
    start = perf_counter_ns()
    try:
        step()
    except Exception as error:  # an exporter fails in as many ways as there are modules
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[0][:300] if lines else "no reason given"
        raise MeasurementError(f"it cannot be {doing}: {type(error).__name__}: {said}") from None
    return perf_counter_ns() - start


def _agreement(found: Sequence[Tensor], expected: Sequence[Tensor], execution: str) -> str:
    """What to say of outputs that are eager's. Raises MeasurementError where they are not."""
    if [one.shape for one in found] != [one.shape for one in expected]:
        raise MeasurementError(f"{execution} gives outputs of other shapes than eager: it is not the same computation")
    largest = max(float(one.abs().max()) for one in expected)
    apart = max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))
    share = apart / largest if largest else apart
    if not share <= TOLERANCE:  # not a number, too
        raise MeasurementError(f"{execution} differs from eager by {share:.1e} of the largest output: not timed")
    return f"{execution} agrees with eager within {share:.1e} of the largest output (tolerance {TOLERANCE:g})"


def _export_onnx(step: Step, path: Path) -> None:
    torch.onnx.export(step.module, step.args, path, dynamo=True, verbose=False, external_data=False)


def _load_onnxruntime(step: Step, path: Path, threads: int) -> Session:
    """Inputs and outputs are bound to torch's memory: nothing is copied in a call."""
    import numpy as np

    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Threads that spin for the next call would keep the cores from whoever's turn is next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    inputs = [tensor.contiguous() for tensor in step.args]
    outputs = [torch.empty_like(tensor).contiguous() for tensor in tensors_in(step.forward())]
    for stated, tensor in zip(session.get_inputs(), inputs, strict=True):
        binding.bind_input(stated.name, "cpu", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
    for stated, tensor in zip(session.get_outputs(), outputs, strict=True):
        binding.bind_output(stated.name, "cpu", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())

    graph = import_module("onnx").load(str(path)).graph
    kernels = _counted(node.op_type for node in graph.node)
    return Session(lambda: session.run_with_iobinding(binding), lambda: outputs, kernels, (inputs, outputs))


def _export_openvino(step: Step, path: Path) -> None:
    openvino = import_module("openvino")
    exported = torch.export.export(step.module, step.args)
    openvino.save_model(openvino.convert_model(exported), str(path), compress_to_fp16=False)


def _load_openvino(step: Step, path: Path, threads: int) -> Session:
    openvino = import_module("openvino")
    wanted = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", wanted)
    request = compiled.create_infer_request()
    inputs = [tensor.contiguous().numpy() for tensor in step.args]
    for index, array in enumerate(inputs):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))

    def outputs() -> list[Tensor]:
        return [torch.from_numpy(request.get_output_tensor(i).data.copy()) for i in range(len(compiled.outputs))]

    operators = compiled.get_runtime_model().get_ops()
    kinds = (str(operator.get_rt_info()["layerType"].astype(str)) for operator in operators)
    kernels = _counted(kind for kind in kinds if kind not in ("Const", "Input", "Output"))
    return Session(request.infer, outputs, kernels, (compiled, inputs))


def _export_torchscript(step: Step, path: Path) -> None:
    traced: Any = torch.jit.trace(step.module, step.args, check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(torch.jit.freeze(traced), str(path))


def _load_torchscript(step: Step, path: Path, threads: int) -> Session:
    return _in_torch(step, torch.jit.load(str(path)))  # type: ignore[no-untyped-call]


def _export_aot(step: Step, path: Path) -> None:
    exported = torch.export.export(step.module, step.args)
    import_module("torch._inductor").aoti_compile_and_package(exported, package_path=str(path))


def _load_aot(step: Step, path: Path, threads: int) -> Session:
    return _in_torch(step, import_module("torch._inductor").aoti_load_package(str(path)))


def _in_torch(step: Step, module: Callable[..., Any]) -> Session:
    """A module that takes and gives torch's tensors, in the caller's thread."""
    last: list[Any] = [None]

    def call() -> None:
        last[0] = module(*step.args)

    return Session(call, lambda: tensors_in(last[0]))


def _counted(kinds: Any) -> tuple[str, ...]:
    return tuple(f"{kind}×{count}" for kind, count in Counter(kinds).most_common())


RUNTIMES: Mapping[str, Runtime] = {
    "onnxruntime": Runtime(
        ("onnx", "onnxscript", "onnxruntime"), "onnx", ".onnx", False, _export_onnx, _load_onnxruntime
    ),
    "openvino": Runtime(("openvino",), "openvino", ".xml", True, _export_openvino, _load_openvino),
    "aot": Runtime((), "", ".pt2", False, _export_aot, _load_aot),
    "torchscript": Runtime((), "", ".ts", False, _export_torchscript, _load_torchscript),
}
