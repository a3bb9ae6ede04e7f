"""A FLUX of 19 + 38 blocks with random weights: for time, not for pictures."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel

from protocol.calibration import CALIBRATION_FILE, Calibration
from protocol.drafts import even_nodes
from tests.plugins.flux import FluxRecipe, build_flux
from workers.core import condition_features
from workers.models import Model, load
from workers.models.folder import digest_of
from workers.sampling import flow_schedule
from workers.training.calibration.course import Course
from workers.training.calibration.multistep import linear_path
from workers.training.calibration.probe import Probe

STEPS, SIDE = 12, 128


def build_wide(folder: Path, budgets: Collection[float]) -> Path:
    """FLUX of 19 + 38 blocks with a tiny autoencoder and tiny text encoders, and a calibration for timing."""
    defaults = {"width": SIDE, "height": SIDE, "num_inference_steps": STEPS}
    recipe = FluxRecipe(settings={"defaults": defaults})
    build_flux(folder, recipe)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = FluxTransformer2DModel(
            in_channels=4 * recipe.latent_channels,
            num_layers=19,
            num_single_layers=38,
            attention_head_dim=32,
            num_attention_heads=8,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            guidance_embeds=False,
            axes_dims_rope=(8, 12, 12),
        )
    transformer.save_pretrained(folder / "transformer")
    calibration = _linear_calibration(load(folder, dtype="float32"), digest_of(folder), budgets)
    (folder / CALIBRATION_FILE).write_text(calibration.model_dump_json())
    return folder


def _linear_calibration(model: Model, digest: str, budgets: Collection[float]) -> Calibration:
    """SoftCap on evenly spread anchors, linear between, at every budget timed; its choice changes nothing."""
    grid, nothing = model.grid(SIDE, SIDE), torch.empty(0)
    schedule = flow_schedule(model.scheduler_config, STEPS, grid.num_tokens)
    course = Course(model.catalog.solver, schedule, model.dtype)
    probe = Probe(model.network, grid, schedule, course, 1.0, (), (), nothing, nothing, nothing)
    counts = [round(budget * STEPS) for budget in budgets]
    paths = [linear_path(probe, even_nodes(count, STEPS)).velocities(probe) for count in counts]
    features = condition_features(model.encode("", None).tensors).shape[1]
    table = {"paths": paths, "weights": [1.0] * features}
    shared = {"method": "softcap", "steps": STEPS, "distance": 0.0, "tail": 0.0}
    points = [
        {**shared, "budget": each, "spent": each}
        | {"parameters": {"path_0": place, "path_1": place, "threshold_1": 0.0}}
        for place, each in enumerate(budgets)
    ]
    found = {"digest": digest, "created": 0, "model_created": 0, "num_inference_steps": STEPS}
    found |= {"settings": {}, "points": points, "tables": {"softcap": table}}
    return Calibration.model_validate_json(json.dumps(found))
