# SPDX-License-Identifier: Apache-2.0
"""How bright: brightness, contrast and gray for any number of bands, a batch at a time.

Works on float tensors in network units, so nothing wraps around; values are not clipped in between.
Strengths are drawn per sample with the sample's own generator and travel with the batch, so
that this runs on the device that trains.
Letters: B batch, C bands, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo.errors import ConfigInvalid


@dataclass(frozen=True)
class PhotometricConfig:
    """Strengths and probabilities; the values of MoCo v2 on SSL4EO-S12 are 0.8, 0.4, 0.4, 0.2, 0."""

    jitter_probability: float
    """Share of views that get brightness and contrast changed."""
    brightness: float
    """Factor uniform in 1 -+ this."""
    contrast: float
    """Factor of the distance to each band's mean, uniform in 1 -+ this."""
    gray_probability: float
    """Share of views in which every band becomes the mean of all bands."""
    band_gain: float = 0.0
    """Factor of each band on its own, uniform in 1 -+ this, in the views that are jittered: what hue is to colors."""

    def __post_init__(self) -> None:
        """Refuse strengths that would turn images negative and probabilities that are none."""
        for name in ("jitter_probability", "gray_probability", "brightness", "contrast", "band_gain"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigInvalid(f"views.photometric.{name} is {value}", expected="0 to 1")

    def draw(self, rng: np.random.Generator, num_bands: int) -> NDArray[np.float32]:
        """Draw one view's row (2 + C): contrast, grayness, gain per band with the brightness in it.

        Always draws the same count of numbers, so that a changed probability does not move the rest.
        """
        jitter, gray = rng.random() < self.jitter_probability, rng.random() < self.gray_probability
        brightness, contrast = (1 + s * rng.uniform(-1, 1) for s in (self.brightness, self.contrast))
        gain = 1 + self.band_gain * rng.uniform(-1, 1, num_bands)
        row = np.empty(2 + num_bands, np.float32)
        row[0] = contrast if jitter else 1.0
        row[1] = float(gray)
        row[2:] = brightness * gain if jitter else 1.0
        return row


def apply_photometric(images: Tensor, rows: Tensor) -> Tensor:
    """Change a batch (B, C, H, W) by drawn rows (B, 2 + C): gain, then contrast, then gray.

    Contrast keeps each band's mean; gray keeps the mean over bands; a row (1, 0, 1, ..., 1) is the identity.
    """
    contrast = rows[:, 0, None, None, None]
    gray = rows[:, 1, None, None, None].bool()
    gain = rows[:, 2:, None, None]
    mean = images.mean(dim=(2, 3), keepdim=True) * gain  # (B, C, 1, 1)
    images = images * (gain * contrast) + mean * (1 - contrast)
    return torch.where(gray, images.mean(dim=1, keepdim=True), images)
