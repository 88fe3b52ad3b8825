"""Plugging a block into a host, in a worker process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import torch
from torch import nn

from convbench.case import Case
from convbench.errors import UsageError
from convbench.execution.device import require_device
from convbench.execution.guard import seeded
from convbench.execution.tensors import registered_tensors
from convbench.inputs import read_inputs
from convbench.notation import format_options
from convbench.plugging.block import Block, load_block
from convbench.plugging.change import Plugged, Prepared
from convbench.plugging.code import code_of
from convbench.plugging.insert import insert_after
from convbench.plugging.replace import replace_convs
from convbench.plugging.trace import params_of
from convbench.registry import resolve
from convbench.target.arguments import written
from convbench.target.blueprint import Blueprint, blueprint
from convbench.target.packed import pack_instance
from convbench.workers.codec import encode
from convbench.workers.worker import Send


def run(request: Mapping[str, Any], _send: Send) -> Any:
    """The worker's job: the host of ``case`` with ``block`` of ``options`` in it, saved in ``folder``.

    where, after: see `plug_into`. code, weights: whether these are wanted too. Gives a `Prepared`, encoded.
    Raises UsageError.
    """
    case, folder = Case.from_json(request["case"]), Path(request["folder"])
    folder.mkdir(exist_ok=True)
    block = load_block(request["block"], request["options"])
    design = blueprint(case)
    plugged = plug_into(case, block, request["where"], request["after"])
    with _taken_along(case.target, block.reference):
        packed = pack_instance(plugged.module, _plugged_case(case, design), folder)
    options = json.loads(format_options({**design.options, "plugged": {block.name: dict(block.options)}}))
    return encode(
        Prepared(
            design.name,
            design.kind,
            options,
            block.name,
            packed.to_json(),
            plugged.changes,
            plugged.keeps_shape,
            params_of(plugged.module),
            code_of(case, block.reference, plugged.changes) if request.get("code") else None,
            _save_weights(plugged.module, folder) if request.get("weights") else None,
        )
    )


def _save_weights(module: nn.Module, folder: Path) -> str:
    if any(tensor.is_meta for tensor in registered_tensors(module)):
        raise UsageError("--save: on the meta device there are no weights; write plugged.py, or take --device cpu")
    path = folder / "weights.pt"
    torch.save(module.state_dict(), path)
    return str(path)


def plug_into(case: Case, block: Block, where: str, after: Sequence[str]) -> Plugged:
    """The host of ``case`` with the block in its convs' place that match ``where``, or after the stages ``after``.

    In eval mode on the case's device; equal seeds give equal modules. Raises UsageError.
    """
    require_device(case.device)
    design = blueprint(case)
    host, call = design.module().eval(), design.call()
    with seeded(case.seed, case.device):
        return insert_after(host, call, block, after) if after else replace_convs(host, call, block, where)


def _plugged_case(case: Case, design: Blueprint) -> Case:
    """The host's conditions for the plugged module, which has the host's options and weights in it already."""
    return replace(
        case,
        dim=None,
        options=(),
        weights=None,
        pretrained=False,
        transforms=(),
        shapes=read_inputs(written(design.arguments)),
        batch=1,
        size=None,
        input_grad=design.kind == "block" if case.input_grad is None else case.input_grad,
    )


@contextmanager
def _taken_along(*references: str) -> Iterator[None]:
    """Pickle the classes of users' files by value: no measuring process could import them by name."""
    folders = {Path(r.location).resolve().parent for r in map(resolve, references) if r.scheme == "file"}
    modules = [m for m in list(sys.modules.values()) if _folder(m) in folders and m.__name__ != "__main__"]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _folder(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve().parent if file else None
