"""From a request, as written or resolved, to a job of one of the engine's models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from protocol.errors import InvalidRequest
from protocol.jobs import GenerationRequest
from protocol.plan import Plan
from workers.core import Stack
from workers.engine.job import Job
from workers.engine.stacks import stacks_of
from workers.engine.stages import make_job
from workers.models import LoadedModel


class Maker:
    """Makes jobs; keeps none.

    Args:
        models: by name.
        build_stack: of a plan; None: the methods this build knows, with each model's calibration.
    """

    def __init__(
        self, models: Mapping[str, LoadedModel], build_stack: Callable[[Plan], Stack] | None
    ) -> None:
        self._models = models
        self._stacks = {name: build_stack or stacks_of(model) for name, model in models.items()}

    def make(
        self,
        request: GenerationRequest | Mapping[str, Any],
        plan: Plan | None = None,
        job_id: str = "",
        *,
        background: bool = False,
    ) -> Job:
        """The job, not queued anywhere.

        Raises:
            RheostatError: unknown model, impossible input, or a budget too small.
            ValueError: a job in the background has methods: turns that are given up must leave no trace, and
                a cache may have moved on in one.
        """
        if not isinstance(request, GenerationRequest):
            request = GenerationRequest.model_validate(request)
        if request.model not in self._models:
            raise InvalidRequest(
                f"no model {request.model}",
                param="model",
                code="unknown_model",
                details={"allowed": [*sorted(self._models)]},
            )
        job = make_job(job_id, self._models[request.model], request, plan, self._stacks[request.model])
        if background and job.plan.methods:
            raise ValueError("a job in the background must run without methods")
        job.background = background
        return job
