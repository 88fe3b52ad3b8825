"""A plugged host as Python code that needs the host's and the block's own packages alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from convbench.case import Case
from convbench.errors import UsageError
from convbench.plugging import attach
from convbench.plugging.change import LayerChange
from convbench.registry import Reference, resolve
from convbench.version import __version__

_LOAD = '''def _load(path: str, name: str) -> Any:
    """What a file that is in no package defines under this name."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(Path(path).parent))  # the file may import its neighbours
    spec.loader.exec_module(module)
    return getattr(module, name)
'''

_CONSTANT = """OF_EVERY_CONV = frozenset(vars(nn.Conv2d(1, 1, 1))) - {"in_channels", "out_channels", "stride"}


"""

_FILE = '''"""{title}

Written by convbench {version}. `build()` gives the network with the block's weights fresh, in training mode;
`build("FILE.pt")` with the weights that were saved beside it.
"""

from __future__ import annotations

{imports}
{loader}
HOST = {host}
BLOCK = {block}

LAYERS = {{
{layers}
}}
"""The layers in question, and the arguments of the block there."""


def build(weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """The plugged network; ``weights``: a file of its state."""
    options = {options}
    if num_classes is not None:
        options["num_classes"] = num_classes
    host = HOST(**options)
    for name, arguments in LAYERS.items():
        layer = host if name == "" else host.get_submodule(name)
        like = next(layer.parameters(), torch.empty(0))
        block = BLOCK(**arguments).to(like.device, like.dtype).train(layer.training)
        {put}
    if weights is not None:
        host.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return host


{helpers}'''


def code_of(case: Case, block: str, changes: Sequence[LayerChange]) -> str:
    """The code that builds the host of ``case`` with the block of reference ``block`` where ``changes`` say.

    Raises UsageError for a host or a block that was registered at run time, and for transforms and checkpoints.
    """
    if case.transforms or case.weights is not None:
        raise UsageError(
            "code cannot say what a transform or a checkpoint made of the host; save plugged.pt as well as it"
        )
    changed = [change for change in changes if change.changed]
    after = any(change.how == "after" for change in changed)
    layers = {"" if change.layer.startswith("(") else change.layer: dict(change.arguments) for change in changed}
    host_imports, host = _host(case)
    block_imports, factory = _import(resolve(block))
    needed = [
        "import torch",
        "from torch import nn",
        "from functools import partial",
        "from typing import Any",
        *host_imports,
        *block_imports,
    ]
    parts: list[Callable[..., Any]] = [attach.come_after, attach._then]
    if not after:
        parts = [attach.take_place, attach._fuse_the_rest, attach.swap]
    helpers, loader = [inspect.getsource(part) for part in parts], ""
    if any("_load(" in text for text in (host, factory)):
        needed += ["import importlib.util", "import sys", "from pathlib import Path"]
        loader = f"\n\n{_LOAD}\n"
    constant = "" if after else _CONSTANT
    put = 'come_after(layer, block, "plugged")' if after else "host = take_place(host, layer, block)"
    title = f"{case.target} with {block} {'after' if after else 'in the place of'} {len(changed)} of its layers."
    text = _FILE.format(
        title=title,
        version=__version__,
        imports="\n".join(sorted(set(needed), key=lambda line: (not line.startswith("import"), line))),
        loader=loader,
        host=host,
        block=factory,
        layers="\n".join(f"    {name!r}: {arguments!r}," for name, arguments in layers.items()),
        options=repr(_host_options(case)),
        put=put,
        helpers=constant + "\n\n".join(helpers),
    )
    compile(text, "plugged.py", "exec")
    return text


def _host(case: Case) -> tuple[list[str], str]:
    reference = resolve(case.target)
    if reference.scheme == "timm":
        return ["from functools import partial", "import timm"], (
            f"partial(timm.create_model, {reference.location!r}, pretrained={case.pretrained})"
        )
    if reference.scheme == "torchvision":
        weights = "DEFAULT" if case.pretrained else None
        return ["from functools import partial", "from torchvision import models"], (
            f"partial(models.get_model, {reference.location!r}, weights={weights!r})"
        )
    return _import(reference)


def _host_options(case: Case) -> dict[str, object]:
    options: dict[str, object] = dict(case.options)
    if resolve(case.target).scheme == "torchvision" and not case.pretrained:
        import torchvision

        builder = torchvision.models.get_model_builder(resolve(case.target).location)
        if "weights_backbone" in inspect.signature(builder).parameters:
            options.setdefault("weights_backbone", None)
    return options


def _import(reference: Reference) -> tuple[list[str], str]:
    """How it is imported, and what it is called then."""
    if reference.scheme == "file":
        return [], f"_load({str(Path(reference.location).resolve())!r}, {reference.attribute!r})"
    location, attribute = reference.location, reference.attribute
    if reference.entry is not None:
        if not isinstance(reference.entry.target, str):
            raise UsageError(f"{reference.name} was registered at run time, where no code can import it from")
        location, _, attribute = reference.entry.target.partition(":")
    head, _, rest = attribute.partition(".")
    return [f"from {location} import {head}"], attribute if rest else head
