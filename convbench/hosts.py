"""Targets from timm and torchvision: ``timm:convnext_tiny``, ``torchvision:resnet18``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from convbench.case import Case
from convbench.errors import OptionError, TargetError, UnknownNameError, nearest
from convbench.registry import Reference
from convbench.subject import Blueprint
from convbench.targets import require_extra


def host_blueprint(case: Case, reference: Reference) -> Blueprint:
    """The blueprint of a host's model. Raises UsageError: unknown model, missing package, weights out of reach."""
    if case.dim is not None:
        raise OptionError(f"{reference.text} is a network and has no dim; --dim is for blocks")
    options = dict(case.options)
    construct = (
        _timm(case, reference, options) if reference.scheme == "timm" else _torchvision(case, reference, options)
    )
    return Blueprint(case, reference.text, "network", options, construct)


def _timm(case: Case, reference: Reference, options: dict[str, Any]) -> Callable[[], nn.Module]:
    timm = require_extra("timm", "hosts", f"the target {reference.text}")
    if not timm.is_model(reference.location):
        raise UnknownNameError(_unknown("timm", reference.location, timm.list_models()))
    return lambda: _fetching(
        reference, case, lambda: timm.create_model(reference.location, pretrained=case.pretrained, **options)
    )


def _torchvision(case: Case, reference: Reference, options: dict[str, Any]) -> Callable[[], nn.Module]:
    models = require_extra("torchvision", "hosts", f"the target {reference.text}").models
    if reference.location not in models.list_models():
        raise UnknownNameError(_unknown("torchvision", reference.location, models.list_models()))
    if "init_weights" in inspect.signature(models.get_model_builder(reference.location)).parameters:
        options.setdefault("init_weights", True)  # silences a warning about a changing default
    weights = "DEFAULT" if case.pretrained else None
    return lambda: _fetching(reference, case, lambda: models.get_model(reference.location, weights=weights, **options))


def _fetching(reference: Reference, case: Case, construct: Callable[[], nn.Module]) -> nn.Module:
    """Build a model; where published weights are asked for, say plainly that they could not be fetched."""
    if not case.pretrained:
        return construct()
    try:
        return construct()
    except (TypeError, ValueError):
        raise
    except Exception as error:  # each host raises its own kind of network error
        raise TargetError(
            f"{reference.text}: its published weights could not be fetched ({type(error).__name__}); "
            "without a network, bring the checkpoint here and give it as --weights FILE"
        ) from error


def _unknown(host: str, name: str, known: Iterable[str]) -> str:
    hint = nearest(name, known).replace("'", f"'{host}:", 1)
    return f"{host} has no model {name!r}.{hint}"
