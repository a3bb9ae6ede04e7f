"""Randomly initialised FLUX checkpoints, built offline: complete FluxPipeline folders of a few hundred kB.

`plain`: like flux-tiny, no guidance embedding, no shifting, an f4 autoencoder.
`distilled`: like FLUX.1-dev, guidance embedding and dynamic shifting, an f8 autoencoder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.once import models_in, pipelines_in

os.environ.setdefault("HF_HUB_OFFLINE", "1")

_WORDS = ("a red apple", "two blue dogs", "one small tree left of a car", "on a white background", "the sun")
_TEXT_TOKENS = 16
_SEED = 20_261_123


@dataclass(frozen=True)
class FluxRecipe:
    """What sets one tiny checkpoint apart from another."""

    guidance_embeds: bool = False
    dynamic_shifting: bool = False
    vae_channels: tuple[int, ...] = (16, 16, 32)
    latent_channels: int = 8
    num_layers: int = 1
    num_single_layers: int = 2
    settings: dict[str, Any] = field(
        default_factory=lambda: {"defaults": {"width": 64, "height": 64, "num_inference_steps": 4}}
    )


PLAIN = FluxRecipe()
DISTILLED = FluxRecipe(
    guidance_embeds=True,
    dynamic_shifting=True,
    vae_channels=(16, 16, 16, 32),
    latent_channels=16,
    num_layers=2,
)


def build_flux(folder: Path, recipe: FluxRecipe = PLAIN) -> Path:
    """Save a randomly initialised FluxPipeline and its `rheostat.json`; same weights every time."""
    import torch
    from diffusers import FluxPipeline

    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        modules = {**_denoiser(recipe), **_text_modules(), "vae": _autoencoder(recipe)}
    FluxPipeline(**modules).save_pretrained(folder)
    (folder / "rheostat.json").write_text(json.dumps(recipe.settings))
    return folder


def _denoiser(recipe: FluxRecipe) -> dict[str, Any]:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        in_channels=4 * recipe.latent_channels,
        num_layers=recipe.num_layers,
        num_single_layers=recipe.num_single_layers,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=recipe.guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0 if recipe.dynamic_shifting else 1.0, use_dynamic_shifting=recipe.dynamic_shifting
    )
    return {"transformer": transformer.eval(), "scheduler": scheduler}


def _autoencoder(recipe: FluxRecipe) -> Any:
    from diffusers import AutoencoderKL

    depth = len(recipe.vae_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=recipe.vae_channels,
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=8,
        scaling_factor=0.5,
        shift_factor=0.1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def _text_modules() -> dict[str, Any]:
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    clip_tokenizer, t5_tokenizer = _clip_tokenizer(), _t5_tokenizer()
    clip = CLIPTextConfig(
        vocab_size=len(clip_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=clip_tokenizer.bos_token_id,
        eos_token_id=clip_tokenizer.eos_token_id,
    )
    t5 = T5Config(
        vocab_size=len(t5_tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )
    return {
        "text_encoder": CLIPTextModel(clip).eval(),
        "tokenizer": clip_tokenizer,
        "text_encoder_2": T5EncoderModel(t5).eval(),
        "tokenizer_2": t5_tokenizer,
    }


def _clip_tokenizer() -> Any:
    """Characters only: every word is spelled out, its last letter marked as CLIP does."""
    from transformers import CLIPTokenizer

    letters = sorted(set("".join(_WORDS)) - {" "})
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=77
    )


def _t5_tokenizer() -> Any:
    from transformers import T5TokenizerFast

    words = sorted({word for line in _WORDS for word in line.split()})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -1.0) for word in words)]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=_TEXT_TOKENS)


@pytest.fixture(scope="session")
def flux_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with `plain` and `distilled`."""
    root = tmp_path_factory.mktemp("checkpoints")
    build_flux(root / "plain", PLAIN)
    build_flux(root / "distilled", DISTILLED)
    return root


@pytest.fixture(scope="session")
def load_flux(flux_root: Path) -> Callable[..., Any]:
    """Factory: `load_flux("plain", "float32")`; each pair is loaded once a session."""
    return models_in(flux_root, "plain")


@pytest.fixture(scope="session")
def reference_pipeline(flux_root: Path) -> Callable[..., Any]:
    """Factory: diffusers' own pipeline from the same folder."""
    return pipelines_in(flux_root, "plain")
