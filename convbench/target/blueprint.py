"""From a case to the module on its device and the arguments of one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from convbench.case import DEFAULT_DIM, DEFAULT_IMAGE_SIZE, DEFAULT_SIZE, Case, Shape
from convbench.errors import UsageError
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


@dataclass(frozen=True, slots=True)
class Subject:
    """A built case: the module in its mode on its device, and the arguments of one call.

    options: the effective ones, defaults included. name and kind are what tables print.
    args, kwargs: as the module takes them, tensors at any depth.
    initialised: a freshly initialised module of a seed; None where the weights are given.
    """

    case: Case
    name: str
    kind: Kind
    options: Mapping[str, Any]
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    initialised: Callable[[int], nn.Module] | None = None

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each tensor among the arguments."""
        return shapes_in((self.args, dict(self.kwargs)))

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
    """A target whose factory is imported and whose options are checked, but that is not built yet.

    given, kwargs: positional arguments of the call, drawn as the case says unless given, and those by name.
    is_instance: whether ``construct`` gives a module that has its weights.
    """

    case: Case
    name: str
    kind: Kind
    options: Mapping[str, Any]
    construct: Callable[[], nn.Module]
    given: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    is_instance: bool = False

    def subject(self, device: str | None = None) -> Subject:
        """The built case, on its device unless another is given. Raises UsageError."""
        device = device or self.case.device
        require_device(device)
        has_weights = self.is_instance or self.case.weights is not None or self.case.pretrained
        module = self.module(device=device)
        return Subject(
            self.case,
            self.name,
            self.kind,
            self.options,
            module,
            self.args(device, own_dtype(module)),
            _moved(self.kwargs, device),
            None if has_weights else self.module,
        )

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
        """Shapes of the inputs: as they or the case give them, or (batch, channels, size, size)."""
        if self.given is not None:
            return shapes_in((self.given, dict(self.kwargs)))
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

    def args(self, device: str | None = None, dtype: torch.dtype | None = None) -> tuple[Any, ...]:
        """The inputs on ``device``: those given, or drawn from N(0, 1) with the case's seed.

        They are drawn in the case's dtype, else in ``dtype``, else in float32.
        """
        device = device or self.case.device
        if self.given is not None:
            moved: tuple[Any, ...] = _moved(self.given, device)
            return moved
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
    return blueprint(case).subject(device)


def instance_blueprint(
    module: nn.Module, case: Case, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
) -> Blueprint:
    """The blueprint of clones of ``module``; ``args`` and ``kwargs`` are those of its call, drawn unless given."""
    given = None if args is None else tuple(args)
    name = type(module).__name__
    return Blueprint(case, name, "block", {}, lambda: clone(module), given, dict(kwargs or {}), is_instance=True)


def _moved(arguments: Any, device: str) -> Any:
    return tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, arguments)


def shapes_in(arguments: object) -> tuple[Shape, ...]:
    """Shape of each tensor in nested arguments."""
    return tuple(tuple(leaf.shape) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor))


def blueprint(case: Case) -> Blueprint:
    """Import the target of ``case`` and check its options. Raises UsageError."""
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
