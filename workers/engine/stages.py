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
from workers.core import Condition, Grid, Ledger, Sample, Schedule, SolverState, Stack
from workers.engine.job import Flight, Job
from workers.engine.receipts import sample_receipt
from workers.engine.results import SampleResult
from workers.models import Model, encode_lanes, network_of
from workers.sampling import at_nodes, flow_schedule, initial_noise, make_solver


def make_job(
    job_id: str,
    model: Model,
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
    width, height = resolved.input.width, resolved.input.height
    assert width is not None, "resolve() fills the size"
    assert height is not None, "resolve() fills the size"
    job = Job(
        id=job_id,
        model=model,
        request=resolved,
        plan=plan,
        price=price(model.catalog, resolved),
        solver=make_solver(plan.solver),
        stack=build_stack(plan),
        grid=model.grid(width, height, resolved.input.num_frames),
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
    model: Model, request: GenerationRequest, grid: Grid, image: Image | None = None
) -> tuple[Condition, ...]:
    """A condition a lane of a resolved request: its prompt, and the negative one if there are two."""
    given = request.input
    prompts = [given.prompt, given.negative_prompt or ""][: lanes(request, model.catalog)]
    return encode_lanes(model, prompts, given.guidance_scale, image, grid)


def take_off(flight: Flight) -> None:
    """Draw the flight's noise and lay out its schedule."""
    job, model = flight.job, flight.job.model
    assert job.conditions is not None, "prompts are encoded first"
    flight.sample = make_sample(
        model,
        key=f"{job.id}/{flight.index}",
        seed=flight.seed,
        plan=job.plan,
        grid=job.grid,
        lanes=job.conditions,
        guidance_scale=job.request.input.guidance_scale or 1.0,
        solver=job.solver.start(_schedule(job), model.dtype),
        stack=job.stack,
    )


def make_sample(
    model: Model,
    *,
    key: str,
    seed: int,
    plan: Plan,
    grid: Grid,
    lanes: tuple[Condition, ...],
    guidance_scale: float,
    solver: SolverState,
    stack: Stack,
) -> Sample:
    """A sample at its noise. Where ranks split the lanes of guidance, with this rank's alone."""
    ranks = network_of(model, plan.variant).layout.ranks
    split = ranks.lane_ranks if len(lanes) == ranks.lane_ranks else 1
    noise = initial_noise(model.noise_shape(grid), seed, model.latents_dtype, model.device)
    return Sample(
        key=key,
        seed=seed,
        plan=plan,
        grid=grid,
        lanes=lanes if split == 1 else (lanes[ranks.lane],),
        guidance_scale=guidance_scale,
        latents=model.pack(noise),
        solver=solver,
        stack=stack,
        ledger=Ledger(plan.granted_flop),
        lane_ranks=split,
    )


def _schedule(job: Job) -> Schedule:
    """The noise levels of the job's plan: those of so many steps, or nodes of the unabridged run."""
    steps, config, tokens = job.plan.num_inference_steps, job.model.scheduler_config, job.grid.num_tokens
    if not job.plan.fewer_steps:
        return flow_schedule(config, steps, tokens)
    unabridged = job.request.input.num_inference_steps
    assert unabridged is not None, "resolve() fills the steps"
    return at_nodes(flow_schedule(config, unabridged, tokens), job.plan.nodes)


def decode(flight: Flight, *, latents_only: bool = False) -> SampleResult:
    """The finished flight's picture or clip, unless only its latents are wanted, and its account.

    Raises:
        SampleFailed: its latents are not finite. Looked at here, once, and not at every step.
    """
    started = time.perf_counter()
    latents = flight.state.latents
    if not bool(torch.isfinite(latents).all()):
        raise SampleFailed("the sample's latents are not finite")
    decoded = None if latents_only else flight.job.model.decode(latents, flight.state.grid)
    flight.job.stage_seconds["decode"] += time.perf_counter() - started
    image, video = (decoded, None) if isinstance(decoded, Image) else (None, decoded)
    return SampleResult(flight.seed, _plain(latents), image, video, sample_receipt(flight))


def _plain(latents: Tensor) -> Tensor:
    """A copy that can be used outside inference mode."""
    with torch.inference_mode(False):
        return latents.clone()
