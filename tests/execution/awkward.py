"""Modules that are hard to copy, to build or to leave alone. Each takes (1, 4, 6, 6) and is tiny."""

from __future__ import annotations

import collections
import functools
import io
import itertools
import random
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

MAKERS: dict[str, Callable[[], nn.Module]] = {}


def awkward(maker: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    MAKERS[maker.__name__] = maker
    return maker


def conv(channels: int = 4) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1)


class Body(nn.Module):
    """A convolution, then what ``after`` makes of it; ``seen`` is whatever the maker wants watched."""

    def __init__(self, after: Callable[[Body, Tensor], Tensor] = lambda _, y: y) -> None:
        super().__init__()
        self.conv = conv()
        self.after = after
        self.seen: Any = []

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self, self.conv(x))


def hooked(hook: Callable[..., Any], seen: Any = None, kind: str = "register_forward_hook") -> Body:
    body = Body()
    body.seen = seen
    getattr(body.conv, kind)(hook)
    return body


# --- hooks, and what they have captured


@awkward
def hook_appends_to_a_captured_list() -> nn.Module:
    seen: list[Any] = []
    return hooked(lambda module, args, out: seen.append(tuple(out.shape)), seen)


@awkward
def hook_keeps_outputs() -> nn.Module:
    seen: list[Tensor] = []
    return hooked(lambda module, args, out: seen.append(out.detach()), seen)


@awkward
def hook_counts_in_a_dictionary() -> nn.Module:
    seen = {"calls": 0}

    def count(*_: object) -> None:
        seen["calls"] += 1

    return hooked(count, seen)


@awkward
def hook_counts_in_a_nonlocal_number() -> nn.Module:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    return hooked(count, count)


@awkward
def hook_has_a_list_as_default() -> nn.Module:
    def keep(module: object, args: object, out: Tensor, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(out.numel())

    return hooked(keep, keep)


@awkward
def hook_is_a_partial() -> nn.Module:
    seen: list[int] = []
    return hooked(functools.partial(lambda kept, *_: kept.append(1), seen), seen)


@awkward
def hook_is_a_lists_method() -> nn.Module:
    seen: list[Any] = []
    return hooked(lambda *_, keep=seen.append: keep(1), seen)


class Recorder:
    def __init__(self) -> None:
        self.shapes: list[Any] = []

    def note(self, module: nn.Module, args: object, out: Tensor) -> None:
        self.shapes.append(tuple(out.shape))

    def __call__(self, *_: object) -> None:
        self.shapes.append("called")


@awkward
def hook_is_a_recorders_method() -> nn.Module:
    recorder = Recorder()
    return hooked(recorder.note, recorder)


@awkward
def hook_is_an_object() -> nn.Module:
    recorder = Recorder()
    return hooked(recorder, recorder)


GLOBAL_SEEN: list[Any] = []


def _global_hook(module: object, args: object, out: Tensor) -> None:
    GLOBAL_SEEN.append(out.numel())


@awkward
def hook_appends_to_a_global_list() -> nn.Module:
    return hooked(_global_hook, GLOBAL_SEEN)


def _indirect_hook(*args: Any) -> None:
    _global_hook(*args)


@awkward
def hook_calls_a_function_that_appends() -> nn.Module:
    return hooked(_indirect_hook, GLOBAL_SEEN)


@awkward
def pre_hook_replaces_the_input() -> nn.Module:
    seen: list[int] = []

    def double(module: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(1)
        return (args[0] * 2,)

    return hooked(double, seen, "register_forward_pre_hook")


@awkward
def backward_hook_keeps_gradients() -> nn.Module:
    seen: list[Any] = []
    return hooked(lambda module, given, out: seen.append(out), seen, "register_full_backward_hook")


@awkward
def parameter_hook_keeps_gradients() -> nn.Module:
    body, seen = Body(), []
    body.conv.weight.register_hook(seen.append)
    body.seen = seen
    return body


@awkward
def hook_removes_itself() -> nn.Module:
    body, handles = Body(), []
    handles.append(body.conv.register_forward_hook(lambda *_: handles[0].remove()))
    body.seen = handles
    return body


@awkward
def hook_changes_the_weights() -> nn.Module:
    def scale(module: nn.Module, *_: object) -> None:
        module.weight.data.mul_(2)  # type: ignore[operator, union-attr]

    return hooked(scale)


# --- functions and methods that lead back to the module


class Captured(nn.Module):
    def __init__(self, wrap: Callable[[nn.Module], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.conv, self.norm = conv(), nn.BatchNorm2d(4)
        self.after = wrap(self.norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.conv(x))


@awkward
def lambda_over_a_part() -> nn.Module:
    return Captured(lambda norm: lambda y: norm(y))


@awkward
def partial_over_a_part() -> nn.Module:
    return Captured(lambda norm: functools.partial(lambda layer, y: layer(y), norm))


@awkward
def bound_call_of_a_part() -> nn.Module:
    return Captured(lambda norm: norm.__call__)


@awkward
def bound_forward_of_a_part() -> nn.Module:
    return Captured(lambda norm: norm.forward)


@awkward
def nested_closures_over_a_part() -> nn.Module:
    def wrap(norm: nn.Module) -> Callable[[Tensor], Tensor]:
        def outer() -> Callable[[Tensor], Tensor]:
            return lambda y: norm(y)

        return lambda y: outer()(y)

    return Captured(wrap)


@awkward
def cached_function_over_a_part() -> nn.Module:
    def wrap(norm: nn.Module) -> Callable[[Tensor], Tensor]:
        table = functools.lru_cache(lambda size: norm.weight.detach().new_ones(size))
        return lambda y: norm(y) * table(4)[:, None, None]

    return Captured(wrap)


@awkward
def parts_in_a_plain_list() -> nn.Module:
    body = Body(lambda self, y: self.hidden[0](y))
    body.hidden = [nn.BatchNorm2d(4)]
    return body


@awkward
def part_in_a_dataclass() -> nn.Module:
    @dataclass
    class Holder:
        norm: nn.Module
        outputs: list[Any] = field(default_factory=list)

    def after(self: Any, y: Tensor) -> Tensor:
        self.holder.outputs.append(tuple(y.shape))
        result: Tensor = self.holder.norm(y)
        return result

    body = Body(after)
    body.holder = Holder(nn.BatchNorm2d(4))
    return body


@awkward
def part_in_slots() -> nn.Module:
    class Slotted:
        __slots__ = ("calls", "norm")

        def __init__(self, norm: nn.Module) -> None:
            self.norm, self.calls = norm, 0

    def after(self: Any, y: Tensor) -> Tensor:
        self.slotted.calls += 1
        result: Tensor = self.slotted.norm(y)
        return result

    body = Body(after)
    body.slotted = Slotted(nn.BatchNorm2d(4))
    return body


@awkward
def replaced_forward() -> nn.Module:
    body = Body()
    norm, plain = nn.BatchNorm2d(4), body.conv.forward
    body.conv.forward = lambda x: norm(plain(x))  # type: ignore[method-assign]
    body.seen = norm
    return body


@awkward
def parent_in_a_list() -> nn.Module:
    class Child(nn.Module):
        def __init__(self, parent: nn.Module) -> None:
            super().__init__()
            self.parent = [parent]

        def forward(self, y: Tensor) -> Tensor:
            self.parent[0].calls += 1  # type: ignore[operator, assignment]
            return y

    body = Body(lambda self, y: self.child(y))
    body.calls = 0
    body.child = Child(body)
    return body


# --- modules with copying rules of their own


@awkward
def its_own_deep_copy() -> nn.Module:
    class Itself(nn.Sequential):
        def __deepcopy__(self, memo: object) -> nn.Module:
            return self

    return Itself(conv(), nn.BatchNorm2d(4))


@awkward
def copies_itself_wrongly() -> nn.Module:
    class Wrongly(nn.Sequential):
        def __deepcopy__(self, memo: object) -> nn.Module:
            return Wrongly(*self)

    return Wrongly(conv(), nn.BatchNorm2d(4))


@awkward
def refuses_to_be_copied() -> nn.Module:
    class Single(nn.Sequential):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise TypeError("there can be only one")

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TypeError("nor on paper")

    return Single(conv(), nn.BatchNorm2d(4))


@awkward
def state_for_pickling_is_empty() -> nn.Module:
    class Forgetful(Body):
        def __getstate__(self) -> dict[str, Any]:
            return {}

    return Forgetful()


@awkward
def attribute_is_its_own_copy() -> nn.Module:
    class Stubborn(list[Any]):
        def __deepcopy__(self, memo: object) -> Any:
            return self

    def after(self: Any, y: Tensor) -> Tensor:
        self.stubborn.append(1)
        return y

    body = Body(after)
    body.stubborn = Stubborn()
    return body


# --- parametrisations, scripts, compiled and lazy parts


@awkward
def weight_norm() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(conv()), nn.BatchNorm2d(4))


@awkward
def spectral_norm() -> nn.Module:
    return nn.Sequential(parametrizations.spectral_norm(conv()), nn.BatchNorm2d(4))


@awkward
def old_weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(conv()), nn.BatchNorm2d(4))


@awkward
def old_spectral_norm() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(conv()), nn.BatchNorm2d(4))


@awkward
def own_parametrisation() -> nn.Module:
    class Symmetric(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return (weight + weight.transpose(2, 3)) / 2

    layer = conv()
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(layer)


@awkward
def pruned() -> nn.Module:
    from torch.nn.utils import prune

    layer = conv()
    prune.random_unstructured(layer, "weight", amount=0.5)
    return nn.Sequential(layer)


@awkward
def scripted_part() -> nn.Module:
    return nn.Sequential(torch.jit.script(nn.Sequential(conv(), nn.BatchNorm2d(4))))


@awkward
def traced_part() -> nn.Module:
    part = nn.Sequential(conv(), nn.ReLU()).eval()
    return nn.Sequential(torch.jit.trace(part, torch.zeros(1, 4, 6, 6)), nn.BatchNorm2d(4))


@awkward
def compiled_part() -> nn.Module:
    return nn.Sequential(torch.compile(nn.Sequential(conv(), nn.BatchNorm2d(4))))  # type: ignore[arg-type]


@awkward
def compiled_function() -> nn.Module:
    norm = nn.BatchNorm2d(4)
    body = Body()
    body.norm = norm
    body.after = torch.compile(lambda self, y: norm(y))
    return body


@awkward
def compiled_in_place() -> nn.Module:
    body = nn.Sequential(conv(), nn.BatchNorm2d(4))
    body.compile()
    return body


@awkward
def traced_graph() -> nn.Module:
    return nn.Sequential(torch.fx.symbolic_trace(nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU())))


@awkward
def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.LazyBatchNorm2d())


# --- what cannot be copied, or only in its own way


def with_attribute(value: Any, after: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    body = Body(after)
    body.held = value
    return body


def _locked(self: Any, y: Tensor) -> Tensor:
    with self.held:
        return y + 1


@awkward
def lock() -> nn.Module:
    return with_attribute(threading.Lock(), _locked)


@awkward
def reentrant_lock() -> nn.Module:
    return with_attribute(threading.RLock(), _locked)


@awkward
def condition() -> nn.Module:
    return with_attribute(threading.Condition(), _locked)


@awkward
def thread_local() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        self.held.calls += 1
        return y

    local = threading.local()
    local.calls = 0
    return with_attribute(local, after)


@awkward
def torch_generator() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        noise = torch.rand(1, generator=self.held)
        return y * float(noise)

    return with_attribute(torch.Generator().manual_seed(3), after)


@awkward
def numpy_generator() -> nn.Module:
    return with_attribute(np.random.default_rng(3), lambda self, y: y * float(self.held.random()))


@awkward
def python_generator_of_numbers() -> nn.Module:
    return with_attribute(random.Random(3), lambda self, y: y * self.held.random())


@awkward
def counter() -> nn.Module:
    return with_attribute(itertools.count(3), lambda self, y: y * next(self.held))


@awkward
def weak_reference_to_a_part() -> nn.Module:
    body = Body(lambda self, y: self.held()(y))
    body.norm = nn.BatchNorm2d(4)
    body.held = weakref.ref(body.norm)
    return body


_ELSEWHERE = nn.BatchNorm2d(4)


@awkward
def weak_reference_to_a_module_elsewhere() -> nn.Module:
    return with_attribute(weakref.ref(_ELSEWHERE), lambda self, y: self.held()(y))


@awkward
def weak_dictionary() -> nn.Module:
    body = Body(lambda self, y: self.held["norm"](y))
    body.norm = nn.BatchNorm2d(4)
    body.held = weakref.WeakValueDictionary(norm=body.norm)
    return body


@awkward
def writes_to_a_file() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        self.held.write(b"called")
        return y

    return with_attribute(io.BytesIO(), after)


@awkward
def reads_from_a_file() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        return y * len(self.held.readline())

    return with_attribute(open(__file__, encoding="utf-8"), after)


@awkward
def deque_and_counter() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        self.held["deque"].append(1)
        self.held["counter"]["calls"] += 1
        self.held["default"]["new"].append(1)
        return y

    default: dict[str, list[int]] = collections.defaultdict(list)
    held = {"deque": collections.deque([0], 2), "counter": collections.Counter(), "default": default}
    return with_attribute(held, after)


# --- tensors of every kind


@awkward
def sparse_buffer() -> nn.Module:
    body = Body()
    body.register_buffer("adjacency", torch.eye(10).to_sparse_csr())
    body.register_buffer("pairs", torch.eye(10).to_sparse())
    return body


@awkward
def quantised_buffer() -> nn.Module:
    body = Body()
    body.register_buffer("codes", torch.quantize_per_tensor(torch.rand(4), 0.1, 0, torch.qint8))
    return body


@awkward
def computed_from_its_weight() -> nn.Module:
    body = Body(lambda self, y: F.conv2d(y, self.doubled, padding=1))
    body.doubled = body.conv.weight * 2
    return body


@awkward
def shared_weights_and_views() -> nn.Module:
    body = Body(lambda self, y: self.second(y) + self.half.sum())
    body.second = conv()
    body.second.weight = body.conv.weight
    body.half = body.conv.weight.detach()[:2]
    return body


@awkward
def complex_weight() -> nn.Module:
    body = Body(lambda self, y: 2 * torch.fft.irfft2(torch.fft.rfft2(y) * self.filter, s=y.shape[-2:]))
    body.filter = nn.Parameter(torch.randn(4, 6, 4, dtype=torch.complex64))
    return body


@awkward
def double_head() -> nn.Module:
    body = Body(lambda self, y: self.head(y.double()))
    body.head = nn.Conv2d(4, 4, 1).double()
    return body


@awkward
def bfloat16_module() -> nn.Module:
    return nn.Sequential(conv(), nn.BatchNorm2d(4)).bfloat16()


# --- what a call changes


@awkward
def draws_from_every_generator() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        return y * random.random() * np.random.rand() + torch.rand(1)

    return Body(after)


@awkward
def keeps_what_it_saw() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        self.seen.append(y)
        self.last, self.calls = y, getattr(self, "calls", 0) + 1
        self.train(not self.training)
        return y

    return Body(after)


@awkward
def changes_torchs_flags() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        import os
        import warnings

        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.simplefilter("ignore")
        os.environ["CONVBENCH_AWKWARD"] = "1"
        os.chdir("/")
        return y

    return Body(after)


@awkward
def frozen_and_mixed_modes() -> nn.Module:
    module = nn.Sequential(conv(), nn.BatchNorm2d(4).eval(), nn.Dropout())
    module[0].weight.requires_grad_(False)
    return module


@awkward
def has_gradients() -> nn.Module:
    module = nn.Sequential(conv(), nn.BatchNorm2d(4))
    module[0].weight.grad = torch.ones_like(module[0].weight)
    return module


@awkward
def writes_into_its_input() -> nn.Module:
    class InPlace(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = super().forward(x * 1).add_(1)
            return result

    return InPlace(conv())


@awkward
def raises_at_its_end() -> nn.Module:
    def after(self: Any, y: Tensor) -> Tensor:
        self.seen.append(1)
        torch.rand(1)
        raise KeyError("no such thing")

    return Body(after)


@awkward
def raises_in_backward() -> nn.Module:
    class Refuses(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            raise ValueError("no way back")

    return Body(lambda self, y: Refuses.apply(y))
