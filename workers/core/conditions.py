"""What a cache may know of a prompt without knowing the family: its embeddings' means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def condition_features(tensors: Sequence[Tensor]) -> Tensor:
    """The condition's tensors, each averaged over what stands between its rows and its channels.

    Args:
        tensors: each (B, ..., D_i).

    Returns:
        (B, sum of D_i), float32.
    """
    return torch.cat(
        [tensor.float().reshape(len(tensor), -1, tensor.shape[-1]).mean(1) for tensor in tensors], 1
    )
