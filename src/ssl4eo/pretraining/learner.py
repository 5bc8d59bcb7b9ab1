# SPDX-License-Identifier: Apache-2.0
"""What learns in a run: method and optimizer, built, restored and wrapped in the one order that works.

Weights are loaded before they are moved, cut or compiled; the optimizer is made after, since cutting replaces the
parameters. Batch norm over all processes is put in where there is more than one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.training_state import TrainingState
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.method import Method
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.fabric import Fabric
from ssl4eo.pretraining.initial import Initial, initialize
from ssl4eo.pretraining.step import Stepper, build_backbone, build_method
from ssl4eo.training.batch_norm import with_global_batch_norm
from ssl4eo.training.optimizer import make_optimizer
from ssl4eo.training.processor import fit_to_processor
from ssl4eo.training.sharding import is_sharded, load_optimizer, whole, whole_copy


class Learner:
    """A method with its optimizer, ready for steps."""

    def __init__(
        self,
        fabric: Fabric,
        config: PretrainConfig,
        state: TrainingState | None,
        initial: Initial | None = None,
        *,
        method: Method | None = None,
    ) -> None:
        """Build from the run's seed, begin with `initial`, or go on from `state`.

        Args:
            fabric: that the processes share.
            config: of the run.
            state: to go on from.
            initial: to begin with.
            method: what `build_method` gives, where it is there already.

        Raises:
            ConfigInvalid: engine.compile is on and there is no working compiler; `initial` is of another network.
            CheckpointInvalid: `initial` cannot be read.
        """
        self._fabric, self._config = fabric, config
        self.method = build_method(config) if method is None else method
        self.beginning = [] if initial is None or state is not None else initialize(self.method, config, initial)
        """What came from where, in words."""
        if state is not None:
            self.method.load_state_dict(state.method, strict=True)
        self._shape()
        self.module: Any = fabric.setup(self.method)
        optimizer = make_optimizer(
            config.optimizer, self.method.named_parameters(), fused=config.engine.precision != "16-mixed"
        )
        if state is not None:
            load_optimizer(optimizer, state.optimizer)
            fabric.strategy.precision.load_state_dict(state.precision)
        self._optimizer = optimizer
        self.optimizer: Any = fabric.setup_optimizers(optimizer)
        self.sharded = is_sharded(self.method)

    def _shape(self) -> None:
        """Change how the network computes, not what."""
        engine = self._config.engine
        fit_to_processor(
            self.method,
            channels_last=engine.channels_last,
            precision=engine.precision,
            device=self._fabric.device,
        )
        if self._fabric.world_size > 1:
            with_global_batch_norm(self.method, on_gpu=self._fabric.device.type == "cuda")
        nets = [part.net for part in self.method.modules() if isinstance(part, Backbone)]
        if engine.activation_checkpointing:
            for net in nets:
                net.set_grad_checkpointing(enable=True)  # pyright: ignore[reportCallIssue] - timm's transformers have it
        if engine.compile:
            require_compiler(self._fabric.device)
            for net in nets:
                compile_network(net)

    def stepper(self, adapter: Adapter) -> Stepper:
        """Make what takes its steps; the adapter goes to the device."""
        return Stepper(
            self._fabric,
            self._config,
            method=self.method,
            module=self.module,
            optimizer=self.optimizer,
            adapter=adapter.to(self._fabric.device),
        )

    def state(self, step: int, config: dict[str, Any], data: dict[str, Any], watching: dict[str, Any]) -> TrainingState:
        """Collect what a continuation after `step` steps needs; every process must call this where weights are cut."""
        method, optimizer = self.method.state_dict(), self._optimizer.state_dict()
        return TrainingState(
            step=step,
            config=config,
            data=data,
            method=whole(method) if self.sharded else method,
            optimizer=whole(optimizer) if self.sharded else optimizer,
            precision=self._fabric.strategy.precision.state_dict(),
            watching=watching,
        )

    def backbone(self) -> Backbone:
        """Give the network that is kept, whole; every process must call this where weights are cut."""
        if not self.sharded:
            return self.method.backbone
        empty = build_backbone(self._config, self.method.backbone.options)  # DINO's teacher has options of its own
        return whole_copy(self.method.backbone, empty).train(self.method.backbone.training)


def compile_network(net: nn.Module) -> None:
    """Compile a network in place, a transformer block by block since methods run them one by one; names stay."""
    blocks = getattr(net, "blocks", None)
    for part in [net] if blocks is None else blocks:
        part.compile()


def require_compiler(device: torch.device) -> None:
    """Compile a line and run it.

    Raises:
        ConfigInvalid: that does not work here.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:
        raise ConfigInvalid(
            f"engine.compile is on and torch.compile fails here ({' '.join(str(error).split())[:200]})",
            expected="a C++ compiler (CPU) or Triton (GPU)",
            remedy="install one, or leave engine.compile off",
        ) from error
