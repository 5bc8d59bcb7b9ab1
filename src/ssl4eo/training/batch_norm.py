# SPDX-License-Identifier: Apache-2.0
"""Batch norm whose statistics are those of the whole batch, however many processes share it.

Parameters, buffers and their names are those of torch's batch norm, so checkpoints move between numbers of processes.
On a GPU torch's own SyncBatchNorm does it; that one has no CPU form, so here is one: an exchange of two numbers a
channel in the forward pass, and of two in the backward pass. Every process must hold equally many samples.

Source: Ioffe and Szegedy 2015 (arXiv 1502.03167), section 3; means and squared deviations of the parts are joined
as in Chan et al. 1983, eq. 2.1, since a difference of large sums would lose digits.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - what all of them are

from ssl4eo.methods.gather import gather_rows, num_processes, sum_over_processes


class GlobalBatchNorm(_BatchNorm):
    """Batch norm of values (B, C, ...) over the batches of all processes; one process is the same code."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalize (B, C, ...); moves the running statistics when training."""
        values = input
        if not self.training and self.running_mean is not None:
            return super().forward(values)
        output, mean, variance = cast(
            "tuple[Tensor, Tensor, Tensor]", _Normalize.apply(values, self.weight, self.bias, self.eps)
        )
        if self.training and self.track_running_stats:
            self._track(mean, variance, count=num_processes() * values.numel() // values.shape[1])
        return output

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, *, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * (count / max(1, count - 1))).to(self.running_var.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Take any number of axes."""


class _Normalize(torch.autograd.Function):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, statistics over all processes.

    The gradient is that of the sum of all processes' losses; averaging parameters' gradients over the processes, as
    data-parallel wrappers do, then gives that of the mean loss.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves the arguments to us
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give the normalized values, and mean (C,) and biased variance (C,) of the whole batch."""
        exact = values.to(torch.promote_types(values.dtype, torch.float32))
        axes = [0, *range(2, values.ndim)]
        count = values.numel() // values.shape[1]
        own_mean = exact.mean(dim=axes)  # (C,)
        own_squares = (exact - _channels(own_mean, exact)).square().sum(dim=axes)
        means, squares = gather_rows(torch.stack([own_mean, own_squares])[None]).unbind(dim=1)  # each (P, C)
        mean = means.mean(dim=0)
        variance = (squares.sum(dim=0) + count * (means - mean).square().sum(dim=0)) / (count * len(means))
        scale = (variance + eps).rsqrt()
        normal = (exact - _channels(mean, exact)) * _channels(scale, exact)
        ctx.save_for_backward(normal, scale, weight)
        ctx.count, ctx.axes, ctx.has_bias = count * len(means), axes, bias is not None
        ctx.mark_non_differentiable(mean, variance)
        output = normal if weight is None else normal * _channels(weight, exact)
        output = output if bias is None else output + _channels(bias, exact)
        return output.to(values.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of values, weight and bias."""
        normal, scale, weight = ctx.saved_tensors
        grad = grads[0].to(normal.dtype)
        sums = torch.stack([grad.sum(dim=ctx.axes), (grad * normal).sum(dim=ctx.axes)])  # (2, C), of this process
        total = sum_over_processes(sums) / ctx.count
        factor = scale if weight is None else scale * weight
        to_values = _channels(factor, grad) * (grad - _channels(total[0], grad) - normal * _channels(total[1], grad))
        to_weight = None if weight is None else sums[1].to(weight.dtype)
        to_bias = sums[0].to(scale.dtype) if ctx.has_bias else None
        return to_values.to(grads[0].dtype), to_weight, to_bias, None


def _channels(values: Tensor, like: Tensor) -> Tensor:
    """Lay values (C,) along the second axis of `like`."""
    return values.view(1, -1, *[1] * (like.ndim - 2))


def with_global_batch_norm(module: nn.Module, *, on_gpu: bool) -> nn.Module:
    """Put batch norm over all processes in place of every batch norm in `module`, with the same parameters.

    Args:
        module: changed in place, where it is not a batch norm itself.
        on_gpu: use torch's SyncBatchNorm.
    """
    if on_gpu:
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        replaced = with_global_batch_norm(child, on_gpu=False)
        if replaced is not child:
            setattr(module, name, replaced)
    return _global(module) if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d) else module


def _global(norm: nn.Module) -> GlobalBatchNorm:
    assert isinstance(norm, _BatchNorm)
    other = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    other.weight, other.bias = norm.weight, norm.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(other, name, getattr(norm, name))
    return other.train(norm.training)
