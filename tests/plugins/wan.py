"""Randomly initialised Wan 2.1 checkpoints, built offline: complete pipeline folders of about a MB.

`unipc`: as Wan 2.1 itself, UniPC over flow sigmas, shifted. `euler`: the flow's Euler scheduler. `image` and
`image-euler`: the same for image to video, 17 tokens of an image and 512 of text.
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

_WORDS = ("a red apple", "two blue dogs", "one small tree moves left", "on a white background", "the sun")
_TEXT_TOKENS = 16
_IMAGE_DIM = 32
_SEED = 20_261_124


@dataclass(frozen=True)
class WanRecipe:
    """What sets one tiny checkpoint apart from another."""

    scheduler: str = "unipc"
    shift: float = 3.0
    num_layers: int = 3
    latent_channels: int = 4
    starts_from_image: bool = False
    settings: dict[str, Any] = field(
        default_factory=lambda: {
            "defaults": {"width": 32, "height": 32, "num_frames": 5, "num_inference_steps": 4},
            "frames": {"max_frames": 17, "fps": 8},
        }
    )


UNIPC = WanRecipe()
EULER = WanRecipe(scheduler="euler", shift=5.0, num_layers=2)
IMAGE = WanRecipe(starts_from_image=True)
IMAGE_EULER = WanRecipe(starts_from_image=True, scheduler="euler", shift=5.0, num_layers=2)


def build_wan(folder: Path, recipe: WanRecipe = UNIPC) -> Path:
    """Save a randomly initialised pipeline and its `rheostat.json`; same weights every time."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        modules = {"transformer": _denoiser(recipe), **_text_modules(), "vae": _autoencoder(recipe)}
        if recipe.starts_from_image:
            modules |= _image_modules()
    _pipeline_class(recipe)(**modules, scheduler=_scheduler(recipe)).save_pretrained(folder)
    (folder / "rheostat.json").write_text(json.dumps(recipe.settings))
    return folder


def _pipeline_class(recipe: WanRecipe) -> Any:
    from diffusers import WanImageToVideoPipeline, WanPipeline

    return WanImageToVideoPipeline if recipe.starts_from_image else WanPipeline


def _denoiser(recipe: WanRecipe) -> Any:
    """With an image, its latents and a mask for each of four frames come beside the noisy latents."""
    from diffusers import WanTransformer3DModel

    image = {"image_dim": _IMAGE_DIM, "added_kv_proj_dim": 64} if recipe.starts_from_image else {}
    known = recipe.latent_channels + 4 if recipe.starts_from_image else 0
    return WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=recipe.latent_channels + known,
        out_channels=recipe.latent_channels,
        text_dim=32,
        freq_dim=64,
        ffn_dim=96,
        num_layers=recipe.num_layers,
        **image,
    ).eval()


def _scheduler(recipe: WanRecipe) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    if recipe.scheduler == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=recipe.shift)
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=recipe.shift
    )


def _autoencoder(recipe: WanRecipe) -> Any:
    """Four pixels and two frames a latent cell, as wan-tiny's; with an image four frames, as Wan 2.1's."""
    from diffusers import AutoencoderKLWan

    frames = 4 if recipe.starts_from_image else 2
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=recipe.latent_channels,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[frames == 4, True],
        latents_mean=[0.1, -0.2, 0.3, 0.05],
        latents_std=[1.1, 0.9, 1.3, 0.7],
        scale_factor_temporal=frames,
        scale_factor_spatial=4,
    ).eval()


def _image_modules() -> dict[str, Any]:
    """CLIP's vision model over 4 x 4 patches."""
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = CLIPVisionConfig(
        hidden_size=_IMAGE_DIM,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    side = {"height": 32, "width": 32}
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=side)
    return {"image_encoder": CLIPVisionModel(config).eval(), "image_processor": processor}


def _text_modules() -> dict[str, Any]:
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = _tokenizer()
    config = UMT5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        is_encoder_decoder=False,
        use_cache=False,
    )
    return {"text_encoder": UMT5EncoderModel(config).eval(), "tokenizer": tokenizer}


def _tokenizer() -> Any:
    from transformers import T5TokenizerFast

    words = sorted({word for line in _WORDS for word in line.split()})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -1.0) for word in words)]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=_TEXT_TOKENS)


@pytest.fixture(scope="session")
def wan_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with all four."""
    root = tmp_path_factory.mktemp("clips")
    recipes = {"unipc": UNIPC, "euler": EULER, "image": IMAGE, "image-euler": IMAGE_EULER}
    for name, recipe in recipes.items():
        build_wan(root / name, recipe)
    return root


@pytest.fixture(scope="session")
def load_wan(wan_root: Path) -> Callable[..., Any]:
    """Factory: `load_wan("unipc", "float32")`; each pair is loaded once a session."""
    return models_in(wan_root, "unipc")


@pytest.fixture(scope="session")
def wan_pipeline(wan_root: Path) -> Callable[..., Any]:
    """Factory: diffusers' own pipeline from the same folder."""
    return pipelines_in(wan_root, "unipc")
