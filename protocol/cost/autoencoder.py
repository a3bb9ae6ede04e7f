"""What the autoencoders cost, `AutoencoderKL` and `AutoencoderKLWan`, both ways, each for one sample."""

from __future__ import annotations

from protocol.cost.ops import attention, conv, linear
from protocol.shapes import AutoencoderShape, Grid, WanAutoencoderShape

_IMAGE = 9
"""Taps of a 3 x 3 kernel."""

_VIDEO = 27
"""Taps of a 3 x 3 x 3 kernel."""

_TIME = 3
"""Taps of a 3 x 1 x 1 kernel."""

_ENCODED_AT_ONCE = 4
"""Frames `AutoencoderKLWan` encodes together, whatever its temporal factor; the first goes alone."""


def decode_image_cost(shape: AutoencoderShape, grid: Grid) -> int:
    """FLOP of decoding latents of `grid` (1, h, w)."""
    channels = shape.block_out_channels[::-1]
    cells = grid[1] * grid[2]
    flop = conv(cells, shape.latent_channels, channels[0], _IMAGE) + _middle(shape, cells)
    if shape.use_post_quant_conv:
        flop += conv(cells, shape.latent_channels, shape.latent_channels, 1)
    previous = channels[0]
    for index, current in enumerate(channels):
        flop += _residuals(cells, previous, current, shape.layers_per_block + 1, _IMAGE)
        if index < len(channels) - 1:
            cells *= 4
            flop += conv(cells, current, current, _IMAGE)
        previous = current
    return flop + conv(cells, previous, shape.out_channels, _IMAGE)


def encode_image_cost(shape: AutoencoderShape, *, width: int, height: int) -> int:
    """FLOP of encoding one image; its sides must be multiples of the spatial factor."""
    channels = shape.block_out_channels
    pixels = width * height
    flop = conv(pixels, shape.in_channels, channels[0], _IMAGE)
    previous = channels[0]
    for index, current in enumerate(channels):
        flop += _residuals(pixels, previous, current, shape.layers_per_block, _IMAGE)
        if index < len(channels) - 1:
            pixels //= 4
            flop += conv(pixels, current, current, _IMAGE)
        previous = current
    moments = 2 * shape.latent_channels
    flop += _middle(shape, pixels) + conv(pixels, previous, moments, _IMAGE)
    return flop + (conv(pixels, moments, moments, 1) if shape.use_quant_conv else 0)


def decode_video_cost(shape: WanAutoencoderShape, grid: Grid) -> int:
    """FLOP of decoding latents of `grid` (f, h, w).

    The decoder goes latent frame by latent frame with a cache of what came before; the first is not doubled
    in time.
    """
    frames, rows, columns = grid
    quant = conv(frames * rows * columns, shape.z_dim, shape.z_dim, 1)
    first = _video_chunk(shape, rows * columns, first=True)
    later = _video_chunk(shape, rows * columns, first=False)
    return quant + first + (frames - 1) * later


def _video_chunk(shape: WanAutoencoderShape, cells: int, *, first: bool) -> int:
    channels = video_decoder_channels(shape)
    upsample_time = shape.temperal_downsample[::-1]
    frames = 1
    flop = conv(cells, shape.z_dim, channels[0], _VIDEO) + _video_middle(channels[0], cells)
    previous = channels[0]
    for index, current in enumerate(channels):
        flop += _residuals(frames * cells, previous, current, shape.num_res_blocks + 1, _VIDEO)
        previous = current
        if index == len(channels) - 1:
            break
        if upsample_time[index] and not first:
            flop += conv(frames * cells, current, 2 * current, _TIME)
            frames *= 2
        cells *= 4
        previous = current // 2
        flop += conv(frames * cells, current, previous, _IMAGE)
    return flop + conv(frames * cells, previous, shape.out_channels, _VIDEO)


def encode_video_cost(shape: WanAutoencoderShape, *, width: int, height: int, num_frames: int) -> int:
    """FLOP of encoding a clip of 1 + 4 n frames; its sides must be multiples of the spatial factor."""
    pixels, chunks = width * height, (num_frames - 1) // _ENCODED_AT_ONCE
    cells = pixels // shape.spatial_factor**2
    latent_frames = 1 + chunks * _ENCODED_AT_ONCE // shape.temporal_factor
    moments = 2 * shape.z_dim
    quant = conv(latent_frames * cells, moments, moments, 1)
    first = _encoded_chunk(shape, pixels, frames=1)
    return quant + first + chunks * _encoded_chunk(shape, pixels, frames=_ENCODED_AT_ONCE)


def _encoded_chunk(shape: WanAutoencoderShape, cells: int, *, frames: int) -> int:
    """A single frame is the first, and is not halved in time."""
    previous = shape.base_dim
    flop = conv(frames * cells, shape.in_channels, previous, _VIDEO)
    for index, factor in enumerate(shape.dim_mult):
        current = shape.base_dim * factor
        flop += _residuals(frames * cells, previous, current, shape.num_res_blocks, _VIDEO)
        previous = current
        if index == len(shape.dim_mult) - 1:
            break
        cells //= 4
        flop += conv(frames * cells, current, current, _IMAGE)
        if shape.temperal_downsample[index] and frames > 1:
            frames //= 2
            flop += conv(frames * cells, current, current, _TIME)
    flop += frames * _video_middle(previous, cells)
    return flop + conv(frames * cells, previous, 2 * shape.z_dim, _VIDEO)


def video_decoder_channels(shape: WanAutoencoderShape) -> tuple[int, ...]:
    """Channels of the decoder's scales, coarse to fine. An upsampling halves them before the next scale."""
    base = shape.decoder_base_dim or shape.base_dim
    return tuple(base * factor for factor in shape.dim_mult[::-1])


def _residuals(positions: int, in_channels: int, out_channels: int, layers: int, kernel: int) -> int:
    """A run of residual blocks; the first changes the channels, over a 1 x 1 shortcut if they differ."""
    flop = conv(positions, in_channels, out_channels, kernel)
    flop += (2 * layers - 1) * conv(positions, out_channels, out_channels, kernel)
    return flop + (conv(positions, in_channels, out_channels, 1) if in_channels != out_channels else 0)


def _middle(shape: AutoencoderShape, cells: int) -> int:
    channels = shape.block_out_channels[-1]
    flop = _residuals(cells, channels, channels, 2, _IMAGE)
    return flop + (_single_head_attention(channels, cells) if shape.mid_block_add_attention else 0)


def _video_middle(channels: int, cells: int) -> int:
    return _residuals(cells, channels, channels, 2, _VIDEO) + _single_head_attention(channels, cells)


def _single_head_attention(channels: int, cells: int) -> int:
    return 4 * linear(cells, channels, channels) + attention(cells, cells, channels)
