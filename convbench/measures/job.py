"""What a worker does for the measurer: look cases over, build one and measure it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import cloudpickle
import torch

from convbench.case import Case
from convbench.errors import ConvbenchError, TargetError
from convbench.execution.device import device_name, require_device
from convbench.measures.outcome import Identity
from convbench.measures.table import MEASURES, find
from convbench.notation import format_options
from convbench.source import source_of
from convbench.target.arguments import written
from convbench.target.blueprint import Blueprint, Subject
from convbench.target.packed import Packed
from convbench.workers.codec import encode
from convbench.workers.process import Worker
from convbench.workers.protocol import describe, described
from convbench.workers.worker import Send

_TICK_S = 0.5

Taken = tuple[str, Any, ConvbenchError | None]


def look_over(request: Mapping[str, Any], send: Send) -> None:
    """Import the target, bind its options, see whether its device is here and whether it can be built on meta.

    Raises UsageError for a request that cannot be met. What only the real device can tell is left to measuring.
    """
    packed = Packed.from_json(request["packed"])
    if request["devices_here"]:
        require_device(packed.case.device)
    plan = packed.blueprint()
    if request["builds"] and packed.file is None and packed.case.weights is None and not packed.case.pretrained:
        with suppress(TargetError):  # what cannot be built on meta may be built on the CPU
            plan.module(device="meta")


def run(request: Mapping[str, Any], send: Send) -> None:
    """Build the case ``request["packed"]`` and take ``request["measures"]`` of it.

    Messages: ``{"doing": step}`` before each step, ``{"identity": …}``, ``{"source": …}``, ``{"runs": true}``, and of
    each measure ``{"result": …}`` or ``{"error": …}`` as soon as it is there: what comes later may end this process.
    """
    packed, names = Packed.from_json(request["packed"]), tuple(request["measures"])
    settings = cloudpickle.loads(base64.b64decode(request["settings"]))
    with ExitStack() as stack:
        send({"doing": "building"})
        helpers = {name: stack.enter_context(helper) for name, helper in _helpers(names, packed.case)}
        plan = packed.blueprint()
        send({"identity": encode(identity_of(plan))})
        subject = plan.subject()
        send({"identity": encode(identity_of(plan, subject.dtype))})
        if request["source"]:
            send({"source": encode(source_of(subject.module))})
        for name, result, error in take(subject, names, settings, helpers, send):
            send({"name": name, "error": describe(error)} if error else {"name": name, "result": encode(result)})


def take(
    subject: Subject,
    names: Sequence[str],
    settings: Mapping[str, Any],
    helpers: Mapping[str, Any] | None = None,
    send: Send = lambda _: None,
    *,
    interruptible: bool = False,
) -> Iterator[Taken]:
    """The measures of a built case in turn: name, result, and why there is none.

    interruptible: whether a KeyboardInterrupt is the user's, and not the target's own.

    Counting proves that the target accepts its input, so it runs even where nobody asked for the count, and where it
    fails nothing else that runs the target is tried.
    """
    rows = [MEASURES[name] for name in names]
    if "cost" not in names:
        at = next((index for index, row in enumerate(rows) if row.name != "params"), len(rows))
        rows.insert(at, MEASURES["cost"])
    for row in rows:
        send({"doing": row.name})
        more = () if row.helper is None else ((helpers or {}).get(row.name),)
        for helper in filter(None, more):
            _await(helper, send)
        result, error = None, None
        try:
            result = find(row.run)(subject, settings.get(row.name), *more)
        except BaseException as caught:  # whatever ends the target's code, SystemExit included, is this measure's end
            if interruptible and isinstance(caught, KeyboardInterrupt):
                raise
            error = described(describe(caught))
        if row.name in names or error is not None:
            yield row.name, result, error
        if row.name == "cost":
            if error is not None:
                return
            send({"runs": True})


def identity_of(plan: Blueprint, dtype: str | None = None) -> Identity:
    """What the case of ``plan`` is; ``dtype``: of the module, where it is built."""
    case = plan.case
    asked = plan.kind == "block" if case.input_grad is None else case.input_grad
    return Identity(
        plan.name,
        plan.kind,
        json.loads(format_options(plan.options)),
        written(plan.arguments),
        device_name(case.device),
        str(torch.__version__),
        dtype or plan.case.dtype,
        asked if case.mode != "inference" else None,
    )


def _await(helper: Worker, send: Send) -> None:
    """Wait until a process is up, with a sign of life now and then: that is no part of the target's time."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(_TICK_S):
            send({"waiting": True})

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        helper.wait_ready()
    finally:
        over.set()
        thread.join()
        send({"waiting": False})


def _helpers(names: Sequence[str], case: Case) -> Iterator[tuple[str, Any]]:
    for name in names:
        helper = MEASURES[name].helper
        if helper is not None:
            yield name, find(helper)(case)
