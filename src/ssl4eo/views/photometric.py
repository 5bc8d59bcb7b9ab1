# SPDX-License-Identifier: Apache-2.0
"""How bright: brightness, contrast, gray, solarize and dropped bands for any number of bands, a batch at a time.

Works on float tensors in network units, so nothing wraps around; values are not clipped in between.
Strengths are drawn per sample with the sample's own generator and travel with the batch as one row of numbers a
view (`Strengths` names them), so that this runs on the worker or on the device that trains. Speckle is configured
here too but belongs to the pixels as stored: see speckle.py.
Letters: B batch, C bands, H and W pixels.
"""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo.errors import ConfigInvalid

Array = TypeVar("Array", Tensor, NDArray[np.float32])

_NUM_SCALARS = 4

LEAST_SPECKLE = 1e-6
"""Least strength of speckle that is not none: its 1e12 looks are still drawn right in float32."""


@dataclass(frozen=True)
class Strengths(Generic[Array]):
    """The columns of rows (..., 4 + 2 C) by name: the one place that knows where they are.

    The fields are views of the rows: writing to them writes to the rows.
    """

    contrast: Array
    """Factor of the distance to each band's mean, (...)."""
    gray: Array
    """1 where every band becomes the mean of all bands, else 0, (...)."""
    invert_from: Array
    """Values from this, inclusive, ... (...)."""
    invert_to: Array
    """... to this, exclusive, are inverted; infinity and infinity for none, (...)."""
    gain: Array
    """Factor of each band, brightness in it, (..., C)."""
    keep: Array
    """1 where the band stays, 0 where it is set to zero, (..., C)."""

    @classmethod
    def of(cls, rows: Array) -> Strengths[Array]:
        """Name the columns of rows."""
        num_bands = (rows.shape[-1] - _NUM_SCALARS) // 2
        gain, keep = rows[..., _NUM_SCALARS : _NUM_SCALARS + num_bands], rows[..., _NUM_SCALARS + num_bands :]
        return cls(rows[..., 0], rows[..., 1], rows[..., 2], rows[..., 3], gain, keep)


def identity_row(num_bands: int) -> NDArray[np.float32]:
    """Make the row (4 + 2 C) that changes nothing."""
    row = np.ones(_NUM_SCALARS + 2 * num_bands, np.float32)
    row[1:4] = 0.0, np.inf, np.inf
    return row


@dataclass(frozen=True)
class PhotometricConfig:
    """Strengths and probabilities; the values of MoCo v2 on SSL4EO-S12 are 0.8, 0.4, 0.4, 0.2, the rest as it is."""

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
    solarize_probability: float = 0.0
    """Share of views in which the values on one side of the threshold are inverted."""
    solarize_threshold: float = 0.5
    """Where the sides meet [network units]."""
    solarize_dark: bool = False
    """False inverts x >= threshold, as BYOL and DINO do; True inverts x < threshold, as the published run did."""
    drop_bands: tuple[int, int] = (0, 0)
    """Smallest and largest count of bands that are set to zero after everything else, inclusive."""
    sensor_drop: float = 0.0
    """Share of views in which all bands of one sensor are set to zero, where the input has several sensors."""
    speckle: float = 0.0
    """Standard deviation of the factor that radar power is multiplied by, 1 / sqrt(number of looks); 0 for none, else
    1e-6 or more."""

    def __post_init__(self) -> None:
        """Refuse strengths that would turn images negative, probabilities that are none, and what is no number."""
        for name in (field.name for field in fields(self) if field.type in ("float", float)):
            value = vars(self)[name]
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ConfigInvalid(f"views.photometric.{name} is {value!r}", expected="a number from 0 to 1")
            if not 0 <= float(value) <= 1:
                raise ConfigInvalid(f"views.photometric.{name} is {value}", expected="0 to 1")
        # The looks of less overflow float32; what they change is beyond its digits anyway.
        if 0 < self.speckle < LEAST_SPECKLE:
            raise ConfigInvalid(f"views.photometric.speckle is {self.speckle}", expected="0, or 1e-6 to 1")
        _check_counts(self.drop_bands)

    @property
    def changes_values(self) -> bool:
        """Say whether a view may get other values than it has, bands that are dropped and speckle apart."""
        return bool(self.jitter_probability or self.gray_probability or self.solarize_probability)

    def check_bands(self, sensors: tuple[int, ...], *, num_radar: int) -> None:
        """Refuse what the bands of the input cannot have.

        Args:
            sensors: a number for each band, the same for bands of one sensor.
            num_radar: bands whose values are radar power in dB.

        Raises:
            ConfigInvalid: a view could lose all of its bands, there is no sensor to drop, or no radar to speckle.
        """
        counts = Counter(sensors).values()
        left = min(counts) if self.sensor_drop else len(sensors)
        if self.drop_bands[1] >= left:
            raise ConfigInvalid(
                f"views.photometric.drop_bands is {self.drop_bands} where a view may have {left} bands",
                expected=f"at most {left - 1}, so that something is left to see",
            )
        if self.sensor_drop and len(counts) < 2:
            raise ConfigInvalid(
                f"views.photometric.sensor_drop is {self.sensor_drop} for bands of one sensor",
                expected="0, or an input of several sensors",
            )
        if self.speckle and not num_radar:
            raise ConfigInvalid(
                f"views.photometric.speckle is {self.speckle} for an input without radar",
                expected="0, or a modality in dB such as S1GRD",
            )

    def draw(self, rng: np.random.Generator, sensors: tuple[int, ...]) -> NDArray[np.float32]:
        """Draw one view's row (4 + 2 C), see `Strengths`.

        Always draws the same count of numbers, so that a changed probability does not move the rest.

        Args:
            rng: of the view.
            sensors: a number for each band, the same for bands of one sensor.
        """
        num_bands = len(sensors)
        row = identity_row(num_bands)
        strengths = Strengths[NDArray[np.float32]].of(row)
        jitter, gray = rng.random() < self.jitter_probability, rng.random() < self.gray_probability
        brightness, contrast = (1 + s * rng.uniform(-1, 1) for s in (self.brightness, self.contrast))
        gain = 1 + self.band_gain * rng.uniform(-1, 1, num_bands)
        solarize = rng.random() < self.solarize_probability
        if jitter:
            strengths.contrast[...] = contrast
            strengths.gain[:] = brightness * gain
        strengths.gray[...] = gray
        if solarize:
            bounds = (-np.inf, self.solarize_threshold) if self.solarize_dark else (self.solarize_threshold, np.inf)
            strengths.invert_from[...], strengths.invert_to[...] = bounds
        strengths.keep[:] = self._draw_kept(rng, sensors)
        return row

    def _draw_kept(self, rng: np.random.Generator, sensors: tuple[int, ...]) -> NDArray[np.bool_]:
        """Draw which bands stay; bands that fall singly are taken from the sensors that stay."""
        numbers = sorted(set(sensors))
        drops, fallen = rng.random() < self.sensor_drop, numbers[rng.integers(len(numbers))]
        count = rng.integers(self.drop_bands[0], self.drop_bands[1] + 1)
        order = rng.permutation(len(sensors))
        kept = np.array([not (drops and sensor == fallen) for sensor in sensors])
        kept[order[kept[order]][:count]] = False
        return kept


def _check_counts(drop_bands: Any) -> None:
    """Raise ConfigInvalid unless these are two whole numbers, the smaller one first."""
    found = f"views.photometric.drop_bands is {drop_bands!r}"
    if not isinstance(drop_bands, Sequence):
        raise ConfigInvalid(found, expected="two whole numbers")
    counts = tuple[Any, ...](drop_bands)
    if len(counts) != 2 or any(isinstance(c, bool) or not isinstance(c, numbers.Integral) for c in counts):
        raise ConfigInvalid(found, expected="two whole numbers")
    if not 0 <= counts[0] <= counts[1]:
        raise ConfigInvalid(found, expected="0 <= smallest <= largest")


def apply_photometric_(images: Tensor, rows: Tensor) -> Tensor:
    """Change a batch in place by its drawn rows: gain, contrast, gray, solarize, dropped bands, in this order.

    Contrast keeps each band's mean; gray keeps the mean over bands; an inverted value x becomes 1 - x, within 0 to 1.
    The identity row changes nothing. What only some samples get is computed for these only: which ones is looked up
    in the rows before they travel, so that nobody waits for the device.

    Args:
        images: (B, C, H, W) float in network units.
        rows: (B, 4 + 2 C) in the host's memory.

    Returns:
        `images`.
    """
    host = Strengths[Tensor].of(rows)
    drawn = Strengths[Tensor].of(rows.to(images.device, non_blocking=True))
    if not (bool((host.gain == 1).all()) and bool((host.contrast == 1).all())):
        gain, contrast = drawn.gain[:, :, None, None], drawn.contrast[:, None, None, None]
        mean = images.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        images.mul_(gain * contrast).add_(mean * gain * (1 - contrast))  # on CPUs twice as fast as addcmul
    for number in host.gray.nonzero().flatten().tolist():
        images[number] = images[number].mean(dim=0)
    for number in (host.invert_from < host.invert_to).nonzero().flatten().tolist():
        x = images[number]
        inverted = (x >= drawn.invert_from[number]) & (x < drawn.invert_to[number])
        images[number] = torch.where(inverted, (1 - x).clamp_(0, 1), x)
    for number, band in (host.keep == 0).nonzero().tolist():
        images[number, band] = 0
    return images
