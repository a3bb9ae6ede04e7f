"""Rows of many prompts moved side by side by a model's own solver."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from protocol.plan import Plan
from workers.core import Grid, Ledger, Sample, Schedule, Stack
from workers.sampling import make_solver

_ADDS_UP = "euler"


class Course:
    """A solver on one schedule.

    A solver's arithmetic is element by element, so a sample whose latents are many rows moves as each of them
    would alone, to the bit.

    Args:
        solver: its name, one evaluation a step.
        schedule: of the unabridged run.
        dtype: of the network's outputs.
    """

    def __init__(self, solver: str, schedule: Schedule, dtype: torch.dtype) -> None:
        self.solver = solver
        self._rule = make_solver(solver)
        self._schedule, self._dtype = schedule, dtype

    @property
    def adds_up(self) -> bool:
        """Whether latents move by step times output and nothing else: then a gap is one sum."""
        return self.solver == _ADDS_UP

    def start(self, latents: Tensor) -> Sample:
        """Rows (R, ...) before the first evaluation."""
        steps = len(self._schedule.timesteps)
        return Sample(
            key="",
            seed=0,
            plan=Plan(methods=(), num_inference_steps=steps, solver=self.solver, granted_flop=1, full_flop=1),
            grid=Grid(1, 1),
            lanes=(),
            guidance_scale=1.0,
            latents=latents,
            solver=self._rule.start(self._schedule, self._dtype),
            stack=Stack(),
            ledger=Ledger(1),
        )

    def move(self, sample: Sample, output: Tensor) -> Sample:
        """The rows after one more evaluation; `sample` stays what it was.

        Args:
            output: guided, one a row (R, ...).
        """
        memory = replace(sample.solver, history=dict(sample.solver.history))
        moved = replace(sample, solver=memory)
        self._rule.tell(moved, output)
        return moved
