# SPDX-License-Identifier: Apache-2.0
"""No damage passes verify, and what it blames is what is hurt: nothing more, nothing less."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from archive_forms import KINDS, Kind, write_kind

from ssl4eo.archive import checksums, identity
from ssl4eo.archive.metadata import read_layout
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.errors import ArchiveInvalid, ConfigInvalid, ShardCorrupt
from ssl4eo.form import Form

KIND = Kind(KINDS["native"].forms[:2], num_locations=4, masks={"cover": False})
SLOTS = 64 * KIND.num_seasons


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of one shard; tests put back what they harm."""
    return write_kind(tmp_path_factory.mktemp("small") / "a.zarr", KIND)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two full shards and a short one; not to be changed."""
    kind = Kind((Form.native("S1GRD"), Form.native("S2L1C", bands=("B02", "B11"))), num_locations=130)
    return write_kind(tmp_path_factory.mktemp("long") / "a.zarr", kind)


@pytest.fixture
def long_copy(long: Path, tmp_path: Path) -> Path:
    """The same archive, to be damaged."""
    return Path(shutil.copytree(long, tmp_path / "copy.zarr"))


def _files(archive: Path) -> list[Path]:
    return sorted(path for path in archive.rglob("*") if path.is_file())


def _faults(archive: Path) -> tuple:
    return verify_archive(archive).faults


def _rows_at(path: Path, data: bytes, position: int, num_locations: int) -> list[int]:
    """Locations that need a byte of a shard, from its index as the format tells it."""
    chunks = 1 if path.parent.parent.parent.name == "masks" else KIND.num_seasons
    tail = 64 * chunks * 16 + 4
    if position >= len(data) - tail:
        return list(range(num_locations))
    index = np.frombuffer(data[-tail:-4], "<u8").reshape(-1, 2)
    (slot,) = [s for s, (offset, size) in enumerate(index.tolist()) if offset <= position < offset + size < 2**63]
    return [slot // chunks]


@pytest.mark.parametrize("count", [120, pytest.param(500, marks=pytest.mark.slow)])
def test_no_random_byte_changes_unnoticed(small: Path, count: int) -> None:
    """Any byte of any file: found, blamed on its file, and in a shard on exactly the locations that need it."""
    rng = random.Random(0)
    files = [path for path in _files(small) if path.stat().st_size]
    sizes = [path.stat().st_size for path in files]
    ids = open_archive(small).ids
    in_shards = 0
    for number in range(count):
        # every other one in a file of any size, so that short files get their share
        path = rng.choice(files) if number % 2 else rng.choices(files, sizes)[0]
        data = path.read_bytes()
        position = rng.randrange(len(data))
        harmed = bytearray(data)
        harmed[position] ^= rng.randrange(1, 256)
        path.write_bytes(harmed)
        faults = _faults(small)
        path.write_bytes(data)

        where = (path.relative_to(small).as_posix(), position)
        name = where[0]
        assert [fault.file for fault in faults] == [name], where
        if path.parent.name in ("bands", "mask") and path.name != "zarr.json":
            in_shards += 1
            assert faults[0].locations == tuple(ids[i] for i in _rows_at(path, data, position, 4)), where
    assert in_shards > count // 6
    assert verify_archive(small).is_whole


@pytest.mark.parametrize("harm", ["gone", "empty", "short", "long", "half", "zeros", "folder"])
def test_no_file_can_be_missing_or_of_another_length(small: Path, harm: str) -> None:
    """Each file of the archive in turn."""
    for path in _files(small):
        data = path.read_bytes()
        harmed = {
            "gone": None,
            "empty": b"",
            "short": data[:-1],
            "long": data + b"\n",
            "half": data[: len(data) // 2],
            "zeros": bytes(len(data)),
            "folder": None,
        }[harm]
        if harmed == data:  # the list of what was left out is empty
            continue
        path.unlink()
        if harmed is not None:
            path.write_bytes(harmed)
        if harm == "folder":
            path.mkdir()
        faults = _faults(small)
        if harm == "folder":
            path.rmdir()
        path.write_bytes(data)

        name = path.relative_to(small).as_posix()
        assert faults != (), name
        assert [fault.file for fault in faults] == [name], name


@pytest.mark.parametrize("name", ["notes.txt", "S2L1C/10m/bands/c.1.0.0.0.0", "S2L1C/.c.0.partial", "x/y.json"])
def test_a_file_too_many_is_found(small: Path, name: str) -> None:
    """It hurts no location."""
    path = small / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")

    report = verify_archive(small)

    path.unlink()
    if name.startswith("x"):
        path.parent.rmdir()
    assert [(fault.file, fault.locations) for fault in report.faults] == [(name, ())]
    assert report.spared == open_archive(small).ids


def test_swapped_shards_are_found_though_every_checksum_fits(long_copy: Path) -> None:
    """Both files are blamed, with all locations that they should hold."""
    folder = long_copy / "S1GRD/10m/bands"
    first, second, spare = folder / "c.0.0.0.0.0", folder / "c.1.0.0.0.0", folder / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)

    faults = verify_archive(long_copy).faults

    ids = open_archive(long_copy).ids
    assert [fault.locations for fault in faults] == [ids[:64], ids[64:128]]
    assert all("another shard" in fault.reason for fault in faults)


def test_swapped_shards_of_equal_sizes_are_found(tmp_path: Path) -> None:
    """Incompressible masks have chunks of one size, so both indices are the same."""
    kind = Kind((Form.gridded("S2RGB"),), num_locations=128, num_seasons=1)
    archive = write_kind(tmp_path / "a.zarr", kind)
    folder = archive / "S2RGB/10m/bands"
    first, second = folder / "c.0.0.0.0.0", folder / "c.1.0.0.0.0"
    left, right = first.read_bytes(), second.read_bytes()
    assert len(left) == len(right)
    assert left[-64 * 16 - 4 :] == right[-64 * 16 - 4 :]
    first.write_bytes(right)
    second.write_bytes(left)

    faults = verify_archive(archive).faults

    assert [fault.file[-11:] for fault in faults] == ["c.0.0.0.0.0", "c.1.0.0.0.0"]
    assert all("another shard" in fault.reason for fault in faults)


def test_a_shard_of_another_archive_is_found(long_copy: Path, tmp_path: Path) -> None:
    """Same size, same form, other pixels."""
    kind = Kind((Form.native("S1GRD"),), num_locations=64)
    other = write_kind(tmp_path / "b.zarr", kind)
    name = "S1GRD/10m/bands/c.1.0.0.0.0"
    shutil.copy(other / "S1GRD/10m/bands/c.0.0.0.0.0", long_copy / name)

    (fault,) = verify_archive(long_copy).faults

    assert fault.file == name
    assert len(fault.locations) == 64


def test_a_reader_refuses_what_verify_blames_and_nothing_else(long_copy: Path, long: Path) -> None:
    """Reading a hurt chunk raises; every other chunk of the archive is as it was."""
    rng = random.Random(1)
    path = long_copy / "S1GRD/10m/bands/c.1.0.0.0.0"
    data = bytearray(path.read_bytes())
    for _ in range(5):
        data[rng.randrange(len(data) - SLOTS * 16 - 4)] ^= 0x10
    path.write_bytes(data)
    report = verify_archive(long_copy)
    hurt = {location for fault in report.faults for location in fault.locations}
    damaged, whole = open_archive(long_copy), open_archive(long)
    refused = set()

    for index, location in enumerate(whole.ids):
        for season in range(whole.num_seasons):
            for name in whole.modalities:
                try:
                    found = damaged.read_pixels(name, index=index, season=season)
                except ShardCorrupt as error:
                    refused.add((location, error.where["location"]))
                    continue
                wanted = whole.read_pixels(name, index=index, season=season)
                assert all(np.array_equal(found[r], wanted[r]) for r in wanted)

    assert refused == {(location, location) for location in hurt}
    assert 1 <= len(hurt) <= 5
    assert report.spared == tuple(location for location in whole.ids if location not in hurt)


def test_workers_find_the_same(long_copy: Path) -> None:
    """Two processes give the report of one."""
    path = long_copy / "S2L1C/10m/bands/c.2.0.0.0.0"
    path.write_bytes(path.read_bytes()[:-1])

    assert verify_archive(long_copy, workers=2) == verify_archive(long_copy)
    with pytest.raises(ConfigInvalid):
        verify_archive(long_copy, workers=0)


def test_nothing_is_spared_without_what_all_need(small: Path) -> None:
    """A damaged table or node hurts every location: the list cannot be made."""
    for name in ("locations.parquet", "S2L1C/images.parquet", "S2L1C/time/c.0.0", "S1GRD/zarr.json", "checksums.json"):
        path = small / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"?")
        report = verify_archive(small)
        path.write_bytes(data)

        assert report.faults[0].is_general
        with pytest.raises(ArchiveInvalid, match="copy it again"):
            _ = report.spared


def test_a_list_of_shards_that_names_others_is_found(small: Path) -> None:
    """Also where its checksum fits."""
    path = small / "shards.json"
    kept = {name: (small / name).read_bytes() for name in ("shards.json", "checksums.json")}
    rows = {name: vars(row) for name, row in identity.load(small).items()}
    found = []
    for change in ({**rows, "S2L1C/x": rows["S1GRD/10m/bands/c.0.0.0.0.0"]}, {}):
        identity.write(small, change)
        checksums.write(small, checksums.load(small))
        found.append(verify_archive(small).faults)
    path.write_text("[]")
    checksums.write(small, checksums.load(small))
    found.append(verify_archive(small).faults)
    for name, data in kept.items():
        (small / name).write_bytes(data)

    assert [[fault.file for fault in faults] for faults in found] == [["shards.json"]] * 3
    assert [faults[0].reason.split()[1] for faults in found] == ["leaves", "leaves", "is"]


def test_a_checksum_of_a_file_outside_is_not_followed(small: Path) -> None:
    """A list that names `../x` is refused as a whole."""
    (small.parent / "x").write_text("secret")
    path = small / "checksums.json"
    data = path.read_bytes()
    for name in ("../x", str(small.parent / "x")):
        checksums.write(small, [*checksums.load(small), name])
        faults = verify_archive(small).faults
        path.write_bytes(data)

        assert [fault.file for fault in faults] == ["checksums.json"]
        assert "outside" in faults[0].reason


def test_an_identity_covers_every_chunk_and_the_index(small: Path) -> None:
    """Worked out here again from the format: size, crc32c of the index, SHA-256 over it and all checksums."""
    import hashlib

    layout = read_layout(small)
    array = layout.bands["S2L1C"][20]
    data = (small / array.file(0)).read_bytes()
    tail = SLOTS * 16 + 4
    index = np.frombuffer(data[-tail:-4], "<u8").reshape(-1, 2)[:8].tolist()
    seen = hashlib.sha256(data[-tail:] + b"".join(data[o + n - 4 : o + n] for o, n in index))

    found = identity.load(small)[array.file(0)]

    assert vars(found) == {"size": len(data), "index": data[-4:].hex(), "sha256": seen.hexdigest()}


def test_a_root_that_cannot_be_read_is_damage_and_what_was_written_so_is_not(small: Path) -> None:
    """Reported while the checksums tell what it was; with both gone, or a root that fits, it is no archive of ours."""
    root, sums = (small / name for name in ("zarr.json", "checksums.json"))
    kept = root.read_bytes(), sums.read_bytes()
    reports = []
    try:
        root.write_bytes(b"?" + kept[0])
        reports.append(verify_archive(small))
        sums.write_bytes(kept[1][:-1])
        reports.append(verify_archive(small))
        sums.unlink()
        with pytest.raises(ArchiveInvalid, match="JSON"):
            verify_archive(small)
        sums.write_bytes(kept[1])
        root.write_bytes(kept[0].replace(b'"format": 2', b'"format": 3'))
        assert root.read_bytes() != kept[0]
        checksums.write(small, checksums.load(small))
        with pytest.raises(ArchiveInvalid, match="format 3"):
            verify_archive(small)
    finally:
        root.write_bytes(kept[0])
        sums.write_bytes(kept[1])

    assert [[fault.file for fault in report.faults] for report in reports] == [
        ["zarr.json"],
        ["checksums.json", "zarr.json"],
    ]
    for report in reports:
        assert not report.is_whole
        with pytest.raises(ArchiveInvalid, match="copy it again"):
            _ = report.spared
