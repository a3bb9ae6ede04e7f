"""A Wan checkpoint folder as a teacher, and the student laid beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from transformers import UMT5EncoderModel

from workers.core import Schedule
from workers.models.declaration import require_flow
from workers.models.few_steps import FEW_STEPS_FILE, FewStepsSettings
from workers.models.folder import FEW_STEPS_FOLDER
from workers.models.pare import PARE_FILE, ROUTER_FILE, load_transformer
from workers.sampling import flow_schedule
from workers.training.pipeline_folder import place_folder
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer


def load_teacher(folder: Path) -> TextToVideo:
    """The folder's denoiser, pruned or not, and its text encoder, computed with in float32.

    Raises:
        ValueError: it predicts something else than the flow.
    """
    require_flow(folder)
    model = TextToVideo(build_tokenizer())
    model.transformer = load_transformer(folder, torch.float32)
    model.text_encoder = UMT5EncoderModel.from_pretrained(
        folder / "text_encoder", dtype=torch.float32, local_files_only=True
    )
    return model


def served_schedule(folder: Path, num_steps: int) -> Schedule:
    """The levels at which a server of this folder evaluates in `num_steps`; their shift is static."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    return flow_schedule({**config, "use_flow_sigmas": True}, num_steps, num_tokens=0)


def write_student(transformer: WanTransformer3DModel, settings: FewStepsSettings, folder: Path) -> None:
    """Put the student into its teacher's folder, in bf16; what PARE left of the one is left of the other.

    The network given is rounded itself: it is not to be trained on.
    """

    def fill(place: Path) -> None:
        transformer.bfloat16().save_pretrained(place)
        for name in (PARE_FILE, ROUTER_FILE):
            if (folder / name).exists():
                shutil.copy(folder / name, place)

    place_folder(fill, folder / FEW_STEPS_FOLDER, {FEW_STEPS_FILE: settings.model_dump()})
