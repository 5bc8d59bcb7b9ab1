# SPDX-License-Identifier: Apache-2.0
"""An archive is whole or absent: refusals, full disks, two writers, resuming."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from archive_samples import PROVENANCE, make_sample, make_writer, write_archive

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.errors import Busy, ConfigInvalid, DataMissing, SampleInvalid, TargetExists, UnknownName, WriteFailed
from ssl4eo.form import Form

SMALL = {"shape": (6, 6), "modalities": ("S1GRD",)}


def _small(number: int):
    return make_sample(number, size=(6, 6), modalities=["S1GRD"])


def _gridded(number: int):
    """A sample of the right modality in another form."""
    half = Form.gridded("S1GRD", dtype="float16")
    images = (replace(i, pixels={10: i.pixels[10].astype("f2")}, kept=half) for i in _small(number).images["S1GRD"])
    return replace(_small(number), images={"S1GRD": tuple(images)})


def _tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def _stop_after(path: Path, count: int) -> None:
    """Append `count` samples and leave without finishing."""
    with make_writer(path, **SMALL) as writer:
        for number in range(count):
            writer.append(_small(number))


def test_the_final_name_appears_only_when_all_is_written(tmp_path: Path) -> None:
    """Until finish returns there is only the work folder, afterwards only the archive."""
    path = tmp_path / "a.zarr"

    with make_writer(path, **SMALL) as writer:
        writer.append(_small(0))
        before = {entry.name for entry in tmp_path.iterdir()}
        writer.finish()

    assert before == {"a.zarr.partial"}
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.zarr"}


@pytest.mark.parametrize("kind", ["file", "folder", "archive"])
def test_an_existing_target_is_refused_and_untouched(tmp_path: Path, kind: str) -> None:
    """Whatever stands there stays, and nothing is put beside it."""
    path = tmp_path / "a.zarr"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        write_archive(path, [_small(0)], **SMALL)
    before = _tree(tmp_path)

    with pytest.raises(TargetExists, match="choose another name"), make_writer(path, **SMALL):
        pass

    assert _tree(tmp_path) == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.zarr"}


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """The last look is right before the rename."""
    path = tmp_path / "a.zarr"

    with make_writer(path, **SMALL) as writer:
        writer.append(_small(0))
        path.mkdir()
        with pytest.raises(TargetExists):
            writer.finish()

    assert list(path.iterdir()) == []


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """One writer at a time, told by name."""
    path = tmp_path / "a.zarr"

    with make_writer(path, **SMALL) as writer:
        writer.append(_small(0))
        with pytest.raises(Busy, match="another process"), make_writer(path, **SMALL):
            pass
        writer.append(_small(1))
        writer.finish()

    assert verify_archive(path).is_whole
    assert len(open_archive(path)) == 2


@pytest.mark.parametrize("count", [1, 63, 64, 65, 130])
def test_a_resumed_archive_is_the_same_as_one_written_at_once(tmp_path: Path, count: int) -> None:
    """Whole shards are kept, the rest is asked for again; every byte but the time of creation agrees."""
    _stop_after(tmp_path / "a.zarr", count)

    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        done = set(writer.done_ids)
        for number in range(140):
            if f"{number:07d}" not in done:
                writer.append(_small(number))
        writer.finish()

    write_archive(tmp_path / "b.zarr", map(_small, range(140)), **SMALL)
    assert len(done) == count // 64 * 64
    trees = [_tree(tmp_path / name) for name in ("a.zarr", "b.zarr")]
    created = [open_archive(tmp_path / name).facts["created"] for name in ("a.zarr", "b.zarr")]
    for tree, stamp in zip(trees, created, strict=True):
        tree["zarr.json"] = tree["zarr.json"].replace(stamp.encode(), b"")
        tree.pop("checksums.json")
    assert trees[0] == trees[1]


def test_without_a_finished_shard_nothing_is_left_behind(tmp_path: Path) -> None:
    """A run that stored nothing worth keeping takes its work folder along."""
    _stop_after(tmp_path / "a.zarr", 63)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", ["shard gone", "shard short", "line cut", "line broken", "stray file"])
def test_a_harmed_work_folder_is_used_as_far_as_it_is_whole(tmp_path: Path, harm: str) -> None:
    """A shard counts if its note and its files are whole; everything after it is written again."""
    _stop_after(tmp_path / "a.zarr", 128)
    work = tmp_path / "a.zarr.partial"
    shard, journal = work / "archive/S1GRD/10m/bands/c.1.0.0.0.0", work / "progress.jsonl"
    if harm == "shard gone":
        shard.unlink()
    elif harm == "shard short":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif harm == "line cut":
        journal.write_bytes(journal.read_bytes()[:-1])
    elif harm == "line broken":
        journal.write_bytes(journal.read_bytes().replace(b'"shard": 1', b'"shard" 1'))
    else:
        (work / "archive/S1GRD/10m/bands/.c.2.partial").write_bytes(b"x")

    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        kept = len(writer.done_ids)
        for number in range(kept, 128):
            writer.append(_small(number))
        writer.finish()

    assert kept == (128 if harm == "stray file" else 64)
    assert verify_archive(tmp_path / "a.zarr").is_whole
    assert open_archive(tmp_path / "a.zarr").ids == tuple(f"{i:07d}" for i in range(128))
    assert not list((tmp_path / "a.zarr").rglob("*.partial"))


@pytest.mark.parametrize(
    "change",
    [{"num_seasons": 3}, {"modalities": ("S2L1C",)}, {"provenance": replace(PROVENANCE, title="other")}],
)
def test_the_start_of_another_archive_is_refused_and_kept(tmp_path: Path, change: dict[str, object]) -> None:
    """Work of another spec is neither mixed with nor thrown away."""
    _stop_after(tmp_path / "a.zarr", 64)
    before = _tree(tmp_path)

    with pytest.raises(TargetExists, match="remove") as caught, make_writer(tmp_path / "a.zarr", **{**SMALL, **change}):
        pass

    assert next(iter(change)) in caught.value.found
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("fail_at", range(1, 14, 3))
def test_a_full_disk_is_told_and_what_was_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    """ENOSPC at any write: a clear error, no final name, and the same command goes on later."""
    calls, real = [0], os.fsync

    def full(fd: int) -> None:
        calls[0] += 1
        if calls[0] >= fail_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteFailed, match=r"No space left.*free some space"):
        write_archive(tmp_path / "a.zarr", map(_small, range(70)), **SMALL)
    monkeypatch.undo()

    assert not (tmp_path / "a.zarr").exists()
    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        for number in range(len(writer.done_ids), 70):
            writer.append(_small(number))
        writer.finish()
    assert verify_archive(tmp_path / "a.zarr").is_whole


def test_a_folder_without_the_right_to_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the system becomes one of ours."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Path, "mkdir", refuse)

    with pytest.raises(WriteFailed, match="Permission denied"), make_writer(tmp_path / "sub" / "a.zarr", **SMALL):
        pass


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (make_sample(0, size=(6, 6), modalities=["S2L1C"]), "modalities"),
        (make_sample(0, size=(6, 6)), "modalities"),
        (_gridded(0), "forms"),
        (make_sample(0, size=(6, 6), modalities=["S1GRD"], num_seasons=3), "seasons 3; expected 2"),
        (make_sample(0, size=(6, 12), modalities=["S1GRD"]), "shape"),
        (make_sample(0, size=(6, 6), modalities=["S1GRD"], masks=["cover"]), "masks"),
        (replace(_small(0), labels={"id": "x"}), "label called 'id'"),
        (replace(_small(0), labels={"cloud": float("nan")}), "finite"),
        (replace(_small(0), labels={"cloud": True}), "int, float or str"),
        (replace(_small(0), labels={"cloud": 2**63}), "64 bits"),
        (replace(_small(0), labels={"count": "many"}), "str label count"),
        (_small(1), "comes twice"),
    ],
)
def test_a_sample_of_another_kind_is_refused_and_the_archive_goes_on(tmp_path: Path, sample, message: str) -> None:
    """What does not fit is named; what was stored stays, and more can follow."""
    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        writer.append(_small(1))
        with pytest.raises(SampleInvalid, match=message):
            writer.append(sample)
        writer.append(_small(2))
        writer.finish()

    assert open_archive(tmp_path / "a.zarr").ids == ("0000001", "0000002")


def test_a_label_that_some_locations_lack_is_null_there(tmp_path: Path) -> None:
    """Columns are the union of all labels."""
    path = write_archive(tmp_path / "a.zarr", [_small(0), replace(_small(1), labels={"late": 5})], **SMALL)

    archive = open_archive(path)

    assert archive.columns == ("scene", "height", "count", "late")
    assert np.isnan(archive.labels("late")[0])
    assert archive.labels("late")[1] == 5


def test_an_archive_of_nothing_is_refused(tmp_path: Path) -> None:
    """Without a sample there is no archive and no rest of one."""
    with pytest.raises(DataMissing, match="no sample"), make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        writer.finish()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"modalities": ()}, ConfigInvalid),
        ({"modalities": ("S1GRD", "S1GRD")}, ConfigInvalid),
        ({"modalities": ("S3",)}, UnknownName),
        ({"num_seasons": 0}, ConfigInvalid),
        ({"shape": (0, 6)}, ConfigInvalid),
        ({"shape": (10, 10), "modalities": ("S2L1C",)}, SampleInvalid),
        ({"masks": ("a/b",)}, ConfigInvalid),
    ],
)
def test_a_spec_that_cannot_be_laid_out_is_refused(tmp_path: Path, change: dict[str, object], error: type) -> None:
    """Before anything is written."""
    with pytest.raises(error):
        make_writer(tmp_path / "a.zarr", **change)

    assert list(tmp_path.iterdir()) == []


def test_left_out_locations_are_noted_in_the_archive(tmp_path: Path) -> None:
    """Reasons come back as they were given; one that was stored after all is not listed."""
    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        writer.skip("0000007", "no file \u00e9")
        writer.skip("0000000", "first try failed")
        writer.append(_small(0))
        writer.finish()

    assert open_archive(tmp_path / "a.zarr").skipped == ({"location": "0000007", "reason": "no file \u00e9"},)


def test_a_work_folder_left_by_a_kill_after_the_last_rename_goes(tmp_path: Path) -> None:
    """The archive is whole and refused as a target; what lies beside it is swept, but not another one's work."""
    path, work = write_archive(tmp_path / "a.zarr", [_small(0)], **SMALL), tmp_path / "a.zarr.partial"
    work.mkdir()
    (work / "progress.jsonl").write_text("{}")

    with pytest.raises(TargetExists), make_writer(path, **SMALL):
        pass

    assert not work.exists()
    assert verify_archive(path).is_whole
    (work / "archive").mkdir(parents=True)
    with pytest.raises(TargetExists), make_writer(path, **SMALL):
        pass
    assert work.exists()


@pytest.mark.parametrize("harm", ["images changed", "images of zeros", "as written before"])
def test_notes_are_checked_without_reading_their_images(tmp_path: Path, harm: str) -> None:
    """A damaged image is found by its checksum; a note of an earlier version, images in the middle, is whole."""
    _stop_after(tmp_path / "a.zarr", 128)
    journal = tmp_path / "a.zarr.partial/progress.jsonl"
    whole = journal.read_bytes()
    first, last = whole.splitlines(keepends=True)
    if harm == "images changed":
        last = last.replace(b'"valid": true', b'"valid": True', 1)
    elif harm == "images of zeros":
        last = last[:-200] + bytes(198) + last[-2:]
    else:
        row = json.loads(last)
        row |= row.pop("detail")
        for name in ("crc32", "detail_bytes", "ids", "kinds"):
            del row[name]
        last = json.dumps(row).encode() + b"\n"
    assert first + last != whole
    journal.write_bytes(first + last)

    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        kept = len(writer.done_ids)
        for number in range(kept, 128):
            writer.append(_small(number))
        writer.finish()

    assert kept == (128 if harm == "as written before" else 64)
    assert verify_archive(tmp_path / "a.zarr").is_whole


def test_damage_in_the_middle_of_the_notes_is_found_when_the_archive_is_finished(tmp_path: Path) -> None:
    """Going on does not read the details of all shards: finishing does, and forgets from the damage on."""
    _stop_after(tmp_path / "a.zarr", 128)
    journal = tmp_path / "a.zarr.partial/progress.jsonl"
    whole = journal.read_bytes()
    at = whole.index(b'"time":')
    journal.write_bytes(whole[:at] + b'"tame":' + whole[at + 7 :])

    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        assert len(writer.done_ids) == 128
        with pytest.raises(WriteFailed, match="damaged after 0 bytes"):
            writer.finish()

    with make_writer(tmp_path / "a.zarr", **SMALL) as writer:
        assert not writer.done_ids
        for number in range(128):
            writer.append(_small(number))
        writer.finish()
    assert verify_archive(tmp_path / "a.zarr").is_whole
