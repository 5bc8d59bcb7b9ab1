# SPDX-License-Identifier: Apache-2.0
"""What goes in comes out: through our reader, zarr-python, xarray, tensorstore and geopandas."""

import datetime as dt
import pickle
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorstore as ts
import xarray as xr
import zarr
from archive_samples import MODALITIES, PROVENANCE, make_sample, same_image, same_sample, write_archive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssl4eo.archive.arrays import PROFILES
from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import ConfigInvalid, ContractMismatch, LocationMissing, UnknownName
from ssl4eo.form import Form
from ssl4eo.sample import Sample
from ssl4eo.sensors import modality

FORMS = [
    *(Form.native(name) for name in ("S1GRD", "S1RTC", "S2L1C", "S2L2A", "S2RGB", "L7SR", "L8TOA")),
    Form.native("S2L2A", bands=["B05", "B8A"]),
    Form.gridded("S2L1C"),
    Form.gridded("S2L2A", bands=["B8A", "B02"]),
    Form.gridded("S1GRD", dtype="float16"),
    Form.gridded("S1GRD", scaling="uint8_sigma2:published_50k"),
    replace(Form.native("S2L2A"), dtype="uint8", scaling="uint8_10k"),
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_locations=st.integers(1, 5),
    num_seasons=st.integers(1, 4),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    forms=st.lists(st.sampled_from(FORMS), min_size=1, unique_by=lambda form: form.modality),
    masks=st.dictionaries(st.sampled_from(["cover", "clouds"]), st.booleans()),
    profile=st.sampled_from(sorted(PROFILES)),
)
def test_every_sample_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, num_locations, num_seasons, size, forms, masks, profile
) -> None:
    """Pixels, times, metadata, labels and masks are the same for any shape and form of archive."""
    forms = [form for form in forms if form.base == forms[0].base]
    shape = (6 * size[0], 6 * size[1])
    samples = [
        make_sample(i, forms=forms, num_seasons=num_seasons, size=shape, masks=masks) for i in range(num_locations)
    ]
    changes = {"forms": forms, "num_seasons": num_seasons, "shape": shape, "masks": masks, "profile": profile}

    path = write_archive(tmp_path_factory.mktemp("any") / "a.zarr", samples, **changes)

    archive = open_archive(path)
    assert archive.ids == tuple(sample.location.id for sample in samples)
    assert [archive.form(name) for name in archive.modalities] == forms
    for sample in samples:
        assert same_sample(archive.sample(sample.location.id), sample)


@pytest.mark.parametrize("step", [2**-10, 1 / 64, 1.0])
def test_rounded_decibels_differ_by_half_a_step_at_most(tmp_path: Path, step: float) -> None:
    """The bound holds for every pixel, the values are multiples, and the archive says the step."""
    form = replace(Form.native("S1GRD"), step=step)
    sample = make_sample(0, modalities=["S1GRD"])

    path = write_archive(tmp_path / "a.zarr", [sample], forms=[form])

    archive = open_archive(path)
    stored = archive.read("S1GRD", location=0, season=1).pixels[10].astype(np.float64)
    assert archive.form("S1GRD").step == step
    assert np.abs(stored - sample.images["S1GRD"][1].pixels[10]).max() <= step / 2
    assert np.array_equal(stored / step, np.rint(stored / step))


@pytest.mark.parametrize("step", [0.01, 2**-11, 2.0, 0.0, -0.5, float("nan")])
def test_a_step_that_is_no_power_of_two_is_refused(step: float) -> None:
    """Other steps would not save a bit."""
    with pytest.raises(ConfigInvalid, match="power of two"):
        replace(Form.native("S1GRD"), step=step)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """An archive of two shards, the second not full."""
    samples = [make_sample(i, size=(6, 6)) for i in range(67)]
    return write_archive(tmp_path_factory.mktemp("many") / "a.zarr", samples, shape=(6, 6)), samples


def _stacked(samples: list[Sample], name: str, resolution: int) -> np.ndarray:
    return np.stack([np.stack([image.pixels[resolution] for image in s.images[name]]) for s in samples])


@pytest.mark.parametrize(("name", "resolution"), [(m, r) for m in MODALITIES for r in modality(m).groups])
def test_zarr_python_xarray_and_tensorstore_read_the_same_values(many, name: str, resolution: int) -> None:
    """Three independent readers find each value that was written, and the names of the axes."""
    path, samples = many
    wanted = _stacked(samples, name, resolution)

    by_zarr = zarr.open_group(path, mode="r")[f"{name}/{resolution}m/bands"]
    with xr.open_zarr(path, group=f"{name}/{resolution}m") as dataset:
        by_xarray = dataset["bands"].load()
    folder = path / name / f"{resolution}m" / "bands"
    store = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    by_tensorstore = ts.open(store).result().read().result()

    for values in (by_zarr[:], by_xarray.values, by_tensorstore):
        assert values.dtype == wanted.dtype
        assert np.array_equal(values, wanted)
    assert by_xarray.dims == ("location", "season", "band", "y", "x")
    assert tuple(by_xarray.attrs["band_names"]) == modality(name).groups[resolution]


def test_xarray_decodes_the_times(many) -> None:
    """The time array is CF: opened as a group of a modality it holds datetimes."""
    path, samples = many

    with xr.open_zarr(path, group="S2L1C") as dataset:
        times = dataset["time"].load()

    wanted = [[image.time.replace(tzinfo=None) for image in s.images["S2L1C"]] for s in samples]
    assert times.dims == ("location", "season")
    assert np.array_equal(times.values, np.array(wanted, "datetime64[ns]"))
    assert np.array_equal(times.values, open_archive(path).times("S2L1C"))


def test_zarr_sees_the_whole_tree_through_the_consolidated_metadata(many) -> None:
    """The copy of the metadata in the root lists every group and array."""
    path, _ = many

    group = zarr.open_consolidated(path)

    assert {name for name, _ in group.members(max_depth=None)} == {
        *("S1GRD", "S1GRD/10m", "S1GRD/10m/bands", "S1GRD/time"),
        *("S2L1C", "S2L1C/10m", "S2L1C/20m", "S2L1C/60m", "S2L1C/time"),
        *(f"S2L1C/{r}m/bands" for r in (10, 20, 60)),
    }


def test_geopandas_reads_points_and_labels(many) -> None:
    """The location table is GeoParquet; a location without coordinates has no point."""
    path, samples = many

    table = gpd.read_parquet(path / "locations.parquet")

    assert list(table.columns) == ["id", "geometry", "scene", "height", "count"]
    assert table.crs.to_string() == "OGC:CRS84"
    for row, sample in zip(table.itertuples(), samples, strict=True):
        place = sample.location
        assert row.id == place.id
        assert (None if row.geometry is None else (row.geometry.x, row.geometry.y)) == (
            None if place.lon is None else (place.lon, place.lat)
        )
    assert table["count"].tolist() == list(range(67))


def test_labels_and_locations_are_in_the_order_of_the_index(many) -> None:
    """Columns, ids, coordinates and the image table agree with what was appended."""
    path, samples = many
    archive = open_archive(path)

    assert archive.labels("scene").tolist() == [s.labels["scene"] for s in samples]
    assert archive.labels("height").tolist() == [s.labels["height"] for s in samples]
    assert [archive.location(i) for i in range(67)] == [s.location for s in samples]
    rows = pq.read_table(path / "S2L1C" / "images.parquet").to_pylist()
    assert [(row["location"], row["season"]) for row in rows] == [(s.location.id, k) for s in samples for k in (0, 1)]


def test_an_archive_tells_what_it_is(pristine: Path) -> None:
    """Length, shape, provenance and contract come from the metadata alone."""
    archive = open_archive(pristine)

    assert (len(archive), archive.num_seasons, archive.shape) == (3, 2, (12, 18))
    assert (archive.modalities, archive.masks, archive.provenance) == (MODALITIES, {"cover": False}, PROVENANCE)
    assert archive.contract("S2L1C").bands == modality("S2L1C").bands
    assert archive.contract("S2L1C").offset == 0


def test_times_are_kept_to_the_second_and_may_be_unknown(tmp_path: Path) -> None:
    """A fraction of a second is dropped; no time stays no time."""
    sample = make_sample(0, modalities=["S1GRD"])
    first, second = sample.images["S1GRD"]
    fine = replace(first, time=dt.datetime(1969, 12, 31, 23, 59, 58, 750_000, tzinfo=dt.UTC))
    images = {"S1GRD": (fine, replace(second, time=None))}

    path = write_archive(tmp_path / "a.zarr", [replace(sample, images=images)], modalities=["S1GRD"])

    archive = open_archive(path)
    assert archive.read("S1GRD", location=0, season=0).time == dt.datetime(1969, 12, 31, 23, 59, 58, tzinfo=dt.UTC)
    assert archive.read("S1GRD", location=0, season=1).time is None
    assert np.isnat(archive.times("S1GRD")[0, 1])


def test_a_constant_offset_is_in_the_contract_and_a_varying_one_in_the_table(tmp_path: Path) -> None:
    """One contract is told only where it holds for every image."""
    old, new = make_sample(0, offset=0), make_sample(1, offset=1000)
    constant = open_archive(write_archive(tmp_path / "new.zarr", [new]))
    mixed = open_archive(write_archive(tmp_path / "mixed.zarr", [old, new]))

    assert constant.contract("S2L1C").offset == 1000
    with pytest.raises(ContractMismatch, match="different offsets"):
        mixed.contract("S2L1C")
    assert mixed.contract("S1GRD").offset == 0
    assert mixed.offsets("S2L1C").tolist() == [[0, 0], [1000, 1000]]
    assert mixed.read("S2L1C", location=1, season=0).contract.offset == 1000


def test_only_the_resolutions_asked_for_are_read(pristine: Path) -> None:
    """The hot path gives the groups that were named."""
    archive = open_archive(pristine)

    pixels = archive.read_pixels("S2L1C", index=1, season=0, resolutions=[20])

    assert {r: p.shape for r, p in pixels.items()} == {20: (6, 6, 9)}


def test_an_archive_survives_pickling(pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy for another process reads the same, from another working folder too."""
    monkeypatch.chdir(pristine.parent)
    archive = open_archive("a.zarr")
    archive.read_pixels("S2L1C", index=0, season=0)
    travelled = pickle.dumps(archive)
    monkeypatch.chdir("/")

    copy = pickle.loads(travelled)

    assert same_image(copy.read("S2L1C", location=2, season=1), archive.read("S2L1C", location=2, season=1))


@pytest.mark.parametrize(
    ("index", "season", "message"),
    [(3, 0, "no location 3; expected 0 to 2"), (-1, 0, "no location -1"), (0, 2, "no season 2; expected 0 to 1")],
)
def test_what_is_not_there_is_refused_with_the_range(pristine: Path, index: int, season: int, message: str) -> None:
    """Indices do not wrap around."""
    archive = open_archive(pristine)

    with pytest.raises(LocationMissing, match=message):
        archive.read_pixels("S2L1C", index=index, season=season)


def test_unknown_names_are_refused(pristine: Path) -> None:
    """Ids, modalities, resolutions, masks and columns that are not there name those that are."""
    archive = open_archive(pristine)

    with pytest.raises(LocationMissing, match="0000000 to 0000002"):
        archive.read("S2L1C", location="0000009", season=0)
    with pytest.raises(UnknownName, match="S2L2A"):
        archive.read_pixels("S2L2A", index=0, season=0)
    with pytest.raises(UnknownName, match="30"):
        archive.read_pixels("S2L1C", index=0, season=0, resolutions=[30])
    with pytest.raises(UnknownName, match="cover"):
        archive.mask("covers", location=0)
    with pytest.raises(UnknownName, match="scene"):
        archive.labels("scenes")


@pytest.mark.parametrize("value", [1.5, 1.0, True, np.float64(1), np.bool_(True), None])  # noqa: FBT003 - it is the value
def test_an_index_is_an_integer(pristine: Path, value: object) -> None:
    """Neither a fraction nor a truth is rounded to a location or season; integers of NumPy are."""
    archive = open_archive(pristine)

    with pytest.raises(LocationMissing, match="expected an integer"):
        archive.read("S2L1C", location=value, season=0)
    with pytest.raises(LocationMissing, match="expected an integer"):
        archive.read_pixels("S2L1C", index=0, season=value)
    assert archive.read("S2L1C", location=np.int64(1), season=np.uint8(0)).product == "S2L1C_product_0"
