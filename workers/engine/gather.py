"""From samples to rows: what each wants evaluated, side by side in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workers.core import Batch, Point, Row, Sample


def place(samples: Sequence[Sample], first: int = 0) -> list[Row]:
    """Rows of a stream for these samples, lanes beside each other, counted from `first`."""
    rows = []
    for sample in samples:
        rows.append(Row(sample, range(first, first + len(sample.lanes))))
        first += len(sample.lanes)
    return rows


def gather(samples: Sequence[Sample], points: Sequence[Point]) -> Batch:
    """One row a lane, in order. Host numbers become tensors here and nowhere else.

    Args:
        samples: of one grid and one model.
        points: where each wants to be evaluated.
    """
    lanes = [(point, lane) for sample, point in zip(samples, points, strict=True) for lane in sample.lanes]
    conditions = [lane.tensors for _, lane in lanes]
    scalars = [lane.scalars for _, lane in lanes]
    device = points[0].latents.device
    return Batch(
        latents=torch.cat([point.latents for point, _ in lanes]),
        timestep=_numbers([point.timestep for point, _ in lanes], device),
        condition=tuple(torch.cat(parts) for parts in zip(*conditions, strict=True)),
        scalars=tuple(_numbers(column, device) for column in zip(*scalars, strict=True)),
        grid=samples[0].grid,
    )


def _numbers(values: Sequence[float], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)
