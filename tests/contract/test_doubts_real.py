# SPDX-License-Identifier: Apache-2.0
"""Doubts about real imagery: none of what is told as it is, one of what is told wrongly.

Judged are whole images and tiles of 64 px, each alone: the fewer pixels, the more can look strange.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.enums import Resampling

from ssl4eo import eightbit
from ssl4eo.backbones.feeding import _figures
from ssl4eo.contract import Contract, plan_remap, stored
from ssl4eo.contract.doubts import value_doubts
from ssl4eo.contract.scales import times_published
from ssl4eo.sensors import RGB, modality

REAL = Path(__file__).resolve().parents[3] / "shared/data"
TILE = 64
OFFSETS = {
    "S2L1C": {"282D_485L_3_3", "433D_629L_3_1", "609U_541L_3_0"},
    "S2L2A": {"433D_629L_3_1"},
}
"""Places of TerraMesh whose values contain the offset."""
Scene = tuple[Contract, np.ndarray]

pytestmark = [pytest.mark.real, pytest.mark.skipif(not REAL.is_dir(), reason="no real imagery beside the checkout")]


def read(path: Path) -> np.ndarray:
    """Read all bands (band, y, x)."""
    with rasterio.open(path) as file:
        return file.read()


def terramesh() -> Iterator[Scene]:
    """Optical of both levels, some with the offset, radar and pictures."""
    for name in ("S1RTC", "S2L1C", "S2L2A", "S2RGB"):
        for path in sorted((REAL / "terramesh" / name).glob("*.tif")):
            yield stored(name, offset=1000 * (path.stem in OFFSETS.get(name, ()))), read(path)


def boadella() -> Iterator[Scene]:
    """A lake on four dates, one of them under cloud."""
    for path in sorted((REAL / "boadella").glob("*.tif")):
        yield stored("S2L2A"), read(path)


def sen1floods11() -> Iterator[Scene]:
    """Radar with a border of NaN, which nobody may embed, and optical."""
    for name, kind in (("S1GRD", "S1"), ("S2L1C", "S2")):
        yield stored(name), np.nan_to_num(read(REAL / f"sen1floods11/Spain_7370579_{kind}Hand.tif"))


def gdansk() -> Iterator[Scene]:
    """Three bands with black corners."""
    for path in sorted((REAL / "so2sat_pop_gdansk").rglob("*.tif")):
        pixels = read(path)
        if len(pixels) == 3 and pixels.dtype == np.uint16:
            yield stored("S2L2A", bands=RGB), pixels


def oscd() -> Iterator[Scene]:
    """Some cities at one of two dates, coarse bands brought to 10 m."""
    for folder in sorted((REAL / "oscd/images").glob("*/imgs_*"))[::3]:
        files = {m[1]: path for path in folder.glob("*.tif") if (m := re.search(r"_(B\w\w)\.tif", path.name))}
        with rasterio.open(files["B02"]) as file:
            shape = file.shape
        bands = []
        for name in modality("S2L1C").bands:
            with rasterio.open(files[name]) as file:
                bands.append(file.read(1, out_shape=shape, resampling=Resampling.nearest))
        yield stored("S2L1C"), np.stack(bands)


def labelled() -> Iterator[Scene]:
    """Tiles of lakes, fields, towns and woods."""
    for pixels in np.load(REAL / "s2l2a_hand_labelled_400.npz")["images"]:
        yield stored("S2L2A"), pixels


SETS: dict[str, Callable[[], Iterator[Scene]]] = {
    f.__name__: f for f in (terramesh, boadella, sen1floods11, gdansk, oscd, labelled)
}


def cut(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Give an image, and its tiles that are not blank; of a large one each ninth."""
    yield pixels
    step = TILE if max(pixels.shape) < 512 else 3 * TILE
    for y in range(0, pixels.shape[1] - TILE + 1, step):
        for x in range(0, pixels.shape[2] - TILE + 1, step):
            tile = pixels[:, y : y + TILE, x : x + TILE]
            if tile.any():
                yield tile


def forms(contract: Contract, pixels: np.ndarray) -> Iterator[Scene]:
    """Give values as stored, scaled in each way, and in 8 bits."""
    yield contract, pixels
    if contract.modality == "S1RTC":
        return  # no statistics
    rules = {
        "DN": ("reflectance", "zscore:published_50k", "uint8_10k"),
        "uint8": ("uint8", "zscore:v1.1"),
        "dB": ("sigma2:published_50k", "zscore:published_50k", "uint8_sigma2:published_50k"),
    }
    for scaling in rules[contract.unit]:
        target = replace(contract, offset=0, scaling=scaling)
        if not target.is_quantized:
            yield target, plan_remap(contract, target)(pixels)
        elif not contract.offset:
            plain = pixels.astype(np.uint16) if contract.unit == "DN" else pixels
            yield target, eightbit.quantize(plain, scaling, contract.modality, contract.bands)


def kinds(contract: Contract, pixels: np.ndarray) -> set[str]:
    """Give the kinds of doubt about an image."""
    rows, _ = _figures(torch.from_numpy(pixels.astype(np.float32)).flatten(1)[None])
    return set(value_doubts(contract, *rows))


@pytest.mark.parametrize("name", SETS)
def test_what_is_told_as_it_is_raises_no_doubt(name: str) -> None:
    """As stored, scaled, standardized and in 8 bits; lakes, clouds and black corners among them."""
    seen = 0
    for contract, whole in SETS[name]():
        for told, pixels in forms(contract, whole):
            for tile in cut(pixels):
                assert not kinds(told, tile)
                seen += 1
    assert seen > 50


def standardize(contract: Contract, pixels: np.ndarray) -> np.ndarray:
    """Take mean and deviation of each band, as people do without a table."""
    mean, std = pixels.mean(axis=(1, 2), keepdims=True), pixels.std(axis=(1, 2), keepdims=True)
    return (pixels - mean) / std


def one_band_scaled(contract: Contract, pixels: np.ndarray) -> np.ndarray:
    """Divide the third band alone."""
    out = pixels.astype(np.float64)
    out[2] /= 10_000
    return out


def to(scaling: str) -> Callable[[Contract, np.ndarray], np.ndarray]:
    """Scale as a contract does."""
    return lambda contract, pixels: plan_remap(contract, replace(contract, offset=0, scaling=scaling))(pixels)


def as_they_are(contract: Contract, pixels: np.ndarray) -> np.ndarray:
    """Do nothing."""
    return pixels


RGB_PICTURE = stored("S2RGB")
OPTICAL = [
    ("none", to("reflectance"), {"reflectance"}),
    ("none", standardize, {"standardized"}),
    ("none", lambda c, x: -x.astype(np.float64), {"negative"}),
    ("none", lambda c, x: x * 1e30, {"beyond"}),
    ("none", one_band_scaled, {"mixed"}),
    ("none", lambda c, x: eightbit.quantize(x.astype(np.uint16), "uint8_10k", c.modality, c.bands), {"eight_bits"}),
    ("reflectance", as_they_are, {"unscaled"}),
    ("reflectance", standardize, {"standardized"}),
    ("zscore:published_50k", as_they_are, {"unscaled"}),
    ("sigma2:published_50k", standardize, {"standardized"}),
    ("sigma2:published_50k", as_they_are, {"unscaled"}),
    ("uint8_10k", as_they_are, {"unscaled"}),
]
RADAR = [
    ("none", standardize, {"standardized"}),
    ("none", to("sigma2:published_50k"), {"linear"}),
    ("none", lambda c, x: 10 ** (x / 10), {"linear"}),
    ("sigma2:published_50k", as_they_are, {"unscaled"}),
    ("sigma2:published_50k", standardize, {"standardized"}),
    ("zscore:published_50k", as_they_are, {"unscaled"}),
    ("uint8_sigma2:published_50k", as_they_are, {"unscaled"}),
]


@pytest.mark.parametrize("number", range(len(OPTICAL)))
def test_digital_numbers_that_are_told_wrongly_are_doubted(number: int) -> None:
    """Every place of two sets; a constant band may be told besides."""
    scaling, change, expected = OPTICAL[number]
    for scenes in (terramesh, boadella):
        for contract, pixels in scenes():
            if contract.unit == "DN" and not contract.offset:
                assert expected <= kinds(replace(contract, scaling=scaling), change(contract, pixels))


@pytest.mark.parametrize("number", range(len(RADAR)))
def test_decibels_that_are_told_wrongly_are_doubted(number: int) -> None:
    """Five places with terrain corrected and one without."""
    scaling, change, expected = RADAR[number]
    for scenes in (terramesh, sen1floods11):
        for contract, pixels in scenes():
            if contract.unit == "dB":
                ground = stored("S1GRD")  # statistics are of this product; decibels are alike
                assert expected <= kinds(replace(ground, scaling=scaling), change(ground, pixels))


def test_pictures_that_are_told_wrongly_are_doubted() -> None:
    """0..255 told as scaled, and digital numbers told as a picture."""
    scenes = list(terramesh())
    for contract, pixels in scenes:
        if contract.modality == "S2RGB":
            assert kinds(replace(RGB_PICTURE, scaling="uint8"), pixels) == {"unscaled"}
            assert kinds(RGB_PICTURE, to("uint8")(contract, pixels)) == {"scaled"}
        elif contract.unit == "DN":
            assert kinds(RGB_PICTURE, pixels[[3, 2, 1]]) == {"unscaled"}


@pytest.mark.parametrize("name", ["boadella", "gdansk", "oscd", "labelled"])
def test_a_forgotten_offset_is_doubted(name: str) -> None:
    """In every image but that of the cloud, where nothing is dark."""
    missed = 0
    for contract, pixels in SETS[name]():
        missed += "offset" not in kinds(contract, np.where(pixels > 0, pixels.astype(np.int32) + 1000, 0))
    assert missed == (name == "boadella")


def observed_means(contract: Contract, pixels: np.ndarray) -> dict[str, float]:
    """Give the means of all bands where something was observed, without the offset [DN]."""
    values = pixels.reshape(len(pixels), -1)
    values = values[:, values.any(axis=0)]
    return dict(zip(contract.bands, (values.mean(axis=1) - contract.offset).tolist(), strict=True))


@pytest.mark.parametrize("source", [terramesh, boadella, oscd, labelled])
def test_no_landscape_is_as_bright_as_another_scale(source: Callable[[], Iterator[Scene]]) -> None:
    """No image is, under cloud, of water or forest; all of a source together are, four times or a tenth as bright.

    The labelled tiles are half as bright as the published mean in visible light: of them only the tenth is told.
    """
    scenes = [(c, observed_means(c, p)) for c, p in source() if c.unit == "DN" and c.num_bands >= 12]
    assert scenes
    assert all(times_published(contract.modality, means) is None for contract, means in scenes)

    for name in {contract.modality for contract, _ in scenes}:
        of_all = [means for contract, means in scenes if contract.modality == name]
        together = {band: sum(means[band] for means in of_all) / len(of_all) for band in of_all[0]}
        assert times_published(name, {band: mean / 10 for band, mean in together.items()}) is not None
        told = times_published(name, {band: mean * 4 for band, mean in together.items()}) is not None
        assert told == (source is not labelled)
