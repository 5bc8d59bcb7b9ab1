# SPDX-License-Identifier: Apache-2.0
"""One view from a description: draw its numbers, then render it from native resolution.

Drawing (cheap, from the sample's own generator) is apart from rendering (pixels), so that a draw
can be tested, shown and repeated. Photometric strengths are drawn here and applied later, in
one batch, on the device that trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import InputContract
from ssl4eo.form import AnyForm, Form, fuse_forms
from ssl4eo.views.config import ViewConfig
from ssl4eo.views.crop import WHOLE, Window, random_window
from ssl4eo.views.resample import make_axis, resample

SIGMA_STEP = 1 / 32
"""Blur is drawn in steps of this [output px], so that its matrices can be kept."""


@dataclass(frozen=True)
class Geometry:
    """One drawn view: where, how blurred, how turned."""

    window: Window
    sigma: float
    """Standard deviation of the blur [px of the view], 0 for none."""
    mirrored: bool = False
    upside_down: bool = False
    turned: bool = False
    """Rows and columns exchanged; with the mirrors this gives all eight positions of a square."""


PLAIN = Geometry(WHOLE, 0.0)
"""The whole patch, resized only: what evaluation sees."""


def draw_geometry(rng: np.random.Generator, config: ViewConfig) -> Geometry:
    """Draw one view's geometry."""
    window = random_window(rng, scale=config.scale)
    blurred, sigma = rng.random() < config.blur_probability, rng.uniform(*config.blur_sigma)
    mirrored, upside_down, turned = rng.random(3) < (config.horizontal_flip, config.vertical_flip, config.rotation)
    sigma = round(sigma / SIGMA_STEP) * SIGMA_STEP if blurred else 0.0
    return Geometry(window, sigma, bool(mirrored), bool(upside_down), bool(turned))


class Renderer:
    """Renders views of one kind of source: native groups in, (band, S, S) in the contract's order out."""

    def __init__(self, contract: InputContract, form: AnyForm | None = None) -> None:
        """Work out once which rows of which group make the contract's channels.

        Args:
            contract: its bands are rendered, in its order.
            form: of the pixels to come, None for the native form of the contract's modalities.
        """
        if form is None:
            form = fuse_forms([Form.native(part.modality) for part in contract.parts])
        self._picks = {
            resolution: [bands.index(b) for b in contract.bands if b in bands] for resolution, bands in form.groups
        }
        self._channels = {
            resolution: [contract.bands.index(b) for b in contract.bands if b in bands]
            for resolution, bands in form.groups
        }
        self._num_bands = contract.num_bands
        self.dtype = np.dtype(form.dtype)
        """Of the source's pixels."""
        self._whole = _whole_numbers(contract, form)
        """By channel the largest whole number of its type, None where values are real."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions [m] that carry a wanted band; others need not be read."""
        return tuple(r for r, picks in self._picks.items() if picks)

    def __call__(
        self,
        pixels: Mapping[int, NDArray[np.generic]],
        size: int,
        geometry: Geometry,
        *,
        noise: NDArray[np.float32] | None = None,
        out: NDArray[np.generic] | None = None,
    ) -> NDArray[np.generic]:
        """Render one view (band, S, S) in the source's own unit, rounded where the source has whole numbers.

        Args:
            pixels: by resolution [m] an array (band, y, x) in the form's order.
            size: S [px].
            geometry: where, how blurred, how turned.
            noise: added to the view before rounding, in the same unit.
            out: to write the view to, of the source's dtype or float32; None makes one of the source's dtype.
        """
        if out is None:
            out = np.empty((self._num_bands, size, size), self.dtype)
        for resolution in self.resolutions:
            channels = self._channels[resolution]
            part = self._group(pixels[resolution], self._picks[resolution], size, geometry)  # (S, C, S)
            if noise is not None:
                part += _as_lying(noise[channels], geometry).transpose(1, 0, 2)
            for number, channel in enumerate(channels):
                largest = self._whole[channel]
                if largest is not None:
                    np.rint(part[:, number], out=part[:, number])
                    if noise is not None:  # without it a view stays within the range of its pixels
                        part[:, number].clip(0, largest, out=part[:, number])
                out[channel] = _as_lying(part[:, number], geometry)
        return out

    def _group(
        self, pixels: NDArray[np.generic], picks: list[int], size: int, geometry: Geometry
    ) -> NDArray[np.float32]:
        height, width = pixels.shape[1:]
        window, sigma = geometry.window, geometry.sigma
        rows = make_axis(
            height,
            size,
            start=window.top * height,
            length=window.height * height,
            sigma=sigma,
            flip=geometry.upside_down,
        )
        columns = make_axis(
            width, size, start=window.left * width, length=window.width * width, sigma=sigma, flip=geometry.mirrored
        )
        whole = picks == list(range(len(pixels)))
        return resample(pixels if whole else pixels[picks], rows, columns)


def _as_lying(values: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Exchange the last two axes where the view is turned; done twice it is undone."""
    return values.swapaxes(-1, -2) if geometry.turned else values


def _whole_numbers(contract: InputContract, form: AnyForm) -> list[int | None]:
    """Give for each channel the largest number of its whole-number type; parts of a fused form can differ."""
    whole = [part for part in form.parts if part.dtype.startswith("u")]
    limits = {band: int(np.iinfo(part.dtype).max) for part in whole for band in part.bands}
    return [limits.get(band) for band in contract.bands]
