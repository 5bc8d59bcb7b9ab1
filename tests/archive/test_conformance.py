# SPDX-License-Identifier: Apache-2.0
"""The conformance checks pass on archives of every kind, and the right one fails on each mistake of a writer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_forms import KINDS, write_kind

from ssl4eo.archive import agreement, checksums, codecs, conformance, conformance_tables, identity
from ssl4eo.archive.arrays import TIME_COMPRESSION
from ssl4eo.archive.conformance import Check, check_archive
from ssl4eo.archive.metadata import read_layout

BANDS = "S2L2A/20m/bands"
SHARD = f"{BANDS}/c.0.0.0.0.0"


@pytest.fixture(scope="module")
def seasonal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with both kinds of masks; not to be changed."""
    return write_kind(tmp_path_factory.mktemp("seasonal") / "a.zarr", KINDS["seasonal"])


@pytest.fixture
def victim(seasonal: Path, tmp_path: Path) -> Path:
    """The same archive, to be broken."""
    return Path(shutil.copytree(seasonal, tmp_path / "b.zarr"))


def _failed(archive: Path) -> dict[str, str]:
    return {check.name: check.evidence for check in check_archive(archive) if not check.passed}


def _judged(archive: Path, name: str) -> Check:
    """Give one check, without those after it: the readers of other programs come last and cost most."""
    return next(check for check in check_archive(archive) if check.name == name)


def _reseal(archive: Path) -> None:
    """Make lists and checksums fit what is there, as a writer would that makes its mistake on purpose."""
    layout = read_layout(archive)
    rows = {}
    for array in layout.sharded:
        for shard in range(array.num_shards):
            with (archive / array.file(shard)).open("rb") as stream:
                rows[array.file(shard)] = vars(identity.identify(stream.fileno(), array.slots))
    identity.write(archive, rows)
    checksums.write(archive, checksums.load(archive))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_archive_conforms(tmp_path: Path, name: str) -> None:
    """With all chunks decoded and compared with three other readers."""
    archive = write_kind(tmp_path / "a.zarr", KINDS[name])

    checks = list(check_archive(archive, full=name != "several"))

    assert [check for check in checks if not check.passed] == []
    suites = (*conformance.CHECKS, *conformance_tables.CHECKS, *agreement.CHECKS)
    assert [check.name for check in checks] == [check.__name__ for check in suites]
    assert all(check.evidence for check in checks)


def _edit(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change a node, and its copy in the root."""

    def apply(archive: Path) -> None:
        path = archive / name
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        root = json.loads((archive / "zarr.json").read_text())
        if name != "zarr.json":
            root["consolidated_metadata"]["metadata"][name.removesuffix("/zarr.json")] = data
            (archive / "zarr.json").write_text(json.dumps(root))
        checksums.write(archive, checksums.load(archive))

    return apply


def _about(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return _edit("zarr.json", lambda data: change(data["attributes"]["ssl4eo"]))


def _table(name: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> Callable[[Path], None]:
    def apply(archive: Path) -> None:
        table = pq.read_table(archive / name)
        pq.write_table(change(table), archive / name, write_page_checksum=True, **options)
        checksums.write(archive, checksums.load(archive))

    return apply


def _column(name: str, change: Callable[[list], list]) -> Callable[[pa.Table], pa.Table]:
    def apply(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        values = pa.array(change(table.column(name).to_pylist()), field.type)
        return table.set_column(table.column_names.index(name), field, values)

    return apply


def _remove(name: str) -> Callable[[Path], None]:
    return lambda archive: (archive / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda archive: (archive / name).write_text(text)


def _times(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(archive: Path) -> None:
        path = archive / "S2L2A/time/c.0.0"
        values = codecs.decode_chunk(path.read_bytes(), (3, 3), "int64")
        path.write_bytes(codecs.encode_chunk(change(values), TIME_COMPRESSION))
        checksums.write(archive, checksums.load(archive))

    return apply


def _flip(archive: Path) -> None:
    path = archive / SHARD
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)


def _gap(archive: Path) -> None:
    """Put a byte between the chunks and the index, which Zarr itself would allow."""
    path, tail = archive / SHARD, 64 * 3 * 16 + 4
    data = path.read_bytes()
    path.write_bytes(data[:-tail] + b"\0" + data[-tail:])
    _reseal(archive)


def _other_values(archive: Path) -> None:
    """Store another band order under the same names: whole, sealed, and of the wrong size a chunk."""
    layout = read_layout(archive)
    array = layout.bands["S2L2A"][20]
    chunk = codecs.encode_chunk(np.zeros((1, 6, 9), np.uint16), array.compression)
    lengths = [len(chunk)] * 9
    (archive / SHARD).write_bytes(chunk * 9 + codecs.encode_index(lengths, array.slots))
    _reseal(archive)


def _codec(data: dict[str, Any]) -> None:
    data["codecs"][0]["configuration"]["codecs"][1]["configuration"]["cname"] = "gzip"


def _figures(**change: object) -> Callable[[Path], None]:
    return _edit("S2L2A/zarr.json", lambda d: d["attributes"]["statistics"]["B02"].update(change))


def _images(name: str, value: object) -> Callable[[Path], None]:
    return _table("S2L2A/images.parquet", _column(name, lambda v: [*v[1:], value]))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "an unknown root field": (_about(lambda a: a.update(extra=1)), "root_attributes"),
    "a format of the future": (_about(lambda a: a.update(format=3)), "root_attributes"),
    "a creation time without zone": (_about(lambda a: a.update(created="2020-01-01T00:00:00")), "root_attributes"),
    "an unknown band": (_about(lambda a: a["modalities"][0]["groups"].update({"20": ["B99"]})), "forms"),
    "a mask of an unknown kind": (_about(lambda a: a["masks"].update(cloud="year")), "forms"),
    "a group attribute": (_edit("S2L2A/20m/zarr.json", lambda d: d["attributes"].update(x=1)), "groups"),
    "a group that is gone": (_remove("S2L2A/20m/zarr.json"), "groups"),
    "an array of another shape": (
        _edit(f"{BANDS}/zarr.json", lambda d: d.update(shape=[3, 3, 6, 6, 8])),
        "array_shapes",
    ),
    "an array of another type": (_edit(f"{BANDS}/zarr.json", lambda d: d.update(data_type="int16")), "array_shapes"),
    "slashes in chunk names": (
        _edit(f"{BANDS}/zarr.json", lambda d: d["chunk_key_encoding"]["configuration"].update(separator="/")),
        "array_chunks",
    ),
    "another compressor": (_edit(f"{BANDS}/zarr.json", _codec), "array_codecs"),
    "axes without names": (_edit(f"{BANDS}/zarr.json", lambda d: d.pop("dimension_names")), "array_dimensions"),
    "bands in another order": (
        _edit(f"{BANDS}/zarr.json", lambda d: d["attributes"]["band_names"].reverse()),
        "array_dimensions",
    ),
    "times in days": (
        _edit("S2L2A/time/zarr.json", lambda d: d["attributes"].update(units="days since 1970-01-01")),
        "array_dimensions",
    ),
    "nothing consolidated": (_edit("zarr.json", lambda d: d.pop("consolidated_metadata")), "consolidated"),
    "a stale copy in the root": (
        _edit("zarr.json", lambda d: d["consolidated_metadata"]["metadata"]["S2L2A/time"].update(fill_value=0)),
        "consolidated",
    ),
    "statistics of some bands": (
        _edit("S2L2A/zarr.json", lambda d: d["attributes"]["statistics"].pop("B02")),
        "statistics",
    ),
    "statistics of too many pixels": (
        _edit("S2L2A/zarr.json", lambda d: d["attributes"]["statistics"]["B02"].update(count=10**9)),
        "statistics",
    ),
    "statistics of too few pixels": (_figures(count=1), "statistics"),
    "a histogram of other pixels": (_figures(histogram=[1] * 128), "statistics"),
    "a histogram of few bins": (_figures(histogram=[648]), "statistics"),
    "a median above the maximum": (_figures(maximum=1.0), "statistics"),
    "a mean below the minimum": (_figures(mean=-1.0), "statistics"),
    "more than all without data": (_figures(nodata=1.5), "statistics"),
    "a shard that is gone": (_remove(SHARD), "shard_files"),
    "a shard too many": (_write(f"{BANDS}/c.1.0.0.0.0", ""), "shard_files"),
    "a hole before the index": (_gap, "shard_indices"),
    "a flipped bit": (_flip, "chunks"),
    "chunks of another size": (_other_values, "chunks"),
    "no checksums": (_remove("checksums.json"), "checksums_listed"),
    "no list of shards": (_remove("shards.json"), "shards_listed"),
    "a stray file": (_write("notes.txt", "x"), "verified"),
    "an id twice": (_table("locations.parquet", _column("id", lambda v: [v[0], v[0], v[2]])), "location_table"),
    "an id that is no file name": (
        _table("locations.parquet", _column("id", lambda v: ["../a", *v[1:]])),
        "location_table",
    ),
    "a row too few": (_table("locations.parquet", lambda t: t.slice(0, 2)), "location_table"),
    "a geometry that is text": (
        _table("locations.parquet", _column("geometry", lambda v: [b"POINT (1 2)", *v[1:]])),
        "location_table",
    ),
    "no GeoParquet metadata": (_table("locations.parquet", lambda t: t.replace_schema_metadata(None)), "geoparquet"),
    "images in another order": (_table("S2L2A/images.parquet", _column("season", lambda v: v[::-1])), "image_tables"),
    "images of other places": (
        _table("S2L2A/images.parquet", _column("location", lambda v: ["x", *v[1:]])),
        "image_tables",
    ),
    "small row groups": (_table("S2L2A/images.parquet", lambda t: t, row_group_size=2), "image_tables"),
    "a transform of two numbers": (
        _table("S2L2A/images.parquet", _column("transform", lambda v: [[1.0, 2.0], *v[1:]])),
        "image_tables",
    ),
    "a crs that is a number": (_images("crs", "32631"), "image_tables"),
    "a crs without a code": (_images("crs", "EPSG:"), "image_tables"),
    "a baseline as a decimal": (_images("baseline", 3), "image_tables"),
    "a baseline of five digits": (_images("baseline", 50_900), "image_tables"),
    "a column without a type": (_table("S2L2A/images.parquet", lambda t: t.drop_columns(["valid"])), "image_tables"),
    "times that descend": (_times(lambda t: t[:, ::-1]), "times"),
    "two seasons of one time": (_times(lambda t: t[:, [0, 1, 1]]), "times"),
    "an offset that is not told": (
        _table("S2L2A/images.parquet", _column("offset", lambda v: [1000] * len(v))),
        "contracts",
    ),
    "a contract of another level": (
        _edit("S2L2A/zarr.json", lambda d: d["attributes"]["contract"].update(level="L1C")),
        "contracts",
    ),
    "a location both stored and left out": (
        _write("skipped.jsonl", '{"location": "0000001", "reason": "cloud"}\n'),
        "skipped",
    ),
    "a reason without a location": (_write("skipped.jsonl", '{"reason": "cloud"}\n'), "skipped"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_the_right_check_finds_a_mistake(victim: Path, mistake: str) -> None:
    """Others may fail too, but this one must, and says why."""
    harm, name = BROKEN[mistake]
    harm(victim)

    found = _judged(victim, name)

    assert not found.passed, found
    assert found.evidence


def test_wrong_figures_that_fit_together_are_found_in_full(victim: Path) -> None:
    """A mean that is off contradicts nothing; measuring again shows it."""
    _figures(mean=1500.0)(victim)

    found = [
        next(check for check in check_archive(victim, full=full) if check.name == "statistics")
        for full in (False, True)
    ]

    assert [check.passed for check in found] == [True, False]
    assert "S2L2A B02 mean: stored 1500.0, measured" in found[1].evidence


@pytest.mark.parametrize(
    ("column", "value"),
    [("crs", 'PROJCS["a",\n  GEOGCS["b"]]'), ("crs", ""), ("baseline", None), ("baseline", 9999), ("baseline", 509)],
)
def test_metadata_that_can_be_passes(victim: Path, column: str, value: object) -> None:
    """WKT of any spelling, nothing, and the baseline of a harmonized product without offset."""
    _images(column, value)(victim)

    assert _judged(victim, "image_tables").passed


def test_a_time_that_is_none_is_told_in_words(victim: Path) -> None:
    """Not as the message of a parser."""
    for value in ("yesterday", 5):
        _about(lambda a, value=value: a.update(created=value))(victim)

        found = _judged(victim, "root_attributes")
        assert (found.passed, found.evidence) == (False, f"created is {value!r}, expected an ISO 8601 time")


def test_every_check_is_seen_to_fail() -> None:
    """But those that other readers or our own make: see below."""
    suites = (*conformance.CHECKS, *conformance_tables.CHECKS)
    seen = {name for _, name in BROKEN.values()}

    assert {check.__name__ for check in suites} - seen == {"readable"}


def test_one_mistake_does_not_hide_others(victim: Path) -> None:
    """A bad table and a bad shard are both told, and what is right passes."""
    BROKEN["a flipped bit"][0](victim)
    BROKEN["times that descend"][0](victim)

    failed = _failed(victim)

    assert {"chunks", "times", "verified", "readable"} <= set(failed)
    assert not {"root_attributes", "forms", "location_table", "image_tables"} & set(failed)


def test_other_readers_disagree_with_a_wrong_node(victim: Path) -> None:
    """Bytes in the other order: each reader sees other numbers, and the checks say so."""

    def swap(data: dict[str, Any]) -> None:
        data["codecs"][0]["configuration"]["codecs"][0]["configuration"]["endian"] = "big"

    _edit(f"{BANDS}/zarr.json", swap)(victim)

    failed = _failed(victim)

    assert {"zarr_python", "xarray", "tensorstore", "readable", "array_codecs"} <= set(failed)
    assert "chunks" not in failed


def test_a_reader_that_is_not_installed_passes(seasonal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its absence is told."""
    monkeypatch.setitem(__import__("sys").modules, "tensorstore", None)

    checks = {check.name: check for check in check_archive(seasonal)}

    assert checks["tensorstore"].passed
    assert "not installed" in checks["tensorstore"].evidence


@pytest.mark.parametrize("content", [None, "no json", "[]", "{}"])
def test_what_is_no_archive_fails_every_check_with_a_reason(tmp_path: Path, content: str | None) -> None:
    """Nothing is raised."""
    if content is not None:
        (tmp_path / "zarr.json").write_text(content)

    checks = list(check_archive(tmp_path))

    assert not any(check.passed for check in checks)
    assert all(check.evidence for check in checks)
