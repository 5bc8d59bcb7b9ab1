# SPDX-License-Identifier: Apache-2.0
"""Weights, gradients and optimizer state cut over the processes (FSDP), and put together again to be kept.

Each block of a transformer is one unit, the rest of the method another: a process holds its share of all and the
whole of one block at a time. Checkpoints hold whole tensors, so a run moves between ways of sharing and numbers of
processes; the price is that a checkpoint passes through the memory of every process.

Source: Zhao et al. 2023 (arXiv 2304.11277); torch's `fully_shard` does the work.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def shard(module: M, mesh: Any) -> M:
    """Cut the parameters of `module` over the processes of a mesh of one axis, block by block; in place."""
    from timm.models.beit import Block as BeitBlock
    from timm.models.vision_transformer import Block
    from torch.distributed.fsdp import fully_shard  # here and below: costs seconds, and most runs cut nothing

    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # fully_shard takes no channels_last
    for part in module.modules():
        if isinstance(part, Block | BeitBlock):
            fully_shard(part, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def is_sharded(module: nn.Module) -> bool:
    """Say whether parameters are cut over processes."""
    return any(_is_cut(p) for p in module.parameters())


def whole_tensor(value: Tensor) -> Tensor:
    """Put a cut tensor together where it is; gives others as they are."""
    cut: Any = value
    return cut.full_tensor() if _is_cut(cut) else value


def whole(state: Any) -> Any:
    """Put every cut tensor in nested values together, on the CPU; every process must call this."""
    if isinstance(state, Mapping):
        return {name: whole(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(whole(value) for value in state)
    return whole_tensor(state).cpu() if _is_cut(state) else state


def whole_copy(module: M, empty: M) -> M:
    """Give `empty`, an unsharded module of the same form, the weights of `module`; every process must call this."""
    empty.load_state_dict(whole(module.state_dict()))
    return empty


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load whole optimizer state, cut and laid out in memory as its parameters are.

    Fused optimizers walk through both as they lie: a momentum that is not channels_last would be taken for that of
    other weights, and nobody would see it.
    """
    optimizer.load_state_dict(copy.copy(dict(state)))
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = _cut_like(parameter, value) if _is_cut(parameter) else _laid_like(parameter, value)


def _is_cut(value: Any) -> bool:
    """Say whether this is a DTensor."""
    return hasattr(value, "full_tensor")


def _laid_like(parameter: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _cut_like(parameter: Any, value: Tensor) -> Tensor:
    from torch.distributed.tensor import distribute_tensor

    value = value.contiguous()  # as `shard` lays its parameters
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
