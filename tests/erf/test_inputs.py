"""Where samples come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from convbench.errors import ShapeError, UsageError
from convbench.measures.erf import Box, ErfSettings, Given, ImageFolder, Noise, inputs_from, measure_erf

SHAPE = (2, 12, 14)
FIELD = Box(3, 9, 4, 8)
WHOLE = Box.whole(12, 14)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_noise_inside_the_field_is_the_same_on_the_whole_image() -> None:
    part = Noise().window(0, generator(), SHAPE, FIELD, FIELD)
    whole = Noise().window(0, generator(), SHAPE, FIELD, WHOLE)
    assert part.shape == (2, 6, 4)
    assert whole.shape == SHAPE
    assert torch.equal(whole[:, 3:9, 4:8], part)


def test_noise_is_standard_normal() -> None:
    box = Box.whole(64, 64)
    sample = Noise().window(0, generator(), (16, 64, 64), box, box)
    assert sample.mean().abs() < 4 / 256
    assert (sample.std() - 1).abs() < 4 / np.sqrt(2 * sample.numel())


def test_given_samples_are_cut() -> None:
    samples = torch.arange(2.0 * 2 * 12 * 14).reshape(2, *SHAPE)
    assert torch.equal(Given(samples).window(1, generator(), SHAPE, FIELD, FIELD), samples[1, :, 3:9, 4:8])
    with pytest.raises(ShapeError, match=r"samples have shape \(2, 12, 14\), the input is \(2, 8, 8\)"):
        Given(samples).window(0, generator(), (2, 8, 8), FIELD, FIELD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for index, name in enumerate(("b.png", "inner/a.jpg", "a.bmp")):
        Image.new("RGB", (20, 10), (index * 100, 30, 255)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_images_are_found_in_order_resized_and_normalised(folder: Path) -> None:
    images = inputs_from(str(folder))
    assert isinstance(images, ImageFolder)
    assert [path.name for path in images.files] == ["a.bmp", "b.png", "a.jpg"]
    assert images.limit == 3
    sample = images.window(0, generator(), (3, 12, 14), FIELD, WHOLE)
    expected = (np.array([200, 30, 255]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert sample.shape == (3, 12, 14)
    assert sample.dtype == torch.float32
    assert sample.mean((1, 2)).numpy() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(images.window(0, generator(), (3, 12, 14), FIELD, FIELD), sample[:, 3:9, 4:8])
    assert "ImageNet normalisation" in images.description


def test_images_give_a_field(folder: Path) -> None:
    settings = ErfSettings(samples=8, inputs=inputs_from(str(folder)), bootstrap=0)
    erf = measure_erf(nn.Conv2d(3, 4, 3, padding=1), (1, 3, 16, 16), settings)
    assert erf.samples == 3
    assert erf.inputs == images_description(folder)


def images_description(folder: Path) -> str:
    return f"images of {folder.name}, ImageNet normalisation"


def test_images_need_three_channels(folder: Path) -> None:
    with pytest.raises(ShapeError, match="images have 3 channels, the input has 64"):
        inputs_from(str(folder)).window(0, generator(), (64, 12, 14), FIELD, FIELD)


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("rank", [3, 4])
def test_tensor_files(tmp_path: Path, suffix: str, rank: int) -> None:
    samples = torch.randn((2, *SHAPE)[-rank:])
    path = tmp_path / f"samples{suffix}"
    if suffix == ".pt":
        torch.save(samples, path)
    elif suffix == ".npy":
        np.save(path, samples.numpy())
    elif suffix == ".npz":
        np.savez(path, x=samples.numpy())
    else:
        save_file({"x": samples}, path)
    source = inputs_from(str(path))
    assert source.limit == (2 if rank == 4 else 1)
    assert torch.equal(source.window(0, generator(), SHAPE, FIELD, WHOLE), samples.reshape(-1, *SHAPE)[0])
    assert source.description == f"tensors of samples{suffix}"


def test_noise_by_name() -> None:
    assert inputs_from("noise") == Noise()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.pt", None, "neither 'noise' nor a folder"),
        ("empty", "folder", "holds no image"),
        ("x.csv", "text", "suffix '.csv'"),
        ("two.npz", "two", "exactly one tensor; it holds 2"),
        ("flat.npy", "flat", r"must hold floating samples \(N, C, H, W\)"),
        ("whole.npy", "integers", "int64"),
    ],
)
def test_what_is_no_source_is_an_error(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content == "text":
        path.write_text("1,2")
    elif content == "two":
        np.savez(path, a=np.zeros((1, 2, 3, 3)), b=np.zeros((1, 2, 3, 3)))
    elif content == "flat":
        np.save(path, np.zeros(5))
    elif content == "integers":
        np.save(path, np.zeros((1, 2, 3, 3), np.int64))
    with pytest.raises(UsageError, match=message):
        inputs_from(str(path))
