"""Device bytes a sample needs while it runs, from shapes alone; for admission.

A sample is either denoising or decoding. All samples of a batch denoise together, so each needs a block's
widest point; decoding goes sample by sample, so one decode peak would serve a whole batch. `sample_bytes`
takes the larger of the two for every sample: never too little, and dearer than need be only where many
samples whose decode peak outgrows their activations run at once.

The tests check each term against the bytes that diffusers' own modules keep alive, FLUX.1-dev's and Wan 2.1's
included. Not in it: weights, encoders of prompts (a T5-XXL layer's 30 MB, before a sample has activations)
and of images (making latents of a clip takes less than making a clip of latents), kernels' workspaces and the
allocator's waste: who admits must keep a reserve for those.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from protocol.catalog import CatalogEntry
from protocol.cost.autoencoder import video_decoder_channels
from protocol.jobs import GenerationRequest
from protocol.resolve import lanes
from protocol.sedd_shape import SeddShape, SeddShapes
from protocol.shapes import (
    AutoencoderShape,
    FluxShapes,
    FluxTransformerShape,
    Grid,
    PictureShapes,
    WanAutoencoderShape,
    WanTransformerShape,
)

_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_FLOAT32_BYTES, _INT64_BYTES = 4, 8

_LATENT_COPIES = 4
"""Beside an output a lane: the state, a step's new state, and a two-step solver's two earlier outputs."""

_CACHED_FRAMES = 2
"""Frames that each causal convolution of Wan's decoder remembers."""


@dataclass(frozen=True)
class SampleMemory:
    """Bytes of one sample: `latents` and `prompt` as long as it runs, then `activations` or `decode`."""

    latents: int
    prompt: int
    activations: int
    decode: int

    @property
    def peak(self) -> int:
        return self.latents + self.prompt + max(self.activations, self.decode)


def sample_bytes(entry: CatalogEntry, request: GenerationRequest) -> int:
    """Device bytes one sample of a resolved request needs at most; n samples at once need n times that."""
    return sample_memory(entry, request).peak


def sample_memory(entry: CatalogEntry, request: GenerationRequest) -> SampleMemory:
    """The terms of `sample_bytes`.

    Raises:
        KeyError: the entry's dtype is not one of float32, bfloat16 and float16.
    """
    given, shapes = request.input, entry.shapes
    itemsize = _DTYPE_BYTES[entry.dtype]
    if isinstance(shapes, SeddShapes):
        assert given.length is not None, "resolve() fills the length"
        return _sequence_memory(shapes.transformer, given.length, itemsize)
    assert given.width is not None, "resolve() fills the size"
    assert given.height is not None, "resolve() fills the size"
    rows = lanes(request, entry)
    grid = shapes.latent_grid(given.width, given.height, given.num_frames)
    tokens = shapes.image_tokens(given.width, given.height, given.num_frames)
    latents = (_LATENT_COPIES + rows) * grid[0] * grid[1] * grid[2] * shapes.latent_channels * _FLOAT32_BYTES
    if isinstance(shapes, FluxShapes):
        activations = _flux_activations(shapes.transformer, tokens + shapes.text_tokens, itemsize)
        decode = _image_decode(shapes.autoencoder, grid, itemsize)
    else:
        activations = _wan_activations(shapes.transformer, tokens, itemsize)
        decode = _video_decode(shapes.autoencoder, grid, itemsize)
    prompt = rows * _prompt(shapes, itemsize) + _image(shapes, grid, itemsize)
    return SampleMemory(latents, prompt, rows * activations, decode)


def _sequence_memory(shape: SeddShape, tokens: int, itemsize: int) -> SampleMemory:
    """Tokens and what is given of them; then a block's widest point, or a sampler's step on the output.

    Between two evaluations a sampler remembers the tokens and the ratios before. In units of tokens x width a
    block holds its input, the modulated one, and the feed-forward's hidden state before and after its GELU,
    12 with their temporaries; queries and keys being turned stay below that. A step holds for every token and
    value of the vocabulary the output and at most five 64-bit numbers: weights, running sums, wide ratios.
    """
    table = tokens * shape.tokens
    block = 13 * tokens * shape.hidden_size * itemsize
    step = table * (_FLOAT32_BYTES + 5 * _INT64_BYTES)
    return SampleMemory(
        latents=4 * tokens * _INT64_BYTES + table * _FLOAT32_BYTES,
        prompt=0,
        activations=max(block, step),
        decode=0,
    )


def _prompt(shapes: PictureShapes, itemsize: int) -> int:
    """One prompt's embeddings, as the encoders give them and as the network's embed step projects them.

    What that step makes of an image stands beside them, once a row.
    """
    inner = shapes.text_tokens * shapes.transformer.inner_dim
    if isinstance(shapes, FluxShapes):
        encoded = shapes.text_tokens * shapes.transformer.joint_attention_dim
        return itemsize * (encoded + inner + shapes.transformer.pooled_projection_dim)
    image = shapes.transformer.image_context_tokens * shapes.transformer.inner_dim
    return itemsize * (shapes.text_tokens * shapes.transformer.text_dim + inner + image)


def _image(shapes: PictureShapes, grid: Grid, itemsize: int) -> int:
    """The image a clip starts from, which all lanes share: its tokens, its latents and their mask."""
    if isinstance(shapes, FluxShapes) or shapes.image_encoder is None:
        return 0
    tokens = shapes.image_encoder.tokens * shapes.image_encoder.hidden_size
    return itemsize * (tokens + shapes.image_channels * prod(grid))


def _flux_activations(shape: FluxTransformerShape, tokens: int, itemsize: int) -> int:
    """A single-stream block's widest point, turning the keys by position (two-stream blocks stay below it).

    In units of tokens x inner_dim there live the two streams and their concatenation (2), the modulated input
    (1), the MLP's hidden state (4), queries, keys and values (3) and the turned queries (1), and in float32
    the keys' turned half, both products and their sum (4).
    """
    return tokens * shape.inner_dim * (11 * itemsize + 4 * _FLOAT32_BYTES)


def _wan_activations(shape: WanTransformerShape, tokens: int, itemsize: int) -> int:
    """A block's widest point: inside the feed-forward, or in the float32 sum after it."""
    inside = (6 * shape.inner_dim + 2 * shape.ffn_dim) * itemsize
    after = (4 * itemsize + 4 * _FLOAT32_BYTES) * shape.inner_dim
    return tokens * max(inside, after)


def _image_decode(shape: AutoencoderShape, grid: Grid, itemsize: int) -> int:
    """The residual blocks at full size, and the image.

    The first holds its input, the normalised and the activated one; a later one what came into the scale, its
    own input, its shortcut and two stages between.
    """
    pixels = grid[1] * grid[2] * shape.spatial_factor**2
    last, before = shape.block_out_channels[0], shape.block_out_channels[:2][-1]
    widest = max(3 * before, before + 4 * last)
    return pixels * (widest * itemsize + shape.out_channels * _FLOAT32_BYTES)


def _video_decode(shape: WanAutoencoderShape, grid: Grid, itemsize: int) -> int:
    """The widest point at full size, the caches of all scales, and the video twice.

    Twice because diffusers appends every chunk by a concatenation. The widest point is the last upsampling
    (in float32, with its input and its cast) or a convolution after it: its input is there plain, activated,
    behind the cached frames and padded, beside its output and what came into the scale.
    """
    pixels = grid[1] * grid[2] * shape.spatial_factor**2
    chunk = shape.temporal_factor if grid[0] > 1 else 1
    cached = min(chunk, _CACHED_FRAMES)
    last, before = video_decoder_channels(shape)[-1], video_decoder_channels(shape)[-2:][0]
    upsampling = chunk * before * (_FLOAT32_BYTES + itemsize) + chunk * before * itemsize // 4
    convolving = (4 * chunk + 2 * (chunk + cached)) * last * itemsize + chunk * before // 2 * itemsize
    video = 2 * pixels * (1 + (grid[0] - 1) * shape.temporal_factor) * shape.out_channels * itemsize
    return pixels * max(upsampling, convolving) + _decoder_caches(shape, pixels, cached) * itemsize + video


def _decoder_caches(shape: WanAutoencoderShape, pixels: int, frames: int) -> int:
    """Numbers the causal convolutions keep: two a residual block, one more a scale, four in the middle."""
    convolutions = 2 * (shape.num_res_blocks + 1) + 1
    numbers, positions = 0, pixels
    for channels in reversed(video_decoder_channels(shape)):
        numbers += convolutions * channels * positions * frames
        positions //= 4
    return numbers + 4 * video_decoder_channels(shape)[0] * positions * 4 * frames
