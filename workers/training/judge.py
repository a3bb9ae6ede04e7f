"""The independent reader: what objects, how many, how large, where, on what colour.

Two networks of one shape are committed as weights. `main` was trained on augmented renderings of all three
drawing styles, `cross` only on the two styles the generator never draws. Neither has seen a generated image,
and no generator was ever chosen by them. The background colour is read from the border pixels, not learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from workers.training.clips import ClipAttributes, Frames
from workers.training.objects import BACKGROUNDS, OBJECTS, POSITIONS, RELATIONS, SIZES
from workers.training.scenes import Attributes
from workers.training.video.judge import read_clips

Reader = Literal["main", "cross"]
READERS: tuple[Reader, ...] = ("main", "cross")
JUDGES_FOLDER = Path(__file__).parents[2] / "checkpoints" / "judges"
# What a scene can be, in the order of the first head: the relations are pairs.
COMPOSITIONS: tuple[str, ...] = ("single", "two", "three", *RELATIONS)
HEADS: dict[str, tuple[str, ...]] = {
    "composition": COMPOSITIONS,
    "first": tuple(OBJECTS),
    "second": tuple(OBJECTS),
    "size": SIZES,
    "position": tuple(POSITIONS),
}
_BATCH = 64


class JudgeNetwork(nn.Module):
    """A CNN 32-64-128-192 with one linear head an attribute, 1.1 M parameters.

    Input (B, 3, 64, 64) in [-1, 1]; output: logits (B, number of names) by head.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 192)
        stages: list[nn.Module] = []
        for wide_in, wide_out in pairwise(widths):
            stages += _convolution(wide_in, wide_out, stride=2)
            if wide_out in (64, 128):
                stages += _convolution(wide_out, wide_out, stride=1)
        self.body = nn.Sequential(*stages, nn.Flatten(), nn.Dropout(0.2), nn.Linear(192 * 16, 192), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(192, len(names)) for name, names in HEADS.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits by head."""
        features = self.body(pixels)
        return {name: head(features) for name, head in self.heads.items()}


def _convolution(wide_in: int, wide_out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(wide_in, wide_out, 3, stride, padding=1), nn.BatchNorm2d(wide_out), nn.SiLU()]


def weights_path(reader: Reader) -> Path:
    """The committed weights of a reader."""
    return JUDGES_FOLDER / f"{reader}.safetensors"


@cache
def load_judge(reader: Reader = "main") -> JudgeNetwork:
    """A reader with its committed weights, ready to read."""
    from safetensors.torch import load_file

    network = JudgeNetwork()
    weights = load_file(weights_path(reader))
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return network.eval().requires_grad_(False)


def to_pixels(images: Sequence[Image.Image]) -> Tensor:
    """(B, 3, 64, 64) in [-1, 1], float32; another size is resampled to 64 x 64."""
    sized = [image.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS) for image in images]
    array = np.stack([np.asarray(image) for image in sized])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1


def background_of(image: Image.Image) -> str:
    """The palette name nearest to the median colour of the border pixels."""
    array = np.asarray(image.convert("RGB")).astype(float)
    border = np.concatenate([array[0], array[-1], array[1:-1, 0], array[1:-1, -1]])
    colour = np.median(border, axis=0)
    return min(BACKGROUNDS, key=lambda name: float(((colour - np.array(BACKGROUNDS[name])) ** 2).sum()))


@overload
def judge(images: Sequence[Image.Image], reader: Reader = "main") -> list[Attributes]: ...


@overload
def judge(images: Sequence[Frames], reader: Reader = "main") -> list[ClipAttributes]: ...


def judge(
    images: Sequence[Image.Image] | Sequence[Frames], reader: Reader = "main"
) -> list[Attributes] | list[ClipAttributes]:
    """Read every image or clip: the attributes an independent reader sees, comparable with its own.

    Args:
        images: any number of RGB images, or of clips' frames, (9, 32, 32, 3) uint8.
        reader: "main" (all styles) or "cross" (trained without the generator's style); clips have one reader.
    """
    clips = [each for each in images if isinstance(each, np.ndarray)]
    if clips:
        return [reading.attributes for reading in read_clips(clips)]
    return _judge_images([each for each in images if isinstance(each, Image.Image)], reader)


def _judge_images(images: Sequence[Image.Image], reader: Reader) -> list[Attributes]:
    network, seen = load_judge(reader), []
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        with torch.inference_mode():
            choices = {name: logits.argmax(1).tolist() for name, logits in network(to_pixels(part)).items()}
        for row, image in enumerate(part):
            names = {head: HEADS[head][choices[head][row]] for head in HEADS}
            seen.append(_attributes(names, background_of(image)))
    return seen


def _attributes(names: dict[str, str], background: str) -> Attributes:
    composition, first = names["composition"], names["first"]
    if composition in RELATIONS:
        return Attributes((first, names["second"]), 2, background, relation=composition)
    if composition == "single":
        return Attributes((first,), 1, background, names["size"], names["position"])
    return Attributes((first,), 2 if composition == "two" else 3, background)
