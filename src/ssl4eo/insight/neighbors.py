# SPDX-License-Identifier: Apache-2.0
"""What a network takes for alike: some images and those whose features point in the direction nearest to theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.modes import evaluating
from ssl4eo.errors import SampleInvalid

MAX_BANK = 256
"""Images that are compared at most, one of each location."""
NUM_NEIGHBORS = 6


def bank_places(num_items: int, num_seasons: int) -> list[tuple[int, int]]:
    """Choose (item, season) for up to MAX_BANK images: items evenly spaced, seasons in turn.

    >>> bank_places(3, 2)
    [(0, 0), (1, 1), (2, 0)]
    """
    items = np.unique(np.linspace(0, num_items - 1, min(num_items, MAX_BANK)).round().astype(int))
    return [(int(item), place % num_seasons) for place, item in enumerate(items)]


def query_rows(num_bank: int, count: int) -> list[int]:
    """Choose rows of the bank that are asked about, evenly spaced and not the ends.

    >>> query_rows(10, 2)
    [2, 7]
    """
    count = min(count, num_bank)
    return [(2 * n + 1) * num_bank // (2 * count) for n in range(count)]


def features_of(backbone: Backbone, batches: Iterator[Tensor], step: Callable[[int], None] | None = None) -> Tensor:
    """Give features (N, D) of batches of scaled images, of unit length; `step` is told how many are done.

    Raises:
        SampleInvalid: a feature is not finite.
    """
    rows: list[Tensor] = []
    with evaluating(backbone), torch.inference_mode():
        for images in batches:
            rows.append(F.normalize(backbone(images).float(), dim=1))
            if step is not None:
                step(sum(map(len, rows)))
    features = torch.cat(rows).clone()
    if not torch.isfinite(features).all():
        raise SampleInvalid("features of the images are not finite", expected="a network whose weights are finite")
    return features


def nearest(features: Tensor, rows: list[int], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the rows (Q, k) nearest to some rows by cosine, best first, and the cosines; no row is its own neighbor.

    Equal cosines come in the order of the rows.
    """
    cosines = features[rows] @ features.T  # (Q, N)
    cosines[torch.arange(len(rows)), torch.tensor(rows)] = -torch.inf
    values, found = cosines.sort(dim=1, descending=True, stable=True)
    count = min(count, len(features) - 1)
    return found[:, :count].numpy(), values[:, :count].numpy()
