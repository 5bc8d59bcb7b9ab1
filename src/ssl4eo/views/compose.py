# SPDX-License-Identifier: Apache-2.0
"""One view from a description: draw its numbers, then render it from native resolution.

Drawing (cheap, from the sample's own generator) is apart from rendering (pixels), so that a draw
can be tested, shown and repeated. Photometric strengths are drawn here and applied later, in
one batch, on the device that trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import InputContract
from ssl4eo.form import AnyForm, Form, fuse_forms
from ssl4eo.views.config import ViewConfig
from ssl4eo.views.crop import WHOLE, Window, random_window
from ssl4eo.views.resample import Axis, Line, make_axes, resample

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
        lying = _as_lying(out, geometry)
        noise = None if noise is None else _as_lying(noise, geometry)
        grids = [pixels[resolution].shape[1:] for resolution in self.resolutions]
        axes = iter(_axes(grids, size, geometry))
        for resolution, rows, columns in zip(self.resolutions, axes, axes, strict=True):
            channels, picks = self._channels[resolution], self._picks[resolution]
            for made, stripe in _resample(pixels[resolution], picks, rows, columns):
                for number, channel in enumerate(channels):
                    plane, place = stripe[:, number], lying[channel, made]  # (row, S)
                    if noise is not None:
                        plane += noise[channel, made]
                    self._put(plane, place, largest=self._whole[channel], inside=noise is None)
        return out

    @staticmethod
    def _put(plane: NDArray[np.float32], place: NDArray[np.generic], *, largest: int | None, inside: bool) -> None:
        """Write some rows of a channel, as whole numbers up to `largest` if there is one."""
        if largest is None:
            place[...] = plane
            return
        if not inside:  # without noise a view stays within the range of its pixels
            np.rint(plane, out=plane).clip(0, largest, out=plane)
        np.rint(plane, out=place, casting="unsafe")


def _resample(
    pixels: NDArray[np.generic], picks: list[int], rows: Axis, columns: Axis
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    whole = picks == list(range(len(pixels)))
    return resample(pixels if whole else pixels[picks], rows, columns)


def _axes(grids: list[tuple[int, ...]], size: int, geometry: Geometry) -> list[Axis]:
    """Give y and x of each grid (Ny, Nx)."""
    window = geometry.window
    lines: list[Line] = []
    for height, width in grids:
        lines.append(Line(height, window.top * height, window.height * height, geometry.upside_down))
        lines.append(Line(width, window.left * width, window.width * width, geometry.mirrored))
    return make_axes(lines, size, sigma=geometry.sigma)


def _as_lying(values: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Exchange the last two axes where the view is turned; done twice it is undone."""
    return values.swapaxes(-1, -2) if geometry.turned else values


def _whole_numbers(contract: InputContract, form: AnyForm) -> list[int | None]:
    """Give for each channel the largest number of its whole-number type; parts of a fused form can differ."""
    whole = [part for part in form.parts if part.dtype.startswith("u")]
    limits = {band: int(np.iinfo(part.dtype).max) for part in whole for band in part.bands}
    return [limits.get(band) for band in contract.bands]
