"""Classifier-free guidance of one sample's lanes."""

from __future__ import annotations

from torch import Tensor


def guide(outputs: Tensor, guidance_scale: float) -> Tensor:
    """The guided output (1, S, C) of lanes (1, S, C) or (cond, uncond) (2, S, C).

    One sample at a time, with a host number: a tensor of scales would round them to the output's dtype.

    Source: Ho and Salimans 2022, in the form uncond + scale (cond - uncond).
    """
    if outputs.shape[0] == 1:
        return outputs
    cond, uncond = outputs[:1], outputs[1:]
    return uncond + guidance_scale * (cond - uncond)
