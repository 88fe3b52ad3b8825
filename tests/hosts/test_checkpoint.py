"""Checkpoints: every usual container, precise complaints, and no code run."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from convbench.case import Case
from convbench.errors import WeightsError
from convbench.target.blueprint import blueprint, build
from convbench.target.weights import load_weights, read_state


def model(width: int = 4) -> nn.Module:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, width, 3), norm=nn.BatchNorm2d(width), head=nn.Linear(width, 2, bias=False))
    )


def filled(width: int = 4) -> dict[str, Tensor]:
    """A state that no fresh model has."""
    return {
        key: torch.full_like(value, index + 1) for index, (key, value) in enumerate(model(width).state_dict().items())
    }


def assert_loaded(module: nn.Module, state: dict[str, Tensor]) -> None:
    own = module.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], state[key]) for key in own)


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in filled().items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"state_dict": state},
        lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "epoch": 3},
        lambda state: {"model_state_dict": state, "loss": 0.5},
        lambda state: {"epoch": 3, "model": {"state_dict": state}},
        lambda state: {"state_dict": state, "model": "resnet50"},
        lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, data="/data")},
        lambda state: {"model": state, "args": argparse.Namespace(out=Path("/runs"))},
        lambda state: {"model": state, "best": np.float64(0.77), "step": np.int64(3), "seen": np.float32(1)},
        lambda state: {**state, "conv.total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1)},
        lambda state: {**state, "epoch": 3, 7: torch.ones(1)},
        lambda _: prefixed("module."),
        lambda _: prefixed("_orig_mod."),
        lambda _: prefixed("module._orig_mod."),
        lambda _: {"state_dict": prefixed("model.")},
        lambda _: {"state_dict": prefixed("network.backbone.")},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pth.tar"])
def test_the_usual_containers_and_prefixes(
    wrap: Callable[[dict[str, Tensor]], Any], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(wrap(filled()), path)
    module = model()
    load_weights(module, path)
    assert_loaded(module, filled())


@pytest.mark.parametrize("suffix", [".safetensors", ".SafeTensors"])
def test_safetensors(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(prefixed("module."), path)
    module = model()
    load_weights(module, path)
    assert_loaded(module, filled())


def test_the_format_of_old_torch(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(filled(), path, _use_new_zipfile_serialization=False)
    module = model()
    load_weights(module, path)
    assert_loaded(module, filled())


def test_half_precision_is_cast_to_the_module(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({key: value.half() if value.is_floating_point() else value for key, value in filled().items()}, path)
    module = model()
    load_weights(module, path)
    assert_loaded(module, filled())


def test_prefixes_stay_where_the_module_has_them(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    wrapped = nn.Sequential(OrderedDict(module=model()))
    torch.save(prefixed("module."), path)
    load_weights(wrapped, path)
    assert_loaded(wrapped, prefixed("module."))


@given(st.lists(st.sampled_from(["module", "_orig_mod", "model", "net", "ema"]), max_size=3))
def test_any_stack_of_wrappers(words: list[str]) -> None:
    from convbench.target.weights import _without_prefix

    prefix = "".join(f"{word}." for word in words)
    assert _without_prefix(prefixed(prefix), filled().keys()).keys() == filled().keys()


class TestComplaints:
    """One message names everything that does not fit, and the module is not half-loaded in silence."""

    def complaint(self, state: dict[str, Tensor], tmp_path: Path, module: nn.Module | None = None) -> str:
        path = tmp_path / "weights.pth"
        torch.save(state, path)
        with pytest.raises(WeightsError) as caught:
            load_weights(module or model(), path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_a_missing_key(self, tmp_path: Path) -> None:
        state = filled()
        del state["head.weight"]
        assert self.complaint(state, tmp_path).endswith("does not fit Sequential: 1 key missing (head.weight)")

    def test_an_unexpected_key(self, tmp_path: Path) -> None:
        message = self.complaint({**filled(), "extra.weight": torch.ones(1)}, tmp_path)
        assert message.endswith("1 key unexpected (extra.weight)")

    def test_another_shape(self, tmp_path: Path) -> None:
        message = self.complaint({**filled(), "head.weight": torch.ones(7, 4)}, tmp_path)
        assert message.endswith("1 key of another shape (head.weight is (7, 4), not (2, 4))")

    def test_all_at_once(self, tmp_path: Path) -> None:
        state = {**filled(), "head.weight": torch.ones(7, 4), "extra": torch.ones(1)}
        del state["conv.bias"]
        message = self.complaint(state, tmp_path)
        shape = "1 key of another shape (head.weight is (7, 4), not (2, 4))"
        assert message.endswith(f"{shape}; 1 key missing (conv.bias); 1 key unexpected (extra)")

    def test_another_width(self, tmp_path: Path) -> None:
        message = self.complaint(filled(width=8), tmp_path)
        assert "7 keys of another shape (conv.weight is (8, 3, 3, 3), not (4, 3, 3, 3), " in message
        assert message.endswith(", …)")

    def test_a_scalar_where_a_vector_is_wanted(self, tmp_path: Path) -> None:
        message = self.complaint({**filled(), "conv.bias": torch.ones(2, 2)}, tmp_path)
        assert "conv.bias is (2, 2), not (4)" in message

    def test_another_network_altogether(self, tmp_path: Path) -> None:
        message = self.complaint({f"encoder.layer.{index}": torch.ones(1) for index in range(9)}, tmp_path)
        assert "7 keys missing (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, …)" in message
        assert "9 keys unexpected (encoder.layer.0, " in message

    def test_keys_that_a_module_renames_as_it_loads(self, tmp_path: Path) -> None:
        state = build("MRFA", 8).state_dict()
        state["ln_stage1.gamma"] = torch.ones(5)
        del state["norm1.weight"]
        message = self.complaint(state, tmp_path, build("MRFA", 8))
        assert "norm1.weight is (5), not (8)" in message


class _Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class TestUntrusted:
    @pytest.mark.parametrize("place", ["beside the weights", "as a weight", "as the whole file", "in the settings"])
    def test_no_code_is_run(self, place: str, tmp_path: Path) -> None:
        path, victim = tmp_path / "weights.pth", tmp_path / "victim"
        attack = _Attack(victim)
        content = {
            "beside the weights": {"state_dict": filled(), "hook": attack},
            "as a weight": {**filled(), "conv.bias": attack},
            "as the whole file": attack,
            "in the settings": {"model": filled(), "args": argparse.Namespace(hook=attack)},
        }[place]
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"holds more than weights \(posix\.mkdir\)"):
            read_state(path)
        assert not victim.exists()

    def test_no_code_of_a_bare_pickle_is_run(self, tmp_path: Path) -> None:
        path, victim = tmp_path / "weights.pth", tmp_path / "victim"
        path.write_bytes(pickle.dumps(_Attack(victim)))
        with pytest.raises(WeightsError):
            read_state(path)
        assert not victim.exists()

    def test_a_whole_module_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "model.pth"
        torch.save(model(), path)
        with pytest.raises(WeightsError, match=r"more than weights \(torch\.nn\.modules.*state_dict\(\)"):
            read_state(path)

    def test_containers_within_themselves(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        content: dict[str, Any] = {}
        content["model"] = content
        torch.save(content, path)
        with pytest.raises(WeightsError, match="no tensors"):
            read_state(path)


class TestDamaged:
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
    def test_truncated(self, suffix: str, kept: float, tmp_path: Path) -> None:
        path = tmp_path / f"weights{suffix}"
        save_file(filled(), path) if suffix == ".safetensors" else torch.save(filled(), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(WeightsError, match=r"is empty|is cut short|cannot be read as a checkpoint"):
            read_state(path)

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @given(content=st.binary(max_size=200))
    def test_any_bytes(self, suffix: str, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("bytes") / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            read_state(path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([torch.ones(1)], "holds a list, not a state dict"),
            (torch.ones(1), "holds a Tensor, not a state dict"),
            ({}, "its keys: none"),
            ({"epoch": 3, "generator": {"w": torch.ones(1)}}, "its keys: epoch, generator"),
            ({"state_dict": {}}, "its keys: none"),
        ],
    )
    def test_what_is_no_state_dict(self, content: Any, message: str, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        torch.save(content, path)
        with pytest.raises(WeightsError, match=message):
            read_state(path)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="no such checkpoint"):
            read_state(tmp_path / "weights.pth")
        with pytest.raises(WeightsError, match="a directory"):
            read_state(tmp_path)

    def test_a_torchscript_archive(self, tmp_path: Path) -> None:
        path = tmp_path / "model.pt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
        with pytest.raises(WeightsError, match="TorchScript"):
            read_state(path)


class TestTargets:
    """Through a case, as ``--weights`` does."""

    def test_a_block_a_network_of_a_host_and_on_meta(self, tmp_path: Path) -> None:
        for target, dim in (("MRFA", 8), ("torchvision:squeezenet1_1", None)):
            path = tmp_path / "weights.pth"
            saved = blueprint(Case(target, dim=dim, seed=3)).module().state_dict()
            torch.save({"state_dict": saved}, path)
            loaded = blueprint(Case(target, dim=dim, weights=str(path))).module().state_dict()
            assert all(torch.equal(loaded[key], saved[key]) for key in saved)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                blueprint(Case(target, dim=dim, weights=str(path), device="meta")).module()

    def test_what_does_not_fit_on_meta_is_refused_there_too(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        torch.save(build("MRFA", 8).state_dict(), path)
        with pytest.raises(WeightsError, match="of another shape"):
            blueprint(Case("MRFA", dim=16, weights=str(path), device="meta")).module()

    def test_a_trained_baseline_loads_before_it_is_refocused(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        baseline = blueprint(Case("torchvision:resnet18", seed=3)).module()
        torch.save(baseline.state_dict(), path)
        case = Case("torchvision:resnet18", weights=str(path), transforms=("refocus",))
        refocused = blueprint(case).module().state_dict()
        assert all(torch.equal(refocused[key], value) for key, value in baseline.state_dict().items())

    @pytest.mark.parametrize("saved_after", [("refocus",), ("refocus", "fuse")])
    def test_a_checkpoint_of_what_a_transformation_makes_is_loaded_after_it(
        self, tmp_path: Path, saved_after: tuple[str, ...]
    ) -> None:
        path = tmp_path / "weights.pth"
        trained = blueprint(Case("torchvision:resnet18", seed=3, transforms=saved_after)).module()
        torch.save(trained.state_dict(), path)
        loaded = blueprint(Case("torchvision:resnet18", weights=str(path), transforms=("refocus", "fuse"))).module()
        fused = blueprint(Case("torchvision:resnet18", seed=3, transforms=("refocus", "fuse"))).module()
        torch.testing.assert_close(loaded.state_dict(), fused.state_dict())

    def test_a_checkpoint_that_fits_at_no_point_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        torch.save(build("MRFA", 8).state_dict(), path)
        with pytest.raises(WeightsError, match="does not fit ResNet"):
            blueprint(Case("torchvision:resnet18", weights=str(path), transforms=("refocus",))).module()

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 123\n", "pointer of a git-LFS file"),
            (b"\n<!DOCTYPE html><title>404</title>", "is a web page, not a checkpoint"),
            (b"", "is empty: was its download interrupted"),
            (b" \n", "is empty"),
        ],
    )
    def test_what_stands_in_for_a_checkpoint(self, suffix: str, content: bytes, message: str, tmp_path: Path) -> None:
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            read_state(path)

    def test_text_is_told_by_its_first_line_and_a_cut_archive_by_its_end(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        path.write_text('{"error": "not found"}\nmore\n')
        with pytest.raises(WeightsError, match=r"is text, not a checkpoint; it begins '\{\"error\": \"not found\"\}'"):
            read_state(path)
        torch.save(filled(), path)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(WeightsError, match="is cut short: its archive has no end"):
            read_state(path)
