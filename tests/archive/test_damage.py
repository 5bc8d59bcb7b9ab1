# SPDX-License-Identifier: Apache-2.0
"""Damage is found: by verify wherever it is, by a read where it hurts, and nowhere else."""

import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from archive_samples import flip, same_image

from ssl4eo.archive import codecs
from ssl4eo.archive.arrays import Compression
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.errors import ArchiveInvalid, ShardCorrupt

SHARD = "S2L1C/20m/bands/c.0.0.0.0.0"
SLOTS = 64 * 2


def _files(archive: Path) -> list[Path]:
    return sorted(path for path in archive.rglob("*") if path.is_file())


def _index(path: Path) -> np.ndarray:
    """Offsets and lengths of a shard's chunks, read without the code under test."""
    data = path.read_bytes()[-SLOTS * 16 - 4 : -4]
    return np.frombuffer(data, "<u8").reshape(SLOTS, 2)


def _is_found(archive: Path) -> bool:
    try:
        return not verify_archive(archive).is_whole
    except ArchiveInvalid:  # the root itself cannot be understood
        return True


def test_a_whole_archive_passes(pristine: Path) -> None:
    """Every byte of every file is counted, and nothing is blamed."""
    report = verify_archive(pristine)

    assert report.is_whole
    assert report.num_files == len(_files(pristine))
    assert report.num_bytes == sum(path.stat().st_size for path in _files(pristine))
    assert report.num_chunks == 3 * 2 * (1 + 3) + 3


def test_a_flipped_byte_is_found_in_every_file(archive_copy: Path) -> None:
    """First, last and random bytes of each file, one at a time."""
    draw = random.Random(0)
    missed = []
    for path in _files(archive_copy):
        size = path.stat().st_size
        for position in {0, size - 1, *(draw.randrange(size) for _ in range(8))} if size else ():
            flip(path, position)
            if not _is_found(archive_copy):
                missed.append((path.name, position))
            flip(path, position)

    assert missed == []
    assert verify_archive(archive_copy).is_whole


def test_verify_names_what_is_hurt(archive_copy: Path) -> None:
    """A broken chunk is told with file, modality and location."""
    offset, length = _index(archive_copy / SHARD)[1 * 2 + 1].tolist()
    flip(archive_copy / SHARD, offset + length // 2)

    (fault,) = verify_archive(archive_copy).faults

    assert (fault.file, fault.modality, fault.locations) == (SHARD, "S2L1C", ("0000001",))
    assert "1 of 6 chunks" in fault.reason


@pytest.mark.parametrize("name", [SHARD, "S1GRD/time/c.0.0", "locations.parquet", "masks/cover/mask/c.0.0.0"])
@pytest.mark.parametrize("harm", ["gone", "short", "long", "empty"])
def test_a_file_of_another_length_is_found(archive_copy: Path, name: str, harm: str) -> None:
    """Missing, cut short, too long or empty, in shards and elsewhere."""
    path = archive_copy / name
    data = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes({"short": data[:-1], "long": data + b"\0", "empty": b""}[harm])

    faults = verify_archive(archive_copy).faults

    assert [fault.file for fault in faults] == [name]


def test_a_chunk_moved_within_its_shard_is_found(archive_copy: Path) -> None:
    """An index with a fitting checksum that does not tile the file is not believed."""
    path = archive_copy / SHARD
    entries = _index(path).copy()
    entries[[0, 1]] = entries[[1, 0]]
    data = path.read_bytes()[: -SLOTS * 16 - 4]
    path.write_bytes(data + codecs.seal(entries.tobytes()))

    (fault,) = verify_archive(archive_copy).faults

    assert "end to end" in fault.reason
    assert len(fault.locations) == 3


def test_a_read_that_hits_the_damage_says_where_and_what_to_do(archive_copy: Path) -> None:
    """The error names archive, modality, location, season and the remedy, and carries them as data."""
    offset, length = _index(archive_copy / SHARD)[1 * 2 + 1].tolist()
    flip(archive_copy / SHARD, offset + length - 1)
    archive = open_archive(archive_copy)

    with pytest.raises(ShardCorrupt, match="S2L1C of location 0000001, season 1") as caught:
        archive.read_pixels("S2L1C", index=1, season=1)

    assert str(archive_copy) in str(caught.value)
    assert "ssl4eo verify" in caught.value.remedy
    assert (caught.value.where["location"], caught.value.where["season"]) == ("0000001", 1)


def test_every_chunk_of_a_broken_shard_is_refused(archive_copy: Path) -> None:
    """Flipped, short, empty or missing: the read raises instead of giving zeros."""
    path = archive_copy / SHARD
    data = path.read_bytes()
    for harmed in (data[:-1], data[: len(data) // 2], b"", None):
        path.unlink()
        if harmed is not None:
            path.write_bytes(harmed)
        with pytest.raises(ShardCorrupt, match="0000002"):
            open_archive(archive_copy).read_pixels("S2L1C", index=2, season=0)
        path.write_bytes(data)


def test_one_season_of_one_modality_touches_nothing_else(archive_copy: Path, pristine: Path) -> None:
    """With every other chunk and every other modality destroyed, it still reads the same."""
    wanted = open_archive(pristine).read_pixels("S2L1C", index=1, season=1)
    archive = open_archive(archive_copy)
    for name in ("S1GRD", "masks"):
        shutil.rmtree(archive_copy / name)
    for path in archive_copy.glob("S2L1C/*/bands/c.0*"):
        data = bytearray(path.read_bytes())
        offset, length = _index(path)[3].tolist()
        body = len(data) - SLOTS * 16 - 4
        data[:offset] = bytes(offset)
        data[offset + length : body] = bytes(body - offset - length)
        path.write_bytes(data)
    for path in archive_copy.rglob("*.parquet"):
        path.unlink()

    found = archive.read_pixels("S2L1C", index=1, season=1)

    assert all(np.array_equal(found[r], wanted[r]) for r in wanted)
    with pytest.raises(ShardCorrupt):
        archive.read_pixels("S2L1C", index=1, season=0)


@pytest.mark.parametrize("name", ["locations.parquet", "S2L1C/images.parquet", "S2L1C/time/c.0.0", "skipped.jsonl"])
def test_a_damaged_table_is_refused_when_it_is_first_read(archive_copy: Path, name: str) -> None:
    """No id, product or time comes out of a table whose checksum fails."""
    path = archive_copy / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    archive = open_archive(archive_copy)
    uses = {
        "locations.parquet": lambda: archive.ids,
        "S2L1C/images.parquet": lambda: archive.read("S2L1C", location=0, season=0),
        "S2L1C/time/c.0.0": lambda: archive.times("S2L1C"),
        "skipped.jsonl": lambda: archive.skipped,
    }

    with pytest.raises(ShardCorrupt, match=path.name):
        uses[name]()


def test_damage_in_one_image_leaves_the_pixels_of_others_readable(archive_copy: Path, pristine: Path) -> None:
    """Reads beside the damage give what was stored."""
    offset, _ = _index(archive_copy / SHARD)[0].tolist()
    flip(archive_copy / SHARD, offset + 8)
    left, right = open_archive(archive_copy), open_archive(pristine)

    assert same_image(left.read("S2L1C", location=0, season=1), right.read("S2L1C", location=0, season=1))
    assert same_image(left.read("S1GRD", location=0, season=0), right.read("S1GRD", location=0, season=0))


def test_a_reader_that_is_nested_too_deep_finds_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless recursion is a RuntimeError as blosc's are, but it is the caller's."""
    data = codecs.encode_chunk(np.arange(9), Compression("lz4", 1, "shuffle"))

    def deepest(packed: memoryview, out: np.ndarray) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(codecs, "blosc", SimpleNamespace(decompress=deepest))
    with pytest.raises(RecursionError):
        codecs.decode_chunk(data, (9,), "int64")
