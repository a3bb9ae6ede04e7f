"""Where a sample starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


def initial_noise(shape: Sequence[int], seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """diffusers' first draw for this seed: from a CPU generator, at batch 1, in the network's dtype.

    Args:
        shape: (1, C, h, w).
        seed: 0 to 2**53 - 1.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    noise: Tensor = randn_tensor(tuple(shape), generator=generator, device=device, dtype=dtype)
    return noise
