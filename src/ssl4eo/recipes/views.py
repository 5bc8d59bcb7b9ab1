# SPDX-License-Identifier: Apache-2.0
"""The views that recipes share."""

from __future__ import annotations

import dataclasses

from ssl4eo.views.config import ViewConfig
from ssl4eo.views.photometric import PhotometricConfig

JITTER = PhotometricConfig(jitter_probability=0.8, brightness=0.4, contrast=0.4, gray_probability=0.2)
"""Brightness, contrast and gray of every published contrastive view."""
WEAK_JITTER = PhotometricConfig(jitter_probability=0.8, brightness=0.2, contrast=0.2, gray_probability=0.0)
"""Half of it and no gray, for small networks that train for minutes."""
UNCHANGED = PhotometricConfig(jitter_probability=0.0, brightness=0.0, contrast=0.0, gray_probability=0.0)
"""No photometric changes."""


def published_view(
    size: int = 224,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    blur: float = 0.5,
    photometric: PhotometricConfig = JITTER,
) -> ViewConfig:
    """Make a view of SSL4EO-S12: crop, jitter, gray, blur, one flip.

    Args:
        size: of the view [px].
        scale: share of the patch that a crop covers, least and most.
        blur: its probability.
        photometric: brightness, contrast and what else changes values.
    """
    return ViewConfig(
        size=size,
        scale=scale,
        blur_probability=blur,
        blur_sigma=(0.1, 2.0),
        horizontal_flip=0.5,
        vertical_flip=0.0,
        rotation=0.0,
        photometric=photometric,
    )


def small_view(
    size: int = 64,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    blur: float = 0.5,
    photometric: PhotometricConfig = WEAK_JITTER,
) -> ViewConfig:
    """Make a view that small networks learn from soon: weak changes, all eight positions of the square.

    Args: as for `published_view`.
    """
    view = published_view(size, scale=scale, blur=blur, photometric=photometric)
    return dataclasses.replace(view, blur_sigma=(0.1, 1.0), vertical_flip=0.5, rotation=0.5)
