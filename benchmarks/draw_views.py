# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of docs/views.md.

    python benchmarks/draw_views.py docs/img

Every picture shows synthetic pixels, of one location of `SyntheticPlanet(20)`, through the library's own functions:
what a run would render, not a sketch of it. True color is B04, B03, B02 with one stretch for all pictures but those of
solarization, which need the whole range. Measures nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from matplotlib.patches import Rectangle

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import network_input, stored
from ssl4eo.form import Form
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.methods.data2vec import Data2VecConfig
from ssl4eo.methods.mae import MAEConfig
from ssl4eo.recipes.dino import DARK_SOLARIZED, SOLARIZED
from ssl4eo.recipes.table import recipe
from ssl4eo.report.style import INK, new_figure, styled
from ssl4eo.sensors import modality
from ssl4eo.views.compose import PLAIN, Geometry, Renderer
from ssl4eo.views.crop import WHOLE, Window, random_window
from ssl4eo.views.masking import BlockMasking, RandomMasking
from ssl4eo.views.photometric import PhotometricConfig, Strengths, apply_photometric_, identity_row
from ssl4eo.views.rng import sample_rng
from ssl4eo.views.seasonal import draw_seasons
from ssl4eo.views.speckle import draw_speckle, units_per_decibel

PLANET = SyntheticPlanet(20, modalities=("S2L1C", "S1GRD"))
LOCATION = PLANET.read("0000010")
CLEAR, CLOUDY = 3, 1
"""Seasons of that location."""
BANDS = modality("S2L1C").bands
RED, GREEN, BLUE = (BANDS.index(band) for band in ("B04", "B03", "B02"))
BRIGHTEST = 0.3
"""Reflectance that true color shows as white."""
GAMMA = 1 / 1.4
TILE, GAP, HEAD = 1.35, 0.06, 0.34  # inch


def optical(geometry=PLAIN, size=224, season=CLEAR):
    """Render the thirteen bands of L1C in network units: (1, 13, S, S)."""
    view = Renderer(stored("S2L1C"))(LOCATION.images["S2L1C"][season].pixels, size, geometry)
    return scaled(view, "S2L1C")


def radar(noise=None, size=224, geometry=PLAIN):
    """Render VV and VH in network units: (1, 2, S, S)."""
    view = Renderer(stored("S1GRD"))(LOCATION.images["S1GRD"][CLEAR].pixels, size, geometry, noise=noise)
    return scaled(view, "S1GRD")


def scaled(view, name):
    """Bring a view to network units, as the device does."""
    return Adapter(stored(name), network_input(name))(torch.from_numpy(view)[None])


def changed(images, **strengths):
    """Change images by a row that does nothing but what is named."""
    row = identity_row(images.shape[1])
    for name, value in strengths.items():
        getattr(Strengths.of(row), name)[...] = value
    return apply_photometric_(images.clone(), torch.from_numpy(row)[None])


def true_color(images, brightest=BRIGHTEST, gamma=GAMMA):
    """Show a view (1, 13, S, S): (S, S, 3), 0 to 1."""
    return (images[0, [RED, GREEN, BLUE]] / brightest).clamp(0, 1).pow(gamma).permute(1, 2, 0).numpy()


def gray(values):
    """Show one band (S, S), 0 to 1, as gray."""
    return np.repeat(np.clip(np.asarray(values), 0, 1)[..., None], 3, axis=-1)


def sheet(rows, *, tile=TILE, labels=None):
    """Lay out rows of (title, picture); labels stand left of the rows, a row without titles needs no room for them."""
    left = 0.02 if labels is None else 1.05
    heads = [HEAD if any(title for title, _ in row) else GAP for row in rows]
    width, height = left + max(len(row) for row in rows) * (tile + GAP), sum(heads) + len(rows) * tile + 0.03
    figure, all_axes, top = new_figure(width, height), [], height
    for i, row in enumerate(rows):
        top -= heads[i] + tile
        if labels is not None:
            x, y = (left - 0.08) / width, (top + tile / 2) / height
            figure.text(x, y, labels[i], ha="right", va="center", color=INK)
        for k, (title, picture) in enumerate(row):
            box = ((left + k * (tile + GAP)) / width, top / height, tile / width, tile / height)
            all_axes.append(put(figure, box, title, picture))
    return figure, all_axes


def put(figure, box, title, picture, fontsize=8):
    """Put a picture at a place of the figure."""
    axes = figure.add_axes(box)
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=fontsize, pad=3, color=INK)
    return axes


def frame(axes, window):
    """Draw a window onto a tile that shows the whole patch."""
    side = axes.get_images()[0].get_array().shape[0]
    corner = (window.left * side - 0.5, window.top * side - 0.5)
    size = (window.width * side, window.height * side)
    for color, line in (("black", 3.5), ("#ffd400", 1.8)):
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=line))


def draw_crop():
    """Show one window on three grids, and the three views that are sampled from it."""
    pixels = LOCATION.images["S2L1C"][CLEAR].pixels
    window = Window(0.50, 0.16, 0.42, 0.36)
    view = optical(Geometry(window, 0.0))[0]
    above, below = [], []
    for resolution, band in ((10, "B04"), (20, "B06"), (60, "B01")):
        whole = pixels[resolution][modality("S2L1C").groups[resolution].index(band)] / 10_000
        low, high = np.percentile(whole, (1, 99))
        above.append((f"{band}: {whole.shape[0]} px of {resolution} m", gray((whole - low) / (high - low))))
        below.append((f"{band}: view of 224 px", gray((view[BANDS.index(band)] - low) / (high - low))))
    figure, axes = sheet([above, below], tile=1.9)
    for one in axes[:3]:
        frame(one, window)
    return figure


def draw_windows():
    """Show five windows drawn for one sample, and their views."""
    windows = [random_window(sample_rng(0, epoch=e, index=0, stream=1), scale=(0.2, 1.0)) for e in range(5)]
    whole = ("whole patch", true_color(optical()))
    figure, axes = sheet(
        [
            [(f"epoch {e}", whole[1]) for e in range(5)],
            [(f"{w.height * w.width:.0%} of the area", true_color(optical(Geometry(w, 0.0)))) for w in windows],
        ]
    )
    for one, window in zip(axes[: len(windows)], windows, strict=True):
        frame(one, window)
    return figure


def draw_blur():
    """Show four strengths of blur on a local crop, where it can be seen."""
    window = Window(0.08, 0.12, 0.35, 0.35)
    sigmas = (0.0, 0.5, 1.0, 2.0)
    return sheet([[(f"sigma {s:g} px", true_color(optical(Geometry(window, s), 96))) for s in sigmas]])[0]


def strip(pairs, images=None):
    """Show one view under several rows of strengths."""
    images = optical() if images is None else images
    return sheet([[(title, true_color(changed(images, **row))) for title, row in pairs]])[0]


def draw_brightness():
    """Show the ends of the published range, and bands that each have a factor of their own."""
    rng = sample_rng(0, epoch=0, index=0, stream=1)
    own = Strengths.of(PhotometricConfig(1.0, 0.0, 0.0, 0.0, band_gain=0.4).draw(rng, (0,) * 13)).gain
    gains = (("as it is", 1.0), ("gain 0.6", 0.6), ("gain 1.4", 1.4), ("band_gain 0.4", own))
    return strip([(title, {"gain": gain}) for title, gain in gains])


def draw_contrast():
    """Show the ends of the published range, and none."""
    factors = (("as it is", 1.0), ("contrast 0.6", 0.6), ("contrast 1.4", 1.4), ("contrast 0", 0.0))
    return strip([(title, {"contrast": factor}) for title, factor in factors])


def draw_gray():
    """Show the mean of all bands in each."""
    return strip([("as it is", {}), ("gray: 13 equal bands", {"gray": 1.0})])


def draw_solarize():
    """Show both senses at the published threshold, over the whole range of reflectance."""
    images = optical(season=CLOUDY)
    tiles = [("as it is", images)]
    for title, config in (("bright: x >= 128/255", SOLARIZED), ("dark: x < 128/255", DARK_SOLARIZED)):
        always = dataclasses.replace(config, solarize_probability=1.0, jitter_probability=0.0, gray_probability=0.0)
        row = always.draw(np.random.default_rng(0), (0,) * 13)
        tiles.append((title, apply_photometric_(images.clone(), torch.from_numpy(row)[None])))
    return sheet([[(title, true_color(image, brightest=1.0, gamma=0.8)) for title, image in tiles]], tile=1.9)[0]


def draw_positions():
    """Show all eight positions of the square."""
    mirrors = {
        "as it is": (False, False),
        "mirrored": (True, False),
        "upside down": (False, True),
        "both": (True, True),
    }
    rows = []
    for turned in (False, True):
        positions = [Geometry(WHOLE, 0.0, mirrored=m, upside_down=u, turned=turned) for m, u in mirrors.values()]
        titles = [""] * 4 if turned else list(mirrors)
        rows.append([(title, true_color(optical(g, 120))) for title, g in zip(titles, positions, strict=True)])
    return sheet(rows, labels=["", "and turned"])[0]


def band_tiles(images, names):
    """Show each band of a view as a small gray tile, stretched as it was before anything was dropped."""
    before = torch.cat([optical(size=66), radar(size=66)], dim=1)[0, : len(names)]
    low, high = (torch.quantile(before.flatten(1), q, dim=1) for q in (0.02, 0.98))
    span = (high - low).clamp(min=0.01)  # B10 of a clear day is one value
    shown = (images[0] - low[:, None, None]) / span[:, None, None]
    return [(name, gray(shown[i].clamp(0, 1) * 0.8 + 0.2 * bool(images[0, i].any()))) for i, name in enumerate(names)]


def draw_drops(images, names, sensors, config, *, count=3):
    """Show the bands of a view before, and as dropped in the first epochs: those are black."""
    rows, labels = [band_tiles(images, names)], ["as it is"]
    for epoch in range(count):
        row = config.draw(sample_rng(0, epoch=epoch, index=0, stream=1), sensors)
        dropped = apply_photometric_(images.clone(), torch.from_numpy(row)[None])
        rows.append([("", picture) for _, picture in band_tiles(dropped, names)])
        labels.append(f"epoch {epoch}")
    return sheet(rows, tile=0.62, labels=labels)[0]


def draw_band_drop():
    """Show one to four bands that fall."""
    config = PhotometricConfig(0.0, 0.0, 0.0, 0.0, drop_bands=(1, 4))
    return draw_drops(optical(size=66), BANDS, (0,) * 13, config)


def draw_sensor_drop():
    """Show one sensor or the other fall, here in every view."""
    images = torch.cat([optical(size=66), radar(size=66)], dim=1)
    config = PhotometricConfig(0.0, 0.0, 0.0, 0.0, sensor_drop=1.0)
    return draw_drops(images, (*BANDS, "VV", "VH"), (0,) * 13 + (1,) * 2, config)


def draw_speckle_strip():
    """Show VV without, and with speckle of 16, 4 and 1 looks."""
    units, tiles, part = units_per_decibel(stored("S1GRD")), [], Geometry(Window(0.1, 0.1, 0.5, 0.5), 0.0)
    for strength in (0.0, 0.25, 0.5, 1.0):
        rng = sample_rng(0, epoch=0, index=0, stream=1)
        noise = draw_speckle(rng, size=132, strength=strength, units=units) if strength else None
        title = f"{strength:g}: {strength**-2:.0f} look{'s' * (strength < 1)}" if strength else "as it is"
        tiles.append((title, gray(radar(noise, 132, part)[0, 0])))
    return sheet([tiles], tile=1.7)[0]


class OneLocation:
    """The location as a source of pixels for the data set that a run would make."""

    title, synthetic, identity = "a synthetic location", True, "0"
    form, contract, num_seasons = Form.native("S2L1C"), stored("S2L1C"), LOCATION.num_seasons

    def __len__(self):
        """Count the one."""
        return 1

    def id_of(self, _index):
        """Name it."""
        return LOCATION.location.id

    def pixels(self, _index, season, *, resolutions=None):
        """Give one date."""
        del resolutions
        return LOCATION.images["S2L1C"][season].pixels


def draw_multi_crop():
    """Show the ten views of a DINO recipe as its data set makes them, in their relative size."""
    views = recipe("dino.vit_small_16.s2l1c").config().views
    adapter = Adapter(stored("S2L1C"), network_input("S2L1C"))
    dataset = ViewDataset(OneLocation(), views, contract=stored("S2L1C"), seed=3, adapter=adapter, finish=True)
    batch = dataset[0, 0]
    large, small = 2.1, 2.1 * 96 / 224
    width, height = 2 * (large + GAP) + 4 * (small + GAP) + 0.05, large + HEAD
    figure = new_figure(width, height)
    for number, view in enumerate(batch.views):
        k, side = number - 2, large if number < 2 else small
        x = number * (large + GAP) if number < 2 else 2 * (large + GAP) + k % 4 * (small + GAP)
        y = 0.0 if number < 2 else (large - small if k < 4 else large - 2 * small - 0.24)
        name = f"global {number + 1}" if number < 2 else f"local {k + 1}"
        box = ((x + 0.02) / width, (y + 0.02) / height, side / width, side / height)
        title = f"{name}, season {batch.seasons[0, number]}"
        put(figure, box, title, true_color(view), fontsize=8 if number < 2 else 6.5)
    return figure


def draw_masks(masking, patch=16):
    """Show three masks over a view, hidden patches flat."""
    picture = true_color(optical())
    tiles = [("as it is", picture)]
    for epoch in range(3):
        mask = masking.draw(sample_rng(0, epoch=epoch, index=0, stream=255)).reshape(masking.grid, masking.grid)
        hidden = np.kron(mask, np.ones((patch, patch), bool))
        tiles.append((f"epoch {epoch}: {mask.sum()} of {mask.size} hidden", np.where(hidden[..., None], 0.82, picture)))
    return sheet([tiles], tile=1.7)[0]


def draw_random_masks():
    """Show the masks of the MAE recipe."""
    method = recipe("mae.vit_small_16.s2l1c").config().method
    assert isinstance(method, MAEConfig)
    return draw_masks(RandomMasking(14, method.num_masked(14**2)))


def draw_block_masks():
    """Show the masks of the data2vec recipe."""
    method = recipe("data2vec.vit_small_16.s2l1c").config().method
    assert isinstance(method, Data2VecConfig)
    return draw_masks(BlockMasking(14, method.num_masked, smallest=method.smallest_block))


def draw_pairs():
    """Show the seasons of a location, and the pairs that each pairing draws in four epochs."""
    seasons = [true_color(optical(size=112, season=s)) for s in range(LOCATION.num_seasons)]
    dates = [image.time.strftime("%Y-%m-%d") for image in LOCATION.images["S2L1C"]]
    rows, labels = [[(f"{s}: {date}", seasons[s]) for s, date in enumerate(dates)]], ["seasons"]
    for pairing in ("augment", "distinct", "random", "fixed"):
        row = []
        for epoch in range(4):
            drawn = draw_seasons(sample_rng(3, epoch=epoch, index=0), pairing=pairing, num_views=2, num_seasons=4)
            pair = np.concatenate([seasons[drawn[0]][:, :56], seasons[drawn[1]][:, 56:]], axis=1)
            pair[:, 55:57] = 1.0
            row.append((f"epoch {epoch}: {drawn[0]} | {drawn[1]}", pair))
        rows.append(row)
        labels.append(pairing)
    return sheet(rows, labels=labels)[0]


PICTURES = {
    "native": draw_crop,
    "crop": draw_windows,
    "brightness": draw_brightness,
    "contrast": draw_contrast,
    "gray": draw_gray,
    "blur": draw_blur,
    "solarize": draw_solarize,
    "positions": draw_positions,
    "band_drop": draw_band_drop,
    "sensor_drop": draw_sensor_drop,
    "speckle": draw_speckle_strip,
    "multi_crop": draw_multi_crop,
    "random_masking": draw_random_masks,
    "block_masking": draw_block_masks,
    "seasons": draw_pairs,
}


def main():
    """Draw all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="some of: " + ", ".join(PICTURES))
    options = parser.parse_args()
    for name in options.names or PICTURES:
        path = options.out / f"views_{name}.jpg"
        with styled():
            PICTURES[name]().savefig(path, dpi=110, pil_kwargs={"quality": 82, "optimize": True})
        print(path, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
