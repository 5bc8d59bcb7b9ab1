# SPDX-License-Identifier: Apache-2.0
"""Claims about the synthetic planet: same bits everywhere, true labels, plausible physics."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy._core import _multiarray_umath as numpy_core
from rasterio.warp import transform

from ssl4eo.collection.source import Source
from ssl4eo.collection.synthetic import LANDCOVER, SCENES, SyntheticPlanet
from ssl4eo.collection.synthetic.chance import Stream
from ssl4eo.collection.synthetic.materials import CROPS, MATERIALS, STAGES
from ssl4eo.collection.synthetic.noise import block_mean, smooth, surface
from ssl4eo.collection.synthetic.place import utm
from ssl4eo.collection.synthetic.radar import LOOKS, speckle
from ssl4eo.errors import ConfigInvalid, LocationMissing, UnknownName
from ssl4eo.sample import Sample
from ssl4eo.sensors import modality

RECORDED = "4ab3536e51c433fd5989a12213680b631b6c5202feb4461782dcc600a20fc39b"
"""sha256 of sample 0000003 of seed 0, generator version 1, recorded on x86-64 with AVX-512."""


def fingerprint(sample: Sample) -> str:
    """Hash every pixel, the map, the times and the place, in a fixed order and byte order."""
    digest = hashlib.sha256()
    for name in sorted(sample.images):
        for image in sample.images[name]:
            digest.update(f"{image.product} {image.time} {image.crs} {image.transform}".encode())
            for resolution in sorted(image.pixels):
                pixels = image.pixels[resolution]
                digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes())
    digest.update(sample.masks["landcover"].tobytes())
    digest.update(f"{sample.labels} {sample.location}".encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def planet() -> SyntheticPlanet:
    """A planet of six rounds of scenes."""
    return SyntheticPlanet(60)


@pytest.fixture(scope="module")
def samples(planet: SyntheticPlanet) -> list[Sample]:
    """Three rounds of scenes, all modalities and dates."""
    return [planet.read(i) for i in planet.ids()[:30]]


@pytest.fixture(scope="module")
def small_samples() -> list[Sample]:
    """A round of scenes, small, with all modalities."""
    planet = SyntheticPlanet(40, size=48)
    return [planet.read(i) for i in planet.ids()[:10]]


def clear(sample: Sample, season: int) -> bool:
    """Tell whether cirrus and clouds are absent, by the band that sees nothing else."""
    return int(sample.images["S2L1C"][season].band("B10").max()) < 14


def ndvi(sample: Sample, season: int) -> np.ndarray:
    """Vegetation index of a surface image."""
    image = sample.images["S2L2A"][season]
    red, nir = (image.band(b).astype(float) for b in ("B04", "B08"))
    return (nir - red) / (nir + red)


def test_a_recorded_sample_comes_out_bit_for_bit():
    """The same seed gives the same bytes on every machine; a change of pixels needs a new VERSION and hash."""
    assert fingerprint(SyntheticPlanet(10).read("0000003")) == RECORDED


def test_a_plainer_processor_gives_the_same_bits():
    """NumPy without its AVX2, FMA and AVX-512 loops makes the recorded sample too."""
    extensions = getattr(numpy_core, "__cpu_dispatch__", [])
    present = [name for name in extensions if numpy_core.__cpu_features__.get(name)]
    if not present:
        pytest.skip("this NumPy has no loops to switch off")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_synthetic import SyntheticPlanet, fingerprint\n"
        "print(fingerprint(SyntheticPlanet(10).read('0000003')))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(present)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == RECORDED


def test_reading_twice_gives_the_same_sample():
    """Reading keeps no state."""
    planet = SyntheticPlanet(10, size=48)

    first, _, again = (fingerprint(planet.read(i)) for i in ("0000005", "0000002", "0000005"))

    assert first == again


def test_the_number_of_locations_changes_no_pixel():
    """A larger planet contains the smaller one."""
    small, large = SyntheticPlanet(6, size=48), SyntheticPlanet(5000, size=48)

    assert fingerprint(small.read("0000005")) == fingerprint(large.read("0000005"))


@pytest.mark.parametrize("names", [("S1GRD",), ("S2L1C",), ("S2L2A",), ("S2L2A", "S1GRD")])
def test_asking_for_fewer_modalities_gives_the_same_pixels(small_samples: list[Sample], names: tuple[str, ...]):
    """Streams of random numbers are separate by modality and date."""
    part = SyntheticPlanet(40, size=48, modalities=names)

    for a in small_samples:
        b = part.read(a.location.id)
        assert tuple(b.images) == names
        for name in names:
            for x, y in zip(a.images[name], b.images[name], strict=True):
                assert all(np.array_equal(x.pixels[r], y.pixels[r]) for r in x.pixels)


def test_fewer_seasons_are_the_first_seasons():
    """Dates are drawn one after the other."""
    two, four = SyntheticPlanet(9, size=48, num_seasons=2), SyntheticPlanet(9, size=48)

    a, b = two.read("0000008"), four.read("0000008")

    assert a.num_seasons == 2
    assert np.array_equal(a.images["S2L1C"][1].pixels[20], b.images["S2L1C"][1].pixels[20])


def test_another_seed_is_another_planet():
    """The seed changes pixels."""
    a, b = (SyntheticPlanet(1, seed=s, size=48).read("0000000") for s in (0, 1))

    assert not np.array_equal(a.images["S2L1C"][0].pixels[10], b.images["S2L1C"][0].pixels[10])


def test_samples_have_native_sizes_and_product_types(planet: SyntheticPlanet, samples: list[Sample]):
    """Sizes are those of the published patches; Sample and Image check the rest on construction."""
    source: Source = planet
    image = samples[0].images["S2L1C"][0]

    assert {r: a.shape for r, a in image.pixels.items()} == {10: (4, 264, 264), 20: (6, 132, 132), 60: (3, 44, 44)}
    assert samples[0].images["S1GRD"][0].pixels[10].dtype == np.float32
    assert samples[0].shape == source.shape
    assert (image.offset, image.baseline, samples[0].num_seasons) == (0, 301, source.num_seasons)


def test_every_internal_plane_stays_float32():
    """Nothing slips into float64, where rounding to DN could hide it."""
    planes = (surface(Stream(0, 0, 0), 30, 7.0), smooth(np.ones((6, 6), np.float32)), speckle(Stream(0, 0, 0), 9))

    assert {p.dtype for p in planes} == {np.dtype(np.float32)}


def test_provenance_says_synthetic(planet: SyntheticPlanet):
    """Whoever sees the pixels can see that no satellite did."""
    provenance = planet.provenance

    assert provenance.synthetic
    assert "synthetic" in provenance.title
    assert {"seed", "version"} <= set(provenance.details)


def test_dates_run_in_order_about_91_days_apart(samples: list[Sample]):
    """Four dates cover a year, and the radar came within a week of the camera."""
    for sample in samples:
        for name in ("S1GRD", "S2L1C"):
            times = [image.time for image in sample.images[name]]
            gaps = [(b - a).days for a, b in itertools.pairwise(times)]
            assert min(gaps) > 55
            assert max(gaps) < 125
        for radar, camera in zip(sample.images["S1GRD"], sample.images["S2L2A"], strict=True):
            assert abs((radar.time - camera.time).days) <= 7


def test_product_ids_have_the_published_form_and_the_time_of_the_image(samples: list[Sample]):
    """Readers that take the time from the id find the image's own."""
    for sample in samples:
        l1c, l2a, s1 = (sample.images[m][0] for m in ("S2L1C", "S2L2A", "S1GRD"))
        assert l1c.product == l2a.product
        assert l1c.product.startswith(f"{l1c.time:%Y%m%dT%H%M%S}_")
        assert l1c.product[31:].startswith("_T")
        assert len(l1c.product) == 38
        assert s1.product[:16] in {"S1A_IW_GRDH_1SDV", "S1B_IW_GRDH_1SDV"}
        assert s1.product[17:32] == f"{s1.time:%Y%m%dT%H%M%S}"


def test_the_map_grid_lies_around_the_point(samples: list[Sample]):
    """PROJ puts the centre of the 10 m grid within 10 m of the location."""
    for sample in samples:
        image = sample.images["S2L2A"][0]
        a, _, left, _, e, top = image.transform
        assert (a, e, left % 10, top % 10) == (10, -10, 0, 0)
        lon, lat = transform(image.crs, "EPSG:4326", [left + 1320], [top - 1320])
        assert abs(lat[0] - sample.location.lat) < 1.2e-4
        assert abs(lon[0] - sample.location.lon) < 2e-4


@pytest.mark.parametrize(("lon", "lat"), [(9.0, 48.0), (11.9, 62.0), (-64.0, -36.0), (172.5, -43.3), (3.01, 0.5)])
def test_utm_agrees_with_proj_within_a_millimetre(lon: float, lat: float):
    """The series is the one PROJ uses, cut at third order."""
    zone = int((lon + 180) // 6) + 1
    expected = transform("EPSG:4326", f"EPSG:{(32600 if lat >= 0 else 32700) + zone}", [lon], [lat])

    # 1 mm: rounding of the result to 3 decimals plus the fourth-order term, below 0.1 mm inside a zone.
    assert utm(lon, lat, zone) == pytest.approx((expected[0][0], expected[1][0]), abs=1.1e-3)


def test_scenes_are_balanced_and_land_cover_is_complete(planet: SyntheticPlanet, samples: list[Sample]):
    """Each round of ten holds every scene once, and the map uses every class."""
    scenes = [s.labels["scene"] for s in samples]
    covers = np.unique(np.concatenate([s.masks["landcover"].ravel() for s in samples]))

    assert all(scenes.count(name) == 3 for name in SCENES)
    assert covers.tolist() == sorted(LANDCOVER)
    assert 8 <= len(SCENES) <= 10


def test_materials_map_to_known_land_cover():
    """No material points outside the table."""
    assert {m.cover for m in MATERIALS} <= set(LANDCOVER)
    assert len(CROPS) * STAGES + len(MATERIALS) < 256


@pytest.mark.parametrize("pair", [("B02", "B03"), ("B03", "B04"), ("B06", "B07"), ("B07", "B8A"), ("B11", "B12")])
def test_adjacent_bands_are_correlated(samples: list[Sample], pair: tuple[str, str]):
    """Neighbors in wavelength see the same ground."""
    correlations = []
    for sample in samples:
        image = sample.images["S2L2A"][0]
        a, b = (image.band(name).ravel().astype(float) for name in pair)
        correlations.append(np.corrcoef(a, b)[0, 1])

    assert np.median(correlations) > 0.8


def test_radar_and_camera_see_the_same_water(samples: list[Sample]):
    """Water is dark in both: modalities share one map."""
    for sample in samples:
        water = sample.masks["landcover"] == 0
        if water.mean() < 0.02:
            continue
        radar, camera = sample.images["S1GRD"][0], sample.images["S2L2A"][0]
        vh = radar.band("VH")
        assert np.median(vh[water]) < np.median(vh[~water]) - 3
        if clear(sample, 0):
            nir = camera.band("B08")
            assert np.median(nir[water]) < np.median(nir[~water])


def test_fields_change_with_the_season_more_than_water(samples: list[Sample]):
    """Crops grow and are cut; water has no phenology."""
    spread: dict[int, list[float]] = {0: [], 1: []}
    for sample in samples:
        stack = np.stack([ndvi(sample, s) for s in range(4) if clear(sample, s)] or [np.zeros(sample.shape)])
        for cover, values in spread.items():
            mask = sample.masks["landcover"] == cover
            if mask.sum() > 300 and len(stack) > 2:
                values.append(float(np.median(stack[:, mask].std(0))))

    assert np.median(spread[1]) > 0.1
    assert np.median(spread[1]) > 1.5 * np.median(spread[0])


def test_the_atmosphere_adds_more_in_blue_than_in_short_wave_infrared(samples: list[Sample]):
    """Rayleigh path light falls with wavelength; water vapor darkens B09."""
    for sample in samples:
        for season in (s for s in range(4) if clear(sample, s)):
            above, below = sample.images["S2L1C"][season], sample.images["S2L2A"][season]
            if np.median(below.band("B02")) > 1500:
                continue  # snow: what the air swallows outweighs what it adds
            gain = {
                b: np.median(above.band(b).astype(float)) - np.median(below.band(b)) for b in modality("S2L2A").bands
            }
            assert gain["B01"] > gain["B02"] - 150
            assert gain["B02"] > gain["B04"]
            assert gain["B02"] > gain["B11"] + 200
            assert gain["B09"] < 0


def test_speckle_has_the_looks_it_was_made_with():
    """Gamma noise of L looks has mean 1 and variance 1 / L in power."""
    power = 10 ** (speckle(Stream(3, 1, 4), 512).astype(float) / 10)

    # 262,144 draws: the standard error of the mean is 0.001, of mean**2 / variance about 0.02.
    assert power.mean() == pytest.approx(1, abs=0.005)
    assert power.mean() ** 2 / power.var() == pytest.approx(LOOKS, rel=0.03)


def test_cross_polarization_is_weaker_and_means_are_near_the_published():
    """VH lies below VV; over many scenes both are within 1.5 dB of SSL4EO-S12's means."""
    planet = SyntheticPlanet(40, modalities=("S1GRD",), num_seasons=1, size=120)

    stack = np.stack([planet.read(i).images["S1GRD"][0].pixels[10] for i in planet.ids()])

    vv, vh = stack.mean((0, 2, 3))
    published = modality("S1GRD").statistics["published_50k"].mean
    assert vv - vh > 5
    assert (vv, vh) == pytest.approx((published["VV"], published["VH"]), abs=1.5)


def test_optical_means_are_of_the_published_order(samples: list[Sample]):
    """Every band's mean is within a factor 1.6 of SSL4EO-S12's (B10: 2.5, for it is nearly nothing)."""
    for name in ("S2L1C", "S2L2A"):
        published = modality(name).statistics["published_50k"].mean
        for band in modality(name).bands:
            mean = np.mean([i.band(band).mean() for s in samples for i in s.images[name]])
            factor = 2.5 if band == "B10" else 1.6
            assert published[band] / factor < mean < published[band] * factor, (name, band, mean)


def test_some_images_are_cloudy_and_most_are_clear(samples: list[Sample]):
    """Clouds come and go between the dates of a location."""
    bright = np.array([[(i.band("B01") > 3800).mean() for i in s.images["S2L1C"]] for s in samples if not snowy(s)])

    cloudy = bright > 0.02
    assert 0.08 < cloudy.mean() < 0.45
    assert (cloudy.any(1) & ~cloudy.all(1)).mean() > 0.2


def snowy(sample: Sample) -> bool:
    """Tell whether snow may be taken for clouds."""
    ratio = [i.band("B11").astype(float) / (i.band("B8A") + 1.0) for i in sample.images["S2L2A"]]
    return any((r < 0.25).mean() > 0.02 for r in ratio) and sample.labels["scene"] == "mountains"


@pytest.mark.parametrize(
    "bad",
    [
        {"num_locations": 0},
        {"num_locations": 10_000_001},
        {"num_locations": 1, "seed": -1},
        {"num_locations": 1, "num_seasons": 0},
        {"num_locations": 1, "size": 100},
        {"num_locations": 1, "size": 6},
        {"num_locations": 1, "modalities": ()},
        {"num_locations": 1, "modalities": ("S1GRD", "S1GRD")},
        {"num_locations": 1, "modalities": ("S2RGB",)},
    ],
)
def test_planets_that_cannot_be_made_are_refused(bad: dict):
    """Each check is seen to fail."""
    with pytest.raises(ConfigInvalid):
        SyntheticPlanet(**bad)


def test_an_unknown_modality_is_refused_with_a_suggestion():
    """The table of modalities answers."""
    with pytest.raises(UnknownName, match="did you mean S2L1C"):
        SyntheticPlanet(1, modalities=("S2L1D",))


@pytest.mark.parametrize("location", ["0000005", "5", "000000a", "", "-000001", "00000003"])
def test_unknown_ids_are_refused(location: str):
    """Ids are 7 digits below the number of locations."""
    with pytest.raises(LocationMissing):
        SyntheticPlanet(5, size=48).read(location)


def test_block_mean_of_a_ramp_is_worked_by_hand():
    """Blocks of 2 x 2 of 0 .. 15 in rows of four."""
    plane = np.arange(16, dtype=np.float32).reshape(4, 4)

    assert block_mean(plane, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_the_blur_keeps_even_ground_and_spreads_a_point():
    """Weights (1, 2, 1) / 4 on both axes."""
    point = np.zeros((5, 5), np.float32)
    point[2, 2] = 16

    assert smooth(point)[1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert smooth(np.full((4, 4), 7, np.float32)).tolist() == [[7.0] * 4] * 4


def test_streams_are_independent_and_stable():
    """Known first words of Philox for one key: the planet stands on them."""
    first = [Stream(1, 2, 3).number() for _ in range(2)]

    assert first[0] == first[1]
    assert Stream(1, 2, 3).number() != Stream(1, 2, 4).number()
    assert Stream(1, 2, 3).uniform(100).min() > 0
