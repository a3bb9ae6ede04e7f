"""Catalog entries to price and to plan against: one tiny of each family, and the public ones."""

from __future__ import annotations

from typing import Any

from protocol.catalog import CatalogEntry, FrameLimits, InputDefaults, LengthLimits, SizeLimits
from protocol.jobs import GenerationRequest
from protocol.methods import CACHES, DROPS, FEWER_STEPS, ROUTERS, SAMPLERS
from protocol.resolve import resolve
from protocol.sedd_shape import SeddShape, SeddShapes
from protocol.shapes import FluxShapes, PareShape, WanShapes
from protocol.vocabularies import CharacterVocabulary

TINY_FLUX = FluxShapes.from_configs(
    {
        "in_channels": 32,
        "num_layers": 2,
        "num_single_layers": 6,
        "attention_head_dim": 32,
        "num_attention_heads": 6,
        "joint_attention_dim": 128,
        "pooled_projection_dim": 128,
    },
    {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2},
    {"d_model": 128, "d_ff": 256, "num_layers": 2, "num_heads": 4, "d_kv": 32},
    {"latent_channels": 8, "block_out_channels": [16, 32, 32]},
    text_tokens=24,
)

XXL = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
FLUX_DEV_VAE = {
    "latent_channels": 16,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
FLUX_DEV = FluxShapes.from_configs(
    {"guidance_embeds": True},
    {"hidden_size": 768, "intermediate_size": 3072},
    XXL,
    FLUX_DEV_VAE,
    text_tokens=512,
)
WAN_1_3B_TRANSFORMER = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
WAN_1_3B = WanShapes.from_configs(WAN_1_3B_TRANSFORMER, XXL, {})
WAN_14B = WanShapes.from_configs({}, XXL, {})
VIT_H = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
}
WAN_14B_IMAGE_TRANSFORMER = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
WAN_14B_IMAGE = WanShapes.from_configs(WAN_14B_IMAGE_TRANSFORMER, XXL, {}, image_encoder=VIT_H)

FLUX_FIELDS = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "seed",
    "n",
)
"""As a worker would write them; the least of them are always allowed anyway."""


def flux_entry(**changes: Any) -> CatalogEntry:
    """Like `flux-tiny`: 64 x 64 by default, 28 steps, true guidance."""
    fields: dict[str, Any] = {
        "name": "flux-tiny",
        "family": "flux",
        "modality": "image",
        "digest": "0" * 64,
        "dtype": "bfloat16",
        "shapes": TINY_FLUX,
        "sizes": SizeLimits(multiple=8, min_side=32, max_side=128, max_pixels=64 * 128),
        "defaults": InputDefaults(width=64, height=64, num_inference_steps=28, guidance_scale=3.5),
        "max_steps": 100,
        "max_samples": 4,
        "input_fields": FLUX_FIELDS,
    }
    return CatalogEntry(**{**fields, **changes})


def flux_dev_entry(**changes: Any) -> CatalogEntry:
    """FLUX.1-dev: guidance is a network input."""
    fields: dict[str, Any] = {
        "name": "flux-dev",
        "shapes": FLUX_DEV,
        "sizes": SizeLimits(multiple=16, min_side=256, max_side=2048, max_pixels=2048 * 2048),
        "defaults": InputDefaults(width=1024, height=1024, num_inference_steps=50, guidance_scale=3.5),
        "embedded_guidance": True,
    }
    return flux_entry(**{**fields, **changes})


def wan_entry(**changes: Any) -> CatalogEntry:
    """Wan 2.1 1.3B at its usual 81 x 480 x 832."""
    fields: dict[str, Any] = {
        "name": "wan-1.3b",
        "family": "wan",
        "modality": "video",
        "shapes": WAN_1_3B,
        "sizes": SizeLimits(multiple=16, min_side=128, max_side=1280, max_pixels=1280 * 720),
        "frames": FrameLimits(multiple=4, max_frames=81),
        "fps": 16.0,
        "defaults": InputDefaults(
            width=832, height=480, num_inference_steps=50, guidance_scale=5.0, num_frames=81
        ),
        "input_fields": (*FLUX_FIELDS, "num_frames"),
        "solver": "unipc",
    }
    return flux_entry(**{**fields, **changes})


def wan_image_entry(**changes: Any) -> CatalogEntry:
    """Wan 2.1 14B, image to video."""
    fields: dict[str, Any] = {
        "name": "wan-14b-i2v",
        "shapes": WAN_14B_IMAGE,
        "always_guided": True,
        "input_fields": (*FLUX_FIELDS, "num_frames", "image"),
        "required_fields": ("image",),
    }
    return wan_entry(**{**fields, **changes})


TEXT = SeddShapes(
    transformer=SeddShape(tokens=12, hidden_size=128, cond_dim=128, length=128, n_blocks=6, n_heads=4)
)


def text_entry(**changes: Any) -> CatalogEntry:
    """A model of text of 12 characters, up to 128 of them."""
    known: dict[str, Any] = {
        "name": "text-tiny",
        "family": "sedd",
        "modality": "text",
        "digest": "d" * 64,
        "dtype": "float32",
        "shapes": TEXT,
        "lengths": LengthLimits(min_length=1, max_length=128),
        "vocabulary": CharacterVocabulary(characters="abcdefghij \n"),
        "defaults": InputDefaults(num_inference_steps=16, length=128),
        "methods": ("steps", *SAMPLERS),
        "input_fields": ("length", "given", "num_inference_steps", "seed", "n"),
        "solver": "blocks",
    }
    return CatalogEntry(**{**known, **changes})


def request(entry: CatalogEntry, *, compute_budget: Any = None, **given: Any) -> GenerationRequest:
    """A resolved request against `entry`."""
    body = {
        "model": entry.name,
        "input": {**({"prompt": "a red apple"} if entry.takes_prompt else {}), **given},
        "compute_budget": compute_budget,
    }
    return resolve(GenerationRequest.model_validate(body), entry)


WAN_TINY = WanShapes.from_configs(
    {
        "num_attention_heads": 10,
        "attention_head_dim": 16,
        "in_channels": 8,
        "out_channels": 8,
        "text_dim": 64,
        "ffn_dim": 448,
        "num_layers": 10,
    },
    {"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2},
    {
        "base_dim": 16,
        "z_dim": 8,
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True],
    },
    text_tokens=24,
)
PARE = PareShape(self_heads=7, cross_heads=7, ffn_dim=320, least_blocks=4.0, most_blocks=8.5)
"""As of `wan-tiny`: .7 of heads and neurons, 4 to 8.5 of 10 blocks."""


def student_entry(pare: PareShape | None = PARE, **changes: Any) -> CatalogEntry:
    """Like `wan-tiny-pare`: 32 x 32, 9 frames, 28 steps, shift 3; without `pare` its teacher."""
    fields: dict[str, Any] = {
        "name": "wan-tiny-pare",
        "family": "wan",
        "modality": "video",
        "shapes": WAN_TINY.model_copy(update={"pare": pare}),
        "sizes": SizeLimits(multiple=16, min_side=32, max_side=64, max_pixels=64 * 64),
        "frames": FrameLimits(multiple=2, max_frames=17),
        "fps": 8.0,
        "defaults": InputDefaults(
            width=32, height=32, num_inference_steps=28, guidance_scale=3.0, num_frames=9
        ),
        "input_fields": (*FLUX_FIELDS, "num_frames"),
        "solver": "unipc",
        "always_guided": True,
        "flow_shift": 3.0,
        "methods": (*FEWER_STEPS, *CACHES, *(ROUTERS if pare else DROPS)),
    }
    return flux_entry(**{**fields, **changes})
