"""What data may name: modules, known before anything is called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convbench.case import Case
from convbench.errors import UsageError
from convbench.registry import entries
from convbench.sweeps.study import Study, make_study
from convbench.sweeps.study_file import settings_from_file
from convbench.sweeps.vetting import require_modules
from convbench.target.vetting import refuse_by_sight, require_module

MINE = """
import functools, os
from os import system
from torch import nn
from torch.nn import Conv2d

class Module(nn.Module):
    made = staticmethod(system)
class Plain:
    pass
class Callable(type):
    def __call__(cls, *args, **kwargs):
        os.mkdir("marker")
class Other(metaclass=Callable):
    pass
def factory(dim):
    return Conv2d(dim, dim, 1)
@functools.wraps(system)
def disguised(dim):
    return Conv2d(dim, dim, 1)
@functools.cache
def cached(dim):
    return Conv2d(dim, dim, 1)
small = functools.partial(factory, 8)
loud = functools.partial(system, "touch marker")
run = os.system
class Spoof:
    @property
    def __class__(self):
        return type
spoof = Spoof()
"""

BY_SIGHT = [
    *("os:system", "os:mkdir", "builtins:eval", "builtins:exec", "subprocess:run", "pickle:loads", "shutil:rmtree"),
    *(
        "torch.hub:load",
        "os.path:join",
        "torch.nn:Module.load_state_dict",
    ),
    *("torch.serialization:load", "numpy.lib.npyio:NpzFile.close", "saved:whole.pt"),
    *("nothing", "a\0.py:B", "a.py:", ":x", "antigravity:x", "torch.nn.modules.conv:List[int]"),
    f"{Path(sys.modules['os'].__file__ or '')}:makedirs",
    f"{Path(pytest.__file__)}:main",
    f"{Path(sys.modules['convbench'].__file__ or '').parent / 'sweep' / 'store.py'}:read_store",
]


@pytest.mark.parametrize("target", BY_SIGHT)
def test_what_is_told_by_sight_is_refused_before_anything_is_imported(target: str) -> None:
    entries()
    before = set(sys.modules)
    with pytest.raises(UsageError):
        refuse_by_sight(Case(target))
    assert set(sys.modules) == before


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg"])
def test_an_option_that_would_load_a_file_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"its option '{option}' names a file that would be loaded"):
        refuse_by_sight(Case("timm:resnet18", options=((option, "evil.pth"),)))


@pytest.mark.parametrize("target", ["MRFA", "mrfa", "timm:resnet18", "torchvision:resnet18"])
def test_names_of_the_registry_and_of_hosts_need_no_look(target: str) -> None:
    assert refuse_by_sight(Case(target, options=(("in_chans", 3),))) is False


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize("name", ["Module", "Conv2d", "factory", "disguised", "cached", "small", "Plain"])
def test_modules_and_factories_that_the_users_own_file_defines_may_be_named(mine: Path, name: str) -> None:
    assert refuse_by_sight(Case(f"{mine}:{name}"))
    require_module(f"{mine}:{name}")


@pytest.mark.parametrize("name", ["system", "run", "loud", "spoof", "functools"])
def test_a_name_that_the_file_imports_is_refused_and_not_called(mine: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"add --trust|not a class or factory"):
        require_module(f"{mine}:{name}")
    assert not (mine.parent / "marker").exists()


@pytest.mark.parametrize(
    "target", ["torch:load", "torch.nn.functional:conv2d", "torch:compile", "numpy:save", "torch.nn:Parameter"]
)
def test_what_a_package_defines_must_be_a_module(target: str) -> None:
    def look() -> None:
        refuse_by_sight(Case(target))
        require_module(target)

    with pytest.raises(UsageError, match="is not called"):
        look()


@pytest.mark.parametrize("target", ["torch.nn:Conv2d", "torch.nn.modules.conv:Conv2d", "torchvision.ops:DeformConv2d"])
def test_modules_of_packages_may_be_named(target: str) -> None:
    assert refuse_by_sight(Case(target))
    require_module(target)


def study(folder: Path, text: str) -> Study:
    (folder / "study.toml").write_text(text)
    return make_study(settings_from_file(folder / "study.toml"))


def test_a_study_names_its_line_and_what_is_typed_is_not_looked_at(mine: Path) -> None:
    with pytest.raises(UsageError, match=r"study.toml, line 1, targets: 'os:system' is not called"):
        require_modules(study(mine.parent, 'targets = ["MRFA", "os:system"]\nmeasures = "params"').named_by_data)
    with pytest.raises(UsageError, match=r"line 1, targets: 'mine.py:system' is not called: system is a builtin"):
        require_modules(study(mine.parent, 'targets = "mine.py:system"').named_by_data)
    require_modules(study(mine.parent, 'targets = ["mine.py:factory", "torch.nn:Conv2d"]').named_by_data)
    assert not (mine.parent / "marker").exists()
