"""The shapes of `wan-tiny`: diffusers' and transformers' own classes, untrained.

9 frames of 32 x 32 pixels -> 5 x 8 x 8 x 8 latents -> 80 video tokens of 32 channels, beside 24 text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from workers.training.architecture import t5_options

TEXT_TOKENS = 24
TEXT_WIDTH = 64
LATENT_CHANNELS = 8
LATENT_SHAPE = (LATENT_CHANNELS, 5, 8, 8)
"""Channels, slices, rows, columns."""
SIGMA_SHIFT = 3.0


def build_autoencoder(
    mean: Sequence[float] = (0.0,) * LATENT_CHANNELS, deviation: Sequence[float] = (1.0,) * LATENT_CHANNELS
) -> AutoencoderKLWan:
    """Factor 4 in space and 2 in time, 8 channels, .63 M parameters.

    Args:
        mean, deviation: of the latents, by channel; the pipeline whitens with them.
    """
    return AutoencoderKLWan(
        base_dim=16,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        attn_scales=[],
        # Two halvings in space; the second one halves time as well: frames 1 + 8 become slices 1 + 4.
        temperal_downsample=[False, True],
        latents_mean=list(mean),
        latents_std=list(deviation),
        scale_factor_temporal=2,
        scale_factor_spatial=4,
    )


def build_transformer(num_layers: int = 10, num_attention_heads: int = 10) -> WanTransformer3DModel:
    """10 blocks of 10 heads x 16, 3.8 M parameters, its gates and its prediction starting at zero."""
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=num_attention_heads,
        attention_head_dim=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=448,
        num_layers=num_layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )
    for name, parameter in transformer.named_parameters():
        # adaLN-zero: every block starts without its self-attention and feed-forward.
        if "scale_shift_table" in name or "time_proj" in name or name.startswith("proj_out"):
            nn.init.zeros_(parameter)
    return transformer


def build_text_encoder(vocab_size: int) -> UMT5EncoderModel:
    """2 layers of width 64; relative positions, so that it knows which colour stands before which name."""
    return UMT5EncoderModel(UMT5Config(**t5_options(vocab_size, TEXT_WIDTH)))


def build_scheduler() -> UniPCMultistepScheduler:
    """UniPC of order 2 on Wan's flow grid, statically shifted."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=SIGMA_SHIFT,
        num_train_timesteps=1000,
    )
