"""Ranks of one worker: a sample's lanes on two halves of them, its tokens on those of each half.

Splitting tokens is diffusers' context parallelism: its attention exchanges heads (Ulysses) or keys and
values (ring) where a processor carries a `ParallelConfig`. Its hooks cut and join tensors in the forward of
the whole network, which our step loop passes by, so the adapters do that themselves, with `shard` and
`gather`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from diffusers.models import ContextParallelConfig
from diffusers.models._modeling_parallel import ParallelConfig
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

Split = Literal["ulysses", "ring"]


class MeshShape(NamedTuple):
    """How many ranks share what.

    `lanes` is 2 where each half of them evaluates one lane of true guidance; the tokens of a lane are split
    among `tokens`, by `split`.
    """

    lanes: int = 1
    tokens: int = 1
    split: Split = "ulysses"


class Mesh:
    """This process among its worker's ranks. The process group is there before.

    Args:
        shape: lanes x tokens are all ranks.
        device: this rank's.

    Raises:
        ValueError: the group has another size.
    """

    def __init__(self, shape: MeshShape, device: torch.device) -> None:
        if shape.lanes * shape.tokens != dist.get_world_size():
            raise ValueError(f"{shape} is not a shape of {dist.get_world_size()} ranks")
        degrees = {"ring": 1, "ulysses": 1, shape.split: shape.tokens}
        sizes = (shape.lanes, degrees["ring"], degrees["ulysses"])
        mesh = init_device_mesh(device.type, sizes, mesh_dim_names=("lanes", "ring", "ulysses"))
        self.size, self.lane_ranks = dist.get_world_size(), shape.lanes
        self.lane = mesh.get_local_rank("lanes")
        self._shape = shape
        self._lanes = mesh.get_group("lanes")
        self._tokens = mesh.get_group(shape.split)
        self._place = mesh.get_local_rank(shape.split)
        self._config = _parallel_config(mesh, degrees, device) if shape.tokens > 1 else None

    @property
    def passes_keys(self) -> bool:
        """Whether attention goes round a ring."""
        return self._config is not None and self._shape.split == "ring"

    def attach(self, transformer: Any) -> None:
        """Have the transformer's self-attention exchange what it needs of the other ranks.

        Raises:
            ValueError: its heads cannot be shared out among the ranks, or its attention backend cannot do it.
        """
        if self._config is None:
            return
        for module in transformer.modules():
            processor: Any = getattr(module, "processor", None)
            if hasattr(processor, "_parallel_config"):
                self._check_heads(module.heads)
                processor._parallel_config = self._config

    def _check_heads(self, heads: int) -> None:
        ranks = self._shape.tokens
        if self._shape.split == "ulysses" and heads % ranks:
            allowed = [count for count in range(1, heads + 1) if heads % count == 0]
            raise ValueError(
                f"ranks: {heads} attention heads cannot be shared out among {ranks}; allowed: {allowed}"
            )

    def shard(self, tensor: Tensor, dim: int = 1) -> Tensor:
        """This rank's part of the tokens along `dim`: of S among P, (S + P - 1 - place) // P of them."""
        if self._config is None:
            return tensor
        return tensor.tensor_split(self._shape.tokens, dim)[self._place].contiguous()

    def begin(self, *num_tokens: int) -> None:
        """Tell attention, before a forward's blocks, how many tokens the ranks share.

        Where they do not come out even it has to ask for every rank's number at every call, else not.
        """
        if self._config is not None:
            uneven = any(count % self._shape.tokens for count in num_tokens)
            setattr(self._config.context_parallel_config, f"{self._shape.split}_anything", uneven)

    def gather(self, tensor: Tensor, num_tokens: int) -> Tensor:
        """All tokens (R, S, C) of every rank's (R, part, C)."""
        if self._config is None:
            return tensor
        most = -(-num_tokens // self._shape.tokens)
        own = torch.nn.functional.pad(tensor, (0, 0, 0, most - tensor.shape[1])).contiguous()
        parts = [torch.empty_like(own) for _ in range(self._shape.tokens)]
        dist.all_gather(parts, own, group=self._tokens)
        counts = [len(part) for part in torch.arange(num_tokens).tensor_split(self._shape.tokens)]
        return torch.cat([part[:, :count] for part, count in zip(parts, counts, strict=True)], 1)

    def total(self, sums: Tensor) -> Tensor:
        """See `workers.core.Ranks`: other lanes' sums count nothing."""
        mine = sums.clone() if self.lane == 0 else torch.zeros_like(sums)
        dist.reduce(mine, dst=0)
        return self.told(mine)

    def told(self, numbers: Tensor) -> Tensor:
        """See `workers.core.Ranks`."""
        heard = numbers.clone().contiguous()
        dist.broadcast(heard, src=0)
        return heard

    def join(self, output: Tensor) -> Tensor:
        """See `workers.core.Ranks`."""
        own = output.contiguous()
        parts = [torch.empty_like(own) for _ in range(self.lane_ranks)]
        dist.all_gather(parts, own, group=self._lanes)
        return torch.cat(parts)


def _parallel_config(mesh: Any, degrees: dict[str, int], device: torch.device) -> ParallelConfig:
    config = ParallelConfig(
        context_parallel_config=ContextParallelConfig(
            ring_degree=degrees["ring"], ulysses_degree=degrees["ulysses"]
        )
    )
    config.setup(dist.get_rank(), dist.get_world_size(), device, mesh=mesh["ring", "ulysses"])
    return config
