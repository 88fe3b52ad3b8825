"""From a case to the module on its device and the arguments of one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from convbench.case import DEFAULT_DIM, DEFAULT_IMAGE_SIZE, DEFAULT_SIZE, Case
from convbench.errors import UsageError
from convbench.execution.clone import Cloner, clone
from convbench.execution.device import require_device, torch_dtype
from convbench.execution.dtypes import converted, dtype_names, own_dtype
from convbench.execution.guard import seeded
from convbench.execution.lazy import is_lazy_module, materialise
from convbench.execution.step import Step
from convbench.inputs import Drawn, Shape, specified
from convbench.reference import read_case
from convbench.registry import Kind, resolve
from convbench.target import arguments
from convbench.target.arguments import Arguments, shapes_in
from convbench.target.construct import constructed, prepared
from convbench.target.options import INPUT_CHANNELS, input_channels
from convbench.target.references import bind_options, kind_of, load_factory, places_of


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

    usual: the arguments of its call where the case says none: what the caller gave, what the target says itself, or
        what its host says; None: one feature map or image.
    is_instance: whether ``construct`` gives a module that has its weights.
    """

    case: Case
    name: str
    kind: Kind
    options: Mapping[str, Any]
    construct: Callable[[], nn.Module]
    usual: Callable[[Case], Arguments] | None = None
    is_instance: bool = False
    _said: list[tuple[Case, Arguments]] = field(default_factory=list, compare=False, repr=False)

    def subject(self, device: str | None = None) -> Subject:
        """The built case, on its device unless another is given. Raises UsageError."""
        device = device or self.case.device
        require_device(device)
        has_weights = self.is_instance or self.case.weights is not None or self.case.pretrained
        module = self.module(device=device)
        args, kwargs = self.call(device, own_dtype(module))
        initialised = None if has_weights else self.module
        return Subject(self.case, self.name, self.kind, self.options, module, args, kwargs, initialised)

    def module(self, seed: int | None = None, device: str | None = None) -> nn.Module:
        """A freshly initialised module, in eval or training mode, on ``device`` (the case's unless given).

        The initialisation depends on ``seed`` alone (the case's unless given); the global random state is untouched.
        It keeps the dtypes that its constructor chose, unless the case asks for one. Lazy parameters get the shapes
        that the arguments of its call ask for.
        """
        return self.built(seed, device).train(self.case.mode != "inference")

    def built(self, seed: int | None = None, device: str | None = None) -> nn.Module:
        """As `module`, in the mode in which its constructor leaves it."""
        device = device or self.case.device
        seed = self.case.seed if seed is None else seed
        module = constructed(self.name, self.construct, seed, on_meta=device == "meta")
        if is_lazy_module(module):
            where = "meta" if device == "meta" else "cpu"
            with seeded(seed):
                materialise(module, *self.call(where, own_dtype(module)))
        module = converted(prepared(module, self.case), self._dtype, device)
        if self.case.memory_format == "channels_last":
            module = module._apply(arguments.channels_last)  # type: ignore[no-untyped-call]
        return module

    @property
    def arguments(self) -> Arguments:
        """The arguments of the call, tensors that are to be drawn as descriptions: as the case says, else the usual."""
        if self.case.shapes:
            return self.case.arguments
        if self.usual is not None:
            if self.case not in [case for case, _ in self._said]:
                self._said.append((self.case, self.usual(self.case)))  # the target's own code, called once
            return next(said for case, said in self._said if case == self.case)
        if self.kind == "network":
            channels, size = input_channels(self.options, INPUT_CHANNELS) or 3, DEFAULT_IMAGE_SIZE
        else:
            channels, size = input_channels(self.options) or self.case.dim or DEFAULT_DIM, DEFAULT_SIZE
        size = self.case.size or size
        return (Drawn((self.case.batch, channels, size, size)),), {}

    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each tensor among the arguments."""
        return shapes_in(self.arguments)

    @property
    def _dtype(self) -> torch.dtype | None:
        return None if self.case.dtype is None else torch_dtype(self.case.dtype)

    def call(self, device: str | None = None, dtype: torch.dtype | None = None) -> Arguments:
        """The arguments of the call on ``device``, the case's unless given.

        What is drawn is so with the case's seed, where nothing else is said from N(0, 1) and in the case's dtype, else
        in ``dtype``, else in float32.
        """
        kind = self._dtype or dtype or torch.float32
        return arguments.realised(self.arguments, self.case, device or self.case.device, kind)

    def args(self, device: str | None = None, dtype: torch.dtype | None = None) -> tuple[Any, ...]:
        """Those arguments of the call that have no name."""
        return self.call(device, dtype)[0]


def build(reference: str, dim: int | None = None, **options: Any) -> nn.Module:
    """The module that ``reference`` names, on the CPU, as its constructor gives it: in training mode.

    reference: a registered name, ``file.py:Class``, ``package.module:Class``, ``timm:name`` or ``torchvision:name``.
    dim: channels of a block (64 unless given). Raises UsageError for a name, an option or a value that is not accepted.
    """
    return blueprint(read_case(reference, Case("", dim=dim, options=tuple(options.items())))).built()


def make_subject(case: Case, device: str | None = None) -> Subject:
    """Build ``case`` on its device (or on ``device``, such as ``"meta"``) with its inputs."""
    return blueprint(case).subject(device)


def instance_blueprint(
    module: nn.Module, case: Case, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
) -> Blueprint:
    """The blueprint of clones of ``module``; ``args`` and ``kwargs`` are those of its call, drawn unless given."""
    name, usual = type(module).__name__, None
    if args is not None or kwargs:
        given = specified(args or (), kwargs or {})
        if args is None:
            given, case = (case.arguments[0], given[1]), replace(case, shapes=())
        usual = lambda _: given  # noqa: E731
    elif (source := arguments.example_source([module])) is not None:
        usual = lambda case: arguments.examples(name, source, case, lambda: module, {})  # noqa: E731
    return Blueprint(case, name, "block", {}, lambda: clone(module), usual, is_instance=True)


def blueprint(case: Case) -> Blueprint:
    """Import the target of ``case`` and check its options. Raises UsageError."""
    reference = resolve(case.target)
    if reference.scheme in ("timm", "torchvision"):
        from convbench.target.hosts import host_model

        images, options, construct = host_model(case, reference)
        return Blueprint(case, reference.text, "network", options, construct, images)
    if case.pretrained:
        raise UsageError(
            f"{reference.name}: --pretrained is for timm: and torchvision: models; others take --weights FILE"
        )
    factory = load_factory(reference)
    kind = kind_of(reference, factory)
    options = bind_options(reference.name, factory, kind, case)
    if reference.entry is not None and case.size is None and not case.shapes:
        case = replace(case, size=reference.entry.size)
    usual = None
    source = arguments.example_source(places_of(reference, factory))
    if source is not None:
        built = lambda: constructed(reference.name, lambda: factory(**options), case.seed, on_meta=False)  # noqa: E731
        usual = lambda case: arguments.examples(reference.name, source, case, built, options)  # noqa: E731
    return Blueprint(case, reference.name, kind, options, lambda: factory(**options), usual)
