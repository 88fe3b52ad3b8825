"""Which channel of a layer is largest at each pixel: the regions of a region-aware convolution, read off its guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convbench.errors import NotDefinedError
from convbench.measures.erf.result import Floats
from convbench.target.packed import Packed
from convbench.workers.codec import encode
from convbench.workers.worker import Send


@dataclass(frozen=True, slots=True)
class RegionMap:
    """Of one sample. image: (H, W), the input's mean over channels. regions: (h, w), the number of the largest channel.

    channels: how many the layer has. shares: of the pixels, by channel.
    """

    image: Floats
    regions: Floats
    channels: int
    shares: tuple[float, ...]


def run(request: Mapping[str, Any], send: Send) -> Any:
    """The regions of the case ``packed`` at ``layer`` for each of ``samples`` inputs, encoded, under ``maps``.

    inputs: as `inputs_from` takes it. Raises what ``feature_map`` raises, and NotDefinedError for what takes no image.
    """
    import numpy as np
    import torch

    from convbench.measures.erf.features import feature_map
    from convbench.measures.erf.inputs import inputs_from
    from convbench.measures.erf.probe import sample_generator
    from convbench.measures.erf.result import Box

    plan = Packed.from_json(request["packed"]).blueprint()
    shapes = plan.shapes()
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise NotDefinedError("regions need one input of shape N,C,H,W")
    _, channels, height, width = shapes[0]
    inputs, module = inputs_from(request["inputs"]), plan.module().eval()
    whole = Box.whole(height, width)
    count = request["samples"] if inputs.limit is None else min(request["samples"], inputs.limit)
    maps = []
    for index in range(count):
        send({"progress": f"{plan.name}: input {index + 1} of {count}"})
        generator = sample_generator(plan.case.seed, 0, index)
        x = inputs.window(index, generator, (channels, height, width), whole, whole)[None].to(plan.case.device)
        with torch.no_grad():
            features = feature_map(module, request["layer"])(x)[0].float()
        regions = features.argmax(dim=0).cpu().numpy().astype(np.float64)
        found = np.bincount(regions.astype(np.int64).ravel(), minlength=len(features)) / regions.size
        image = x[0].float().mean(dim=0).cpu().numpy().astype(np.float64)
        maps.append(RegionMap(image, regions, len(features), tuple(found.tolist())))
    return {"name": plan.name, "maps": [encode(item) for item in maps], "inputs": inputs.description}
