# SPDX-License-Identifier: Apache-2.0
"""What the loop needs of a method: one forward pass that gives a loss, and the backbone that is kept."""

from __future__ import annotations

import abc
from typing import NamedTuple

from torch import Tensor, nn

from ssl4eo.backbones.backbone import Backbone


class StepOutput(NamedTuple):
    """The result of one step (a tuple: Fabric converts the tensors of those, but not of frozen dataclasses)."""

    loss: Tensor
    """Scalar to minimize."""
    embedding: Tensor
    """(B, D) what the loss compares, of the online network, detached: watched for collapse."""
    metrics: dict[str, Tensor]
    """Scalars to log, detached."""


class Method(nn.Module, abc.ABC):
    """A self-supervised objective around a backbone."""

    backbone: Backbone
    """The online network; what is kept."""

    @abc.abstractmethod
    def forward(self, views: tuple[Tensor, ...], progress: float) -> StepOutput:
        """Do one step on scaled views, each (B, C, S, S).

        Args:
            views: as many as the method's views config describes.
            progress: share of the run that is done, 0 to 1, for schedules of the method's own.
        """

    def after_step(self) -> None:
        """Do what must wait until the gradients of the step are computed; nothing by default."""

    @abc.abstractmethod
    def trainable(self) -> list[nn.Module]:
        """List the modules that the optimizer moves."""
