"""What a student is held to (equations 13 to 15)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from workers.training.pare.forward import Evaluation, Routes
from workers.training.pare.settings import LossSettings


def student_loss(
    learned: Evaluation, taught: Evaluation, target: Tensor, routes: Routes | None, settings: LossSettings
) -> Tensor:
    """The weighted sum; `target` is noise - clip, and the teacher's evaluation has no gradient."""
    student, teacher = learned.velocity.float(), taught.velocity.float()
    features = features_loss(learned, taught, routes, settings.outlier_deviations)
    loss = settings.features * features + settings.teacher * mse_loss(student, teacher)
    loss = loss + settings.data * mse_loss(student, target)
    if student.shape[2] == 1:
        return loss
    return loss + settings.change * mse_loss(student.diff(dim=2), teacher.diff(dim=2))


def features_loss(
    learned: Evaluation, taught: Evaluation, routes: Routes | None, outlier_deviations: float
) -> Tensor:
    """Mean over watched blocks of the squared error relative to the teacher's mean square there.

    Counted are the rows that took the block, and the tokens that are no outliers in the teacher.
    """
    total = torch.zeros((), device=learned.velocity.device)
    for index, theirs in taught.features.items():
        weights = ordinary_tokens(theirs.float(), outlier_deviations)
        if routes is not None:
            weights = weights * taken(routes, index)[:, None]
        squares = (learned.features[index].float() - theirs.float()).square().mean(-1)
        scale = theirs.float().square().mean()
        total = total + (weights * squares).sum() / weights.sum().clamp(min=1) / scale
    return total / max(1, len(taught.features))


def taken(routes: Routes, index: int) -> Tensor:
    """(R,), 1 for rows whose gate at this block is above a half."""
    gate = routes.run if routes.gate is None else routes.gate.detach() > 0.5
    return gate[:, index].float()


def ordinary_tokens(hidden: Tensor, deviations: float) -> Tensor:
    """(R, S), 0 for tokens whose norm is further from their row's mean norm than so many deviations."""
    norms = hidden.norm(dim=-1)
    spread = norms.std(dim=1, correction=0, keepdim=True)
    ordinary: Tensor = (norms - norms.mean(dim=1, keepdim=True)).abs() <= deviations * spread
    return ordinary.float()
