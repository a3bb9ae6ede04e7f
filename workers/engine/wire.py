"""How rank 0's words reach the other ranks: a broadcast of their length, of their JSON, of their tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from workers.engine.step_plan import Beat, StepPlan, Stop, TensorPlan, Word


def tell(word: StepPlan | Beat | Stop, tensors: Iterable[Tensor] = ()) -> None:
    """Say it to all other ranks, on rank 0.

    Raises:
        RuntimeError: one of them is gone or does not answer in time.
    """
    text = torch.frombuffer(bytearray(word.model_dump_json().encode()), dtype=torch.uint8)
    dist.broadcast(torch.tensor([len(text)]), src=0)
    dist.broadcast(text, src=0)
    for tensor in tensors:
        dist.broadcast(_bytes(tensor.contiguous()), src=0)


def hear() -> StepPlan | Beat | Stop:
    """Wait for rank 0's next word, on the others.

    Raises:
        RuntimeError: it is gone, or has said nothing in time.
    """
    length = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(length, src=0)
    text = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(text, src=0)
    return Word.validate_json(bytes(text.tolist()))


def hear_tensor(plan: TensorPlan, device: torch.device) -> Tensor:
    """The next tensor that follows a word."""
    tensor = plan.empty(device)
    dist.broadcast(_bytes(tensor), src=0)
    return tensor


def _bytes(tensor: Tensor) -> Tensor:
    """The tensor's memory; not every transport knows every dtype."""
    return tensor.flatten().view(torch.uint8)
