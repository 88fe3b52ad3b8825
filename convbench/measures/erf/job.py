"""Measuring receptive fields in a worker process."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cloudpickle

from convbench.errors import ShapeError
from convbench.measures.erf.inputs import inputs_from
from convbench.measures.erf.measure import image_of, measure_erf
from convbench.measures.erf.settings import ErfSettings
from convbench.target.arguments import written
from convbench.target.packed import Packed
from convbench.workers.codec import encode
from convbench.workers.worker import Send


def run(request: Mapping[str, Any], send: Send) -> Any:
    """The field of the case ``packed``: under ``erf`` an `Erf`, encoded, with the target's name.

    settings: fields of `ErfSettings` beside ``inputs``, which is as `inputs_from` takes it; without that, pickled.

    Given weights are one initialisation; otherwise as many are built as the settings ask for.
    """
    plan = Packed.from_json(request["packed"]).blueprint()
    if "inputs" in request:
        settings = ErfSettings(**request["settings"], inputs=inputs_from(request["inputs"]))
    else:
        settings = cloudpickle.loads(base64.b64decode(request["settings"]))
    shape = image_of(plan.arguments)
    if shape is None:
        raise ShapeError(f"a receptive field is that of one image N,C,H,W, not of {written(plan.arguments)}")
    build: Any = plan.module() if plan.case.weights or plan.case.pretrained else plan.module
    tell = f"{plan.name}: "
    erf = measure_erf(
        build,
        shape,
        settings,
        device=plan.case.device,
        progress=lambda state: send({"progress": tell + state}),
    )
    return {"erf": encode(replace(erf, label=plan.name))}
