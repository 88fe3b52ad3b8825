"""What ``show`` tells of a target, found in a worker: text and numbers alone. Imports no torch until the job runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convbench.case import Case
from convbench.registry import resolve
from convbench.workers.codec import encode
from convbench.workers.text import brief
from convbench.workers.worker import Send

if TYPE_CHECKING:
    from torch import nn

_PLAIN = (int, float, str, bytes, type(None))


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a factory: its annotation, its default, and its value here; empty where there is none."""

    name: str
    type: str
    default: str
    here: str


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter or buffer. remark: ``frozen``, ``buffer`` or nothing."""

    name: str
    shape: tuple[int, ...]
    elements: int
    remark: str


@dataclass(frozen=True, slots=True)
class Shown:
    """signature, options: of the factory; none for a host's model.

    params, trainable_params, buffers: numbers of elements; a shared one counts once.
    """

    name: str
    kind: str
    signature: str
    options: tuple[Option, ...]
    weights: tuple[Weight, ...]
    params: int
    trainable_params: int
    buffers: int


def run(request: Mapping[str, Any], _send: Send) -> Any:
    """The worker's job: ``case`` as `Shown`, encoded. Raises UsageError."""
    from convbench.measures.params import measure_params
    from convbench.target.blueprint import blueprint
    from convbench.target.references import load_factory

    case = Case.from_json(request["case"])
    plan, reference = blueprint(case), resolve(case.target)
    signature, options = "", tuple[Option, ...]()
    if reference.scheme not in ("timm", "torchvision"):
        factory = load_factory(reference)
        signature, options = _signature(factory), tuple(_options(factory, plan.options))
    module = plan.module(device="meta")
    total = measure_params(module)
    weights = tuple(_weights(module))
    sizes = (total.params, total.trainable_params, total.buffers)
    return encode(Shown(plan.name, plan.kind, signature, options, weights, *sizes))


def _signature(factory: Callable[..., Any]) -> str:
    parts = []
    for parameter in inspect.signature(factory).parameters.values():
        annotation, default = _annotation(parameter), _default(parameter)
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")  # type: ignore[call-overload]
        typed = f": {annotation}" if annotation else ""
        given = (f" = {default}" if annotation else f"={default}") if default else ""
        parts.append(f"{star}{parameter.name}{typed}{given}")
    return f"{plain_text(factory)}({', '.join(parts)})"


def _options(factory: Callable[..., Any], values: Mapping[str, Any]) -> Iterator[Option]:
    for name, parameter in inspect.signature(factory).parameters.items():
        here = plain_text(values[name]) if name in values else ""
        yield Option(name, _annotation(parameter), _default(parameter) or "required", here)


def _annotation(parameter: inspect.Parameter) -> str:
    if parameter.annotation is parameter.empty:
        return ""
    return brief(inspect.formatannotation(parameter.annotation).strip("'"), lines=1, characters=120)


def _default(parameter: inspect.Parameter) -> str:
    return "" if parameter.default is parameter.empty else plain_text(parameter.default)


def plain_text(value: Any) -> str:
    """``value`` without its own ``__repr__``: literals as written, functions and classes by name, the rest by class."""
    if type(value) in (list, tuple):
        inside = ", ".join(map(plain_text, value))
        if type(value) is list:
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if type(value) is dict:
        return "{" + ", ".join(f"{plain_text(key)}: {plain_text(item)}" for key, item in value.items()) + "}"
    if type(value) in (*_PLAIN, bool):
        return brief(repr(value), lines=1, characters=200)
    if isinstance(value, functools.partial):
        return f"partial({plain_text(value.func)})"
    name = getattr(value, "__qualname__", None)
    return brief(name if isinstance(name, str) else f"a {type(value).__qualname__}", lines=1, characters=200)


def _weights(module: nn.Module) -> Iterator[Weight]:
    for name, parameter in module.named_parameters():
        remark = "" if parameter.requires_grad else "frozen"
        yield Weight(name, tuple(parameter.shape), parameter.numel(), remark)
    for name, buffer in module.named_buffers():
        yield Weight(name, tuple(buffer.shape), buffer.numel(), "buffer")
