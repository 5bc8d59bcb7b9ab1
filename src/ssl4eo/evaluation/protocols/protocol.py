# SPDX-License-Identifier: Apache-2.0
"""What a protocol may see and what it gives: features or pixels and labels in, predictions out.

The labels of the test part are no field here, so no protocol can be tuned on them. A protocol that works on frozen
features is a function of `Supervision`, one that sees pixels a function of `Trial`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.levels import level_widths
from ssl4eo.evaluation.features import Precision
from ssl4eo.evaluation.network import Network
from ssl4eo.evaluation.tasks.task import Kind, LabelledPixels, Task

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True, eq=False)
class Supervision:
    """Labelled features: all that a protocol on features learns from."""

    train: Tensor
    """(N, D) float32."""
    train_labels: Tensor
    """(N,) int64, or (N, K) of 0 and 1 where an item has any number of labels."""
    validation: Tensor
    """(V, D) float32, for choices; learned from as well once they are made."""
    validation_labels: Tensor
    """(V,) or (V, K) int64."""
    num_classes: int


@dataclass(frozen=True, eq=False)
class Trial:
    """Labelled pixels and a network: all that a protocol on pixels learns from."""

    backbone: Backbone
    """Stays as it is: a protocol that moves weights copies it."""
    method: str
    """That trained it, such as moco_v2; empty where that is not known."""
    task: str
    kind: Kind
    num_classes: int
    train: LabelledPixels
    validation: LabelledPixels
    test: LabelledPixels
    """Without labels."""
    seed: int
    precision: Precision = "32"
    epochs: int | None = None
    """In place of the protocol's own, for trials; scores say it."""
    folder: Path | None = None
    """For what an interrupted run goes on from; None: nothing is kept."""
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a protocol says of the test items."""

    labels: Tensor
    """(M,) int64; (M, K) of 0 and 1 for labels; (M, 0) for maps."""
    scores: Tensor
    """(M, K) float64: share of each class, rows sum to 1; for labels how likely each is; (M, 0) for maps."""
    settings: Mapping[str, Any]
    """Every number that was used or chosen, as plain values."""
    maps: Sequence[NDArray[np.uint8]] = ()
    """(y, x) predicted class of each pixel, for maps and changes."""
    curve: Sequence[Mapping[str, float]] = field(default_factory=list[Mapping[str, float]])
    """How training went: a row for each epoch."""


OnFeatures = Callable[[Supervision, Tensor], Prediction]
"""(labelled features, test features (M, D)) -> predictions."""
OnPixels = Callable[[Trial], Prediction]
"""labelled pixels -> predictions."""


@dataclass(frozen=True)
class Protocol:
    """One way to judge."""

    title: str
    kinds: tuple[Kind, ...]
    """Of tasks that it can judge on."""
    on_features: OnFeatures | None = None
    on_pixels: OnPixels | None = None
    check: Callable[[str, str, bool], object] | None = None
    """Takes method, task and whether the network is a transformer; raises where there is no setting for them."""

    needs_maps: bool = False
    """Whether the network must give maps of an image."""

    def require_for(self, network: Network, task: Task) -> None:
        """Raise before any work if the protocol has no setting for a network on a task.

        Raises:
            ConfigInvalid: nobody has published one, or it needs maps and the network gives none.
        """
        if self.needs_maps:
            level_widths(network.backbone)
        if self.check is not None:
            self.check(network.method, task.name, network.backbone.patch is not None)

    def __post_init__(self) -> None:
        """Check that it is one of the two."""
        assert (self.on_features is None) != (self.on_pixels is None)
