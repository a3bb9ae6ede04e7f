"""The shapes of `flux-tiny`: diffusers' and transformers' own classes, untrained.

64 x 64 pixels -> 16 x 16 x 8 latents -> 64 image tokens of 32 channels, beside 16 text tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

TEXT_TOKENS = 16
TEXT_WIDTH = 128
LATENT_CHANNELS = 8
LATENT_SIZE = 16
SIGMA_SHIFT = 2.0  # static: 64 tokens are few, and the layout is settled at high noise


def build_autoencoder(scaling: float = 1.0, shift: float = 0.0) -> AutoencoderKL:
    """Factor 4, 8 channels, .24 M parameters; `scaling` and `shift` bring the latents to unit variance."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=scaling,
        shift_factor=shift,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def build_transformer(**size: int) -> FluxTransformer2DModel:
    """2 double and 6 single blocks of width 192, 6.7 M parameters; its modulations and output start at zero.

    Args:
        size: what differs, by diffusers' names.
    """
    usual = {"num_layers": 2, "num_single_layers": 6, "num_attention_heads": 6}
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        attention_head_dim=32,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
        **{**usual, **size},
    )
    for name, module in transformer.named_modules():
        # adaLN-zero: every block starts as the identity, and the first prediction is zero.
        if isinstance(module, nn.Linear) and ("norm" in name or name == "proj_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return transformer


def build_clip(vocab_size: int, bos: int, eos: int, pad: int) -> CLIPTextModel:
    """The pooled encoder: 2 layers of width 128."""
    config = CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT_TOKENS,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    return CLIPTextModel(config)


def build_t5(vocab_size: int) -> T5EncoderModel:
    """The sequence encoder: 2 layers of width 128."""
    return T5EncoderModel(T5Config(**t5_options(vocab_size, TEXT_WIDTH)))


def t5_options(vocab_size: int, width: int) -> dict[str, Any]:
    """A configuration of T5's family for a small encoder: 2 layers, 4 heads."""
    return {
        "vocab_size": vocab_size,
        "d_model": width,
        "d_kv": width // 4,
        "d_ff": 2 * width,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "use_cache": False,
        "is_encoder_decoder": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Euler on a statically shifted grid."""
    return FlowMatchEulerDiscreteScheduler(shift=SIGMA_SHIFT, use_dynamic_shifting=False)


def latent_image_ids() -> torch.Tensor:
    """(64, 3): the row and column of every image token, as FluxPipeline numbers them."""
    side = LATENT_SIZE // 2
    ids = torch.zeros(side, side, 3)
    ids[..., 1] += torch.arange(side)[:, None]
    ids[..., 2] += torch.arange(side)[None, :]
    return ids.reshape(side * side, 3)
