"""Targets from timm and torchvision: ``timm:convnext_tiny``, ``torchvision:resnet18``."""

from __future__ import annotations

import fnmatch
import inspect
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from convbench.case import DEFAULT_IMAGE_SIZE, Case
from convbench.errors import OptionError, TargetError, UnknownNameError, nearest
from convbench.inputs import Drawn
from convbench.registry import Reference
from convbench.target.arguments import Arguments
from convbench.target.options import INPUT_CHANNELS, input_channels
from convbench.target.references import require_extra

_FRAMES = 16
"""Of a clip: those of which torchvision states the operations of its video models."""
_PATIENCE_S = 10.0
"""How long a host's server may stay silent before it counts as out of reach."""
_HUB_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")


Model = tuple[Callable[[Case], Arguments], dict[str, Any], Callable[[], nn.Module]]
"""The arguments of its call, images of the size that it was made for; its options; and how it is made."""


def list_models(request: Mapping[str, Any], _send: Any) -> list[str]:
    """The worker's job: models of a host whose reference, such as ``timm:convnext*``, matches ``pattern``.

    Raises UsageError: missing package, nothing that matches.
    """
    host, _, pattern = request["pattern"].partition(":")
    package = require_extra(host, "hosts", f"the models of {host}")
    known: list[str] = package.list_models() if host == "timm" else package.models.list_models()
    found = fnmatch.filter(known, pattern or "*")
    if not found:
        raise UnknownNameError(_unknown(host, pattern, known))
    return [f"{host}:{name}" for name in sorted(found)]


def host_model(case: Case, reference: Reference) -> Model:
    """A host's model. Raises UsageError: unknown model, missing package, weights out of reach."""
    if case.dim is not None:
        raise OptionError(f"{reference.text} is a network and has no dim; --dim is for blocks")
    make = _timm if reference.scheme == "timm" else _torchvision
    return make(case, reference, dict(case.options))


def _timm(case: Case, reference: Reference, options: dict[str, Any]) -> Model:
    timm = require_extra("timm", "hosts", f"the target {reference.text}")
    name = reference.location
    if not timm.is_model(name):
        raise UnknownNameError(_unknown("timm", name, timm.list_models()))
    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:  # the tag behind the dot names no weights
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise UnknownNameError(f"{_unknown('timm', name, known)} Its weights: {', '.join(known)}") from error
    height, width = (None, None) if config is None else config.input_size[1:]

    def construct() -> nn.Module:
        if case.pretrained and config is not None and config.hf_hub_id:
            _require_hub(config.hf_hub_id)
        model: nn.Module = timm.create_model(name, pretrained=case.pretrained, **options)
        return model

    return _images(options, height, width), options, _fetching(reference, case, construct)


def _torchvision(case: Case, reference: Reference, options: dict[str, Any]) -> Model:
    models = require_extra("torchvision", "hosts", f"the target {reference.text}").models
    name = reference.location
    if name not in models.list_models():
        raise UnknownNameError(_unknown("torchvision", name, models.list_models()))
    given: dict[str, Any] = {"weights": "DEFAULT" if case.pretrained else None}
    builder = models.get_model_builder(name)
    if not case.pretrained:
        if "weights_backbone" in inspect.signature(builder).parameters:
            given["weights_backbone"] = None  # the default fetches a backbone's weights
        if builder.__module__.endswith((".googlenet", ".inception")):
            given["init_weights"] = True  # the default warns that it will change

    def construct() -> nn.Module:
        model: nn.Module = models.get_model(name, **{**given, **options})
        return model

    size = None if name.startswith("vit_") and not case.pretrained else _size(models.get_model_weights(name))
    if name.startswith("vit_"):
        size = options.get("image_size", size)
    frames = (_FRAMES,) if ".video" in builder.__module__ else ()
    images = 2 if ".optical_flow" in builder.__module__ else 1
    return _images(options, size, size, frames, images), options, _fetching(reference, case, construct)


def _size(weights: Any) -> int | None:
    """Height and width of the images that a model's default weights were made for, where torchvision states them."""
    if not len(weights):
        return None
    stated = getattr(weights.DEFAULT.transforms, "keywords", {})
    size = stated.get("crop_size", stated.get("resize_size"))
    return size[0] if isinstance(size, list | tuple) else size


def _images(
    options: dict[str, Any], height: int | None, width: int | None, frames: tuple[int, ...] = (), count: int = 1
) -> Callable[[Case], Arguments]:
    """A call with ``count`` batches of images, or of clips of ``frames``; 224×224 unless the host says otherwise."""
    channels = input_channels(options, INPUT_CHANNELS) or 3

    def arguments(case: Case) -> Arguments:
        extents = (case.size or height or DEFAULT_IMAGE_SIZE, case.size or width or DEFAULT_IMAGE_SIZE)
        return (Drawn((case.batch, channels, *frames, *extents)),) * count, {}

    return arguments


def _fetching(reference: Reference, case: Case, construct: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Build a model; where published weights are asked for, say plainly that they could not be fetched."""
    if not case.pretrained:
        return construct

    def fetch() -> nn.Module:
        try:
            with _impatient():
                return construct()
        except Exception as error:  # each host raises its own kind of network error
            if isinstance(error, TypeError | ValueError | RuntimeError) and not isinstance(error, OSError):
                raise
            raise TargetError(
                f"{reference.text}: its published weights could not be fetched ({type(error).__name__}); "
                "without a network, bring the checkpoint here and give it as --weights FILE"
            ) from error

    return fetch


def _require_hub(repository: str) -> None:
    """Raise ConnectionError where the hub is out of reach and the weights are not in its cache.

    The hub's own client would retry for a minute first.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(repository, name), str) for name in _HUB_FILES):
        return
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=_PATIENCE_S).close()
    except urllib.error.HTTPError:  # it answers, whatever it says
        return
    except OSError as error:
        raise ConnectionError(f"{constants.ENDPOINT} does not answer") from error


@contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a silent server: torch.hub would wait for ever."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)


def _unknown(host: str, name: str, known: Iterable[str]) -> str:
    hint = nearest(name, known).replace("'", f"'{host}:", 1)
    return f"{host} has no model {name!r}.{hint}"
