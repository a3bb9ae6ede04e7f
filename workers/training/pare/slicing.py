"""Cut a student out of its teacher: the kept heads' and neurons' own weights, in really smaller matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from workers.models.pare import Pare, narrow
from workers.training.pare.calibration import Calibration


def build_student(config: Any, pare: Pare) -> Any:
    """A student with weights of its own, float32, for a teacher's `config.json`."""
    return narrow(WanTransformer3DModel.from_config(config), pare)


def slice_student(teacher: Any, pare: Pare, found: Calibration | None) -> Any:
    """The student that computes what the teacher would with its other heads and neurons silent.

    Args:
        teacher: a WanTransformer3DModel.
        found: where the mean squares of queries and keys come from; None: the norms' gains stay as they are.
    """
    state = {name: value.detach().float() for name, value in teacher.state_dict().items()}
    head_dim = teacher.config.attention_head_dim
    for index, kept in enumerate(pare.blocks):
        prefix = f"blocks.{index}."
        for name, heads in (("attn1.", kept.self_heads), ("attn2.", kept.cross_heads)):
            channels = channels_of(heads, head_dim)
            gains = (1.0, 1.0) if found is None else norm_gains(found, index, name, channels)
            _slice_attention(state, prefix + name, channels, gains)
        _slice_feed_forward(state, prefix + "ffn.net.", torch.tensor(kept.neurons))
    student = build_student(teacher.config, pare)
    student.load_state_dict(state)
    return student


def channels_of(heads: Sequence[int], head_dim: int) -> Tensor:
    """The channels of these heads, in order."""
    return (torch.tensor(heads)[:, None] * head_dim + torch.arange(head_dim)).flatten()


def norm_gains(found: Calibration, index: int, name: str, channels: Tensor) -> tuple[float, float]:
    """Factors on the gains of queries' and keys' RMSNorm, which now sees the kept channels alone.

    sqrt(mean square of the kept channels / mean square of all), so that a channel leaves the norm on average
    as large as before.
    """
    kinds = ("self_query", "self_key") if name == "attn1." else ("cross_query", "cross_key")
    query, key = (getattr(found, kind)[index] for kind in kinds)
    return gain(query, channels), gain(key, channels)


def gain(mean_squares: Tensor, channels: Tensor) -> float:
    """The factor for one norm; 1 exactly where all channels are kept."""
    if len(channels) == len(mean_squares):
        return 1.0
    return float((mean_squares[channels].mean() / mean_squares.mean()).sqrt())


def _slice_attention(
    state: dict[str, Tensor], prefix: str, channels: Tensor, gains: tuple[float, float]
) -> None:
    for name in ("to_q.weight", "to_q.bias", "to_k.weight", "to_k.bias", "to_v.weight", "to_v.bias"):
        state[prefix + name] = state[prefix + name][channels]
    for name, factor in zip(("norm_q.weight", "norm_k.weight"), gains, strict=True):
        state[prefix + name] = factor * state[prefix + name][channels]
    state[prefix + "to_out.0.weight"] = state[prefix + "to_out.0.weight"][:, channels]


def _slice_feed_forward(state: dict[str, Tensor], prefix: str, neurons: Tensor) -> None:
    for name in ("0.proj.weight", "0.proj.bias"):
        state[prefix + name] = state[prefix + name][neurons]
    state[prefix + "2.weight"] = state[prefix + "2.weight"][:, neurons]
