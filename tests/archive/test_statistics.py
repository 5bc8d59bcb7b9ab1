# SPDX-License-Identifier: Apache-2.0
"""The figures of an archive are NumPy's figures of all its pixels at once."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from archive_forms import KINDS, Kind, all_pixels, make_image, make_sample, write_kind
from hypothesis import given
from hypothesis import strategies as st

from ssl4eo.archive import statistics
from ssl4eo.archive.metadata import read_layout
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.statistics import QUANTILES, Statistics, count, empty_tally, measure
from ssl4eo.errors import ShardCorrupt
from ssl4eo.form import Form
from ssl4eo.sample import Location, Sample

LEVELS = [f"{q:g}" for q in QUANTILES]


def _figures(values: np.ndarray):
    """The figures of one band of one chunk of values."""
    tally = empty_tally(1, values.dtype)
    count(tally, values[None])
    return statistics._summary(tally, 0, values.dtype)


@pytest.mark.parametrize("name", ["native", "gridded", "eight_bit", "half", "several", "landsat"])
def test_figures_are_those_of_numpy_on_the_whole(tmp_path: Path, name: str) -> None:
    """Integers exactly; floating-point means to rounding and quantiles to half a counter."""
    kind = KINDS[name]
    samples = [make_sample(i, kind) for i in range(kind.num_locations)]
    archive = open_archive(write_kind(tmp_path / "a.zarr", kind, samples))

    for form in kind.forms:
        found = archive.statistics(form.modality)
        assert found is not None
        assert tuple(found.bands) == form.bands
        for band, row in found.bands.items():
            values = all_pixels(samples, form, band)
            wide = values.astype(np.float64)
            assert row.count == values.size
            assert (row.minimum, row.maximum) == (wide.min(), wide.max())
            assert row.nodata == np.mean(values == 0)
            assert sum(row.histogram) == values.size
            wanted = np.quantile(wide, QUANTILES)
            if values.dtype.kind == "u":
                whole = values.astype(object)
                assert row.mean == int(whole.sum()) / values.size
                assert row.std == pytest.approx(wide.std(), rel=1e-13)
                assert [row.quantiles[q] for q in LEVELS] == wanted.tolist()
            else:
                assert row.mean == pytest.approx(wide.mean(), rel=1e-12)
                assert row.std == pytest.approx(wide.std(), rel=1e-12)
                assert np.abs([row.quantiles[q] for q in LEVELS] - wanted).max() <= 1 / 128


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=40))
def test_quantiles_of_integers_equal_numpys(values: list[int]) -> None:
    """Bit by bit, whatever the values."""
    row = _figures(np.array(values, np.uint16))

    assert [row.quantiles[q] for q in LEVELS] == np.quantile(np.array(values, np.float64), QUANTILES).tolist()


@given(st.lists(st.floats(-120, 120, width=32), min_size=1, max_size=40))
def test_quantiles_of_floats_are_close(values: list[float]) -> None:
    """Within half of a counter, and never outside of what was seen."""
    row = _figures(np.array(values, np.float32))

    wanted = np.quantile(np.array(values, np.float64), QUANTILES)
    found = np.array([row.quantiles[q] for q in LEVELS])
    assert np.abs(found - wanted).max() <= 1 / 128
    assert row.minimum <= found.min() <= found.max() <= row.maximum


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_any_float_is_counted_or_left_out(values: list[float]) -> None:
    """NaN and infinity are left out, the largest numbers are not."""
    row = _figures(np.array(values, np.float32))

    assert row.count == int(np.isfinite(values).sum())
    assert sum(row.histogram) == row.count


def test_values_worked_by_hand() -> None:
    """1, 2, 3, 4 and a 0: mean 2, variance 2, a fifth is nodata, the median is 2."""
    row = _figures(np.array([4, 2, 0, 1, 3], np.uint16))

    assert (row.count, row.mean, row.std, row.nodata) == (5, 2.0, 2.0**0.5, 0.2)
    assert (row.minimum, row.maximum, row.quantiles["0.5"], row.quantiles["0.25"]) == (0, 4, 2, 1)
    assert row.histogram[0] == 5


def test_sums_of_large_integers_do_not_round() -> None:
    """A million pixels of 65,535 and one of 65,534 have the standard deviation that theory gives."""
    values = np.full(1_000_001, 65_535, np.uint16)
    values[7] = 65_534

    row = _figures(values)

    n = len(values)
    assert row.mean == (65_535 * n - 1) / n
    assert row.std == pytest.approx(np.sqrt((n - 1) / n**2), rel=1e-14)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float16"])
def test_merging_depends_on_neither_order_nor_cut(dtype: str) -> None:
    """Tallies of parts, in any order, give the figures of the whole."""
    rng = np.random.default_rng(0)
    values = (rng.gamma(3, 20, 3000).clip(0, 200) - (50 if dtype.startswith("f") else 0)).astype(dtype)
    whole = _figures(values)

    for seed in range(5):
        cut = np.random.default_rng(seed)
        parts = np.split(values, np.sort(cut.integers(0, 3000, 6)))
        total = empty_tally(1, values.dtype)
        for i in cut.permutation(len(parts)):
            part = empty_tally(1, values.dtype)
            if len(parts[i]):
                count(part, parts[i][None])
            total.add(part)
        found = statistics._summary(total, 0, values.dtype)

        exact = ("count", "nodata", "minimum", "maximum", "quantiles", "histogram")
        assert all(getattr(found, f) == getattr(whole, f) for f in exact)
        assert found.mean == pytest.approx(whole.mean, rel=1e-12)
        assert found.std == pytest.approx(whole.std, rel=1e-12)
        if dtype.startswith("u"):
            assert found == whole


def test_figures_do_not_depend_on_the_size_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk at a time and all at once give the same counts."""
    archive = write_kind(tmp_path / "a.zarr", KINDS["native"], statistics=False)
    layout = read_layout(archive)
    found = []
    for pixels in (1, 500, 1 << 30):
        monkeypatch.setattr(statistics, "_BATCH_PIXELS", pixels)
        found.append(measure(archive, layout))

    for other in found[1:]:
        assert other["S2L1C"] == found[0]["S2L1C"]
        for band, row in other["S1GRD"].bands.items():
            same = dataclasses.replace(found[0]["S1GRD"].bands[band], mean=row.mean, std=row.std)
            assert row == same
            assert row.mean == pytest.approx(found[0]["S1GRD"].bands[band].mean, rel=1e-12)


def test_a_band_without_a_finite_value_has_no_figures(tmp_path: Path) -> None:
    """Neither a warning nor NaN in the archive: the count says it."""
    form = Form.native("S1GRD")
    image = make_image(form, np.random.default_rng(0), 0)
    image.pixels[10][0] = np.nan
    image.pixels[10][1, 0, :3] = (np.nan, np.inf, -np.inf)
    kind = Kind((form,), num_seasons=1)

    sample = Sample(Location("a"), {"S1GRD": (image,)})
    found = open_archive(write_kind(tmp_path / "a.zarr", kind, [sample])).statistics("S1GRD")

    assert found is not None
    assert (found.bands["VV"].count, found.bands["VV"].quantiles) == (0, {})
    assert found.bands["VH"].count == 12 * 18 - 3
    assert np.isfinite([found.bands["VH"].mean, found.bands["VH"].std, found.bands["VH"].maximum]).all()


def test_figures_survive_json(tmp_path: Path) -> None:
    """What the archive keeps is what was measured."""
    archive = open_archive(write_kind(tmp_path / "a.zarr", KINDS["eight_bit"]))

    fresh = measure(archive.path, read_layout(archive.path))

    for name, figures in fresh.items():
        assert archive.statistics(name) == figures == Statistics.from_json(figures.to_json())


def test_damaged_pixels_are_not_measured(tmp_path: Path) -> None:
    """The error names the file and the remedy."""
    archive = write_kind(tmp_path / "a.zarr", KINDS["native"])
    shard = archive / "S2L1C/20m/bands/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)

    with pytest.raises(ShardCorrupt, match=r"season 0, cannot be read from .*S2L1C/20m.*ssl4eo verify"):
        measure(archive, read_layout(archive))
