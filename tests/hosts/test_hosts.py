"""timm's and torchvision's models as targets."""

from __future__ import annotations

import urllib.error
import warnings
from typing import Any

import pytest
import torch
import torchvision

from convbench.case import Case
from convbench.errors import MissingExtraError, OptionError, UnknownNameError, UsageError
from convbench.target.blueprint import blueprint, build, make_subject

timm = pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("target", "params"),
    [
        ("torchvision:resnet18", 11_689_512),
        ("torchvision:mobilenet_v3_small", 2_542_856),
        ("timm:resnet18", 11_689_512),
        ("timm:convnext_tiny", 28_589_128),
        ("timm:mobilenetv3_small_100", 2_542_856),
    ],
)
def test_models_build_on_meta_with_their_documented_parameters(target: str, params: int) -> None:
    subject = make_subject(Case(target, device="meta"))
    assert subject.kind == "network"
    assert subject.name == target
    assert sum(parameter.numel() for parameter in subject.module.parameters()) == params
    assert subject.shapes == ((1, 3, 224, 224),)
    with torch.no_grad():
        assert subject.module(*subject.args).shape == (1, 1000)


def test_options_reach_the_model() -> None:
    subject = make_subject(Case("timm:resnet18", options=(("num_classes", 7), ("in_chans", 1)), size=64, device="meta"))
    assert subject.shapes == ((1, 1, 64, 64),)
    assert subject.module(*subject.args).shape == (1, 7)
    assert build("torchvision:resnet18", num_classes=5).fc.out_features == 5


def test_equal_seeds_give_equal_models_and_leave_the_random_state() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    design = blueprint(Case("torchvision:squeezenet1_1"))
    first, second, third = (design.module(seed).state_dict() for seed in (1, 1, 2))
    key = "features.0.weight"
    assert torch.equal(first[key], second[key])
    assert not torch.equal(first[key], third[key])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("timm:resnet81", "timm has no model 'resnet81'. Did you mean 'timm:resnet"),
        ("torchvision:resnet81", "torchvision has no model 'resnet81'. Did you mean 'torchvision:resnet"),
        ("timm:resnet18.a1_in2k", "Its weights: resnet18."),
        ("timm:", "is no reference"),
        ("tim:resnet18", "no module named 'tim'"),
    ],
)
def test_an_unknown_model_is_named_with_its_neighbours(target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.").replace("?", r"\?")):
        blueprint(Case(target))


def test_a_tag_picks_the_weights_and_not_the_model() -> None:
    assert make_subject(Case("timm:resnet18.a1_in1k", device="meta")).name == "timm:resnet18.a1_in1k"


@pytest.mark.parametrize("target", ["timm:resnet18", "torchvision:resnet18"])
def test_a_network_has_no_dim_and_only_its_own_options(target: str) -> None:
    with pytest.raises(OptionError, match="has no dim"):
        blueprint(Case(target, dim=64))
    with pytest.raises(OptionError, match="no_such_option"):
        blueprint(Case(target, options=(("no_such_option", 1),))).module(device="meta")


@pytest.mark.parametrize(
    ("target", "size"), [("timm:vit_tiny_patch16_384", 384), ("timm:resnet18", 224), ("timm:vit_tiny_patch16_224", 224)]
)
def test_a_model_of_one_size_gets_that_size_unless_another_is_asked_for(target: str, size: int) -> None:
    assert blueprint(Case(target)).shapes() == ((1, 3, size, size),)
    assert blueprint(Case(target, batch=2, size=96)).shapes() == ((2, 3, 96, 96),)
    assert blueprint(Case(target, shapes=((1, 3, 32, 64),))).shapes() == ((1, 3, 32, 64),)


def test_nothing_is_fetched_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("weights are being fetched")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", refuse)
    for target in ("torchvision:deeplabv3_mobilenet_v3_large", "torchvision:lraspp_mobilenet_v3_large"):
        assert blueprint(Case(target)).module(device="meta") is not None


def test_models_that_warn_about_their_initialisation_are_built_quietly() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        blueprint(Case("torchvision:googlenet")).module(device="meta")


class TestPretrained:
    """Published weights, where they cannot be had."""

    def test_torchvision_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any, **__: Any) -> Any:
            raise urllib.error.URLError("Name or service not known")

        monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", unreachable)
        with pytest.raises(UsageError, match=r"could not be fetched \(URLError\).*--weights FILE"):
            blueprint(Case("torchvision:resnet18", pretrained=True)).module()

    def test_timm_says_so_without_retrying(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any, **__: Any) -> Any:
            raise urllib.error.URLError("Name or service not known")

        def fetch(*_: Any, **__: Any) -> Any:
            raise AssertionError("the hub's client is asked although its server does not answer")

        monkeypatch.setattr("urllib.request.urlopen", unreachable)
        monkeypatch.setattr("timm.models._hub.hf_hub_download", fetch)
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
        with pytest.raises(UsageError, match=r"timm:resnet18: .*could not be fetched.*--weights FILE"):
            blueprint(Case("timm:resnet18", pretrained=True)).module()

    def test_cached_weights_are_used_where_the_hub_is_out_of_reach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any, **__: Any) -> Any:
            raise AssertionError("the server is asked although the weights are here")

        published = timm.create_model("resnet18").state_dict()
        monkeypatch.setattr("urllib.request.urlopen", unreachable)
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/somewhere/model.safetensors")
        monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(published))
        module = blueprint(Case("timm:resnet18", pretrained=True)).module()
        assert torch.equal(module.conv1.weight, published["conv1.weight"])

    def test_every_network_error_of_a_hub_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class MissingEntryError(FileNotFoundError, ValueError):
            """As some versions of the hub's client raise it."""

        def missing(*_: Any, **__: Any) -> Any:
            raise MissingEntryError("not on this disk")

        monkeypatch.setattr("convbench.target.hosts._require_hub", lambda _: None)
        monkeypatch.setattr(timm, "create_model", missing)
        with pytest.raises(UsageError, match="could not be fetched"):
            blueprint(Case("timm:resnet18", pretrained=True)).module()

    def test_a_wrong_option_is_still_a_wrong_option(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("convbench.target.hosts._require_hub", lambda _: None)
        with pytest.raises(OptionError, match="no_such_option"):
            blueprint(Case("timm:resnet18", pretrained=True, options=(("no_such_option", 1),))).module()

    def test_registered_targets_have_no_published_weights(self) -> None:
        with pytest.raises(UsageError, match="others take --weights FILE"):
            blueprint(Case("MRFA", pretrained=True))

    def test_a_silent_server_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import socket

        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            address = f"http://127.0.0.1:{server.getsockname()[1]}/weights.pth"
            monkeypatch.setattr("convbench.target.hosts._PATIENCE_S", 0.2)

            def download(*_: Any, **__: Any) -> Any:
                return torch.hub.download_url_to_file(address, "/dev/null")

            monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", download)
            with pytest.raises(UsageError, match="could not be fetched"):
                blueprint(Case("torchvision:resnet18", pretrained=True)).module()
        assert socket.getdefaulttimeout() is None


def test_a_missing_host_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"timm:resnet18 needs timm.*pip install 'convbench\[hosts\]'"):
        blueprint(Case("timm:resnet18"))


def test_the_nearest_model_is_suggested_by_a_reference_that_works() -> None:
    with pytest.raises(UnknownNameError) as caught:
        blueprint(Case("timm:convnext_tinny"))
    suggestion = str(caught.value).split("Did you mean '")[1].split("'")[0]
    assert blueprint(Case(suggestion)).name == suggestion
