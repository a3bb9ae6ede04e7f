"""Train the two readers on augmented renderings, with seeds the generator never uses.

The generator's pool is drawn by `sample_scenes(..., seed)` with small integer seeds; the readers draw from
`random.Random("judge-...")` streams, turn, scale and recolour the sprites, and blur and noise the pixels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from workers.training.judge import HEADS, JudgeNetwork, Reader, to_pixels
from workers.training.objects import BACKGROUNDS, STYLES
from workers.training.resumable import ScheduledTrainee, step_seed
from workers.training.scenes import Attributes, Placement, place, render, sample_attributes
from workers.training.settings import JudgeSettings

READER_STYLES: dict[Reader, tuple[str, ...]] = {"main": STYLES, "cross": STYLES[1:]}
IGNORED = -100  # cross_entropy's mark for a head that has nothing to say about a scene


def augmented_batch(size: int, styles: Sequence[str], rng: random.Random) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw scenes of the training split as the readers see them.

    Returns:
        pixels (B, 3, 64, 64) in [-1, 1], and by head the labels (B,), `IGNORED` where a head does not apply.
    """
    drawn = [sample_attributes(rng, "train") for _ in range(size)]
    images = [render(_vary(place(each, rng), rng), _tint(each, rng), rng.choice(styles)) for each in drawn]
    pixels = _degrade(to_pixels(images), torch.Generator().manual_seed(rng.getrandbits(48)))
    return pixels, {head: torch.tensor([label(each, head) for each in drawn]) for head in HEADS}


def label(attributes: Attributes, head: str) -> int:
    """The index a head should choose for a scene, or `IGNORED`."""
    named = {
        "composition": attributes.relation or attributes.kind,
        "first": attributes.objects[0],
        "second": attributes.objects[1] if len(attributes.objects) > 1 else None,
        "size": attributes.size,
        "position": attributes.position,
    }[head]
    return IGNORED if named is None else HEADS[head].index(named)


def loss_of(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Sum of the heads' cross entropies over the rows they apply to, objects smoothed by .05."""
    total = torch.zeros(())
    for head, scores in logits.items():
        smoothing = 0.05 if head in ("first", "second") else 0.0
        losses = nn.functional.cross_entropy(
            scores, labels[head], ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
        )
        total = total + losses / len(labels[head])
    return total


def to_channels_last(network: nn.Module) -> None:
    """Lay convolution weights out channels-last: on the CPU these small images train faster so."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class JudgeTrainee(ScheduledTrainee):
    """One reader on endless augmented scenes of the training split."""

    def __init__(self, settings: JudgeSettings, reader: Reader, seed: int) -> None:
        torch.manual_seed(step_seed("judge", reader, seed))
        self.settings, self.reader, self.seed = settings, reader, seed
        self.num_steps = settings.num_steps
        self.network = JudgeNetwork()
        to_channels_last(self.network)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, settings.num_steps, pct_start=0.1, cycle_momentum=False
        )

    def step(self, index: int) -> float:
        """One batch of new scenes."""
        seed = step_seed("judge", self.reader, self.seed, index)
        torch.manual_seed(seed)
        pixels, labels = augmented_batch(
            self.settings.batch, READER_STYLES[self.reader], random.Random(f"judge-{seed}")
        )
        loss = loss_of(self.network(pixels.contiguous(memory_format=torch.channels_last)), labels)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())


def _vary(placements: tuple[Placement, ...], rng: random.Random) -> tuple[Placement, ...]:
    return tuple(
        replace(
            spot,
            x=spot.x + rng.uniform(-1, 1),
            y=spot.y + rng.uniform(-1, 1),
            edge=spot.edge + rng.randint(-2, 2),
            angle=rng.gauss(0, 6),
        )
        for spot in placements
    )


def _tint(attributes: Attributes, rng: random.Random) -> tuple[int, int, int]:
    red, green, blue = (
        max(0, min(255, value + rng.randint(-20, 20))) for value in BACKGROUNDS[attributes.background]
    )
    return red, green, blue


def _degrade(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur a third of the rows, shift the colours' gain, add noise: (B, 3, 64, 64) in and out."""
    rows = len(pixels)
    blurred = nn.functional.avg_pool2d(pixels, 3, stride=1, padding=1, count_include_pad=False)
    share = torch.rand(rows, 1, 1, 1, generator=generator)
    pixels = torch.where(share < 0.33, torch.lerp(pixels, blurred, share * 3), pixels)
    gain = 1 + 0.15 * torch.randn(rows, 3, 1, 1, generator=generator)
    noise = 0.06 * torch.rand(rows, 1, 1, 1, generator=generator)
    return pixels * gain + noise * torch.randn(pixels.shape, generator=generator)
