"""What an outcome is held against, pair by pair, and the columns that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quality_vs_compute.arms import FULL, ODE, REAL, Arm
from benchmarks.quality_vs_compute.distances import latent_distance, psnr, ssim
from benchmarks.quality_vs_compute.execute import Made
from benchmarks.quality_vs_compute.features import feature_distance, features
from benchmarks.quality_vs_compute.pairs import Pair
from benchmarks.quality_vs_compute.store import Columns, Store
from workers.training.evaluation import CHECKS
from workers.training.judge import COMPOSITIONS, HEADS, judge, load_judge, to_pixels
from workers.training.scenes import Attributes

NEEDS = {FULL: (), ODE: (FULL,), REAL: ()}
"""The references an arm is held against, where it is a reference itself; all others: both."""


@dataclass(frozen=True)
class References:
    """Of one chunk: the unabridged run's columns, and the ODE's where it was solved."""

    full: Columns
    ode: Columns | None

    @classmethod
    def read(cls, store: Store, chunk: int) -> References:
        ode = store.read(ODE, chunk) if store.done(ODE, chunk) else None
        return cls(store.read(FULL, chunk), ode)


def measured(arm: Arm, pairs: Sequence[Pair], made: Sequence[Made], references: References | None) -> Columns:
    """The columns of one item, one row a pair.

    spent, nfe, seconds, actions; latent, psnr, ssim, feature: distances to the unabridged run; ode: latent
    distance to the ODE; object, everything: whether the judge read the caption's objects, all of it;
    confidence: see `confidence`; features: (n, 1280), float16. The unabridged run and the ODE also keep what
    others are held against: `latents` (n, S, C), and the former `images`. `ode` of the ODE itself is the
    unabridged run's.

    Args:
        references: of the same pairs; None for the unabridged run and for real scenes.
    """
    columns = _account(made)
    images = np.stack([np.asarray(each.image.convert("RGB")) for each in made])
    if arm.line in (FULL, ODE):
        columns |= {"latents": _stacked(made)}
    if arm.line == FULL:
        columns |= {"images": images}
    if arm.line != ODE:
        columns |= _read_by_judge([each.image for each in made], [pair.attributes for pair in pairs])
    if pairs[0].index < arm.features:
        columns |= {"features": features([each.image for each in made]).astype(np.float16)}
    if references is not None:
        columns |= _distances(_stacked(made), images, columns.get("features"), references)
    if references is not None and arm.line == ODE:
        columns |= {"ode": _latent(references.full["latents"], columns["latents"])}
    return columns


def _account(made: Sequence[Made]) -> Columns:
    return {
        "spent": np.array([each.spent for each in made]),
        "nfe": np.array([each.nfe for each in made]),
        "seconds": np.array([each.seconds for each in made]),
        "actions": np.array([each.actions for each in made]),
    }


def _stacked(made: Sequence[Made]) -> NDArray[Any]:
    return np.stack([each.latents[0].float().numpy() for each in made if each.latents is not None])


def _distances(
    latents: NDArray[Any], images: NDArray[Any], read: NDArray[Any] | None, references: References
) -> Columns:
    full, ode = references.full, references.ode
    columns: Columns = {
        "latent": _latent(latents, full["latents"]),
        "psnr": psnr(images, full["images"]),
        "ssim": ssim(images, full["images"]),
    }
    if ode is not None:
        columns["ode"] = _latent(latents, ode["latents"])
    if read is not None and "features" in full:
        columns["feature"] = feature_distance(read.astype(np.float32), full["features"].astype(np.float32))
    return columns


def _latent(latents: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
    return latent_distance([*torch.from_numpy(latents)], [*torch.from_numpy(reference)])


def _read_by_judge(images: Sequence[Image.Image], wanted: Sequence[Attributes]) -> Columns:
    read = list(zip(wanted, judge(images), strict=True))
    return {
        "object": np.array([_right(_objects_figure(want), want, seen) for want, seen in read]),
        "everything": np.array([_right("everything", want, seen) for want, seen in read]),
        "confidence": confidence(images, wanted),
    }


def _objects_figure(want: Attributes) -> str:
    return "both_objects" if want.kind == "pair" else "object"


def _right(figure: str, want: Attributes, seen: Attributes) -> bool:
    return CHECKS[figure][1](want, seen)


def confidence(images: Sequence[Image.Image], wanted: Sequence[Attributes]) -> NDArray[np.float64]:
    """The probability the judge gives to what each caption says, background apart; (n,).

    The product over the heads the caption speaks to. Unlike right and wrong it does not saturate.
    """
    with torch.inference_mode():
        heads = {name: logits.log_softmax(1) for name, logits in load_judge()(to_pixels(images)).items()}
    sums = [
        sum(float(heads[head][row, HEADS[head].index(name)]) for head, name in _said(want).items())
        for row, want in enumerate(wanted)
    ]
    probabilities: NDArray[np.float64] = np.exp(np.array(sums))
    return probabilities


def _said(want: Attributes) -> dict[str, str]:
    """The name a caption asks for, by head."""
    composition = want.relation or want.kind
    assert composition in COMPOSITIONS, "a scene is one of the judge's compositions"
    said = {"composition": composition, "first": want.objects[0]}
    if want.relation is not None:
        return {**said, "second": want.objects[1]}
    if want.size is not None and want.position is not None:
        return {**said, "size": want.size, "position": want.position}
    return said
