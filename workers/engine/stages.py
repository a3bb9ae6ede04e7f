"""What a job goes through beside denoising: made from a request, encoded, decoded."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from PIL.Image import Image
from torch import Tensor

from protocol.cost import price
from protocol.cost.memory import sample_bytes
from protocol.errors import SampleFailed
from protocol.jobs import GenerationRequest
from protocol.plan import Plan, make_plan
from protocol.resolve import lanes, resolve, seeds
from protocol.start_images import ImageLimits, inline_bytes, read_image
from workers.core import Condition, Grid, Ledger, Sample, SolverState, Stack
from workers.engine.job import Flight, Job
from workers.engine.receipts import sample_receipt
from workers.engine.results import Decoded, SampleResult
from workers.engine.starts import start_of
from workers.models import LoadedModel, TokenModel, encode_lanes, network_of, picture_model


def make_job(
    job_id: str,
    model: LoadedModel,
    request: GenerationRequest,
    plan: Plan | None,
    build_stack: Callable[[Plan], Stack],
) -> Job:
    """Check a request against its model, plan it and lay out its flights.

    Raises:
        RheostatError: the model cannot do what is asked.
        LookupError: the plan asks for weights or methods that are not here.
    """
    resolved = resolve(request, model.catalog)
    plan = plan or make_plan(resolved, model.catalog)
    network_of(model, plan.variant)  # raises where the plan asks for weights that are not here
    job = Job(
        id=job_id,
        model=model,
        request=resolved,
        plan=plan,
        price=price(model.catalog, resolved),
        start=start_of(model, resolved.input, plan),
        stack=build_stack(plan),
    )
    needed = sample_bytes(model.catalog, resolved)
    job.flights = [Flight(job, index, seed, needed) for index, seed in enumerate(seeds(resolved))]
    return job


def given_image(request: GenerationRequest) -> Image | None:
    """The image the request carries, if it starts from one.

    Raises:
        RheostatError: it is none, or larger than is taken.
    """
    text = request.input.image
    return None if text is None else read_image(inline_bytes(text), ImageLimits())


def encode(job: Job) -> None:
    """Encode the job's prompts and its image, once for all its samples."""
    started = time.perf_counter()
    job.conditions = conditions_of(job.model, job.request, job.grid, job.image)
    job.image = None
    job.stage_seconds["encode"] += time.perf_counter() - started


def conditions_of(
    model: LoadedModel, request: GenerationRequest, grid: Grid, image: Image | None = None
) -> tuple[Condition, ...]:
    """A condition a lane of a resolved request: its prompt, and the negative one if there are two.

    Sequences have one lane, without any.
    """
    given = request.input
    if isinstance(model, TokenModel):
        return (Condition(()),)
    assert given.prompt is not None, "resolve() requires the prompt"
    prompts = [given.prompt, given.negative_prompt or ""][: lanes(request, model.catalog)]
    return encode_lanes(picture_model(model), prompts, given.guidance_scale, image, grid)


def take_off(flight: Flight) -> None:
    """Draw the state the flight starts from."""
    job = flight.job
    assert job.conditions is not None, "prompts are encoded first"
    latents, solver = job.start.begin(flight.seed)
    flight.sample = make_sample(
        job.model,
        key=f"{job.id}/{flight.index}",
        seed=flight.seed,
        plan=job.plan,
        grid=job.grid,
        lanes=job.conditions,
        guidance_scale=job.request.input.guidance_scale or 1.0,
        latents=latents,
        solver=solver,
        stack=job.stack,
    )


def make_sample(
    model: LoadedModel,
    *,
    key: str,
    seed: int,
    plan: Plan,
    grid: Grid,
    lanes: tuple[Condition, ...],
    guidance_scale: float,
    latents: Tensor,
    solver: SolverState,
    stack: Stack,
) -> Sample:
    """A sample at its start. Where ranks split the lanes of guidance, with this rank's alone."""
    ranks = network_of(model, plan.variant).layout.ranks
    split = ranks.lane_ranks if len(lanes) == ranks.lane_ranks else 1
    return Sample(
        key=key,
        seed=seed,
        plan=plan,
        grid=grid,
        lanes=lanes if split == 1 else (lanes[ranks.lane],),
        guidance_scale=guidance_scale,
        latents=latents,
        solver=solver,
        stack=stack,
        ledger=Ledger(plan.granted_flop),
        lane_ranks=split,
    )


def decode(flight: Flight, *, latents_only: bool = False) -> SampleResult:
    """What the finished flight has made, unless only its latents are wanted, and its account.

    Raises:
        SampleFailed: its latents are not finite. Looked at here, once, and not at every step.
    """
    started = time.perf_counter()
    latents = flight.state.latents
    if not bool(torch.isfinite(latents).all()):
        raise SampleFailed("the sample's latents are not finite")
    decoded = None if latents_only else _decoded(flight.job.model, latents, flight.state.grid)
    flight.job.stage_seconds["decode"] += time.perf_counter() - started
    return SampleResult(flight.seed, _plain(latents), decoded, sample_receipt(flight))


def _decoded(model: LoadedModel, latents: Tensor, grid: Grid) -> Decoded:
    if isinstance(model, TokenModel):
        return model.read(latents)
    return picture_model(model).decode(latents, grid)


def _plain(latents: Tensor) -> Tensor:
    """A copy that can be used outside inference mode."""
    with torch.inference_mode(False):
        return latents.clone()
