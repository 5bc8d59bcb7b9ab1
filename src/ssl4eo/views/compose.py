# SPDX-License-Identifier: Apache-2.0
"""One view from a description: draw its numbers, then render it from native resolution.

Drawing (cheap, from the sample's own generator) is apart from rendering (pixels), so that a draw
can be tested, shown and repeated. Photometric strengths are drawn here and applied later, in
one batch, on the device that trains.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import InputContract
from ssl4eo.errors import ContractMismatch
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
    """Rows and columns exchanged: with one mirror a quarter turn, with both or none a mirror along a diagonal."""


PLAIN = Geometry(WHOLE, 0.0)
"""The whole patch, resized only: what evaluation sees."""


def draw_geometry(rng: np.random.Generator, config: ViewConfig) -> Geometry:
    """Draw one view's geometry."""
    window = random_window(rng, scale=config.scale)
    blurred, sigma = rng.random() < config.blur_probability, rng.uniform(*config.blur_sigma)
    drawn = rng.random(3)
    mirrored, upside_down, turned = (drawn < (config.horizontal_flip, config.vertical_flip, config.rotation)).tolist()
    if turned:  # by either quarter, which the same number decides: all others are drawn as they were
        is_left = bool(drawn[2] < config.rotation / 2)
        mirrored, upside_down = mirrored ^ is_left, upside_down ^ (not is_left)
    sigma = round(sigma / SIGMA_STEP) * SIGMA_STEP if blurred else 0.0
    return Geometry(window, sigma, mirrored, upside_down, turned)


class _Run(NamedTuple):
    """Bands that lie side by side in their group and in the view, and are written in one go."""

    bands: slice
    """Of those that are picked."""
    channels: slice
    largest: int | None
    """Of their whole-number type, None where values are real."""


@dataclass(frozen=True)
class _Group:
    """The bands of one resolution that a view shows."""

    picks: list[int] | None
    """Of the group's bands, in the view's order; None for all as they are."""
    runs: list[_Run]

    @classmethod
    def of(cls, wanted: Sequence[str], bands: Sequence[str], limits: Mapping[str, int]) -> Self:
        shown = [band for band in wanted if band in bands]
        runs: list[_Run] = []
        for number, band in enumerate(shown):
            channel = wanted.index(band)
            run = _Run(slice(number, number + 1), slice(channel, channel + 1), limits.get(band))
            if runs and (runs[-1].channels.stop, runs[-1].largest) == (channel, run.largest):
                last = runs.pop()
                bands_too, channels_too = slice(last.bands.start, number + 1), slice(last.channels.start, channel + 1)
                run = _Run(bands_too, channels_too, last.largest)
            runs.append(run)
        return cls(None if shown == list(bands) else [bands.index(band) for band in shown], runs)

    def pick(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        return pixels if self.picks is None else pixels[self.picks]

    def put(
        self, stripe: NDArray[np.float32], place: NDArray[np.generic], *, noise: NDArray[np.float32] | None
    ) -> None:
        """Write rows (row, band, S) to the channels (C, row, S) of a view, with noise (C, row, S) added.

        `stripe` is used up.
        """
        if noise is None and all(run.largest is not None for run in self.runs):
            np.rint(stripe, out=stripe)  # at once, as it lies in memory: run by run it takes three times as long
            for run in self.runs:
                place[run.channels] = stripe[:, run.bands].swapaxes(0, 1)
            return
        for run in self.runs:
            plane = stripe[:, run.bands].swapaxes(0, 1)
            if noise is not None:
                plane += noise[run.channels]
            _put(plane, place[run.channels], largest=run.largest, inside=noise is None)


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
        limits = _whole_numbers(form)
        self._groups = {
            resolution: _Group.of(contract.bands, bands, limits)
            for resolution, bands in form.groups
            if not set(bands).isdisjoint(contract.bands)
        }
        self._num_bands = contract.num_bands
        self.dtype = np.dtype(form.dtype)
        """Of the source's pixels; of sensors of different types one that holds both."""
        types = {band: np.dtype(part.dtype) for part in form.parts for band in part.bands}
        self.types = [(kind, len(list(run))) for kind, run in itertools.groupby(types[b] for b in contract.bands)]
        """Types of the channels, in order, each with the number of channels side by side that have it."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions [m] that carry a wanted band; others need not be read."""
        return tuple(self._groups)

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

        Raises:
            ContractMismatch: a group of bands is missing.
        """
        if not self._groups.keys() <= pixels.keys():
            raise ContractMismatch(
                f"pixels of {', '.join(f'{r} m' for r in pixels) or 'no resolution'}",
                expected=f"those of {', '.join(f'{r} m' for r in self._groups)}",
                remedy="give every group of bands that the contract needs, see Renderer.resolutions",
            )
        if out is None:
            out = np.empty((self._num_bands, size, size), self.dtype)
        lying = _as_lying(out, geometry)
        noise = None if noise is None else _as_lying(noise, geometry)
        grids = [pixels[resolution].shape[1:] for resolution in self.resolutions]
        axes = iter(_axes(grids, size, geometry))
        for resolution, rows, columns in zip(self.resolutions, axes, axes, strict=True):
            group = self._groups[resolution]
            for made, stripe in resample(group.pick(pixels[resolution]), rows, columns):
                group.put(stripe, lying[:, made], noise=None if noise is None else noise[:, made])
        return out

    def of_nothing(self, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the view (band, S, S) of a patch that is zero everywhere, with noise added, as rendering writes it."""
        view = noise.copy()
        for group in self._groups.values():
            for run in group.runs:
                part = view[run.channels]
                _put(part, part, largest=run.largest, inside=False)
        return view


def _put(plane: NDArray[np.float32], place: NDArray[np.generic], *, largest: int | None, inside: bool) -> None:
    """Write some rows of some channels, as whole numbers up to `largest` if there is one."""
    if largest is not None:
        np.rint(plane, out=plane)
        if not inside:  # without noise a view stays within the range of its pixels
            plane.clip(0, largest, out=plane)
    place[...] = plane


def _axes(grids: list[tuple[int, ...]], size: int, geometry: Geometry) -> list[Axis]:
    """Give y and x of each grid (Ny, Nx)."""
    window = geometry.window
    lines: list[Line] = []
    for height, width in grids:
        lines.append(Line(height, window.top * height, window.height * height, geometry.upside_down, striped=True))
        lines.append(Line(width, window.left * width, window.width * width, geometry.mirrored))
    return make_axes(lines, size, sigma=geometry.sigma)


def _as_lying(values: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Exchange the last two axes where the view is turned; done twice it is undone."""
    return values.swapaxes(-1, -2) if geometry.turned else values


def _whole_numbers(form: AnyForm) -> dict[str, int]:
    """Give the largest number of the bands that are whole numbers; parts of a fused form can differ."""
    whole = [part for part in form.parts if part.dtype.startswith("u")]
    return {band: int(np.iinfo(part.dtype).max) for part in whole for band in part.bands}
