# SPDX-License-Identifier: Apache-2.0
"""Is it still learning? Spread and rank of embeddings, and an alarm that speaks while the loss still falls.

A collapsed network maps every image to one point or one line. Its loss may keep falling, so the
alarm watches the embeddings alone. Batches stay on their device until they are judged; ranks come from the
eigenvalues of a Gram matrix of the smaller side, in float64: cheaper than singular values, and exact enough (see
`singular_values`).
Letters: N embeddings, D dimensions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssl4eo.training.alarms import Patience

MIN_FEATURE_STD = 0.2
"""Below this share of the spread of random directions the embeddings count as collapsed to a point."""
MIN_RANK_SHARE = 0.02
"""Below this share of the possible rank the embeddings count as collapsed to a few directions."""
PATIENCE = 3
"""Checks in a row that must fail before the alarm."""
EPSILON = 1e-7
"""Added to each share of the singular values by the paper's RankMe."""


def feature_std(embedding: Tensor) -> float:
    """Spread of unit vectors (N, D): mean standard deviation over the axes times sqrt(D).

    1 for directions uniform on the sphere, 0 when all are one point.
    Source: Chen and He 2021 (SimSiam), section 4.1.
    """
    unit = torch.nn.functional.normalize(embedding.double(), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * embedding.shape[1] ** 0.5)


def singular_values(matrix: Tensor) -> Tensor:
    """Give the min(N, D) singular values of (N, D), float64, in rising order.

    They are roots of the eigenvalues of a Gram matrix, so a value below 1e-7 of the largest is rounding and may come
    out as anything from 0 to 1e-7 of it.
    """
    values = matrix.double()
    gram = values.T @ values if len(values) >= values.shape[1] else values @ values.T
    return torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()


def rankme(embedding: Tensor) -> float:
    """RankMe of (N, D), about 1 to min(N, D): exp of the entropy of the normalized singular values.

    p_k = sigma_k / sum(sigma) + 1e-7, RankMe = exp(-sum p_k log p_k); the embeddings are not centred.
    Source: Garrido et al. 2023 (arXiv 2210.02885), section 3.
    """
    values = singular_values(embedding)
    total = values.sum()
    if total == 0:
        return 1.0
    share = values / total + EPSILON
    return float(torch.exp(-(share * torch.log(share)).sum()))


def effective_rank(embedding: Tensor) -> float:
    """Effective rank of (N, D), 1 to min(N, D): RankMe of the centred embeddings, without the paper's epsilon.

    Centred, so that an offset that all share does not count as a direction: of two clouds that differ only by their
    place both are equally healthy.
    Source: Roy and Vetterli 2007.
    """
    values = singular_values(embedding.double() - embedding.double().mean(dim=0))
    total = values.sum()
    if total <= 1e-6 * max(1.0, float(embedding.abs().max())):
        return 1.0
    share = values / total
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-30))).sum()))


@dataclass(frozen=True)
class Health:
    """One reading."""

    feature_std: float
    effective_rank: float
    rankme: float
    alarm: str | None
    """Why the embeddings count as collapsed, once when it is first noticed."""


class CollapseMonitor:
    """Keeps the last embeddings and judges them.

    A new run has few at first, so rank starts low and rises until `num_kept` were seen.
    """

    def __init__(self, *, num_kept: int = 1024) -> None:
        """Judge over the last `num_kept` embeddings."""
        self._kept: deque[Tensor] = deque()
        self._count = 0
        self._num_kept = num_kept
        self._patience = Patience(PATIENCE)

    def add(self, embedding: Tensor) -> None:
        """Remember a batch (B, D), where it is: moving it here would make the device wait at each step."""
        self._kept.append(embedding.detach())
        self._count += len(embedding)
        while self._count - len(self._kept[0]) >= self._num_kept:
            self._count -= len(self._kept.popleft())

    def state(self) -> dict[str, Any]:
        """Give what a continued run judges by: the last embeddings (N, D) and the bad readings in a row."""
        return {"embeddings": self._last().cpu().clone() if self._kept else None, "bad": self._patience.bad}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from another monitor's `state`."""
        embeddings = state["embeddings"]
        self._kept = deque([] if embeddings is None else [embeddings])
        self._count = 0 if embeddings is None else len(embeddings)
        self._patience.bad = int(state["bad"])

    def _last(self) -> Tensor:
        return torch.cat([batch.to(self._kept[-1].device) for batch in self._kept])[-self._num_kept :]

    def check(self) -> Health:
        """Read spread and rank; raise the alarm at the PATIENCE-th bad reading in a row."""
        kept = self._last().float().cpu()
        if not torch.isfinite(kept).all():
            return Health(float("nan"), float("nan"), float("nan"), None)  # the loss will tell
        std, rank = feature_std(kept), effective_rank(kept)
        return Health(std, rank, rankme(kept), self._patience.hear(_reason(std, rank, min(kept.shape))))


def _reason(std: float, rank: float, most: int) -> str | None:
    if std < MIN_FEATURE_STD:
        return f"features collapse to a point: standard deviation {std:.3f} of 1 for random directions"
    if rank < max(1.5, MIN_RANK_SHARE * most):
        return f"features collapse to a few directions: effective rank {rank:.1f} of {most} possible"
    return None
