# SPDX-License-Identifier: Apache-2.0
"""A training loop of one's own on the library's views: SimCLR with a ConvNeXt of timm.

Source of the loss: Chen et al. 2020 (arXiv 2002.05709), Algorithm 1.
Run it with: python examples/extending/own_loop.py A.zarr weights.pt
Letters: B batch, D embedding.
"""

from __future__ import annotations

import sys

import torch
from own_network import build
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.contract import network_input
from ssl4eo.loading.views import ViewBatches
from ssl4eo.recipes.views import small_view
from ssl4eo.views.config import PairConfig


def simclr_loss(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """Tell the other view of a sample from all views of the others: two embeddings (B, D) -> scalar."""
    both = F.normalize(torch.cat([first, second]), dim=1)  # (2 B, D)
    likeness = (both @ both.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(likeness, partner)


def train(data: str, out: str, *, epochs: int = 10, batch_size: int = 64, size: int = 64, num_workers: int = 0) -> None:
    """Train on an archive, two views of two seasons each time, and keep the weights."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, head = build().to(device), nn.Sequential(nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 64)).to(device)
    batches = ViewBatches(
        data,
        PairConfig("augment", small_view(size)),
        contract=network_input("S2L1C"),
        batch_size=batch_size,
        epochs=epochs,
        num_workers=num_workers,
    )
    head(network(torch.zeros(2, 13, size, size, device=device)))  # settles the width of the lazy layer
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-3, weight_decay=0.05)
    for batch in batches:
        first, second = (head(network(view.to(device))) for view in batch.views)
        loss = simclr_loss(first, second)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sys.stdout.write(f"epoch {batch.epoch}, step {batch.step + 1} of {batches.num_steps}: loss {loss.item():.3f}\n")
    torch.save(network.state_dict(), out)


if __name__ == "__main__":
    train(*sys.argv[1:3])
