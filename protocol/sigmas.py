"""Noise levels of a flow schedule under a static shift, on the host and without torch.

Close to what diffusers' schedulers give, to float32's last digits: for plans, which shape their spending by
them. Runs take the schedulers' own.
"""

from __future__ import annotations

_TRAIN_TIMESTEPS = 1_000
_LEAST = 1 / _TRAIN_TIMESTEPS


def flow_sigmas(shift: float, num_steps: int, solver: str) -> tuple[float, ...]:
    """The levels a run of `num_steps` evaluates at, falling from 1, without the last 0.

    Args:
        shift: above 1 the run stays noisy for longer.
        num_steps: at least 1.
        solver: the model's own; UniPC's scheduler spreads its levels from 1 to 1/1000, the last one left out,
            the others' from 1 to the shifted 1/1000.

    Source: diffusers' UniPCMultistepScheduler under `use_flow_sigmas` and FlowMatchEulerDiscreteScheduler.
    """
    if solver == "unipc":
        even = [1 - place * (1 - _LEAST) / num_steps for place in range(num_steps)]
    else:
        way = (1 - _shifted(_LEAST, shift)) / max(1, num_steps - 1)
        even = [1 - place * way for place in range(num_steps)]
    return tuple(_shifted(level, shift) for level in even)


def _shifted(level: float, shift: float) -> float:
    return shift * level / (1 + (shift - 1) * level)
