"""From a case to the module on its device and the arguments of one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn

from convbench.case import DEFAULT_DIM, DEFAULT_IMAGE_SIZE, DEFAULT_SIZE, Case, Shape
from convbench.errors import TargetError, UsageError
from convbench.execution.clone import Cloner, clone
from convbench.execution.device import require_device, torch_dtype
from convbench.execution.dtypes import converted, dtype_names, own_dtype
from convbench.execution.guard import seeded
from convbench.execution.lazy import is_lazy_module, materialise
from convbench.execution.step import Step
from convbench.registry import Kind, resolve
from convbench.target.construct import constructed, prepared
from convbench.target.options import INPUT_CHANNELS, input_channels
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
    def dtype(self) -> str:
        """Dtype of the module's parameters and buffers; where they have several, all: ``float32+float64``."""
        return dtype_names(self.module)

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

    def module(
        self, seed: int | None = None, device: str | None = None, args: tuple[Any, ...] | None = None
    ) -> nn.Module:
        """A freshly initialised module, in eval or training mode, on ``device`` (the case's unless given).

        The initialisation depends on ``seed`` alone (the case's unless given); the global random state is untouched.
        It keeps the dtypes that its constructor chose, unless the case asks for one. Lazy parameters get the shapes
        that ``args``, those of its call unless given, ask for.
        """
        return self.built(seed, device, args).train(self.case.mode != "inference")

    def built(
        self, seed: int | None = None, device: str | None = None, args: tuple[Any, ...] | None = None
    ) -> nn.Module:
        """As `module`, in the mode in which its constructor leaves it."""
        device = device or self.case.device
        seed = self.case.seed if seed is None else seed
        module = constructed(self.name, self.construct, seed, on_meta=device == "meta")
        if is_lazy_module(module):
            where = "meta" if device == "meta" else "cpu"
            with seeded(seed):
                materialise(module, args or self.args(where, own_dtype(module)))
        module = converted(prepared(module, self.case), self._dtype, device)
        if self.case.memory_format == "channels_last":
            module = module.to(memory_format=torch.channels_last)
        return module

    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs: as the case gives them, or (batch, channels, size, size)."""
        if self.case.shapes:
            return self.case.shapes
        if self.kind == "network":
            channels, default = input_channels(self.options, INPUT_CHANNELS) or 3, DEFAULT_IMAGE_SIZE
        else:
            channels, default = input_channels(self.options) or self.case.dim or DEFAULT_DIM, DEFAULT_SIZE
        size = self.case.size or default
        return ((self.case.batch, channels, size, size),)

    @property
    def _dtype(self) -> torch.dtype | None:
        return None if self.case.dtype is None else torch_dtype(self.case.dtype)

    def args(self, device: str | None = None, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        """Inputs drawn from N(0, 1) with the case's seed, in the case's dtype, else in ``dtype``, else in float32."""
        device = device or self.case.device
        dtype = self._dtype or dtype or torch.float32
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
    """The module that ``reference`` names, on the CPU, as its constructor gives it: in training mode.

    reference: a registered name, ``file.py:Class``, ``package.module:Class``, ``timm:name`` or ``torchvision:name``.
    dim: channels of a block (64 unless given). Raises UsageError for a name, an option or a value that is not accepted.
    """
    return blueprint(Case(reference, dim=dim, options=tuple(options.items()))).built()


def make_subject(case: Case, device: str | None = None) -> Subject:
    """Build ``case`` on its device (or on ``device``, such as ``"meta"``) with its inputs."""
    plan = blueprint(case)
    require_device(device or case.device)
    return _subject(plan, device)


def instance_subject(module: nn.Module, case: Case, inputs: Sequence[Tensor] | None = None) -> Subject:
    """A subject around a clone of the caller's module; ``inputs`` are its positional arguments, drawn unless given."""
    if inputs is not None:
        case = replace(case, shapes=tuple(tuple(tensor.shape) for tensor in inputs), batch=1, size=None)
    plan = Blueprint(case, type(module).__name__, "block", {}, lambda: clone(module))
    return _subject(plan, None, inputs)


def _subject(plan: Blueprint, device: str | None, inputs: Sequence[Tensor] | None = None) -> Subject:
    given = None if inputs is None else tuple(inputs)
    module = plan.module(device=device, args=given)
    args = plan.args(device, own_dtype(module)) if given is None else given
    return Subject(plan.case, plan.name, plan.kind, plan.options, module, args)


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
        from convbench.target.hosts import host_model

        size, options, construct = host_model(case, reference)
        if case.size is None and not case.shapes:
            case = replace(case, size=size)
        return Blueprint(case, reference.text, "network", options, construct)
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
