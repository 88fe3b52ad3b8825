"""From a case to a module: options, users' own classes, devices, seeds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import convbench
from convbench.case import Case
from convbench.errors import DeviceError, OptionError, TargetError, UnknownNameError, UsageError
from convbench.execution.device import available_devices, require_device
from convbench.target.blueprint import blueprint, instance_blueprint, make_subject
from convbench.target.packed import Packed, pack_instance

USER_FILE = '''
import torch
from torch import nn
from neighbour import SCALE

class Plain(nn.Module):
    """Written for no tool: in_channels and out_channels without defaults."""
    def __init__(self, in_channels, out_channels, kernel_size=3, names=("a",), bias=True):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
    def forward(self, x):
        return self.conv(x) * SCALE

class Classifier(nn.Module):
    def __init__(self, num_classes=10, in_chans=3):
        super().__init__()
        self.head = nn.Linear(in_chans, num_classes)
    def forward(self, x):
        return self.head(x.mean((2, 3)))

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)
    def forward(self, x):
        return self.conv(x)

class Broken(nn.Module):
    def __init__(self, dim):
        raise KeyError("no such thing")

def not_a_module(dim):
    return dim
'''


@pytest.fixture
def user_file(tmp_path: Path) -> str:
    (tmp_path / "neighbour.py").write_text("SCALE = 2.0\n")
    path = tmp_path / "my_blocks.py"
    path.write_text(USER_FILE)
    yield str(path)  # type: ignore[misc]
    for name in ("neighbour", "my_blocks"):
        sys.modules.pop(name, None)


def test_dim_reaches_the_block_and_the_input() -> None:
    subject = make_subject(Case("MRFA", dim=32, size=8, batch=2))
    assert subject.shapes == ((2, 32, 8, 8),)
    assert subject.options == {"dim": 32}
    assert not subject.module.training


def test_a_block_without_dim_has_64_channels_at_56() -> None:
    assert make_subject(Case("Conv3x3"), device="meta").shapes == ((1, 64, 56, 56),)


def test_build_gives_a_plain_module() -> None:
    module = convbench.build("conv2former", dim=16, kernel_size=7)
    assert module(torch.zeros(1, 16, 9, 9)).shape == (1, 16, 9, 9)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("MRFA", dim=30), r"multiple of 4, got 30 \(nearest: 28, 32\)"),
        (Case("Conv2Former", options=(("kernel_siz", 7),)), r"no option 'kernel_siz'\. Did you mean 'kernel_size'\?"),
        (Case("Conv2Former", options=(("kernel_size", "big"),)), "must be like its default 11, got 'big'"),
        (Case("MRFA", dim=32, options=(("dim", 64),)), "dim is given twice"),
        (Case("timm:resnet18", dim=64), "is a network and has no dim"),
    ],
)
def test_a_wrong_option_is_one_clear_error(case: Case, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        blueprint(case).module(device="meta")


def test_a_users_class_gets_its_channels_from_dim(user_file: str) -> None:
    subject = make_subject(Case(f"{user_file}:Plain", dim=8, size=5, options=(("kernel_size", 5),)))
    assert (subject.name, subject.kind, subject.shapes) == ("Plain", "block", ((1, 8, 5, 5),))
    assert subject.options["out_channels"] == 8
    torch.testing.assert_close(subject.module(*subject.args), subject.module.conv(*subject.args) * 2)


def test_a_class_with_num_classes_is_a_network(user_file: str) -> None:
    subject = make_subject(Case(f"{user_file}:Classifier", options=(("in_chans", 4),)))
    assert (subject.kind, subject.shapes, subject.input_grad) == ("network", ((1, 4, 224, 224),), False)


def test_a_class_without_parameters_takes_a_shape(user_file: str) -> None:
    assert make_subject(Case(f"{user_file}:Fixed", shapes=((2, 8, 4, 4),))).shapes == ((2, 8, 4, 4),)


@pytest.mark.parametrize(
    ("attribute", "error", "message"),
    [
        ("Plane", TargetError, r"no 'Plane'\. Did you mean 'Plain'\? Modules in it: Plain, Classifier, Fixed, Broken"),
        ("Broken", TargetError, "could not be built: KeyError: 'no such thing'"),
        ("not_a_module", TargetError, r"gave a int, not a torch\.nn\.Module"),
        ("SCALE", TargetError, "SCALE is a float, not a class"),
    ],
)
def test_a_wrong_attribute_is_one_clear_error(
    user_file: str, attribute: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        blueprint(Case(f"{user_file}:{attribute}")).module()


def test_a_file_that_raises_on_import_is_named_with_its_error(tmp_path: Path) -> None:
    path = tmp_path / "raises.py"
    path.write_text("raise RuntimeError('half written')\n")
    with pytest.raises(TargetError, match=r"raises\.py: importing it failed: RuntimeError: half written"):
        blueprint(Case(f"{path}:Block"))
    assert "raises" not in sys.modules


def test_a_file_named_like_a_library_does_not_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "torch.py"
    path.write_text("import torch.nn as nn\nclass Block(nn.Identity):\n    pass\n")
    assert isinstance(blueprint(Case(f"{path}:Block")).module(), nn.Identity)
    assert sys.modules["torch"] is torch


@pytest.mark.parametrize("text", ["no_such_file.py:Block", "no.such.module:Block", "torch.nn:NoSuchLayer"])
def test_a_missing_place_is_a_target_error(text: str) -> None:
    with pytest.raises(TargetError):
        blueprint(Case(text))


def test_a_module_reference_needs_no_registration() -> None:
    subject = make_subject(Case("torch.nn:BatchNorm2d", dim=8, size=4, options=(("num_features", 8),)))
    assert subject.shapes == ((1, 8, 4, 4),)


def test_the_same_seed_gives_the_same_weights_and_input_whatever_went_before() -> None:
    case = Case("Conv3x3", dim=8, size=6)
    first = make_subject(case)
    torch.manual_seed(999)
    state = torch.random.get_rng_state()
    second = make_subject(case)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(first.module.state_dict(), second.module.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(first.args, second.args, rtol=0, atol=0)
    other = make_subject(Case("Conv3x3", dim=8, size=6, seed=1))
    assert not torch.equal(first.args[0], other.args[0])


def test_conditions_reach_module_and_input() -> None:
    subject = make_subject(
        Case("Conv3x3", dim=8, size=6, dtype="float64", memory_format="channels_last", mode="training")
    )
    assert subject.args[0].dtype == torch.float64
    assert subject.args[0].is_contiguous(memory_format=torch.channels_last)
    assert subject.module.training
    assert subject.input_grad


def test_an_instance_is_copied_and_left_as_it_was(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    case = Case("Sequential", shapes=((1, 3, 8, 8),))
    subject = instance_blueprint(module, case).subject()
    assert not subject.module.training
    assert module.training
    restored = Packed.from_json(pack_instance(module, case, tmp_path).to_json()).blueprint().subject()
    torch.testing.assert_close(restored.module.state_dict(), module.state_dict(), rtol=0, atol=0)


def test_an_absent_device_names_those_present() -> None:
    absent = next((kind for kind in ("cuda", "mps", "xpu") if kind not in "".join(available_devices())), None)
    if absent is None:
        pytest.skip("every kind of device is present")
    with pytest.raises(DeviceError, match=f"'{absent}' is not present: this torch .* sees cpu"):
        require_device(absent)


def test_pretrained_is_for_hosts() -> None:
    with pytest.raises(UsageError, match="--pretrained is for timm"):
        blueprint(Case("MRFA", pretrained=True))


def test_an_unknown_name_is_not_a_module() -> None:
    with pytest.raises(UnknownNameError):
        blueprint(Case("Convolver"))
