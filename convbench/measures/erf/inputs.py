"""Where the samples of a receptive field come from: noise, a folder of images, a file of tensors, tensors in memory.

Imports torch and NumPy where samples are drawn, so that settings can be made without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from convbench.errors import ShapeError, UsageError
from convbench.measures.erf.result import Box

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


SampleShape = tuple[int, int, int]


class Inputs(Protocol):
    """A numbered source of samples."""

    @property
    def description(self) -> str:
        """What a figure says under the picture."""

    @property
    def limit(self) -> int | None:
        """How many samples there are; None: as many as are asked for."""

    def window(self, index: int, generator: torch.Generator, shape: SampleShape, field: Box, box: Box) -> Tensor:
        """The part ``box`` of sample ``index`` as a floating CPU tensor (C, box.height, box.width).

        shape: (C, H, W) of the whole sample. field: the part that the probed pixel can see. generator: seeded for this
        sample alone.
        """


@dataclass(frozen=True, slots=True)
class Noise:
    """Independent N(0, 1) values.

    The field is drawn first and what surrounds it next: a sample depends on what the probed pixel can see alone, so
    that time does not grow with the image and the whole image gives the same map as the window.
    """

    @property
    def description(self) -> str:
        return "N(0, 1) noise"

    @property
    def limit(self) -> int | None:
        return None

    def window(self, index: int, generator: torch.Generator, shape: SampleShape, field: Box, box: Box) -> Tensor:
        import torch

        channels, height, width = shape
        core = torch.randn(channels, field.height, field.width, generator=generator)
        if box == field:
            return core
        sample = torch.randn(channels, height, width, generator=generator)
        sample[:, field.top : field.bottom, field.left : field.right] = core
        return sample[:, box.top : box.bottom, box.left : box.right]


@dataclass(frozen=True, slots=True)
class Given:
    """Samples in memory: a floating tensor (N, C, H, W)."""

    samples: Tensor
    description: str = "given tensors"

    @property
    def limit(self) -> int | None:
        return len(self.samples)

    def window(self, index: int, generator: torch.Generator, shape: SampleShape, field: Box, box: Box) -> Tensor:
        sample = self.samples[index]
        if tuple(sample.shape) != shape:
            raise ShapeError(f"samples have shape {tuple(sample.shape)}, the input is {shape}: give --shape {shape}")
        return sample[:, box.top : box.bottom, box.left : box.right].cpu()


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Images of a folder and its sub-folders in the order of their paths, resized and normalised as for ImageNet."""

    folder: Path
    files: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path) -> ImageFolder:
        """The images under ``folder``. Raises UsageError when there are none."""
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGE_SUFFIXES)
        if not files:
            raise UsageError(f"{folder} holds no image ({', '.join(sorted(_IMAGE_SUFFIXES))})")
        return cls(folder, tuple(files))

    @property
    def description(self) -> str:
        return f"images of {self.folder.name}, ImageNet normalisation"

    @property
    def limit(self) -> int | None:
        return len(self.files)

    def window(self, index: int, generator: torch.Generator, shape: SampleShape, field: Box, box: Box) -> Tensor:
        import numpy as np
        import torch
        from PIL import Image

        channels, height, width = shape
        if channels != 3:
            raise ShapeError(f"images have 3 channels, the input has {channels}: use noise or a tensor file")
        with Image.open(self.files[index]) as image:
            resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(resized, np.float64) / 255
        normalised = (pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
        return torch.from_numpy(normalised).float().permute(2, 0, 1)[:, box.top : box.bottom, box.left : box.right]


def inputs_from(text: str) -> Inputs:
    """The source that a command line names: ``noise``, a folder of images, or a tensor file.

    A tensor file (.pt, .pth, .npy, .npz, .safetensors) holds one tensor (N, C, H, W) or (C, H, W). Raises UsageError.
    """
    if text == "noise":
        return Noise()
    path = Path(text)
    if path.is_dir():
        return ImageFolder.of(path)
    if not path.is_file():
        raise UsageError(f"erf inputs {text!r} is neither 'noise' nor a folder of images nor a tensor file that exists")
    samples = _load(path)
    if samples.dim() == 3:
        samples = samples[None]
    if samples.dim() != 4 or not samples.is_floating_point():
        found = f"{tuple(samples.shape)} {samples.dtype}"
        raise ShapeError(f"{path} must hold floating samples (N, C, H, W); it holds {found}")
    return Given(samples, f"tensors of {path.name}")


def _load(path: Path) -> Tensor:
    import numpy as np
    import torch

    suffix = path.suffix.lower()
    if suffix in (".pt", ".pth"):
        return _only(path, torch.load(path, map_location="cpu", weights_only=True))
    if suffix == ".npy":
        return torch.from_numpy(np.load(path))
    if suffix == ".npz":
        with np.load(path) as archive:
            return _only(path, {name: torch.from_numpy(archive[name]) for name in archive.files})
    if suffix == ".safetensors":
        from safetensors.torch import load_file

        return _only(path, load_file(path))
    raise UsageError(f"{path} has suffix {suffix!r}; a tensor file is .pt, .pth, .npy, .npz or .safetensors")


def _only(path: Path, content: object) -> Tensor:
    """The tensor in ``content``, which is one or holds exactly one."""
    from torch import Tensor

    values: Sequence[object] = list(content.values()) if isinstance(content, dict) else [content]
    if len(values) != 1 or not isinstance(values[0], Tensor):
        raise UsageError(f"{path} must hold exactly one tensor; it holds {len(values)} entries")
    return values[0]
