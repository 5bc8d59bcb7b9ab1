# SPDX-License-Identifier: Apache-2.0
"""SSL4EO-S12 v1.1: read as zarr-python and xarray read it, in order of time, and refused where it is broken."""

import itertools
import json
import logging
import pickle
import random
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from v11_files import SIZE, STAMP, make_dataset, rewrite, write_release, write_zip

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection import v11
from ssl4eo.collection.v11 import ZipFolder, is_v11
from ssl4eo.collection.v11_file import decode_times
from ssl4eo.collection.zarr_zip import ZarrZip
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SampleInvalid, SourceInvalid, UnknownName
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Sample
from ssl4eo.sensors import modality

NAMES = ("S1GRD", "S2L1C", "S2L2A", "S2RGB")
Written = dict[tuple[str, int], xr.Dataset]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    """Two training files of three locations, four modalities; not to be changed."""
    root = tmp_path_factory.mktemp("release")
    return root, write_release(root)


@pytest.fixture
def copy(release: tuple[Path, Written], tmp_path: Path) -> Path:
    """The same, to be broken."""
    return Path(shutil.copytree(release[0], tmp_path / "copy"))


def _file(root: Path, name: str, number: int = 1) -> Path:
    return root / "train" / name / STAMP.format("train", number)


def _sorted(dataset: xr.Dataset, location: str) -> xr.Dataset:
    one = dataset.sel(sample=location)
    return one.isel(time=np.argsort(one["time_"].values))


def test_pixels_and_names_come_back_in_order_of_time(release: tuple[Path, Written]) -> None:
    """All four modalities; Sentinel-1, stored out of order, with its times and product ids moved along."""
    root, written = release
    source = open_source(root)
    assert isinstance(source, ZipFolder)

    for (name, _), dataset in written.items():
        for location in map(str, dataset["sample"].values):
            expected = _sorted(dataset, location)
            images = source.read(location).images[name]
            times = [np.datetime64(image.time.replace(tzinfo=None), "ns") for image in images if image.time]
            assert times == list(expected["time_"].values)
            assert times == sorted(times)
            assert [image.product for image in images] == [f"{name}_{location}_{k}" for k in range(4)]
            for image, pixels in zip(images, expected["bands"].values, strict=True):
                np.testing.assert_array_equal(image.pixels[10], pixels.astype(image.form.dtype))


def test_forms_types_and_offsets_are_those_of_the_release(release: tuple[Path, Written]) -> None:
    """One 10 m grid, our bands, float16 kept, int16 as uint16, +1000 DN recorded and still inside."""
    source = ZipFolder(release[0])
    sample = source.read("0000201")

    assert [(f.modality, f.dtype, f.resolutions) for f in source.forms] == [
        ("S1GRD", "float16", (10,)),
        ("S2L1C", "uint16", (10,)),
        ("S2L2A", "uint16", (10,)),
        ("S2RGB", "uint8", (10,)),
    ]
    assert [f.bands for f in source.forms] == [modality(name).bands for name in NAMES]
    assert [sample.images[name][0].offset for name in NAMES] == [0, 1000, 1000, 0]
    assert [sample.images[name][0].baseline for name in NAMES] == [None] * 4
    assert (source.num_seasons, source.shape) == (4, (SIZE, SIZE))
    assert sample.labels == {"split": "train"}


def test_places_and_grids_are_told(release: tuple[Path, Written]) -> None:
    """Worked by hand from pixel centres: the corner lies half a pixel outside; degrees are those of the file."""
    sample = ZipFolder(release[0]).read("0000102")
    image = sample.images["S2L1C"][3]

    assert (sample.location.lon, sample.location.lat) == (5.0, 42.0)
    assert image.crs == "EPSG:32633"
    assert image.transform == (10.0, 0.0, 505_280.0, 0.0, -10.0, 4_199_800.0)


def test_cloud_masks_are_seasonal_masks_and_move_with_the_images(tmp_path: Path) -> None:
    """Of Sentinel-2 only; a mask without clouds has no chunk in the file."""
    order = (3, 2, 1, 0)
    dataset = make_dataset("S2L2A", ["0000001", "0000002"], order=order)
    path = write_zip(tmp_path / "S2L2A" / STAMP.format("val", 1), dataset)

    source = ZipFolder(tmp_path)
    masks = source.read("0000001").masks

    assert source.masks == {"cloud_S2L2A": True}
    assert "cloud_mask/0.0.0.0" not in zipfile.ZipFile(path).namelist()
    np.testing.assert_array_equal(masks["cloud_S2L2A"], dataset["cloud_mask"].values[0, ::-1])
    assert not masks["cloud_S2L2A"][3].any()


@pytest.mark.parametrize("name", ["S1GRD", "S2L1C"])
def test_bands_in_another_order_are_put_into_ours_by_name(tmp_path: Path, name: str) -> None:
    """The names decide, not the places."""
    bands = tuple(reversed([b.lower() for b in modality(name).bands]))
    dataset = make_dataset(name, ["0000001"], bands=bands)
    write_zip(tmp_path / name / STAMP.format("val", 1), dataset)

    image = ZipFolder(tmp_path).read("0000001").images[name][0]

    for band in modality(name).bands:
        expected = dataset["bands"].sel(band=band.lower()).values[0, 0]
        np.testing.assert_array_equal(image.band(band), expected.astype(image.form.dtype))


WAYS: dict[str, dict[str, Any]] = {
    "one time stamp a chunk": {},
    "all samples in a chunk": {"chunks": (3, 4, 12, SIZE, SIZE)},
    "chunks that do not fit": {"chunks": (2, 3, 5, 4, 4)},
    "no consolidated metadata": {"consolidated": False},
    "zstd": {"encoding": {"bands": {"compressors": numcodecs.Zstd()}}},
    "zlib": {"encoding": {"bands": {"compressors": numcodecs.Zlib()}}},
    "gzip": {"encoding": {"bands": {"compressors": numcodecs.GZip()}}},
    "no compression": {"encoding": {"bands": {"compressors": None}}},
    "hours": {"encoding": {"time_": {"units": "hours since 2019-06-01 00:30:00", "dtype": "f8"}}},
    "seconds": {"encoding": {"time_": {"units": "seconds since 1970-01-01"}}},
    "text of any length": {},
    "folders of chunks": {"consolidated": False},
    "big-endian": {},
}


def _write_way(way: str, path: Path, dataset: xr.Dataset) -> None:
    if way == "text of any length":
        dataset = dataset.assign(file_id=dataset["file_id"].astype(object))
    if way == "big-endian":
        dataset = dataset.assign(bands=dataset["bands"].astype(">i2"))
    write_zip(path, dataset, **WAYS[way])
    if way == "folders of chunks":
        with zipfile.ZipFile(path) as file:
            entries = {name: file.read(name) for name in file.namelist() if name.startswith("bands/")}
        moved = {f"bands/{n[6:].replace('.', '/')}": d for n, d in entries.items() if not n.startswith("bands/.")}
        layout = entries["bands/.zarray"].replace(b'"dimension_separator": "."', b'"dimension_separator": "/"')
        rewrite(
            path,
            {**dict.fromkeys(entries), **moved, "bands/.zarray": layout, "bands/.zattrs": entries["bands/.zattrs"]},
        )


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_write_it_agree_with_zarr_python_and_xarray(tmp_path: Path, way: str) -> None:
    """Three readers give the same pixels, times and names, however chunks and text are kept."""
    path = tmp_path / "S2L2A" / STAMP.format("val", 1)
    _write_way(way, path, make_dataset("S2L2A", ["0000001", "0000002", "0000003"]))

    source = ZipFolder(tmp_path)

    with warnings.catch_warnings(), zarr.storage.ZipStore(path) as store:
        warnings.simplefilter("ignore")
        pixels = zarr.open_group(store, mode="r", zarr_format=2)["bands"][:]
        seen = xr.open_zarr(store, zarr_format=2, consolidated=False, mask_and_scale=False).load()
    np.testing.assert_array_equal(pixels, seen["bands"].values)
    for index, location in enumerate(source.ids()):
        sample = source.read(location)
        images = sample.images["S2L2A"]
        np.testing.assert_array_equal(np.stack([i.pixels[10] for i in images]), pixels[index].astype("u2"))
        np.testing.assert_array_equal(sample.masks["cloud_S2L2A"], seen["cloud_mask"].values[index])
        assert [i.product for i in images] == list(seen["file_id"].values[index])
        times = [np.datetime64(i.time.replace(tzinfo=None)) for i in images if i.time]
        assert times == list(seen["time_"].values[index].astype("M8[us]"))


def test_ids_of_all_files_are_listed_and_both_splits_told(tmp_path: Path) -> None:
    """Folders of modalities stand below train and val, or at the root, or one stands alone."""
    write_zip(tmp_path / "train/S2RGB" / STAMP.format("train", 2), make_dataset("S2RGB", ["0000007", "0000003"]))
    write_zip(tmp_path / "val/S2RGB" / STAMP.format("val", 2), make_dataset("S2RGB", ["0000001"]))
    write_zip(tmp_path / "S2RGB" / STAMP.format("train", 1), make_dataset("S2RGB", ["0000009"]))

    source = ZipFolder(tmp_path)

    assert source.ids() == ["0000009", "0000007", "0000003", "0000001"]
    assert [source.read(i).labels["split"] for i in source.ids()] == ["train"] * 3 + ["val"]
    assert ZipFolder(tmp_path / "val").ids() == ["0000001"]
    assert ZipFolder(tmp_path / "val/S2RGB").ids() == ["0000001"]


def test_it_is_told_by_its_names(release: tuple[Path, Written], tmp_path: Path) -> None:
    """Nothing is opened; empty folders of the same name are something else."""
    (tmp_path / "S2L1C").mkdir()
    (tmp_path / "S2L1C/readme.txt").write_text("hello")

    assert is_v11(release[0])
    assert is_v11(release[0] / "train")
    assert is_v11(release[0] / "train/S1GRD")
    assert not is_v11(tmp_path)
    assert not is_v11(tmp_path / "S2L1C/readme.txt")


def test_some_modalities_can_be_chosen(release: tuple[Path, Written], tmp_path: Path) -> None:
    """Names that the release lacks, folders that are not there, and none at all are refused."""
    assert ZipFolder(release[0], modalities=["S2RGB", "S1GRD"]).modalities == ("S1GRD", "S2RGB")
    with pytest.raises(UnknownName, match="S1RTC"):
        ZipFolder(release[0], modalities=["S1RTC"])
    with pytest.raises(ConfigInvalid, match="no modality"):
        ZipFolder(release[0], modalities=[])
    with pytest.raises(DataMissing, match="no files of S1GRD"):
        ZipFolder(release[0] / "train/S2RGB", modalities=["S2RGB", "S1GRD"])
    with pytest.raises(DataMissing, match="no files of S1GRD, S2L1C"):
        ZipFolder(tmp_path)


def test_the_archive_holds_the_same_and_two_workers_make_the_same(
    release: tuple[Path, Written], tmp_path: Path
) -> None:
    """Pixels, masks, places, products and split, through processes that open their own files."""
    source = ZipFolder(release[0])
    source.read("0000101")

    pack(source, tmp_path / "a.zarr")
    pack(source, tmp_path / "b.zarr", workers=2)

    one, two = open_archive(tmp_path / "a.zarr"), open_archive(tmp_path / "b.zarr")
    assert one.contract("S2L1C").offset == 1000
    assert one.labels("split").tolist() == ["train"] * 6
    for location in source.ids():
        wanted = source.read(location)
        for archive in (one, two):
            found = archive.sample(location)
            for name, images in wanted.images.items():
                for image, other in zip(images, found.images[name], strict=True):
                    np.testing.assert_array_equal(image.pixels[10], other.pixels[10])
                    assert (image.time, image.product, image.transform) == (other.time, other.product, other.transform)
            for name, mask in wanted.masks.items():
                np.testing.assert_array_equal(found.masks[name], mask)


def test_an_open_source_travels_to_another_process(release: tuple[Path, Written]) -> None:
    """Without its open files."""
    source = ZipFolder(release[0])
    _ = source.read("0000101"), source.forms

    again = pickle.loads(pickle.dumps(source))

    assert again._open == {}
    assert again.read("0000101").num_seasons == 4


def test_a_file_is_decoded_once_where_a_chunk_holds_all_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only the chunks of one location where each has its own."""
    reads: list[str] = []
    original = ZarrZip.read
    monkeypatch.setattr(ZarrZip, "read", lambda self, name, limit: (reads.append(name), original(self, name, limit))[1])
    dataset = make_dataset("S2RGB", [f"{i:07d}" for i in range(4)])
    for way, chunks, count in (("whole", (4, 4, 3, SIZE, SIZE), 1), ("fine", (1, 1, 3, SIZE, SIZE), 16)):
        write_zip(tmp_path / way / "S2RGB" / STAMP.format("val", 1), dataset, chunks=chunks)
        source = ZipFolder(tmp_path / way)
        reads.clear()

        source.read("0000000")
        first = [name for name in reads if name.startswith("bands/") and "z" not in name]
        for location in source.ids():
            source.read(location)

        assert len(first) == (1 if way == "whole" else 4)
        assert len([name for name in reads if name.startswith("bands/") and "z" not in name]) == count


def test_a_file_cut_short_costs_its_locations_with_a_line_each(copy: Path, tmp_path: Path) -> None:
    """Other modalities know which they are; the other file is stored."""
    path = _file(copy, "S2L1C")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    report = pack(ZipFolder(copy), tmp_path / "a.zarr")

    assert open_archive(tmp_path / "a.zarr").ids == ("0000200", "0000201", "0000202")
    assert list(report.skipped) == ["0000100", "0000101", "0000102"]
    assert all(path.name in reason and "zip" in reason for reason in report.skipped.values())


def test_a_file_that_nobody_else_knows_gets_a_line_of_its_own(copy: Path, tmp_path: Path) -> None:
    """Alone in its modality, its locations cannot be named."""
    path = _file(copy, "S2RGB")
    path.write_bytes(path.read_bytes()[:100])

    report = pack(ZipFolder(copy, modalities=["S2RGB"]), tmp_path / "a.zarr")

    assert list(report.skipped) == ["ssl4eos12_train_seasonal_data_000001"]
    assert report.num_stored == 3


def test_a_damaged_chunk_costs_one_location(copy: Path) -> None:
    """A flipped byte fails the zip's checksum; a missing chunk is not taken for zeros; the others are read."""
    path = _file(copy, "S2L2A")
    with zipfile.ZipFile(path) as file:
        info = file.getinfo("bands/1.2.0.0.0")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + 20] ^= 1
    path.write_bytes(data)
    rewrite(_file(copy, "S1GRD", 2), {"bands/0.3.0.0.0": None})
    source = ZipFolder(copy)

    with pytest.raises(SourceInvalid, match="CRC"):
        source.read("0000101")
    with pytest.raises(SourceInvalid, match=r"no chunk bands/0\.3\.0\.0\.0"):
        source.read("0000200")
    for location in ("0000100", "0000102", "0000201", "0000202"):
        assert source.read(location).num_seasons == 4


def _damage(data: bytes, kind: str, share: float, chance: random.Random) -> bytes:
    """Flip a bit, overwrite parts of the list of entries, cut the end off or bytes out: at a share of the file."""
    broken = bytearray(data)
    place = int(share * len(broken))
    if kind == "flip":
        broken[place] ^= 1 << chance.randrange(8)
    elif kind == "list":
        start = len(broken) - 6000
        for at in (int(share * 6000), chance.randrange(6000), chance.randrange(6000)):
            broken[start + at] = chance.randrange(256)
    elif kind == "cut":
        del broken[place:]
    else:
        del broken[place : place + chance.randrange(1, 20)]
    return bytes(broken)


def _same(left: Sample, right: Sample) -> bool:
    pairs = zip(left.images["S2L2A"], right.images["S2L2A"], strict=True)
    return (
        left.location == right.location
        and all(
            np.array_equal(a.pixels[10], b.pixels[10]) and (a.time, a.product, a.crs) == (b.time, b.product, b.crs)
            for a, b in pairs
        )
        and all(np.array_equal(mask, right.masks[name]) for name, mask in left.masks.items())
    )


def test_whatever_is_damaged_gives_the_same_values_or_a_refusal(tmp_path: Path) -> None:
    """120, of each kind all over the file: no other error, and never a pixel, mask, time or name not written."""
    chance = random.Random(11)
    path = write_zip(tmp_path / "S2L2A" / STAMP.format("val", 1), make_dataset("S2L2A", ["0000001"]))
    data = path.read_bytes()
    whole = ZipFolder(tmp_path).read("0000001")
    num_refused = 0

    for number, kind in itertools.product(range(30), ("flip", "list", "cut", "out")):
        path.write_bytes(_damage(data, kind, (number + chance.random()) / 30, chance))
        source = ZipFolder(tmp_path)
        for location in source.ids():
            try:
                sample = source.read(location)
            except (SourceInvalid, SampleInvalid):
                num_refused += 1
            else:
                assert _same(sample, whole)

    assert num_refused > 40


def test_entries_that_no_release_has_are_refused(copy: Path) -> None:
    """Each may be a chunk whose name was damaged: strays, chunks that are there twice, arrays without metadata."""
    path = _file(copy, "S2L1C")
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        mask = file.read("cloud_mask/0.1.0.0")
    for name in ("cloud_mask/0.q.0.0", "cloud_mask/0.1.0.0", "clowd_mask/0.1.0.0", "notes.txt"):
        path.write_bytes(whole)
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
            warnings.simplefilter("ignore")
            file.writestr(name, mask)
        with pytest.raises(SourceInvalid, match=f"entry '{name}'"):
            ZipFolder(copy).read("0000100")


def test_a_mask_chunk_under_another_name_is_not_taken_for_left_out(copy: Path) -> None:
    """In the list of entries only: the name before the data still tells."""
    path = _file(copy, "S2L2A")
    data = path.read_bytes()
    place = data.rindex(b"cloud_mask/1.1.0.0")
    path.write_bytes(data[:place] + b"cloud_mask/1.9.0.0" + data[place + 18 :])

    with pytest.raises(SourceInvalid, match=r"cloud_mask/1\.9\.0\.0"):
        ZipFolder(copy).read("0000101")


def test_files_that_do_not_fit_each_other_are_refused(copy: Path, tmp_path: Path) -> None:
    """A location that one modality lacks, a file that one modality lacks, a location that is in two files."""
    write_zip(_file(copy, "S2RGB"), make_dataset("S2RGB", ["0000100", "0000101", "0000555"]))
    _file(copy, "S1GRD", 2).unlink()
    for name in NAMES:
        write_zip(_file(copy, name, 3), make_dataset(name, ["0000300", "0000101"]))

    report = pack(ZipFolder(copy), tmp_path / "a.zarr")

    assert open_archive(tmp_path / "a.zarr").ids == ("0000100", "0000300")
    reasons = {
        "0000101": "000001 and ssl4eos12",
        "0000102": "does not hold",
        "0000555": "does not hold",
        "0000200": "no S1GRD file",
        "0000201": "no S1GRD file",
        "0000202": "no S1GRD file",
    }
    assert set(report.skipped) == set(reasons)
    assert all(text in report.skipped[location] for location, text in reasons.items())


def _json(**changes: Any) -> Any:
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


BROKEN: dict[str, tuple[str, Any, str]] = {
    "not JSON": ("bands/.zarray", lambda _: b"{", "JSON"),
    "a list": ("bands/.zarray", lambda _: b"[]", "JSON object"),
    "without sense": ("bands/.zarray", lambda _: b"{}", "without sense"),
    "zarr 3": ("bands/.zarray", _json(zarr_format=3), "C order"),
    "Fortran order": ("bands/.zarray", _json(order="F"), "order F"),
    "pickled objects": ("bands/.zarray", _json(dtype="|O", filters=[{"id": "pickle"}]), "pickle"),
    "objects": ("bands/.zarray", _json(dtype="|O"), "type |O"),
    "records": ("bands/.zarray", _json(dtype=[["a", "<i2"]]), "fixed-size"),
    "a filter": ("bands/.zarray", _json(filters=[{"id": "delta"}]), "delta"),
    "an unknown compressor": ("bands/.zarray", _json(compressor={"id": "lzma"}), "lzma"),
    "a huge chunk": ("bands/.zarray", _json(chunks=[1, 1, 13, 2**20, 2**20]), "chunks"),
    "negative chunks": ("bands/.zarray", _json(chunks=[1, 1, 13, -6, 6]), "chunks"),
    "no pixels": ("bands/.zarray", _json(shape=[3, 4, 13, 0, 6]), "shape"),
    "other axes": ("bands/.zattrs", lambda _: b'{"_ARRAY_DIMENSIONS": ["time", "sample", "band", "y", "x"]}', "axes"),
    "a scale": ("bands/.zattrs", _json(scale_factor=0.1), "scale factor"),
    "another type": ("bands/.zarray", _json(dtype="<f4"), "type float32"),
    "no bands": ("bands/.zarray", None, "an entry 'bands/"),
    "no units": ("time_/.zattrs", lambda _: b'{"_ARRAY_DIMENSIONS": ["sample", "time"]}', "CF times"),
    "another calendar": ("time_/.zattrs", _json(calendar="noleap"), "noleap"),
    "months": ("time_/.zattrs", _json(units="months since 2020-01-01"), "months"),
    "another century": ("time_/.zattrs", _json(units="seconds since 1820-01-01"), "century"),
    "no group": (".zgroup", None, "no .zgroup"),
    "a chunk of another size": ("bands/0.0.0.0.0", lambda _: numcodecs.Blosc().encode(b"hello"), "5 bytes"),
    "a chunk that is none": ("bands/0.0.0.0.0", lambda _: b"hello", "cannot be decoded"),
    "a large entry": ("bands/0.0.0.0.0", lambda _: bytes(100_000), "100000 bytes"),
    "no cloud chunk": ("cloud_mask/.zarray", _json(fill_value=None), "no chunk cloud_mask"),
    "clouds without sense": ("cloud_mask/.zarray", _json(fill_value="x"), "cloud_mask"),
    "clouds of 16 bits": ("cloud_mask/.zarray", _json(dtype="<i2"), "cloud masks"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_files_that_are_not_of_the_release_are_refused(copy: Path, what: str) -> None:
    """Each with its reason, none with another error than SourceInvalid."""
    entry, change, reason = BROKEN[what]
    path = _file(copy, "S2L1C")
    with zipfile.ZipFile(path) as file:
        data = None if change is None else change(file.read(entry))
    rewrite(path, {entry: data})

    with pytest.raises(SourceInvalid, match=reason.replace("|", r"\|").replace(".", r"\.")):
        ZipFolder(copy).read("0000100")


def _with(name: str, values: Any) -> Any:
    return lambda dataset: dataset.assign({name: (dataset[name].dims, np.asarray(values(dataset[name].values)))})


WRONG: dict[str, tuple[Any, str]] = {
    "negative values": (_with("bands", lambda v: v - 5000), "negative S2L1C"),
    "y from south to north": (_with("y_", lambda v: v[:, ::-1]), "north to south"),
    "20 m steps": (_with("x_", lambda v: v[:, :1] + 20.0 * np.arange(SIZE)), "steps of 10 m"),
    "no place": (_with("x_", lambda v: np.where(v == v[0, 0], np.nan, v)), "steps of 10 m"),
    "no place at all": (_with("x_", lambda v: v * np.nan), "no chunk x_"),
    "text for a coordinate system": (_with("crs", lambda v: np.array(["EPSG:32631"] * len(v))), "no EPSG codes"),
    "a coordinate system of none": (_with("crs", lambda v: v - 32_000), "no EPSG codes"),
    "no time": (_with("time_", lambda v: np.where(v == v[0, 0], np.datetime64("NaT", "ns"), v)), "time"),
    "ids of other locations": (_with("sample_id", lambda v: v[::-1]), "0000100_<season>"),
    "another place than the other modalities": (_with("center_lat", lambda v: v + 0.1), "lies at"),
    "unknown bands": (lambda d: d.assign_coords(band=[f"Q{i}" for i in range(13)]), "has bands Q0"),
    "a band twice": (lambda d: d.assign_coords(band=["B01", *d["band"].values[:-1]]), "has bands B01 B01"),
    "a band too few": (lambda d: d.isel(band=range(12)), "has bands"),
    "a location twice": (lambda d: d.assign_coords(sample=["0000100", "0000100", "0000102"]), "twice"),
    "a season too few": (lambda d: d.isel(time=range(3)), "seasons"),
    "no names": (lambda d: d.drop_vars("sample"), "no array sample"),
    "no times": (lambda d: d.drop_vars("time_"), "no array time_"),
    "no names of products": (lambda d: d.drop_vars(["file_id", "sample_id"]), "no array file_id"),
}


@pytest.mark.parametrize("what", WRONG)
def test_values_that_cannot_be_are_refused(copy: Path, what: str) -> None:
    """Each with its reason."""
    change, reason = WRONG[what]
    dataset = change(make_dataset("S2L1C", ["0000100", "0000101", "0000102"]))
    write_zip(_file(copy, "S2L1C"), dataset)

    with pytest.raises((SourceInvalid, SampleInvalid), match=reason):
        ZipFolder(copy).read("0000100")


def test_product_ids_fall_back_to_the_ids_of_images(tmp_path: Path) -> None:
    """Files without file_id still name each image."""
    dataset = make_dataset("S2RGB", ["0000001"]).drop_vars("file_id")
    write_zip(tmp_path / "S2RGB" / STAMP.format("val", 1), dataset)

    images = ZipFolder(tmp_path).read("0000001").images["S2RGB"]

    assert [image.product for image in images] == [f"0000001_{k}" for k in range(4)]


def test_strays_doubles_and_unknown_ids_are_told(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of another name is left out with a warning; one file in two places is refused."""
    (copy / "train/S1GRD/notes.txt").write_text("hello")

    with caplog.at_level(logging.WARNING), pytest.raises(LocationMissing, match="9999999"):
        ZipFolder(copy).read("9999999")
    assert "notes.txt" in caplog.text

    (copy / "S1GRD").mkdir()
    shutil.copy(_file(copy, "S1GRD"), copy / "S1GRD")
    with pytest.raises(SourceInvalid, match="both there"):
        ZipFolder(copy)


def test_no_readable_file_at_all_is_an_error(tmp_path: Path) -> None:
    """There is no form to begin an archive with."""
    path = tmp_path / "S2RGB" / STAMP.format("val", 1)
    path.parent.mkdir()
    path.write_bytes(b"")

    with pytest.raises(SourceInvalid, match="no file of S2RGB can be read"):
        _ = ZipFolder(tmp_path).forms


@pytest.mark.parametrize(
    ("values", "units", "expected"),
    [
        (np.array([0, 1, -1]), "days since 2020-02-28", ["2020-02-28", "2020-02-29", "2020-02-27"]),
        (np.array([1.5]), "hours since 2020-01-01 10:30:00", ["2020-01-01T12:00"]),
        (np.array([1_577_836_800]), "seconds since 1970-01-01T00:00:00", ["2020-01-01"]),
        (np.array([1_577_836_800_000_000_123]), "nanoseconds since 1970-01-01", ["2020-01-01"]),
        (np.array(["2020-01-01T01:02:03"], "M8[s]"), None, ["2020-01-01T01:02:03"]),
    ],
)
def test_times_are_decoded_as_cf_says(values: np.ndarray, units: str | None, expected: list[str]) -> None:
    """Worked by hand; leap days, fractions and all precisions."""
    found = decode_times(values, {"units": units, "calendar": "standard"})

    assert found.dtype == np.dtype("M8[us]")
    assert list(found) == [np.datetime64(text, "us") for text in expected]


@pytest.mark.parametrize("values", [np.array([2**62]), np.array([np.nan]), np.array([-(2**63)])])
def test_times_out_of_range_are_refused(values: np.ndarray) -> None:
    """Not a time, and what stands for none."""
    with pytest.raises(OverflowError):
        decode_times(values, {"units": "days since 2020-01-01"})


def test_the_names_of_its_modalities_are_ours() -> None:
    """Folders need no translation."""
    assert all(name == modality(name).name for name in v11.MODALITIES)
