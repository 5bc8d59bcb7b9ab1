# SPDX-License-Identifier: Apache-2.0
"""Strata: shares of classes, points within their classes, uniform by area, whatever the raster's projection."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid
from ssl4eo.locations.strata import ByStratum, parse_shares


def write(path, values, *, crs="EPSG:4326", left=-180.0, top=90.0, width=None, height=None, nodata=0):
    """Write classes (row, column) on a grid over the whole Earth, or another one."""
    values = np.asarray(values)
    width = 360 / values.shape[1] if width is None else width
    height = 180 / values.shape[0] if height is None else height
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "crs": crs, "nodata": nodata}
    transform = Affine(width, 0, left, 0, -height, top)
    with rasterio.open(
        path, "w", height=values.shape[0], width=values.shape[1], transform=transform, **profile
    ) as raster:
        raster.write(values, 1)
    return path


def classes(rows=18, columns=36):
    """Columns of classes 10, 20, 30 and nodata, the second rare."""
    values = np.zeros((rows, columns), np.uint8)
    values[:, :20] = 10
    values[3, 25] = 20
    values[:, 30:] = 30
    return values


def drawn(sampler, count):
    rng = np.random.default_rng(0)
    return [sampler.draw(rng, number) for number in range(count)]


def values_at(path, candidates):
    with rasterio.open(path) as raster:
        to_raster = Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True)
        points = [to_raster.transform(c.lon, c.lat) for c in candidates]
        return [int(v[0]) for v in raster.sample(points)]


@pytest.mark.parametrize("count", [30, 100, 3000])
def test_equal_shares_hold_for_any_count(tmp_path, count):
    """Within two places, however rare a class is; every point lies in the class that it names."""
    path = write(tmp_path / "a.tif", classes())
    sampler = ByStratum(path)

    candidates = drawn(sampler, count)

    names = [sampler.facts["stratum"][c.origin] for c in candidates]
    assert names == values_at(path, candidates)
    assert all(abs(names.count(k) - count / 3) <= 2 for k in (10, 20, 30))


def test_given_shares_hold(tmp_path):
    """A quarter and three quarters; the class without a share gets nothing."""
    sampler = ByStratum(write(tmp_path / "a.tif", classes()), shares={30: 3.0, 10: 1.0})

    names = [sampler.facts["stratum"][c.origin] for c in drawn(sampler, 400)]

    assert abs(names.count(30) - 300) <= 2
    assert names.count(20) == 0


def test_a_place_keeps_its_class(tmp_path):
    """Whatever the numbers of its draws: spare points lie in the same class."""
    sampler = ByStratum(write(tmp_path / "a.tif", classes()))

    for number in range(20):
        assert len({sampler.draw(np.random.default_rng(k), number).origin for k in range(10)}) == 1


def test_within_a_class_points_are_uniform_by_area(tmp_path):
    """A quarter north of 30 degrees, on a grid of degrees with large and small cells alike."""
    for shape in ((6, 12), (180, 4)):
        path = write(tmp_path / f"{shape[0]}.tif", np.ones(shape, np.uint8))
        lats = np.array([c.lat for c in drawn(ByStratum(path), 8000)])
        assert (lats > 30).mean() == pytest.approx(0.25, abs=0.02)


def test_a_projection_that_keeps_areas_is_taken(tmp_path):
    """EASE-Grid 2.0: a quarter north of 30 degrees, too."""
    half_width, half_height = 17367530.45, 7314540.83
    path = write(
        tmp_path / "a.tif",
        np.ones((20, 40), np.uint8),
        crs="EPSG:6933",
        left=-half_width,
        top=half_height,
        width=half_width / 20,
        height=half_height / 10,
    )
    sampler = ByStratum(path)

    lats = np.array([c.lat for c in drawn(sampler, 4000)])

    assert (lats > 30).mean() == pytest.approx(0.25, abs=0.03)
    assert sampler.area_km2 == pytest.approx(508e6, rel=0.01)


def test_a_raster_in_utm_is_taken(tmp_path):
    """Cells differ by less than 2 % there."""
    path = write(tmp_path / "a.tif", classes(), crs="EPSG:32632", left=400_000, top=5_400_000, width=1000, height=1000)

    candidates = drawn(ByStratum(path), 100)

    assert set(values_at(path, candidates)) == {10, 20, 30}


def test_a_projection_that_does_not_keep_areas_is_refused(tmp_path):
    """Web Mercator of the whole Earth."""
    path = write(tmp_path / "a.tif", classes(), crs="EPSG:3857", left=-2e7, top=2e7, width=4e7 / 36, height=4e7 / 18)

    with pytest.raises(SourceInvalid, match="equal cells differ in area"):
        ByStratum(path)


def test_a_fine_raster_is_thinned_out_and_told(tmp_path, caplog):
    """180 x 360 cells to 100 at most; columns of classes are still found."""
    path = write(tmp_path / "a.tif", np.repeat(np.repeat(classes(), 10, 0), 10, 1))

    with caplog.at_level("INFO"):
        sampler = ByStratum(path, most_cells=200)

    assert sampler.options["shape"] == [10, 20]
    assert "thinned out to 20 x 10" in caplog.text
    names = [sampler.facts["stratum"][c.origin] for c in drawn(sampler, 100)]
    assert set(names) <= {10, 20, 30}


def test_longitudes_from_0_to_360_are_turned(tmp_path):
    """Points lie within -180 to 180."""
    path = write(tmp_path / "a.tif", np.ones((4, 8), np.uint8), left=0.0)

    lons = np.array([c.lon for c in drawn(ByStratum(path), 500)])

    assert lons.min() < -90
    assert np.abs(lons).max() <= 180


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones((4, 8), np.float32), {}, "holds float32"),
        (np.zeros((4, 8), np.uint8), {}, "nothing but nodata"),
        (np.ones((4, 8), np.uint8), {"top": 180.0}, "degrees north"),
        (np.ones((4, 8), np.uint8), {"crs": None}, "reference system None"),
    ],
)
def test_rasters_that_are_no_classes_are_refused(tmp_path, values, options, message):
    """With what was found."""
    path = write(tmp_path / "a.tif", values, **options)

    with pytest.raises(SourceInvalid, match=message):
        ByStratum(path)


def test_files_that_are_no_rasters_are_refused(tmp_path):
    """None there, and text."""
    (tmp_path / "a.tif").write_text("lake")

    with pytest.raises(DataMissing, match="no file"):
        ByStratum(tmp_path / "none.tif")
    with pytest.raises(SourceInvalid, match="cannot be read as a raster"):
        ByStratum(tmp_path / "a.tif")


@pytest.mark.parametrize("shares", [{10: 0.5, 40: 0.5}, {10: 0.0, 20: 1.0}, {10: float("nan")}])
def test_impossible_shares_are_refused(tmp_path, shares):
    """Classes that are not there, and shares that are none."""
    path = write(tmp_path / "a.tif", classes())

    with pytest.raises(ConfigInvalid, match="shares"):
        ByStratum(path, shares=shares)


@pytest.mark.parametrize("text", ["10", "a=1", "10=b", "10=1=2"])
def test_shares_are_read_strictly(text):
    """As class=share."""
    with pytest.raises(ConfigInvalid, match="class=share"):
        parse_shares([text])
