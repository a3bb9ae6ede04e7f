"""Blocks whose weights lie spread over the ranks (FSDP2), for students no single device holds.

Each block is gathered when it runs. All ranks run the same blocks in the same order, so a block that any rank
needs is run by all of them: see `in_step`. What stands around the blocks is whole on every rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_map_only

from workers.training.pare.forward import Routes


def shard_blocks(transformer: Any, dtype: torch.dtype) -> None:
    """Spread the blocks' float32 weights over all ranks; they compute in `dtype` and hand on float32."""
    mesh = init_device_mesh(next(transformer.parameters()).device.type, (distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=torch.float32)
    for block in transformer.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)


def in_step(routes: Routes) -> Routes:
    """The same routes with every row running each block that some row of some rank needs; gates decide."""
    needed = routes.run.any(dim=0).to(torch.int32)
    distributed.all_reduce(needed, op=distributed.ReduceOp.MAX)
    gate = routes.run.float() if routes.gate is None else routes.gate
    return Routes(needed.bool().expand_as(routes.run), gate)


def local(tree: Any) -> Any:
    """The tree with this rank's part in place of each sharded tensor."""
    return tree_map_only(DTensor, lambda tensor: tensor.to_local(), tree)


def sharded_like(parameter: Tensor, value: Any) -> Any:
    """This rank's part as a tensor sharded as `parameter`; what is no such part is handed back."""
    if not isinstance(parameter, DTensor) or isinstance(value, DTensor) or not value.ndim:
        return value
    return DTensor.from_local(
        value,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


@torch.no_grad()
def load_local(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a state made by `local` back into the module of the same rank."""
    own: dict[str, Tensor] = local(module.state_dict())
    for name, value in own.items():
        value.copy_(state[name])


def joined(states: Sequence[Mapping[str, Tensor]], whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole weights from all ranks' parts, in the order of the ranks; `whole` tells the full shapes."""
    return {
        name: states[0][name]
        if states[0][name].shape == full.shape
        else torch.cat([state[name] for state in states])
        for name, full in whole.items()
    }
