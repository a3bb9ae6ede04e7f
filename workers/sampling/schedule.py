"""Noise levels as a checkpoint's own scheduler config says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

from workers.core import Schedule

_REFUSED = ("stochastic_sampling", "invert_sigmas")


def check_flow_config(config: Mapping[str, Any]) -> None:
    """Refuse a scheduler config this engine would not follow faithfully.

    Raises:
        ValueError: another scheduler class, or an option that makes steps random or sigmas rise.
    """
    name = config.get("_class_name")
    if name != "FlowMatchEulerDiscreteScheduler":
        raise ValueError(f"scheduler {name} is not supported; known: FlowMatchEulerDiscreteScheduler")
    for option in _REFUSED:
        if config.get(option):
            raise ValueError(f"scheduler option {option} is not supported")


def flow_schedule(config: Mapping[str, Any], num_inference_steps: int, num_tokens: int) -> Schedule:
    """The sigmas diffusers' pipeline would use, as host floats.

    Args:
        config: of a FlowMatchEulerDiscreteScheduler.
        num_inference_steps: evaluations.
        num_tokens: image tokens; under dynamic shifting larger images stay noisy for longer.

    Source: diffusers' own scheduler does the arithmetic, so that no rounding can differ.
    """
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
    if config.get("use_flow_sigmas"):
        scheduler.set_timesteps(num_inference_steps, mu=_shift(config, num_tokens))
    else:
        even = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
        scheduler.set_timesteps(sigmas=even, mu=_shift(config, num_tokens))
    return Schedule(sigmas=tuple(scheduler.sigmas.tolist()), timesteps=tuple(scheduler.timesteps.tolist()))


def at_nodes(schedule: Schedule, nodes: Sequence[int]) -> Schedule:
    """The shorter schedule that stands at these places of a longer one, and ends where that ends.

    Args:
        schedule: of N evaluations.
        nodes: rising, the first one 0, below N.

    Raises:
        ValueError: nodes that are not.
    """
    rising = all(now < after for now, after in pairwise(nodes))
    if not nodes or nodes[0] != 0 or not rising or nodes[-1] >= len(schedule.timesteps):
        raise ValueError(f"nodes {(*nodes,)} do not rise from 0 within {len(schedule.timesteps)} evaluations")
    return Schedule(
        sigmas=(*(schedule.sigmas[node] for node in nodes), schedule.sigmas[-1]),
        timesteps=tuple(schedule.timesteps[node] for node in nodes),
    )


def _shift(config: Mapping[str, Any], num_tokens: int) -> float:
    """The line through (base_image_seq_len, base_shift) and (max_image_seq_len, max_shift), read at
    `num_tokens`.

    Written in diffusers' order of operations: the last bit of mu moves every sigma.
    """
    base_tokens, max_tokens = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base_shift, max_shift = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (max_shift - base_shift) / (max_tokens - base_tokens)
    offset = base_shift - slope * base_tokens
    return float(num_tokens * slope + offset)
