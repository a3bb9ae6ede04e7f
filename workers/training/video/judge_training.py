"""Train the object reader of clips on augmented frames, from streams the generator never uses."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from workers.training.clips import CLIP_BACKGROUNDS, CLIP_OBJECTS, Frames, Spot, choose_paths, render_frame
from workers.training.clips import sample_clip_attributes as sample_attributes
from workers.training.objects import STYLES
from workers.training.resumable import ScheduledTrainee, step_seed
from workers.training.video.judge import CROP_EDGE, ClipReader
from workers.training.video.settings import ClipReaderSettings
from workers.training.video.tracking import crops, tracks


def augmented_crops(size: int, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Draw frames of the training split, turned, scaled, blurred and noised, and cut their objects out.

    Returns:
        crops (B, 1, 16, 16) in [0, 1] and the objects' places in `CLIP_OBJECTS` (B,).
    """
    found: list[np.ndarray] = []
    labels: list[int] = []
    while len(labels) < size:
        attributes = sample_attributes(rng, "train")
        spots = [_vary(spot, rng) for spot in rng.choice(choose_paths(attributes, rng))]
        image = render_frame(spots, CLIP_BACKGROUNDS[attributes.background], rng.choice(STYLES))
        frame = _degrade(image, rng)
        names = {spot.colour: spot.name for spot in spots}
        for track in tracks(frame):
            if track.colour in names and len(cut := crops(frame, track, CROP_EDGE)):
                found.append(cut)
                labels.append(CLIP_OBJECTS.index(names[track.colour]))
    return torch.from_numpy(np.stack(found[:size])).float(), torch.tensor(labels[:size])


def _vary(spot: Spot, rng: random.Random) -> Spot:
    edge = max(9, spot.edge + rng.randint(-1, 1))
    return Spot(spot.name, spot.colour, spot.x, spot.y, edge, rng.gauss(0, 5))


def _degrade(image: Image.Image, rng: random.Random) -> Frames:
    """Blur half of the frames by up to a pixel, add noise of up to 10 levels: (1, 32, 32, 3) uint8."""
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.random()))
    noise = np.random.default_rng(rng.getrandbits(48)).normal(0, 10 * rng.random(), (32, 32, 3))
    return (np.asarray(image) + noise).clip(0, 255).round().astype(np.uint8)[None]


class ClipReaderTrainee(ScheduledTrainee):
    """The reader on endless augmented frames of the training split."""

    def __init__(self, settings: ClipReaderSettings, seed: int) -> None:
        torch.manual_seed(step_seed("clip-reader", seed))
        self.settings, self.seed, self.num_steps = settings, seed, settings.num_steps
        self.network = ClipReader()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, settings.num_steps, pct_start=0.1, cycle_momentum=False
        )

    def step(self, index: int) -> float:
        """One batch of new frames."""
        seed = step_seed("clip-reader", self.seed, index)
        torch.manual_seed(seed)
        cropped, labels = augmented_crops(self.settings.batch, random.Random(f"clip-reader-{seed}"))
        loss = nn.functional.cross_entropy(self.network(cropped), labels, label_smoothing=0.05)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())
