"""Noise levels as a checkpoint's own scheduler config says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from workers.core import PREDICTION_TYPES, Prediction, Schedule

_EULER, _UNIPC = "FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"
_SCHEDULERS = {"euler": _EULER, "unipc": _UNIPC}
_REFUSED = {
    _EULER: ("stochastic_sampling", "invert_sigmas"),
    _UNIPC: (
        "thresholding",
        "disable_corrector",
        "solver_p",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "use_dynamic_shifting",
    ),
}
_UNIPC_DEFAULTS = {
    "prediction_type": "epsilon",
    "use_flow_sigmas": False,
    "solver_order": 2,
    "solver_type": "bh2",
    "predict_x0": True,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
}
_UNIPC_NEEDED = {**_UNIPC_DEFAULTS, "use_flow_sigmas": True}


def check_flow_config(
    config: Mapping[str, Any], solver: str = "euler", prediction: Prediction = Prediction.FLOW
) -> None:
    """Refuse a scheduler config this engine would not follow faithfully.

    Args:
        config: of the checkpoint's scheduler.
        solver: that a run at full budget uses.
        prediction: what the network predicts.

    Raises:
        ValueError: not the solver's scheduler class, or an option that it does not follow.
    """
    name, known = config.get("_class_name"), _SCHEDULERS.get(solver)
    if known is None or name != known:
        raise ValueError(f"scheduler {name} is not supported under {solver}; known: {known or 'none'}")
    for option in _REFUSED[known]:
        if config.get(option):
            raise ValueError(f"scheduler option {option} is not supported")
    if known == _UNIPC:
        _check_unipc(config, prediction)


def _check_unipc(config: Mapping[str, Any], prediction: Prediction) -> None:
    for option, needed in {**_UNIPC_NEEDED, "prediction_type": PREDICTION_TYPES[prediction]}.items():
        if config.get(option, _UNIPC_DEFAULTS[option]) != needed:
            raise ValueError(f"scheduler {_UNIPC} is supported with {option} {needed} only")


def flow_schedule(config: Mapping[str, Any], num_inference_steps: int, num_tokens: int) -> Schedule:
    """The sigmas diffusers' pipeline would use, as host floats.

    Args:
        config: as `check_flow_config` takes it; with `use_flow_sigmas` the scheduler chooses its own levels,
            else the pipeline gives it even ones.
        num_inference_steps: evaluations.
        num_tokens: image tokens; under dynamic shifting larger images stay noisy for longer.

    Source: diffusers' own scheduler does the arithmetic, so that no rounding can differ.
    """
    if config.get("_class_name") == _UNIPC:
        scheduler = UniPCMultistepScheduler.from_config(dict(config))
    else:
        known = {name: value for name, value in config.items() if name != "use_flow_sigmas"}
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(known)
    if config.get("use_flow_sigmas"):
        scheduler.set_timesteps(num_inference_steps, mu=_shift(config, num_tokens))
    else:
        even = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
        scheduler.set_timesteps(sigmas=even, mu=_shift(config, num_tokens))
    return Schedule(
        sigmas=tuple(scheduler.sigmas.tolist()), timesteps=tuple(map(float, scheduler.timesteps.tolist()))
    )


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
