"""From a case to the module on its device and the arguments of one call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn

from convbench.case import DEFAULT_DIM, DEFAULT_IMAGE_SIZE, DEFAULT_SIZE, Case, Shape
from convbench.errors import OptionError, TargetError, UsageError, WeightsError
from convbench.execution.clone import Cloner
from convbench.execution.device import require_device, torch_dtype
from convbench.execution.step import Step
from convbench.registry import Kind, resolve
from convbench.target.references import bind_options, kind_of, load_factory

_INSTANCE_SCHEME = "saved:"


@dataclass(frozen=True, slots=True)
class Subject:
    """A built case: the module in its mode on its device, and the arguments of one call.

    options: the effective ones, defaults included. name and kind are what tables print.
    """

    case: Case
    name: str
    kind: Kind
    options: Mapping[str, Any]
    module: nn.Module
    args: tuple[Tensor, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each positional input."""
        return tuple(tuple(arg.shape) for arg in self.args)

    @property
    def training(self) -> bool:
        """Whether one call is a training step: forward and backward."""
        return self.case.mode == "training"

    @property
    def records_gradients(self) -> bool:
        """Whether one call records what a backward pass would need: a training step, or its forward half."""
        return self.case.mode != "inference"

    @property
    def input_grad(self) -> bool:
        """Whether the backward pass of a training step computes the gradient of the input."""
        asked = self.case.input_grad
        return self.kind == "block" if asked is None else asked

    @property
    def autocast(self) -> torch.dtype | None:
        """Dtype of the autocast region around the call, or None."""
        return None if self.case.autocast is None else torch_dtype(self.case.autocast)

    def step(self, cloner: Cloner | None = None) -> Step:
        """One call of the subject, as its mode says: of clones where there is a cloner, else of the subject itself.

        The inputs get a gradient where the case asks for it.
        """
        module, args, kwargs = self.module, self.args, self.kwargs
        if cloner is not None:
            module, (args, kwargs) = cloner.module(module), cloner.arguments((args, dict(kwargs)))
        step = Step(module, args, kwargs, self.case.mode, self.autocast)
        return step.ask_for_input_gradients() if self.records_gradients and self.input_grad else step


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A target whose factory is imported and whose options are checked, but that is not built yet."""

    case: Case
    name: str
    kind: Kind
    options: Mapping[str, Any]
    construct: Callable[[], nn.Module]

    def module(self, seed: int | None = None, device: str | None = None) -> nn.Module:
        """A freshly initialised module, in eval or training mode, on ``device`` (the case's unless given).

        The initialisation depends on ``seed`` alone (the case's unless given); the global random state is untouched.
        """
        device = device or self.case.device
        with _seeded(self.case.seed if seed is None else seed):
            module = _call(self.name, self.construct, device)
        module = _prepare(module, self.case)
        module = module.to(device=device, dtype=torch_dtype(self.case.dtype))
        if self.case.memory_format == "channels_last":
            module = module.to(memory_format=torch.channels_last)
        return module.train(self.case.mode != "inference")

    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs: as the case gives them, or (batch, channels, size, size)."""
        if self.case.shapes:
            return self.case.shapes
        if self.kind == "network":
            channels, default = int(self.options.get("in_chans", 3)), DEFAULT_IMAGE_SIZE
        else:
            channels, default = self._block_channels(), DEFAULT_SIZE
        size = self.case.size or default
        return ((self.case.batch, channels, size, size),)

    def _block_channels(self) -> int:
        for name in ("dim", "in_channels", "in_chans", "channels", "in_planes", "inp", "num_features"):
            value = self.options.get(name)
            if isinstance(value, int):
                return value
        return self.case.dim or DEFAULT_DIM

    def args(self, device: str | None = None) -> tuple[Tensor, ...]:
        """Inputs drawn from N(0, 1) with the case's seed."""
        device = device or self.case.device
        dtype = torch_dtype(self.case.dtype)
        channels_last = self.case.memory_format == "channels_last"
        generator = torch.Generator().manual_seed(self.case.seed)
        args = []
        for shape in self.shapes():
            if device == "meta":
                tensor = torch.empty(shape, dtype=dtype, device="meta")
            else:
                tensor = torch.randn(shape, generator=generator).to(device=device, dtype=dtype)
            if channels_last and tensor.dim() == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            args.append(tensor)
        return tuple(args)


def build(reference: str, dim: int | None = None, **options: Any) -> nn.Module:
    """The module that ``reference`` names, in eval mode on the CPU.

    reference: a registered name, ``file.py:Class``, ``package.module:Class``, ``timm:name`` or ``torchvision:name``.
    dim: channels of a block (64 unless given). Raises UsageError for a name, an option or a value that is not accepted.
    """
    return blueprint(Case(reference, dim=dim, options=tuple(options.items()))).module()


def make_subject(case: Case, device: str | None = None) -> Subject:
    """Build ``case`` on its device (or on ``device``, such as ``"meta"``) with its inputs."""
    plan = blueprint(case)
    device = device or case.device
    require_device(device)
    return Subject(case, plan.name, plan.kind, plan.options, plan.module(device=device), plan.args(device))


def instance_subject(module: nn.Module, case: Case, inputs: Sequence[Tensor] | None = None) -> Subject:
    """A subject around a copy of the caller's module; ``inputs`` are its positional arguments, drawn unless given.

    Raises TargetError when the module cannot be copied.
    """
    name = type(module).__name__
    if inputs is not None:
        case = replace(case, shapes=tuple(tuple(tensor.shape) for tensor in inputs), batch=1, size=None)
    try:
        plan = Blueprint(case, name, "block", {}, lambda: copy.deepcopy(module))
        return Subject(case, name, "block", {}, plan.module(), plan.args() if inputs is None else tuple(inputs))
    except RuntimeError as error:
        raise TargetError(f"{name} cannot be copied: {error}") from error


def save_instance(module: nn.Module, path: Path) -> str:
    """Write a module instance to ``path`` and return the reference under which a worker process finds it.

    Raises TargetError when the module cannot be pickled.
    """
    try:
        torch.save(module, path, pickle_module=cloudpickle)  # takes classes of a script or a notebook along
    except Exception as error:  # pickling runs the user's own code
        raise TargetError(f"{type(module).__name__} cannot be sent to a measuring process: {error}") from error
    return f"{_INSTANCE_SCHEME}{path}"


def blueprint(case: Case) -> Blueprint:
    """Import the target of ``case`` and check its options. Raises UsageError."""
    if case.target.startswith(_INSTANCE_SCHEME):
        path = case.target.removeprefix(_INSTANCE_SCHEME)
        module: nn.Module = torch.load(path, weights_only=False)
        return Blueprint(case, type(module).__name__, "block", {}, lambda: module)
    reference = resolve(case.target)
    if reference.scheme in ("timm", "torchvision"):
        from convbench.target.hosts import host_blueprint

        return host_blueprint(case, reference)
    if case.pretrained:
        raise UsageError(
            f"{reference.name}: --pretrained is for timm: and torchvision: models; others take --weights FILE"
        )
    factory = load_factory(reference)
    kind = kind_of(reference, factory)
    options = bind_options(reference.name, factory, kind, case)
    if reference.entry is not None and case.size is None and not case.shapes:
        case = replace(case, size=reference.entry.size)
    return Blueprint(case, reference.name, kind, options, lambda: factory(**options))


def _prepare(module: nn.Module, case: Case) -> nn.Module:
    """Apply the checkpoint and the transformations that the case asks for.

    The checkpoint may be of the target as it is built or of what a transformation makes of it: it is loaded at the
    first point where it fits.
    """
    misfit = _misfit(module, case.weights)
    for transform in case.transforms:
        from convbench.target.transforms import apply_transform

        module = apply_transform(module, transform)
        if misfit is not None and _misfit(module, case.weights) is None:
            misfit = None
    if misfit is not None:
        raise misfit
    return module


def _misfit(module: nn.Module, weights: str | None) -> WeightsError | None:
    """Load the checkpoint, if there is one; why it does not fit, if so."""
    if weights is None:
        return None
    from convbench.target.weights import load_weights

    try:
        load_weights(module, Path(weights))
    except WeightsError as error:
        return error
    return None


def _call(name: str, construct: Callable[[], nn.Module], device: str) -> nn.Module:
    try:
        with torch.device("meta" if device == "meta" else "cpu"):
            module = construct()
    except (ValueError, TypeError, AssertionError) as error:
        text = str(error)
        raise OptionError(text if text.startswith(name) else f"{name}: {text}") from error
    except Exception as error:  # a user's constructor may fail in any way
        raise TargetError(f"{name} could not be built: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise TargetError(f"{name} gave a {type(module).__name__}, not a torch.nn.Module")
    return module


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
