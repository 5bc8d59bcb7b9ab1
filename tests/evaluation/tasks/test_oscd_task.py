# SPDX-License-Identifier: Apache-2.0
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from ssl4eo.contract import network_input, plan_remap
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.oscd import (
    SPLITS,
    TEST_CITIES,
    TILE,
    TRAIN_CITIES,
    VALIDATION_CITIES,
    open_oscd,
    starts,
)
from ssl4eo.evaluation.tasks.oscd_scenes import BANDS, line
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS, UNJUDGED

L1C = network_input("S2L1C")
REAL = Path(__file__).parents[4] / "shared" / "data" / "oscd"
STEP = 9e-5
"""Degrees of a 10 m pixel."""


def write_tif(path: Path, values: np.ndarray, transform: Affine | None = None) -> None:
    """Write one band, placed in degrees or nowhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if transform is None else {"crs": "EPSG:4326", "transform": transform}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        height, width = values.shape
        profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": values.dtype}
        with rasterio.open(path, "w", **profile, **place) as file:
            file.write(values, 1)


def read_tif(path: Path) -> np.ndarray:
    """Read one band."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(1)


def grid_factor(band: str) -> int:
    """Give the native size of a pixel of a band in pixels of B04."""
    return 1 if band in ("B02", "B03", "B04", "B08") else 6 if band in ("B01", "B09", "B10") else 2


def placed(height: int, width: int, *, over: tuple[float, float], at: tuple[float, float] = (0, 0)) -> Affine:
    """Give the transform of height x width px that span `over` (y, x) grid pixels from `at` (y, x) on."""
    tall, wide = over
    return Affine(wide * STEP / width, 0, 2 + at[1] * STEP, 0, -tall * STEP / height, 48 - at[0] * STEP)


def write_raw(folder: Path, shape: tuple[int, int], *, seed: int, second: tuple[int, int] = (0, 0)) -> None:
    """Write two dates as published: native sizes over the same box; date 2 has `second` rows and columns fewer."""
    rng = np.random.default_rng(seed)
    for date in (1, 2):
        for band in BANDS:
            factor = grid_factor(band)
            size = tuple(-(-(n - (date - 1) * less) // factor) for n, less in zip(shape, second, strict=True))
            values = rng.integers(1, 20_000, size, dtype=np.uint16)
            name = f"S2A_OPER_MSI_L1C_TL_EPA__20160809_T32TPP_{band}.tif"
            write_tif(folder / f"imgs_{date}" / name, values, placed(*size, over=shape))


def write_rect(folder: Path, shape: tuple[int, int], *, seed: int) -> None:
    """Write two dates on the grid of the map, not placed."""
    rng = np.random.default_rng(seed)
    for date in (1, 2):
        for band in BANDS:
            write_tif(folder / f"imgs_{date}_rect" / f"{band}.tif", rng.integers(1, 9999, shape, dtype=np.uint16))


def write_label(folder: Path, shape: tuple[int, int], *, seed: int, tif: str = "") -> np.ndarray:
    """Write a map of 0 and 1 as published, and as GeoTIFF where it has a name; give it back."""
    changed = np.random.default_rng(seed).random(shape) < 0.1
    (folder / "cm").mkdir(parents=True, exist_ok=True)
    Image.fromarray((changed * 255).astype(np.uint8)).convert("RGBA").save(folder / "cm" / "cm.png")
    if tif:
        write_tif(folder / "cm" / f"{tif}-cm.tif", (changed + 1).astype(np.uint8))
    return changed.astype(np.uint8)


@pytest.fixture(scope="session")
def rect_oscd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 24 cities in the rect form, synthetic, 96 x 193 px, in the three folders that are published."""
    root = tmp_path_factory.mktemp("oscd")
    stem = "Onera Satellite Change Detection dataset"
    for seed, city in enumerate((*TRAIN_CITIES, *TEST_CITIES)):
        write_rect(root / f"{stem} - Images" / city, (96, 193), seed=seed)
        kind = "Test" if city in TEST_CITIES else "Train"
        write_label(root / f"{stem} - {kind} Labels" / city, (96, 193), seed=seed)
    return root


@pytest.fixture(scope="session")
def raw_oscd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 13 cities of split `cities` in the raw form, synthetic, 98 x 200 px, one of them with a smaller date 2."""
    root = tmp_path_factory.mktemp("oscd_raw")
    split = SPLITS["cities"]
    for seed, city in enumerate((*split.train, *split.test)):
        less = (2, 3) if city == "saclay_e" else (0, 0)
        write_raw(root / "images" / city, (98, 200), seed=seed, second=less)
        write_label(root / "labels" / city, (98, 200), seed=seed, tif=city)
    return root


def cities(task, part):
    """Give the cities of a part."""
    return {identifier.split("/")[0] for identifier in task.part(part).ids}


def test_the_official_split_is_of_14_and_10_cities(rect_oscd):
    """None in two parts; validation is two whole cities."""
    task = open_task("oscd", rect_oscd, contract=L1C)

    assert (len(TRAIN_CITIES), len(TEST_CITIES)) == (14, 10)
    assert cities(task, "test") == set(TEST_CITIES)
    assert cities(task, "validation") == set(VALIDATION_CITIES)
    assert cities(task, "train") == set(TRAIN_CITIES) - set(VALIDATION_CITIES)
    assert (task.kind, task.version, task.synthetic, task.classes) == ("change", "rect", False, ("no change", "change"))


def test_split_cities_needs_no_test_city_and_takes_every_other_but_beirut():
    """Ten for training, validation among them, three for test."""
    split = SPLITS["cities"]

    assert (len(split.train), len(split.test)) == (10, 3)
    assert {*split.train, *split.test} == set(TRAIN_CITIES) - {"beirut"}
    assert set(VALIDATION_CITIES) < set(split.train)


def test_a_tile_that_fits_exactly_counts_and_only_as_published_it_does_not(rect_oscd):
    """96 x 193 px are two tiles; by the strict inequality of the published code no row of them is left."""
    task = open_oscd(rect_oscd, split="reference", contract=L1C)

    assert [i for i in task.everything.ids if i.startswith("rio/")] == ["rio/0000_0000", "rio/0000_0096"]
    with pytest.raises(SourceInvalid, match="no items in the train part"):
        open_oscd(rect_oscd, split="as_published", contract=L1C)


@given(st.integers(1, 1200))
def test_published_tiling_is_that_of_its_loop(size):
    """Recomputed: limits l, l + 96 while l + 96 < size; ours takes l + 96 <= size."""
    assert list(starts(size, drops_exact_last=True)) == [k * TILE for k in range(size) if k * TILE + TILE < size]
    assert list(starts(size)) == [k * TILE for k in range(size) if k * TILE + TILE <= size]


def test_pixels_of_rect_are_those_of_the_files(rect_oscd):
    """Date 0 is imgs_1_rect, date 1 is imgs_2_rect; channel 8 is B8A; the map is the picture's."""
    part = open_oscd(rect_oscd, split="reference", contract=L1C).part("test")
    position = part.ids.index("dubai/0000_0096")
    item = int(part.items[position])

    for date in (0, 1):
        found = part.source.pixels(item, date)[10]
        for channel, band in ((0, "B01"), (8, "B8A"), (12, "B12")):
            (path,) = rect_oscd.glob(f"*Images/dubai/imgs_{date + 1}_rect/{band}.tif")
            np.testing.assert_array_equal(found[channel], read_tif(path)[:, 96:192])
    (label,) = rect_oscd.glob("*Labels/dubai/cm/cm.png")
    np.testing.assert_array_equal(part.maps(item), np.asarray(Image.open(label))[:, 96:192, 0] // 255)


def test_a_pixel_that_one_date_does_not_show_is_not_judged(rect_oscd, tmp_path):
    """Zero in all bands of a date is 255 in the map; zero in one band is dark."""
    shutil.copytree(rect_oscd, tmp_path / "a")
    (folder,) = (tmp_path / "a").glob("*Images/rio/imgs_2_rect")
    for band in BANDS:
        values = read_tif(folder / f"{band}.tif")
        values[:5, :7] = 0
        values[50, 50] = 0 if band == "B04" else 5
        write_tif(folder / f"{band}.tif", values)
    part = open_oscd(tmp_path / "a", split="reference", contract=L1C).part("test")

    found = part.maps(int(part.items[part.ids.index("rio/0000_0000")]))

    assert (found[:5, :7] == UNJUDGED).all()
    assert (found == UNJUDGED).sum() == 35


def to_grid(path: Path, grid: Path, resampling: Resampling) -> np.ndarray:
    """Let GDAL resample a file to the grid of another, exactly."""
    with rasterio.open(path) as file, rasterio.open(grid) as target:
        out = np.zeros(target.shape, np.uint16)
        places = {"src_crs": file.crs, "dst_crs": target.crs}
        moved = {"src_transform": file.transform, "dst_transform": target.transform}
        reproject(file.read(1), out, **places, **moved, resampling=resampling, tolerance=0)
        return out


def band_path(city: Path, date: int, band: str) -> Path:
    """Find the file of a band."""
    (path,) = (city / f"imgs_{date + 1}").glob(f"*_{band}.tif")
    return path


def compare_with_gdal(root: Path, city: str, split: str = "cities") -> int:
    """Compare all bands of both dates of a city's tiles with GDAL's bilinear warp; give the number of tiles."""
    everything = open_oscd(root, split=split, contract=L1C).everything
    folder = root / "images" / city
    tiles = [k for k, identifier in enumerate(everything.ids) if identifier.startswith(f"{city}/")]
    for date in (0, 1):
        found = {k: everything.source.pixels(k, date)[10].astype(int) for k in tiles}
        for channel, band in enumerate(BANDS):
            grid = band_path(folder, 0, "B04")
            expected = to_grid(band_path(folder, date, band), grid, Resampling.bilinear).astype(int)
            for k in tiles:
                row, column = (int(v) for v in everything.ids[k].split("/")[1].split("_"))
                window = expected[row : row + TILE, column : column + TILE]
                assert abs(found[k][channel] - window).max() <= 1, (band, date, everything.ids[k])
    return len(tiles)


@pytest.mark.parametrize("city", ["saclay_e", "paris"])
def test_raw_bands_are_resampled_as_gdal_does(raw_oscd, city):
    """Within 1 DN of its bilinear warp, edges included, for all bands and both dates, on noise of 20,000 DN."""
    assert compare_with_gdal(raw_oscd, city) == 2


def test_10_m_bands_of_date_1_are_not_changed(raw_oscd):
    """B04 lies on its own grid."""
    everything = open_oscd(raw_oscd, split="cities", contract=L1C).everything
    expected = read_tif(band_path(raw_oscd / "images" / "paris", 0, "B04"))[:96, 96:192]

    found = everything.source.pixels(everything.ids.index("paris/0000_0096"), 0)[10][3]

    np.testing.assert_array_equal(found, expected)


def test_what_date_2_does_not_cover_is_not_judged_and_zero(raw_oscd, tmp_path):
    """Date 2 begins 10 px further south and 6 px further east."""
    shutil.copytree(raw_oscd, tmp_path / "a")
    folder = tmp_path / "a" / "images" / "paris" / "imgs_2"
    for path in folder.iterdir():
        values = read_tif(path)
        write_tif(path, values, placed(*values.shape, over=(98, 200), at=(10, 6)))
    everything = open_oscd(tmp_path / "a", split="cities", contract=L1C).everything
    item = everything.ids.index("paris/0000_0000")

    changes, pixels = everything.maps(item), everything.source.pixels(item, 1)[10]

    outside = np.ones((96, 96), bool)
    outside[10:, 6:] = False
    np.testing.assert_array_equal(changes == UNJUDGED, outside)
    assert not pixels[:, outside].any()
    assert pixels[:, ~outside].all()


def test_what_one_band_does_not_cover_is_not_judged(raw_oscd, tmp_path):
    """B09 at date 2 begins 12 px further south; all other bands show the ground there."""
    shutil.copytree(raw_oscd, tmp_path / "a")
    path = band_path(tmp_path / "a" / "images" / "paris", 1, "B09")
    values = read_tif(path)
    write_tif(path, values, placed(*values.shape, over=(98, 200), at=(12, 0)))
    everything = open_oscd(tmp_path / "a", split="cities", contract=L1C).everything

    changes = everything.maps(everything.ids.index("paris/0000_0000"))

    assert (changes[:12] == UNJUDGED).all()
    assert (changes[12:] != UNJUDGED).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(-9, 9), st.floats(0.15, 1.0))
def test_a_line_stays_within_its_band(count, size, start, step):
    """Both neighbors of every pixel are in the band, weights are 0 to 1, and inside means its centre lies there."""
    low, weight, inside = line(count, start=start, step=step, size=size)

    assert ((low >= 0) & (low < size)).all()
    assert ((weight >= 0) & (weight <= 1)).all()
    centre = start + (np.arange(count) + 0.5) * step
    clear = (abs(centre) > 1e-5) & (abs(centre - size) > 1e-5)
    np.testing.assert_array_equal(inside[clear], ((centre > 0) & (centre < size))[clear])


def test_the_geotiff_of_the_map_goes_before_the_picture(raw_oscd):
    """1 is no change, 2 is change."""
    everything = open_oscd(raw_oscd, split="cities", contract=L1C).everything
    expected = (read_tif(raw_oscd / "labels" / "paris" / "cm" / "paris-cm.tif") == 2)[:96, :96]

    np.testing.assert_array_equal(everything.maps(everything.ids.index("paris/0000_0000")), expected)


@pytest.mark.parametrize("bands", [None, ("B04", "B03", "B02")])
def test_networks_of_13_12_and_3_bands_are_fed_by_contract(raw_oscd, bands):
    """Values are DN without offset, in canonical order."""
    for contract in (network_input("S2L1C", bands), network_input("S2L2A", bands)):
        source = open_oscd(raw_oscd, split="cities", contract=contract).everything.source
        fed = plan_remap(source.contract, contract)(source.pixels(0, 1)[10])
        red = source.pixels(0, 1)[10][3]
        np.testing.assert_allclose(fed[contract.bands.index("B04")], (red / 10_000).clip(0, 1), rtol=1e-6)


def test_networks_that_cannot_be_fed_are_refused(raw_oscd):
    """Radar is none of OSCD's."""
    with pytest.raises(ContractMismatch, match="S2L1C cannot stand for S1GRD"):
        open_oscd(raw_oscd, split="cities", contract=network_input("S1GRD"))


def test_absent_cities_are_named_with_the_split_that_does_without(raw_oscd):
    """A copy without the official test cities."""
    with pytest.raises(DataMissing, match=r"lacks beirut, brasilia, .*of OSCD's 24.*split `cities`"):
        open_oscd(raw_oscd, split="reference", contract=L1C)
    with pytest.raises(UnknownName, match=r"no split of oscd is called 'city'.*did you mean cities"):
        open_oscd(raw_oscd, split="city", contract=L1C)


def test_absent_cities_are_left_out_on_request(raw_oscd, tmp_path):
    """Named; without any city nothing can be left out."""
    shutil.copytree(raw_oscd, tmp_path / "a")
    for place in sorted((tmp_path / "a").rglob("nantes")):
        shutil.rmtree(place)

    task = open_task("oscd", tmp_path / "a", split="cities", contract=L1C, skip_missing=True)

    assert [gap.items for gap in task.gaps] == [("nantes",)]
    assert {name.split("/")[0] for name in task.part("test").ids} == {"cupertino", "beihai"}
    dates = next(path for path in sorted((tmp_path / "a").rglob("imgs_1")) if path.parent.name == "beihai")
    shutil.rmtree(dates)
    dates.mkdir()
    task = open_task("oscd", tmp_path / "a", split="cities", contract=L1C, skip_missing=True)
    assert task.gaps[0].items == ("nantes", "beihai")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataMissing, match="lacks aguasclaras"):
        open_task("oscd", tmp_path / "b", split="cities", contract=L1C, skip_missing=True)


def test_missing_root_is_refused(tmp_path):
    """Named."""
    with pytest.raises(DataMissing, match=r"no folder .*absent"):
        open_oscd(tmp_path / "absent", split="cities", contract=L1C)


def spoiled(raw: Path, tmp_path: Path, spoil) -> Path:
    """Copy the cities and spoil paris: `spoil(images, labels)`."""
    root = tmp_path / "a"
    shutil.copytree(raw, root)
    spoil(root / "images" / "paris", root / "labels" / "paris" / "cm")
    return root


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda i, c: write_tif(c / "paris-cm.tif", np.full((98, 200), 3, np.uint8)), "paris-cm.tif has the values 3"),
        (lambda i, c: write_tif(c / "paris-cm.tif", np.full((98, 198), 1, np.uint8)), "98 x 198 px.*98 x 200"),
        (lambda i, c: shutil.rmtree(c), "lacks paris"),
        (lambda i, c: [p.unlink() for p in c.iterdir()], "no change map of paris"),
        (lambda i, c: (c / "paris-cm.tif").unlink() or (c / "cm.png").write_bytes(b"PNG"), "cm.png cannot be read"),
        (lambda i, c: band_path(i, 0, "B8A").unlink(), "has no file of B8A"),
        (lambda i, c: shutil.copy(band_path(i, 0, "B04"), i / "imgs_1" / "b_B04.tif"), "2 files of B04"),
        (lambda i, c: band_path(i, 1, "B11").unlink(), "has no file of B11"),
        (lambda i, c: write_tif(band_path(i, 1, "B02"), np.ones((98, 200), np.uint16)), "no geotransform"),
        (
            lambda i, c: write_tif(band_path(i, 1, "B02"), np.ones((98, 200), np.uint8), placed(98, 200, over=(1, 1))),
            "B02.tif has 1 band of 98 x 200 px, uint8",
        ),
        (lambda i, c: band_path(i, 1, "B09").write_bytes(b"II*"), "B09.tif cannot be read"),
    ],
)
def test_spoiled_files_are_refused_by_name(raw_oscd, tmp_path, spoil, message):
    """Whatever is wrong with images or map of a city."""
    root = spoiled(raw_oscd, tmp_path, spoil)

    with pytest.raises((SourceInvalid, DataMissing), match=message):
        open_oscd(root, split="cities", contract=L1C).everything.maps(
            open_oscd(root, split="cities", contract=L1C).everything.ids.index("paris/0000_0000")
        )


def test_a_worker_gets_the_tiles_without_the_pixels(raw_oscd):
    """The source goes through pickle and reads the same, and what was read before does not travel."""
    everything = open_oscd(raw_oscd, split="cities", contract=L1C).everything
    before = everything.source.pixels(3, 1)[10]

    sent = pickle.dumps(everything)

    assert len(sent) < 20_000
    np.testing.assert_array_equal(pickle.loads(sent).source.pixels(3, 1)[10], before)


def test_identity_changes_with_the_files_and_the_tiles(raw_oscd, tmp_path):
    """A city that was fetched anew is another source."""
    source = open_oscd(raw_oscd, split="cities", contract=L1C).everything.source
    same = open_oscd(raw_oscd, split="cities", contract=L1C).everything.source
    root = spoiled(raw_oscd, tmp_path, lambda i, c: band_path(i, 1, "B02").write_bytes(b"II*"))

    assert source.identity == same.identity
    assert source.identity != open_oscd(root, split="cities", contract=L1C).everything.source.identity


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="no real OSCD beside the checkout")
def test_real_oscd_opens_without_the_official_test_cities():
    """13 cities, 502 tiles, and as many changed pixels as the maps have in them."""
    task = open_oscd(REAL, split="cities", contract=L1C)

    part = task.part("test")
    counts = sum(np.bincount(part.maps(int(item)).ravel(), minlength=256) for item in part.items)

    assert {p: len(task.positions[p]) for p in PARTS} == {"train": 265, "validation": 55, "test": 182}
    expected = np.zeros(2, int)
    for city in SPLITS["cities"].test:
        values = read_tif(REAL / "labels" / city / "cm" / f"{city}-cm.tif")
        rows, columns = (n // TILE * TILE for n in values.shape)
        expected += np.bincount(values[:rows, :columns].ravel(), minlength=3)[1:]
    assert counts[:2].tolist() == expected.tolist()
    assert counts[UNJUDGED] == 0


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="no real OSCD beside the checkout")
@pytest.mark.parametrize("city", ["hongkong", "abudhabi", "saclay_e"])
def test_real_dates_of_different_size_are_resampled_as_gdal_does(city):
    """The cities whose dates differ by a few pixels: within 1 DN of GDAL's bilinear warp."""
    assert compare_with_gdal(REAL, city) > 30


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="no real OSCD beside the checkout")
@pytest.mark.parametrize("city", ["hongkong", "saclay_e"])
def test_real_dates_stay_together_from_corner_to_corner(city):
    """Gradients of B04 at both dates match best within 1 px of each other in the first and in the last tile."""
    everything = open_oscd(REAL, split="cities", contract=L1C).everything
    tiles = [k for k, identifier in enumerate(everything.ids) if identifier.startswith(f"{city}/")]

    for item in (tiles[0], tiles[-1]):
        first, second = (gradients(everything.source.pixels(item, date)[10][3]) for date in (0, 1))
        power = np.fft.fft2(first) * np.conj(np.fft.fft2(second))
        peak = np.unravel_index(np.argmax(abs(np.fft.ifft2(power / (abs(power) + 1e-9)))), first.shape)
        assert all(min(p, TILE - p) <= 1 for p in peak)


def gradients(plane: np.ndarray) -> np.ndarray:
    """Give the slopes of a plane as complex numbers, faded out to its border."""
    south, east = np.gradient(np.clip(plane.astype(float), *np.percentile(plane, [1, 99])))
    window = np.hanning(len(plane))
    return (east + 1j * south) * window[:, None] * window
