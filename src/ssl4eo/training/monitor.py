# SPDX-License-Identifier: Apache-2.0
"""Is it still learning? Spread and rank of embeddings, and an alarm that speaks while the loss still falls.

A collapsed network maps every image to one point or one line. Its loss may keep falling, so the
alarm watches the embeddings alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_FEATURE_STD = 0.2
"""Below this share of the spread of random directions the embeddings count as collapsed to a point."""
MIN_RANK_SHARE = 0.02
"""Below this share of the possible rank the embeddings count as collapsed to a few directions."""
PATIENCE = 3
"""Checks in a row that must fail before the alarm."""


def feature_std(embedding: Tensor) -> float:
    """Spread of unit vectors (N, D): mean standard deviation over the axes times sqrt(D).

    1 for directions uniform on the sphere, 0 when all are one point.
    Source: Chen and He 2021 (SimSiam), section 4.1.
    """
    unit = torch.nn.functional.normalize(embedding.double(), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * embedding.shape[1] ** 0.5)


def effective_rank(embedding: Tensor) -> float:
    """RankMe of (N, D): exp of the entropy of the normalized singular values, 1 to min(N, D).

    Source: Garrido et al. 2023, eq. 1; the embeddings are centred first, so that a common offset does not count.
    """
    values = torch.linalg.svdvals((embedding - embedding.mean(dim=0)).double())
    total = values.sum()
    if total <= 1e-12 * max(1.0, float(embedding.abs().max())):
        return 1.0
    share = values / total
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-30))).sum()))


@dataclass(frozen=True)
class Health:
    """One reading."""

    feature_std: float
    effective_rank: float
    alarm: str | None
    """Why the embeddings count as collapsed, once when it is first noticed."""


class CollapseMonitor:
    """Keeps the last embeddings and judges them."""

    def __init__(self, *, num_kept: int = 1024) -> None:
        """Judge over the last `num_kept` embeddings."""
        self._kept: deque[Tensor] = deque()
        self._count = 0
        self._num_kept = num_kept
        self._bad = 0

    def add(self, embedding: Tensor) -> None:
        """Remember a batch (B, D)."""
        self._kept.append(embedding.detach().float().cpu())
        self._count += len(embedding)
        while self._count - len(self._kept[0]) >= self._num_kept:
            self._count -= len(self._kept.popleft())

    def check(self) -> Health:
        """Read spread and rank; raise the alarm at the PATIENCE-th bad reading in a row."""
        kept = torch.cat(list(self._kept))
        std, rank = feature_std(kept), effective_rank(kept)
        reason = _reason(std, rank, min(kept.shape))
        self._bad = self._bad + 1 if reason else 0
        return Health(std, rank, reason if self._bad == PATIENCE else None)


def _reason(std: float, rank: float, most: int) -> str | None:
    if std < MIN_FEATURE_STD:
        return f"features collapse to a point: standard deviation {std:.3f} of 1 for random directions"
    if rank < max(1.5, MIN_RANK_SHARE * most):
        return f"features collapse to a few directions: effective rank {rank:.1f} of {most} possible"
    return None
