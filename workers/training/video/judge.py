"""The independent reader of clips: tracking says colour, direction and speed, a small network which object.

The network sees a track's own coverage round its centre, in grey: neither colour nor place nor motion can
help it to a name. It was trained on augmented renderings of all three drawing styles, has seen no generated
clip, and no generator was chosen by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from workers.training.clips import CLIP_OBJECTS, ClipAttributes, Frames, Mover
from workers.training.video.tracking import Track, background_of_clip, crops, tracks

CROP_EDGE = 16
READER_FILE = "clips.safetensors"
READER_PATH = Path(__file__).parents[3] / "checkpoints" / "judges" / READER_FILE


class ClipReader(nn.Module):
    """A CNN 24-48-64 over one grey crop, 0.1 M parameters.

    Input (B, 1, 16, 16) in [0, 1]; output: logits (B, 12) in the order of `CLIP_OBJECTS`.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stride, (wide_in, wide_out) in zip((1, 2, 2), pairwise((1, 24, 48, 64)), strict=True):
            layers += [
                nn.Conv2d(wide_in, wide_out, 3, stride, padding=1),
                nn.BatchNorm2d(wide_out),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 16, 64), nn.SiLU())
        self.head = nn.Linear(64, len(CLIP_OBJECTS))

    def forward(self, cropped: Tensor) -> Tensor:
        """Logits of the objects."""
        logits: Tensor = self.head(self.body(cropped))
        return logits


@dataclass(frozen=True, eq=False)
class ClipReading:
    """What is seen in one clip: its tracks, the larger first, and the attributes they amount to."""

    tracks: tuple[Track, ...]
    attributes: ClipAttributes


@cache
def load_clip_reader(path: Path = READER_PATH) -> ClipReader:
    """The reader with its committed weights, ready to read."""
    network = ClipReader()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return network.eval().requires_grad_(False)


def read_clips(clips: Sequence[Frames], reader: ClipReader | None = None) -> list[ClipReading]:
    """Read every clip, (9, 32, 32, 3) uint8, with the committed reader or the one given."""
    network = reader or load_clip_reader()
    return [_read(frames, network) for frames in clips]


def _read(frames: Frames, network: ClipReader) -> ClipReading:
    found = tuple(tracks(frames))
    movers = tuple(
        Mover(_name(frames, track, network), track.colour, track.direction, track.speed_name)
        for track in found
    )
    return ClipReading(found, ClipAttributes(movers, background_of_clip(frames)))


@torch.inference_mode()
def _name(frames: Frames, track: Track, network: ClipReader) -> str:
    """The object most of whose evidence adds up over the frames."""
    cropped = torch.from_numpy(crops(frames, track, CROP_EDGE)).float()[:, None]
    if not len(cropped):
        return "nothing"
    return CLIP_OBJECTS[int(network(cropped).log_softmax(1).sum(0).argmax())]
