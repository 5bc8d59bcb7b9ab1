# SPDX-License-Identifier: Apache-2.0
"""One step of a run: a batch in, weights moved, what is worth watching out.

The loop and the benchmarks take the same step. Random numbers inside the network (drop path, dropout) are drawn anew
from (seed, step, process) at each step, so nothing of a generator has to be kept to go on exactly.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.loading.batches import Batch
from ssl4eo.methods.gather import mean_over_processes
from ssl4eo.methods.method import Method, Moment, StepOutput
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.fabric import Fabric
from ssl4eo.training.optimizer import OptimizerConfig, set_rates
from ssl4eo.training.sharding import whole_tensor
from ssl4eo.training.stopwatch import clock_of
from ssl4eo.views.photometric import apply_photometric_

_TOO_LARGE = ("allocate", "out of memory", "overflow", "Overflow")
"""What torch says of sizes beyond memory, or beyond what it can count; it has no class for them on a CPU."""

Span = tuple[Any, Any]
"""Two moments of the device's clock."""


@dataclass(frozen=True)
class StepReport:
    """What a step tells."""

    loss: Tensor
    """Scalar, detached: mean over the whole batch, of all parts and processes."""
    embedding: Tensor
    """(B, D) of the last part of this process, detached."""
    metrics: dict[str, Tensor]
    """Scalars, detached: means over all parts and processes. What is no mean over samples (the spread of targets) a
    method makes the same in all processes."""
    grad_norm: Tensor
    """Norm of all gradients before clipping."""
    lr: float
    preparing: tuple[Span, ...]
    """When each part was moved to the device, scaled and changed in brightness; by `training.stopwatch`."""


class Stepper:
    """Moves the weights of a method by one batch at a time."""

    def __init__(
        self,
        fabric: Fabric,
        config: PretrainConfig,
        *,
        method: Method,
        module: Any,
        optimizer: Any,
        adapter: Adapter,
    ) -> None:
        """Keep what a step needs; `module` and `optimizer` are what Fabric made of the method and its optimizer."""
        self._fabric, self._config = fabric, config
        self._method, self._module, self._optimizer, self._adapter = method, module, optimizer, adapter
        self._peak = config.optimizer.peak(config.engine.batch_size)
        self._clock = clock_of(fabric.device)

    def __call__(self, batch: Batch, moment: Moment) -> StepReport:
        """Do one step."""
        config, fabric = self._config, self._fabric
        lr = self._peak * config.schedule.factor(
            moment.step, num_steps=moment.num_steps, steps_per_epoch=moment.steps_per_epoch
        )
        set_rates(self._optimizer, lr=lr, weight_decay=config.optimizer.decay(moment.share))
        torch.manual_seed(step_seed(config.engine.seed, moment.step, fabric.global_rank))
        self._method.before_step(moment)
        spans: list[Span] = []
        outputs = self._gradients(batch, moment, spans)
        self._method.before_update(moment)
        norm = clip_gradients(fabric, self._module, self._optimizer, config.optimizer)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._method.after_step(moment)
        loss, metrics = _averages(outputs)
        return StepReport(loss, outputs[-1].embedding, metrics, norm, lr, tuple(spans))

    def _gradients(self, batch: Batch, moment: Moment, spans: list[Span]) -> list[StepOutput]:
        num_parts = self._config.engine.accumulate
        outputs: list[StepOutput] = []
        for number, part in enumerate(batch.split(num_parts)):
            began = self._clock.now()
            views = prepare(self._fabric, self._adapter, part, channels_last=self._config.engine.channels_last)
            spans.append((began, self._clock.now()))
            masks = None if part.masks is None else self._fabric.to_device(part.masks)
            with self._fabric.no_backward_sync(self._module, enabled=number < num_parts - 1):
                output: StepOutput = self._module(views, masks, moment)
                self._fabric.backward(output.loss / num_parts)
            outputs.append(output._replace(loss=output.loss.detach()))
        return outputs


def _averages(outputs: list[StepOutput]) -> tuple[Tensor, dict[str, Tensor]]:
    """Average loss and metrics over parts and processes, all in one exchange."""
    rows = [torch.stack([o.loss, *(v.to(o.loss) for v in o.metrics.values())]) for o in outputs]  # (1 + metrics,) each
    means = mean_over_processes(torch.stack(rows).mean(dim=0))
    return means[0], dict(zip(outputs[0].metrics, means[1:], strict=True))


def step_seed(seed: int, step: int, rank: int) -> int:
    """Give the seed of torch's generators for one step of one process."""
    words = np.random.SeedSequence([seed, step, rank]).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def clip_gradients(fabric: Fabric, module: Any, optimizer: Any, config: OptimizerConfig) -> Tensor:
    """Bound the gradients as the config says; gives the norm of all of them before."""
    if config.clip == "parameter":
        norm = fabric.clip_gradients(module, optimizer, max_norm=float("inf"), error_if_nonfinite=False)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    torch.nn.utils.clip_grad_norm_(parameter, config.clip_norm)
    else:
        bound = config.clip_norm if config.clip == "norm" else float("inf")
        norm = fabric.clip_gradients(module, optimizer, max_norm=bound, error_if_nonfinite=False)
    assert norm is not None, "gradients are clipped by norm"
    return whole_tensor(norm.detach())


def prepare(fabric: Fabric, adapter: Adapter, batch: Batch, *, channels_last: bool) -> tuple[Tensor, ...]:
    """Move a batch to the device, scale it, change its brightness: views as the method takes them."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    views: list[Tensor] = []
    with torch.no_grad():
        for stored, rows in zip(batch.views, batch.photometric, strict=True):
            view = fabric.to_device(stored)
            if not batch.finished:
                view = apply_photometric_(adapter(view), rows)
            views.append(view.contiguous(memory_format=layout))
    return tuple(views)


def build_backbone(config: PretrainConfig, options: BackboneOptions | None = None) -> Backbone:
    """Build the network with weights drawn from the run's seed; with the method's options if none are given."""
    return Backbone(
        config.backbone,
        config.contract,
        image_size=config.image_size,
        seed=config.engine.seed,
        options=config.method.backbone_options(config.backbone) if options is None else options,
    )


def build_method(config: PretrainConfig) -> Method:
    """Build the network and its objective with weights drawn from the run's seed.

    Raises:
        ConfigInvalid: this machine has no memory for them.
    """
    try:
        return config.method.build(build_backbone(config), seed=config.engine.seed)
    except (RuntimeError, TypeError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        if not (isinstance(error, MemoryError) or any(sign in reason for sign in _TOO_LARGE)):
            raise
        options = ((f.name, getattr(config.method, f.name)) for f in dataclasses.fields(config.method))
        sizes = ", ".join(f"method.{name} {value}" for name, value in options if type(value) is int)
        raise ConfigInvalid(
            f"{config.backbone} at {config.image_size} px with {sizes} cannot be built ({reason})",
            expected="sizes that this machine has memory for",
            remedy="smaller ones, or another --backbone",
        ) from error
