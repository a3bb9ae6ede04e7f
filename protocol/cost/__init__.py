"""What a request costs, from shapes alone: the same numbers for quotes, quotas, plans and receipts.

    Price(per_step_flop, full_flop, other_flop) = price(entry, request)

FLOP are integers and exact: two a multiply-accumulate, as torch's FlopCounterMode counts them (see `ops`).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from protocol.catalog import CatalogEntry
from protocol.cost.autoencoder import (
    decode_image_cost,
    decode_video_cost,
    encode_image_cost,
    encode_video_cost,
)
from protocol.cost.flux import flux_cost
from protocol.cost.ops import DenoiserCost
from protocol.cost.sedd import sedd_cost
from protocol.cost.text import clip_cost, clip_image_cost, t5_cost
from protocol.cost.wan import wan_cost
from protocol.extent import extent_of
from protocol.jobs import GenerationRequest
from protocol.methods import SAMPLERS
from protocol.receipts import FLOP_PER_TFLOP
from protocol.resolve import lanes
from protocol.sedd_shape import SeddShapes
from protocol.shapes import FluxShapes, ModelShapes, PictureShapes, WanShapes

__all__ = [
    "DenoiserCost",
    "Price",
    "decode_cost",
    "denoiser_cost",
    "encode_cost",
    "evaluations",
    "image_cost",
    "own_cost",
    "price",
    "steps_within",
    "text_cost",
]


class Price(BaseModel):
    """What a job costs unabridged.

    `per_step_flop` has one entry an evaluation of one sample, all its lanes; `full_flop` is the denoiser's
    share of the whole job, n samples; `other_flop` is encoders and decoder for the whole job: billed, not
    budgeted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_step_flop: tuple[int, ...]
    full_flop: int
    other_flop: int

    @property
    def full_tflops(self) -> float:
        return self.full_flop / FLOP_PER_TFLOP

    @property
    def per_step(self) -> tuple[float, ...]:
        """`per_step_flop` in TFLOPs."""
        return tuple(flop / FLOP_PER_TFLOP for flop in self.per_step_flop)

    @property
    def other_tflops(self) -> float:
        return self.other_flop / FLOP_PER_TFLOP


def price(entry: CatalogEntry, request: GenerationRequest) -> Price:
    """Price a request that `resolve` has made concrete.

    The prompt is encoded once a job, the negative prompt too if there are two lanes, and the image to start
    from if there is one; every sample is decoded.
    """
    given, extent = request.input, extent_of(request.input)
    assert given.num_inference_steps is not None, "resolve() fills the steps"
    rows = lanes(request, entry)
    row = denoiser_cost(entry.shapes, **extent)
    per_step = (rows * row.evaluation,) * evaluations(entry.solver, given.num_inference_steps)
    decode = decode_cost(entry.shapes, **extent)
    image = 0
    if given.image is not None:
        assert given.width is not None, "resolve() fills the size"
        assert given.height is not None, "resolve() fills the size"
        image = image_cost(entry.shapes, width=given.width, height=given.height, num_frames=given.num_frames)
    return Price(
        per_step_flop=per_step,
        full_flop=given.n * sum(per_step),
        other_flop=rows * text_cost(entry.shapes) + image + given.n * decode,
    )


def evaluations(solver: str, num_inference_steps: int) -> int:
    """Denoiser evaluations a solver makes on one sample: one a step, Heun two at all but the last.

    UniPC's corrector reuses the next step's. Of discrete models a step is an evaluation, whatever it is for.

    Raises:
        ValueError: an unknown solver.
    """
    if solver == "heun":
        return 2 * num_inference_steps - 1
    if solver in ("euler", "ab2", "dpmpp-2m", "unipc", *SAMPLERS):
        return num_inference_steps
    raise ValueError(f"unknown solver {solver!r}; known are ab2, dpmpp-2m, euler, heun, unipc")


def steps_within(solver: str, affordable: int) -> int:
    """The most solver steps that make at most `affordable` evaluations, of which there is one at least."""
    return (affordable + 1) // 2 if solver == "heun" else affordable


def denoiser_cost(
    shapes: ModelShapes,
    *,
    width: int | None = None,
    height: int | None = None,
    num_frames: int | None = None,
    length: int | None = None,
) -> DenoiserCost:
    """FLOP of one evaluation for one row of this extent, with all blocks and nothing pruned: full compute."""
    if isinstance(shapes, SeddShapes):
        assert length is not None, "resolve() fills the length"
        return sedd_cost(shapes.transformer, tokens=length)
    tokens = shapes.image_tokens(*_pixels(width, height), num_frames)
    if isinstance(shapes, FluxShapes):
        return flux_cost(shapes.transformer, image_tokens=tokens, text_tokens=shapes.text_tokens)
    return wan_cost(shapes.transformer, video_tokens=tokens, text_tokens=shapes.text_tokens)


def own_cost(
    shapes: ModelShapes,
    *,
    width: int | None = None,
    height: int | None = None,
    num_frames: int | None = None,
    length: int | None = None,
) -> DenoiserCost:
    """The same of the network as it is: of the pruned blocks, where it is pruned."""
    if not isinstance(shapes, WanShapes) or shapes.pare is None:
        return denoiser_cost(shapes, width=width, height=height, num_frames=num_frames, length=length)
    tokens = shapes.image_tokens(*_pixels(width, height), num_frames)
    return wan_cost(shapes.transformer, video_tokens=tokens, text_tokens=shapes.text_tokens, pare=shapes.pare)


def text_cost(shapes: ModelShapes) -> int:
    """FLOP of encoding one prompt, where there is one."""
    if isinstance(shapes, SeddShapes):
        return 0
    if isinstance(shapes, FluxShapes):
        return clip_cost(shapes.clip) + t5_cost(shapes.t5)
    return t5_cost(shapes.umt5)


def decode_cost(
    shapes: ModelShapes,
    *,
    width: int | None = None,
    height: int | None = None,
    num_frames: int | None = None,
    length: int | None = None,
) -> int:
    """FLOP of decoding one sample's latents; tokens need none."""
    if isinstance(shapes, SeddShapes):
        return 0
    grid = shapes.latent_grid(*_pixels(width, height), num_frames)
    if isinstance(shapes, FluxShapes):
        return decode_image_cost(shapes.autoencoder, grid)
    return decode_video_cost(shapes.autoencoder, grid)


def encode_cost(shapes: PictureShapes, *, width: int, height: int, num_frames: int | None = None) -> int:
    """FLOP of encoding one image or clip into latents."""
    if isinstance(shapes, FluxShapes):
        return encode_image_cost(shapes.autoencoder, width=width, height=height)
    return encode_video_cost(shapes.autoencoder, width=width, height=height, num_frames=num_frames or 1)


def image_cost(shapes: ModelShapes, *, width: int, height: int, num_frames: int | None = None) -> int:
    """FLOP of taking in the image a clip starts from: its tokens, and the latents of a clip else empty."""
    assert isinstance(shapes, WanShapes), "resolve() refuses the image"
    assert shapes.image_encoder is not None, "resolve() refuses the image"
    latents = encode_cost(shapes, width=width, height=height, num_frames=num_frames)
    return clip_image_cost(shapes.image_encoder) + latents


def _pixels(width: int | None, height: int | None) -> tuple[int, int]:
    assert width is not None, "resolve() fills the size"
    assert height is not None, "resolve() fills the size"
    return width, height
