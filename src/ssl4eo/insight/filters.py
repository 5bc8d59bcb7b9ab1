# SPDX-License-Identifier: Apache-2.0
"""The first layer of a network: its strongest filters, and how much of its weight each band has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssl4eo.backbones.backbone import Backbone

MOST = 24
"""Filters that are kept, by the norm of their weights."""


def strongest(backbone: Backbone) -> dict[str, NDArray[Any]]:
    """Give `filters.weights` (F, C, h, w) float32, `filters.norms` (C,) of all filters, and `filters.bands` (C,)."""
    layer = next(module for module in backbone.net.modules() if isinstance(module, nn.Conv2d))
    weights = layer.weight.detach().float().cpu()
    finite = torch.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0).double()
    order = np.argsort(-finite.square().sum(dim=(1, 2, 3)).sqrt().numpy(), kind="stable")[:MOST]
    return {
        "filters.weights": weights.numpy()[order],
        "filters.norms": finite.square().sum(dim=(0, 2, 3)).sqrt().numpy(),
        "filters.bands": np.array(backbone.contract.bands),
        "filters.count": np.array(len(weights)),
    }
