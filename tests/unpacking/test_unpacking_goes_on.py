# SPDX-License-Identifier: Apache-2.0
"""Unpacking loses nothing, doubles nothing and overwrites nothing, however often it is killed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from unpack_samples import native, tree, write_archive

from ssl4eo.archive.id_list import read_ids
from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.errors import (
    Busy,
    ConfigInvalid,
    DataMissing,
    LocationMissing,
    ShardCorrupt,
    SourceInvalid,
    TargetExists,
    UnknownName,
    WorkerLost,
    WriteFailed,
)
from ssl4eo.files import exclusive
from ssl4eo.unpacking.layouts import LAYOUTS
from ssl4eo.unpacking.raw import Raw
from ssl4eo.unpacking.unpack import unpack
from ssl4eo.unpacking.work import Made, Place, Plan, Unit
from ssl4eo.unpacking.workers import Job, make_units

lmdb = pytest.importorskip("lmdb")
NUM = 40


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """40 locations of two tiny modalities, not to be changed."""
    return write_archive(tmp_path_factory.mktemp("a") / "a.zarr", *native("S2L1C"), num_locations=NUM)


def damaged(archive: Archive, target: Path, location: int = 0) -> Archive:
    """Copy an archive and change one byte of a location's pixels."""
    for file in archive.path.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(archive.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    copied = open_archive(target)
    shard = target / "S2L1C/10m/bands/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    for position in range(50, len(data), 300):
        data[position] ^= 1
        shard.write_bytes(data)
        try:
            copied.read_pixels("S2L1C", index=location, season=0)
        except ShardCorrupt:
            return copied
        data[position] ^= 1
    raise AssertionError("no byte belongs to this location")


def content(layout: str, folder: Path) -> dict:
    """What a target holds: files, or the entries of a database."""
    if layout != "lmdb":
        return tree(folder)
    with lmdb.open(str(folder), readonly=True, lock=False) as base, base.begin() as transaction:
        entries = {bytes(key): bytes(value) for key, value in transaction.cursor()}
    return {**entries, b"ids": (folder / "ids.csv").read_bytes(), b"note": (folder / "unpack.json").read_bytes()}


def chosen(archive: Archive, layout: str) -> dict:
    """Fewer locations of the layout that has 26 files in each."""
    return {"ids": archive.ids[18:22]} if layout == "raw" else {}


@pytest.fixture(scope="module")
def fresh(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """Give what an undisturbed run writes into a layout with some options; each is run once."""

    @cache
    def found(layout: str, shard_locations: int = 0) -> dict:
        options = chosen(archive, layout) | ({"shard_locations": shard_locations} if shard_locations else {})
        folder = tmp_path_factory.mktemp("fresh") / layout
        unpack(archive, folder, layout=layout, **options)
        return content(layout, folder)

    return found


@pytest.fixture(scope="module")
def harmed(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive whose location 20 is damaged, not to be changed: finding a byte of it takes many reads."""
    return damaged(archive, tmp_path_factory.mktemp("harmed") / "a.zarr", location=20).path


@pytest.fixture
def broken(harmed: Path, tmp_path: Path) -> Archive:
    """A copy of it."""
    return open_archive(shutil.copytree(harmed, tmp_path / "copy.zarr"))


KILLED = """
import os, signal, sys
from pathlib import Path
from ssl4eo.archive.id_list import read_ids
from ssl4eo.archive.reader import open_archive
from ssl4eo.unpacking.unpack import unpack

counted = [0]
def killer(real):
    def step(*arguments, **keywords):
        counted[0] += 1
        if counted[0] == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)
    return step

for name in ("fsync", "rename", "mkdir"):
    setattr(os, name, killer(getattr(os, name)))
unpack(open_archive({archive!r}), {out!r}, layout={layout!r}, **{options!r})
"""


@pytest.mark.parametrize(
    ("layout", "at"),
    [
        *(("raw", at) for at in (2, 3, 5, 9, 90)),
        *(("lmdb", at) for at in (3, 5, 6, 7, 8)),  # from 6 on: between the note of the ids and the commit
        *(("webdataset", at) for at in (3, 4, 5, 7)),
    ],
)
def test_unpacking_goes_on_after_kill_9_to_the_same_result(
    archive: Archive, fresh: Callable[..., dict], tmp_path: Path, layout: str, at: int
) -> None:
    """Killed at a flush, a rename or a new folder; what is whole is kept, what is not leaves no trace."""
    few = {"shard_locations": 8} if layout == "webdataset" else {}
    options = chosen(archive, layout) | few
    script = KILLED.format(
        at=at,
        archive=str(archive.path),
        out=str(tmp_path / "out"),
        layout=layout,
        options=options,
    )

    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)

    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    report = unpack(archive, tmp_path / "out", layout=layout, **options)
    assert report.num_written + report.num_found == len(options.get("ids", archive))
    assert report.num_written > 0
    assert (report.num_found > 0) == ((layout, at) in (("raw", 90), ("lmdb", 7), ("lmdb", 8), ("webdataset", 7)))
    assert content(layout, tmp_path / "out") == fresh(layout, **few)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_second_run_finds_everything_there(archive: Archive, tmp_path: Path, layout: str) -> None:
    """Nothing is written again, and the report says so."""
    options = chosen(archive, layout)
    first = unpack(archive, tmp_path / "out", layout=layout, **options)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.tif")}

    second = unpack(archive, tmp_path / "out", layout=layout, **options)

    count = len(options.get("ids", archive))
    assert (first.num_written, first.num_found) == (count, 0)
    assert (second.num_written, second.num_found, dict(second.skipped)) == (0, count, {})
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.tif")}


@pytest.mark.parametrize("layout", ["raw", "lmdb", "webdataset", "uint8-geotiff"])
def test_any_number_of_workers_gives_the_same_result(archive: Archive, tmp_path: Path, layout: str) -> None:
    """Progress is told up to the number of locations."""
    calls = []
    ids = chosen(archive, layout).get("ids", archive.ids)
    unpack(archive, tmp_path / "one", layout=layout, ids=ids)

    unpack(
        archive,
        tmp_path / "two",
        layout=layout,
        ids=ids,
        workers=2,
        progress=lambda done, total: calls.append((done, total)),
    )

    assert content(layout, tmp_path / "one") == content(layout, tmp_path / "two")
    assert (calls[0], calls[-1]) == ((0, len(ids)), (len(ids), len(ids)))
    assert calls == sorted(calls)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layout": "webdataset"}, "layout raw there, webdataset now"),
        ({"seasons": [0]}, "seasons"),
        ({"ids": ["0000001"]}, "locations"),
    ],
)
def test_a_folder_begun_with_other_options_is_refused(
    archive: Archive, tmp_path: Path, change: dict, told: str
) -> None:
    """Nothing in it changes."""
    unpack(archive, tmp_path / "out", layout="raw", ids=["0000003"])
    before = tree(tmp_path / "out")

    with pytest.raises(TargetExists, match=told):
        unpack(archive, tmp_path / "out", **{"layout": "raw", "ids": ["0000003"], **change})

    assert tree(tmp_path / "out") == before


def test_a_folder_of_another_archive_is_refused(archive: Archive, tmp_path: Path) -> None:
    """Also where it has the same ids and forms."""
    other = write_archive(tmp_path / "b.zarr", *native("S2L1C"), num_locations=NUM)
    unpack(archive, tmp_path / "out", layout="rgb-png", ids=["0000003"])

    with pytest.raises(TargetExists, match=r"archive .* there, .* now"):
        unpack(other, tmp_path / "out", layout="rgb-png", ids=["0000003"])


@pytest.mark.parametrize("kind", ["folder", "file", "damaged"])
def test_what_is_not_ours_is_not_touched(archive: Archive, tmp_path: Path, kind: str) -> None:
    """No lock, no note: somebody's folder stays as it is."""
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / ("photo.png" if kind == "folder" else "unpack.json")).write_text("mine")

    with pytest.raises(TargetExists):
        unpack(archive, out, layout="rgb-png")

    assert out.is_file() or [p.name for p in out.iterdir() if p.name != ".unpack.lock"] == [
        "photo.png" if kind == "folder" else "unpack.json"
    ]


def test_one_writer_at_a_time(archive: Archive, tmp_path: Path) -> None:
    """The second is told so."""
    unpack(archive, tmp_path / "out", layout="rgb-png", ids=["0000003"])

    with exclusive(tmp_path / "out/.unpack.lock"), pytest.raises(Busy):
        unpack(archive, tmp_path / "out", layout="rgb-png", ids=["0000003"])


@pytest.mark.parametrize("layout", ["raw", "lmdb", "webdataset"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_location_stops_and_leaves_whole_things(
    archive: Archive, broken: Archive, fresh: Callable[..., dict], tmp_path: Path, layout: str, workers: int
) -> None:
    """The mended archive goes on from there to what an undamaged run gives."""
    options = chosen(archive, layout)

    with pytest.raises(ShardCorrupt, match="location 0000020"):
        unpack(broken, tmp_path / "out", layout=layout, workers=workers, **options)

    for file in archive.path.rglob("c.*"):
        (broken.path / file.relative_to(archive.path)).write_bytes(file.read_bytes())
    report = unpack(open_archive(broken.path), tmp_path / "out", layout=layout, **options)
    assert report.num_found == {"raw": 2, "lmdb": 16, "webdataset": 0}[layout]
    found, expected = content(layout, tmp_path / "out"), dict(fresh(layout))
    for key in ("unpack.json", b"note"):  # they name the archive's folder
        found.pop(key, None), expected.pop(key, None)
    assert found == expected


@pytest.mark.parametrize("layout", ["raw", "lmdb", "webdataset", "uint16-geotiff", "rgb-png"])
def test_a_damaged_location_is_left_out_where_that_is_asked_for(
    archive: Archive, broken: Archive, tmp_path: Path, layout: str
) -> None:
    """The reason is in the report and in skipped.jsonl, once, however often it is tried."""
    options = chosen(archive, layout)

    reports = [unpack(broken, tmp_path / "out", layout=layout, errors="skip", **options) for _ in range(2)]

    count = len(options.get("ids", archive))
    assert [r.num_written for r in reports] == [count - 1, 0]
    assert reports[1].num_found == count - 1
    for report in reports:
        assert list(report.skipped) == ["0000020"]
    (row,) = (json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines())
    assert row["location"] == "0000020"
    assert "cannot be read" in row["reason"]
    assert not list((tmp_path / "out").rglob("*0000020*"))


def test_what_a_killed_run_had_begun_is_swept_away(broken: Archive, tmp_path: Path) -> None:
    """Also of a location that is left out now."""
    (tmp_path / "out").mkdir()
    options = {"layout": "rgb-png", "ids": ["0000019", "0000020"], "errors": "skip"}
    unpack(broken, tmp_path / "out", **options)
    (tmp_path / "out/s2c/.0000020.partial").mkdir()
    (tmp_path / "out/.unpack.json.1.partial").write_text("{")

    unpack(broken, tmp_path / "out", **options)

    assert not list((tmp_path / "out").rglob(".*.partial"))


def test_nothing_but_damage_is_an_error(broken: Archive, tmp_path: Path) -> None:
    """With the first reasons."""
    with pytest.raises(DataMissing, match="none of 1 locations can be written"):
        unpack(broken, tmp_path / "out", layout="raw", ids=["0000020"], errors="skip")


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let the system refuse files of more than 2000 bytes, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("layout", ["lmdb", "webdataset", "uint16-geotiff"])
def test_a_write_that_the_system_refuses_is_told_with_a_remedy(
    archive: Archive, tmp_path: Path, layout: str, small_files: None
) -> None:
    """Nothing gets a final name."""
    with pytest.raises(WriteFailed, match="cannot") as caught:
        unpack(archive, tmp_path / "out", layout=layout)

    assert "run the same command again" in caught.value.remedy
    assert not list((tmp_path / "out").glob("*.tar"))
    assert not list((tmp_path / "out").glob("s2c/0*"))


def test_a_target_that_cannot_be_made_is_told(archive: Archive, tmp_path: Path) -> None:
    """Below a file there is no folder."""
    (tmp_path / "file").write_text("")

    with pytest.raises(WriteFailed, match="cannot write"):
        unpack(archive, tmp_path / "file/out", layout="raw")


def test_choices_that_the_archive_does_not_have_are_refused(archive: Archive, tmp_path: Path) -> None:
    """Before anything is written."""
    out = tmp_path / "out"

    with pytest.raises(UnknownName, match="S1GRD"):
        unpack(archive, out, layout="raw", modalities=["S1GRD"])
    with pytest.raises(ConfigInvalid, match="no modality"):
        unpack(archive, out, layout="raw", modalities=[])
    for seasons in ([2], [-1], []):
        with pytest.raises(ConfigInvalid, match="some of 0 to 1"):
            unpack(archive, out, layout="raw", seasons=seasons)
    with pytest.raises(LocationMissing, match="0000099"):
        unpack(archive, out, layout="raw", ids=["0000001", "0000099"])
    with pytest.raises(ConfigInvalid, match="no location"):
        unpack(archive, out, layout="raw", ids=[])
    with pytest.raises(UnknownName, match="did you mean raw"):
        unpack(archive, out, layout="rae")
    with pytest.raises(ConfigInvalid, match="layout raw has no option rule; it has renumber"):
        unpack(archive, out, layout="raw", rule="none")
    assert not out.exists()


class Deadly(Raw):
    """A layout that the system ends for want of memory."""

    def make(self, plan: Plan, unit: Unit, errors: str) -> Made:
        """End this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(plan, unit, errors)


def test_a_worker_that_dies_is_told(archive: Archive, tmp_path: Path) -> None:
    """With what to do about it; the run ends instead of waiting."""
    job = Job(Deadly(), Plan(archive, tmp_path, ("S2L1C",), (0,)), "raise")

    with pytest.raises(WorkerLost, match="fewer --workers"):
        list(make_units(job, [Unit(i, (Place(i, f"{i}", f"{i}"),)) for i in range(5)], workers=2))


def test_no_workers_is_refused(archive: Archive, tmp_path: Path) -> None:
    """One at least."""
    with pytest.raises(ConfigInvalid, match="0 workers"):
        unpack(archive, tmp_path / "out", layout="raw", workers=0)


def test_a_list_of_ids_is_read_line_by_line(tmp_path: Path) -> None:
    """Empty lines are left out; what is no text or not there is told."""
    (tmp_path / "ids").write_text("0000002\n\n 0000001 \n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")

    assert read_ids(tmp_path / "ids") == ("0000002", "0000001")
    with pytest.raises(SourceInvalid, match="not UTF-8"):
        read_ids(tmp_path / "bytes")
    with pytest.raises(DataMissing, match="cannot be read"):
        read_ids(tmp_path / "none")
