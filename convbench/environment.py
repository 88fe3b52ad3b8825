"""The environment record: all that a reader needs in order to judge, or to repeat, a measurement."""

from __future__ import annotations

import os
import platform
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.case import Case
from convbench.machine import Machine, machine, throttle_count
from convbench.source import Source, source_tree

if TYPE_CHECKING:
    from convbench.execution.device import Device

_PACKAGES = (
    *("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "fvcore", "matplotlib", "psutil", "safetensors"),
    *("triton", "onnx", "onnxruntime", "submitit", "nvidia-ml-py", "memray"),
)
_THREAD_VARIABLES = re.compile(r"(OMP|KMP|GOMP|MKL|OPENBLAS|NUMEXPR|TBB|VECLIB|TORCH_NUM)_?\w*")
_ALLOCATOR_VARIABLES = re.compile(
    r"(_?R?JE_?MALLOC|MIMALLOC|MALLOC)_\w*|GLIBC_TUNABLES|LD_PRELOAD|DYLD_INSERT_LIBRARIES|PYTORCH_\w*ALLOC\w*|THP_\w*"
)
_DEVICE_VARIABLES = re.compile(
    r"(CUDA|CUDNN|CUBLAS|NVIDIA|HIP|ROCR|ZE|SYCL|TORCH_CUDNN|TORCH_ALLOW_TF32|PYTORCH_MPS)_\w*"
)
_BUILT_WITH = {
    "onednn": r"MKL-DNN v([\w.]+)",
    "mkl": r"Math Kernel Library Version ([\w.]+)",
    "openmp": r"OpenMP ([\w.]+)",
}
_GRADIENTS = {"inference": "inference_mode", "forward": "enabled", "training": "enabled, forward and backward"}


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of the machine at one time.

    load_1m, load_5m: runnable processes, averaged. steal_s: processor time that the hypervisor gave to others since the
    machine started, all cores together. throttles: how often the cores slowed down because they were hot, since then.
    """

    utc: str
    load_1m: float | None = None
    load_5m: float | None = None
    steal_s: float | None = None
    throttles: int | None = None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device besides the CPU. driver, power_limit_w: of NVIDIA's, where NVML tells."""

    device: str
    name: str
    memory_bytes: int | None
    capability: str | None
    uuid: str | None = None
    driver: str | None = None
    power_limit_w: float | None = None


@dataclass(frozen=True, slots=True)
class Torch:
    """torch and how it was built. capability: the widest vector instructions that it uses on this processor.

    onednn, mkl, openmp, cuda, cudnn, hip: versions of what it was built with; build: its own description.
    """

    version: str
    git: str | None
    capability: str
    onednn: str | None
    mkl: str | None
    openmp: str | None
    cuda: str | None
    cudnn: str | None
    hip: str | None
    build: str


@dataclass(frozen=True, slots=True)
class Execution:
    """How this process, or the processes that it started, ran what was measured.

    threads, interop_threads: of torch in this process. case_threads, seeds, grad_modes: of the cases. variables: of the
    thread libraries; allocator: of malloc and of torch's allocators, those preloaded included; devices: of CUDA and
    its like. tf32_products, tf32_convolutions: whether float32 is rounded to TF32 on CUDA in what is timed.
    cudnn_benchmark: whether cuDNN tries its algorithms.
    """

    threads: int
    interop_threads: int
    case_threads: tuple[int, ...]
    seeds: tuple[int, ...]
    grad_modes: tuple[str, ...]
    float32_matmul_precision: str
    deterministic: bool
    variables: Mapping[str, str]
    allocator: Mapping[str, str]
    devices: Mapping[str, str] = field(default_factory=dict)
    tf32_products: bool = False
    tf32_convolutions: bool = False
    cudnn_benchmark: bool = False


@dataclass(frozen=True, slots=True)
class Environment:
    """Hardware, software, and their state while something was measured.

    packages: versions by name, of those that are installed. convbench: its own source. sources: of what was measured,
    by name. start, end: between them the measurements were taken.
    """

    machine: Machine
    python: str
    torch: Torch
    packages: Mapping[str, str]
    accelerators: tuple[Accelerator, ...]
    execution: Execution
    convbench: Source
    start: Moment
    end: Moment
    sources: Mapping[str, Source] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Nested mappings of plain values; what is not known is None."""
        return completed(_plain(asdict(self)), self.start, self.end, self.sources)


def completed(
    described: Mapping[str, Any], start: Moment, end: Moment, sources: Mapping[str, Source]
) -> dict[str, Any]:
    """The environment that a worker described, with when and of which code was measured."""
    return {
        **described,
        "start": asdict(start),
        "end": asdict(end),
        "sources": {name: _plain(asdict(source)) for name, source in sources.items()},
        "steal_share": steal_share(start, end, (described.get("machine") or {}).get("logical_cores") or 1),
    }


def steal_share(start: Moment, end: Moment, cores: int) -> float | None:
    """Share of the processor time between two moments that the hypervisor gave to others."""
    if start.steal_s is None or end.steal_s is None:
        return None
    seconds = (datetime.fromisoformat(end.utc) - datetime.fromisoformat(start.utc)).total_seconds()
    return (end.steal_s - start.steal_s) / (seconds * cores) if seconds > 0 else 0.0


def describe(request: Mapping[str, Any], send: object) -> dict[str, Any]:
    """A worker's job: the environment record, of ``request["cases"]`` where it has any, since ``request["since"]``."""
    since = request.get("since")
    cases = [Case.from_json(case) for case in request.get("cases", ())]
    return environment(cases, since=None if since is None else Moment(**since)).to_json()


def environment(
    cases: Sequence[Case] = (),
    *,
    sources: Mapping[str, Source] | None = None,
    since: Moment | None = None,
    variables: Mapping[str, str] = os.environ,
) -> Environment:
    """The environment now.

    cases: what was measured, for threads, seeds and gradient modes. sources: of the targets,
    by name. since: a `moment` from before measuring; without it the start is that of this process, its load unknown.
    variables: the environment variables under which was measured.
    """
    return Environment(
        machine=machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        torch=_torch(),
        packages=_packages(),
        accelerators=_accelerators(),
        execution=_execution(cases, variables),
        convbench=source_tree(Path(__file__).parent),
        start=since or _process_start(),
        end=moment(),
        sources=dict(sources or {}),
    )


def moment() -> Moment:
    """The state of the machine now."""
    import psutil

    load = psutil.getloadavg()
    steal = getattr(psutil.cpu_times(), "steal", None)
    return Moment(_utc(datetime.now(UTC)), round(load[0], 2), round(load[1], 2), steal, throttle_count())


def _process_start() -> Moment:
    import psutil

    return Moment(_utc(datetime.fromtimestamp(psutil.Process().create_time(), UTC)))


def _utc(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _torch() -> Torch:
    import torch

    build = torch.__config__.show()
    found = {name: re.search(pattern, build) for name, pattern in _BUILT_WITH.items()}
    backend: Any = torch.backends.cudnn
    cudnn = backend.version() if torch.cuda.is_available() else None
    return Torch(
        version=str(torch.__version__),
        git=torch.version.git_version,
        capability=torch.backends.cpu.get_cpu_capability(),
        cuda=torch.version.cuda,
        cudnn=None if cudnn is None else str(cudnn),
        hip=torch.version.hip,
        build=build.strip(),
        **{name: None if match is None else match.group(1) for name, match in found.items()},
    )


def _packages() -> dict[str, str]:
    found = {"convbench": _own_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _own_version() -> str:
    from convbench.version import __version__

    return __version__


def _accelerators() -> tuple[Accelerator, ...]:
    from convbench.execution.device import Device, available_devices

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a driver that does not fit is no news in a list of what is usable
        return tuple(_accelerator(Device(name)) for name in available_devices() if name not in ("cpu", "meta"))


def _accelerator(device: Device) -> Accelerator:
    import torch

    from convbench.execution.nvml import driver_of

    if device.kind == "mps":
        return Accelerator("mps", "Apple GPU", torch.mps.recommended_max_memory(), None)
    major, minor = device.told("major"), device.told("minor")
    driver, power_limit_w = driver_of(device.uuid) if device.kind == "cuda" else (None, None)
    return Accelerator(
        str(device.torch),
        device.name,
        device.told("total_memory"),
        None if major is None or minor is None else f"{major}.{minor}",
        device.uuid,
        driver,
        power_limit_w,
    )


def _execution(cases: Sequence[Case], variables: Mapping[str, str]) -> Execution:
    import torch

    products = torch.get_float32_matmul_precision()
    return Execution(
        threads=torch.get_num_threads(),
        interop_threads=torch.get_num_interop_threads(),
        case_threads=tuple(sorted({case.threads for case in cases})),
        seeds=tuple(sorted({case.seed for case in cases})),
        grad_modes=tuple(dict.fromkeys(_GRADIENTS[case.mode] for case in cases)),
        float32_matmul_precision=products,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        variables=_matching(_THREAD_VARIABLES, variables),
        allocator=_matching(_ALLOCATOR_VARIABLES, variables),
        devices=_matching(_DEVICE_VARIABLES, variables),
        tf32_products=products != "highest",
        tf32_convolutions=products != "highest",  # see `convbench.execution.device.use_one_precision`
        cudnn_benchmark=torch.backends.cudnn.benchmark,
    )


def _matching(names: re.Pattern[str], variables: Mapping[str, str]) -> dict[str, str]:
    return {name: variables[name] for name in sorted(variables) if names.fullmatch(name)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
