# SPDX-License-Identifier: Apache-2.0
"""What the loop needs of a method, and what a method says of itself before it runs.

A config checks itself against batch and network, says which masks and which backbone it needs, and builds its method.
A step of the loop is: `before_step`, `forward` for each part of the batch, `before_update` when all gradients are
there, the optimizer, `after_step`. Under several processes `forward` runs inside the wrapper that averages
gradients; the hooks run outside of it, on every process alike.
"""

from __future__ import annotations

import abc
import inspect
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from ssl4eo.backbones.architectures import BackboneOptions, patch_size
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.views.masking import Masking


class Moment(NamedTuple):
    """Where in the run a step is."""

    step: int
    """From 0."""
    num_steps: int
    steps_per_epoch: int

    @property
    def share(self) -> float:
        """Share of the run that is done, from 0, below 1."""
        return self.step / self.num_steps

    @property
    def epoch(self) -> float:
        """Epochs that are done, with their fraction."""
        return self.step / self.steps_per_epoch


class StepOutput(NamedTuple):
    """The result of one forward pass (a tuple: Fabric converts the tensors of those, but not of frozen dataclasses)."""

    loss: Tensor
    """Scalar to minimize: the mean over this process's samples."""
    embedding: Tensor
    """(B, D) what the loss compares, of the online network, detached: watched for collapse."""
    metrics: dict[str, Tensor]
    """Scalars to log, detached: parts of the loss, accuracies."""


class _Whole(abc.ABC):  # noqa: B024 - its subclasses have the abstract methods
    """What says in words which of its methods a class of the user's own lacks."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Make an object of a class that has all of them.

        Raises:
            ConfigInvalid: it lacks some.
        """
        del args, options
        missing = [name for name in dir(cls) if getattr(getattr(cls, name, None), "__isabstractmethod__", False)]
        if missing:
            calls = [f"{name}{inspect.signature(getattr(cls, name))}".replace("'", "") for name in missing]
            base = next(kind.__name__ for kind in cls.__mro__ if kind.__module__ == __name__ and kind is not cls)
            raise ConfigInvalid(
                f"{cls.__qualname__} has no {' and no '.join(missing)}",
                expected=f"all that a {base} must have",
                remedy=f"write {', '.join(calls)}: docs/extending/method.md says what for",
            )
        return super().__new__(cls)


class Method(nn.Module, _Whole):
    """A self-supervised objective around a backbone."""

    backbone: Backbone
    """The network that is kept and judged: the online one, or the teacher where the paper keeps that."""

    @abc.abstractmethod
    def forward(self, views: tuple[Tensor, ...], masks: Tensor | None, moment: Moment) -> StepOutput:
        """Compute the loss of scaled views, each (B, C, S, S).

        Args:
            views: as many as the method's views config describes.
            masks: (B, L) bool, True = hidden, for methods that hide patches.
            moment: where in the run this is.
        """

    def before_step(self, moment: Moment) -> None:
        """Do what comes before the first forward pass of a step; nothing by default."""
        del moment

    def before_update(self, moment: Moment) -> None:
        """Change gradients before they are clipped and applied; nothing by default."""
        del moment

    def after_step(self, moment: Moment) -> None:
        """Do what must wait until the weights have moved; nothing by default."""
        del moment


@dataclass(frozen=True)
class Setting:
    """What a method config is checked against."""

    arch: str
    image_size: int
    """Of the first view [px]."""
    num_views: int
    batch_size: int
    """Over all processes and parts."""
    num_processes: int
    accumulate: int
    """Parts that a batch of one process is computed in."""


@dataclass(frozen=True)
class MethodConfig(_Whole):
    """Options of a method; each is a frozen dataclass beside its method."""

    @abc.abstractmethod
    def build(self, backbone: Backbone, *, seed: int) -> Method:
        """Build the method around a backbone, its other weights drawn from `seed`."""

    @abc.abstractmethod
    def check(self, setting: Setting) -> None:
        """Raise ConfigInvalid unless this can run on such batches with such a network."""

    def backbone_options(self, arch: str) -> BackboneOptions:
        """Say what the method wants of its network; nothing by default."""
        del arch
        return BackboneOptions()

    def masking(self, setting: Setting) -> Masking | None:
        """Say what is hidden of each sample; nothing by default."""
        del setting
        return None

    def warn_of_data(self, num_items: int) -> str | None:
        """Say what is doubtful about this many items, None if nothing is."""
        del num_items
        return None

    def warn_of_parts(self, accumulate: int) -> str | None:
        """Say what is doubtful about a batch in so many parts, None if nothing is."""
        del accumulate
        return None

    @abc.abstractmethod
    def initial_loss(self, batch_size: int | None = None) -> float | None:
        """Loss of an untrained network, None where theory does not tell.

        Args:
            batch_size: over all processes; some losses depend on it, and are not told without.
        """


LEAST_TEMPERATURE = 1e-3
"""Of a softmax over cosines; papers use 0.02 to 1."""


def check_temperatures(config: MethodConfig, *names: str) -> None:
    """Raise ConfigInvalid for temperatures that are no use: cosines divided by them must keep digits in float32."""
    for name in names:
        value = getattr(config, name)
        if not value >= LEAST_TEMPERATURE:
            raise ConfigInvalid(
                f"method.{name} is {value}",
                expected=f"{LEAST_TEMPERATURE:g} or more: with less a softmax over cosines is all or "
                "nothing, and the loss is the rounding of float32 divided by it",
                remedy="papers use 0.02 to 1",
            )


def check_least(config: MethodConfig, **least: int) -> None:
    """Raise ConfigInvalid for an option, by its name, that is less than it may be."""
    for name, low in least.items():
        value = getattr(config, name)
        if value < low:
            raise ConfigInvalid(f"method.{name} is {value}", expected=f"{low} or more")


def check_zero_init(zero_init_last: bool, setting: Setting) -> None:
    """Raise ConfigInvalid for a transformer whose residual branches are to start at one: it has no such norms."""
    if not zero_init_last and patch_size(setting.arch) is not None:
        raise ConfigInvalid(
            f"method.zero_init_last false for {setting.arch}",
            expected="true: only residual networks have these norms",
            remedy="leave it out, or choose a residual network",
        )
