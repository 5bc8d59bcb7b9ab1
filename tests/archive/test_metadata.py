# SPDX-License-Identifier: Apache-2.0
"""What is no archive, or one that contradicts itself, is refused at the door with a remedy."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ssl4eo.archive import checksums
from ssl4eo.archive.metadata import load_metadata
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.errors import ArchiveInvalid, DataMissing


def _edit(archive: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = archive / name
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _seal(archive: Path) -> None:
    """Make the checksums fit again, so that only the content is at fault."""
    checksums.write(archive, checksums.load(archive))


def _about(data: dict[str, Any]) -> dict[str, Any]:
    return data["attributes"]["ssl4eo"]


def test_nothing_there_is_data_missing(tmp_path: Path) -> None:
    """A path without anything is told as such."""
    with pytest.raises(DataMissing, match="check the path"):
        open_archive(tmp_path / "none.zarr")


def test_a_run_cut_short_is_pointed_out(tmp_path: Path) -> None:
    """Where only the work folder is there, the remedy is to go on."""
    (tmp_path / "a.zarr.partial").mkdir()

    with pytest.raises(DataMissing, match="run the same command again"):
        open_archive(tmp_path / "a.zarr")


def test_the_root_of_an_archive_is_told_from_its_folder(archive_copy: Path) -> None:
    """Completion in a shell ends there: the message names the folder."""
    with pytest.raises(ArchiveInvalid, match=r"zarr\.json is a file.*name the folder: .*copy\.zarr$"):
        open_archive(archive_copy / "zarr.json")


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"zarr_format": 3, "node_type": "group"}'])
def test_a_folder_that_is_no_archive_is_refused(tmp_path: Path, content: str | None) -> None:
    """An empty folder, broken JSON and somebody else's Zarr group."""
    if content is not None:
        (tmp_path / "zarr.json").write_text(content)

    with pytest.raises(ArchiveInvalid, match=r"zarr\.json"):
        open_archive(tmp_path)


def test_a_file_is_no_archive(tmp_path: Path) -> None:
    """A path to a file is refused like a folder without metadata."""
    (tmp_path / "a.zarr").write_text("")

    with pytest.raises(ArchiveInvalid, match=r"zarr\.json"):
        open_archive(tmp_path / "a.zarr")


def test_another_version_is_refused_by_its_number(archive_copy: Path) -> None:
    """A format from the future is named, not guessed at."""
    _edit(archive_copy, "zarr.json", lambda data: _about(data).update(format=3))

    with pytest.raises(ArchiveInvalid, match="format 3; expected format 2"):
        open_archive(archive_copy)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("zarr.json", lambda data: _about(data).pop("num_seasons")),
        ("zarr.json", lambda data: _about(data).update(num_locations=0)),
        ("zarr.json", lambda data: _about(data).update(num_locations=4)),
        ("zarr.json", lambda data: _about(data).update(num_seasons=3)),
        ("zarr.json", lambda data: _about(data).update(shape=[12, 12])),
        ("zarr.json", lambda data: _about(data).update(shape=[12])),
        ("zarr.json", lambda data: _about(data).update(shape=[10, 10])),
        ("zarr.json", lambda data: _about(data).update(modalities=[])),
        ("zarr.json", lambda data: _about(data).update(modalities=["S2L1D"])),
        ("zarr.json", lambda data: _about(data).update(modalities=["S1GRD", "S2L1C", "S2L2A"])),
        ("zarr.json", lambda data: _about(data).update(masks=["../x"])),
        ("zarr.json", lambda data: _about(data).update(provenance={"title": "x"})),
        ("zarr.json", lambda data: data.pop("consolidated_metadata")),
        ("zarr.json", lambda data: data["consolidated_metadata"]["metadata"]["S1GRD/time"].update(shape=[9, 9])),
        ("S2L1C/zarr.json", lambda data: data["attributes"].pop("contract")),
        ("S2L1C/zarr.json", lambda data: data["attributes"]["contract"].update(modality="S1GRD")),
        ("S2L1C/zarr.json", lambda data: data["attributes"]["contract"].update(unit="dB")),
        ("S2L1C/zarr.json", lambda data: data["attributes"]["contract"].update(level="L2A")),
        ("S2L1C/10m/bands/zarr.json", lambda data: data.update(data_type="int16")),
        ("S2L1C/10m/bands/zarr.json", lambda data: data["codecs"][0]["configuration"].update(index_location="start")),
        ("S2L1C/10m/bands/zarr.json", lambda data: data["attributes"]["band_names"].reverse()),
        ("S1GRD/time/zarr.json", lambda data: data["attributes"].update(units="days since 1970-01-01")),
    ],
)
def test_metadata_that_contradicts_itself_is_refused(archive_copy: Path, name: str, change) -> None:
    """Also where every checksum fits, so that another writer's mistake is found."""
    _edit(archive_copy, name, change)
    _seal(archive_copy)

    with pytest.raises(ArchiveInvalid) as caught:
        open_archive(archive_copy)

    assert caught.value.expected
    assert caught.value.remedy


def test_a_changed_word_in_the_metadata_is_refused(archive_copy: Path) -> None:
    """Text that no rule checks is held against its checksum."""
    _edit(archive_copy, "zarr.json", lambda data: _about(data)["provenance"].update(title="Tiny"))

    with pytest.raises(ArchiveInvalid, match="SHA-256"):
        open_archive(archive_copy)


@pytest.mark.parametrize("name", ["S2L1C/zarr.json", "S2L1C/60m/bands/zarr.json", "S2L1C/time/zarr.json"])
def test_a_missing_group_or_array_is_refused(archive_copy: Path, name: str) -> None:
    """Each node that the root promises must be there."""
    (archive_copy / name).unlink()

    with pytest.raises(ArchiveInvalid, match="is missing"):
        open_archive(archive_copy)


def test_missing_or_edited_checksums_are_refused(archive_copy: Path) -> None:
    """The list of checksums must be there and have its one spelling."""
    path = archive_copy / "checksums.json"
    text = path.read_text()
    for harmed in (text.replace("\n", "\n\n", 1), text.replace('"size": ', '"size": 1', 1), "{}", None):
        path.unlink()
        if harmed is not None:
            path.write_text(harmed)
        with pytest.raises(ArchiveInvalid, match=r"checksums\.json"):
            open_archive(archive_copy)


def test_a_checksum_left_out_is_refused(archive_copy: Path) -> None:
    """Every file must be covered."""
    files = checksums.load(archive_copy)
    checksums.write(archive_copy, set(files) - {"locations.parquet"})

    with pytest.raises(ArchiveInvalid, match=r"locations\.parquet"):
        load_metadata(archive_copy)


def _write_ids(archive: Path, ids: pa.Array) -> None:
    """Put other ids into the location table; its other columns are repeated or cut to their number."""
    path = archive / "locations.parquet"
    table = pq.read_table(path)
    rows = [min(i, table.num_rows - 1) for i in range(len(ids))]
    pq.write_table(table.take(pa.array(rows, pa.int64())).set_column(0, "id", ids), path)
    _seal(archive)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (["a", "<script>alert(1)</script>", "c"], "number 1 has id '<script>alert"),
        (["a", "b\n", "c"], "number 1 has id"),
        (["a", "b", ""], "number 2 has id ''"),
        (["x" * 5000, "b", "c"], "number 0 has id 'xxx"),
        (["a", None, "c"], "1 of 3 locations have no id"),
        (["a", "b", "a"], "id 'a' comes twice"),
        ([1, 2, 3], "ids are of type int"),
        (["a", "b"], "2 locations, expected 3|2 locations; expected 3"),
        (["a", "b", "c", "d"], "4 locations, expected 3|4 locations; expected 3"),
        ([], "0 locations, expected 3|0 locations; expected 3"),
    ],
)
def test_ids_that_cannot_be_are_refused_and_told_by_verify(archive_copy: Path, ids: list, reason: str) -> None:
    """Also where every checksum fits; a long id does not make a long message."""
    _write_ids(archive_copy, pa.array(ids, None if ids else pa.string()))

    with pytest.raises(ArchiveInvalid, match=reason) as caught:
        open_archive(archive_copy)
    (fault,) = verify_archive(archive_copy).faults

    assert len(str(caught.value)) < 500
    assert "pack anew" in caught.value.remedy
    assert (fault.file, fault.is_general) == ("locations.parquet", True)
    assert any(part in fault.reason for part in reason.split("|"))


def test_a_location_table_that_is_no_table_is_refused(archive_copy: Path) -> None:
    """Its checksum fits, so it is no damage."""
    for harm in (b"text", None):
        if harm is None:
            pq.write_table(pa.table({"name": ["a", "b", "c"]}), archive_copy / "locations.parquet")
        else:
            (archive_copy / "locations.parquet").write_bytes(harm)
        _seal(archive_copy)

        with pytest.raises(ArchiveInvalid, match="the ids cannot be read"):
            open_archive(archive_copy)


def test_ids_of_every_allowed_form_are_taken_and_travel(archive_copy: Path) -> None:
    """The longest, all marks, two that differ in case only; another process has the same."""
    ids = ["x" * 128, "A._-9", "a._-9"]
    _write_ids(archive_copy, pa.array(ids))

    archive = open_archive(archive_copy)

    assert archive.ids == tuple(ids)
    assert pickle.loads(pickle.dumps(archive)).ids == tuple(ids)
    assert verify_archive(archive_copy).is_whole
