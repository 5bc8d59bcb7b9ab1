# SPDX-License-Identifier: Apache-2.0
"""Packing a tar makes the archive that packing its folders makes, goes on after a kill, and needs little room."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "collection"))
from raw_tars import SIZE, add_file, put_parts, tar_bytes, write_layout, zipped

from ssl4eo.archive.journal import Journal
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.collection.parts import LocalPart, PartsFile, find_parts
from ssl4eo.collection.published import RawLayout
from ssl4eo.collection.rawtar import RawTarStream
from ssl4eo.collection.seekpoints import SeekPoints
from ssl4eo.errors import ChecksumMismatch, ConfigInvalid, DataMissing, SourceInvalid, TargetExists
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Provenance

SHARED = Path(__file__).resolve().parents[3] / "shared"
PROVENANCE = Provenance("either", synthetic=True, licence="CC0-1.0")
SPACING = 40_000
HEAD = 10_000
"""Bytes that hold the first location, which every run looks at."""


class Layout(RawLayout):
    """Folders, with the provenance of neither."""

    provenance = PROVENANCE


class Tar(RawTarStream):
    """A tar, with the provenance of neither."""

    provenance = PROVENANCE


def tree(archive: Path) -> dict[str, bytes]:
    """All bytes of an archive but the time it was made at, which is in two files."""
    found = {str(p.relative_to(archive)): p.read_bytes() for p in archive.rglob("*") if p.is_file()}
    found["zarr.json"] = found["zarr.json"].replace(open_archive(archive).facts["created"].encode(), b"")
    del found["checksums.json"]
    return found


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 locations of Sentinel-1, which are a shard and a bit; one cannot be read."""
    root = write_layout(tmp_path_factory.mktemp("raw"), range(70), "s1")
    next((root / "s1/0000020").rglob("VH.tif")).unlink()
    return root


@pytest.fixture(scope="module")
def expected(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the folders."""
    path = tmp_path_factory.mktemp("expected") / "a.zarr"
    pack(Layout(layout, _size=SIZE), path)
    return path


@pytest.fixture(scope="module")
def parts(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = zipped(tar_bytes(layout))
    return put_parts(tmp_path_factory.mktemp("parts"), data, (7, len(data) // 3, len(data) // 2))


def without_places(archive: dict[str, bytes], root: Path) -> dict[str, bytes]:
    """Reasons name the folder, which has another root in a tar."""
    return {name: data.replace(f"{root}/".encode(), b"") for name, data in archive.items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_archive_is_that_of_the_folders(tmp_path: Path, layout, expected, parts, workers: int) -> None:
    """Byte for byte, ledger included; nothing but the archive stays."""
    report = pack(Tar(find_parts(parts), _size=SIZE), tmp_path / "a.zarr", workers=workers)

    assert (report.num_stored, list(report.skipped)) == (69, ["0000020"])
    assert tree(tmp_path / "a.zarr") == without_places(tree(expected), layout)
    assert verify_archive(tmp_path / "a.zarr").faults == ()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_stream_packing import SIZE, SPACING, Tar, find_parts
from ssl4eo.collection import gzipped, seekpoints
from ssl4eo.packing.pack import pack

seekpoints.SAVED_EVERY, gzipped._OUTPUT = 1, 10_000

class Deadly(Tar):
    def open(self, parcel):
        if parcel.location == {location!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(parcel)

if __name__ == "__main__":
    pack(Deadly(find_parts(Path({parts!r})), _size=SIZE, _spacing=SPACING), Path({target!r}))
"""


@dataclass(frozen=True)
class Counted(LocalPart):
    """A part that notes what is asked of it: (name, first byte)."""

    asked: list[tuple[str, int]]

    def open(self):
        """Open it, watched."""
        stream, part = super().open(), self

        class Stream:
            tell, seek, close = stream.tell, stream.seek, stream.close

            def read(self, count: int) -> bytes:
                part.asked.append((part.name, stream.tell()))
                return stream.read(count)

        return Stream()


def place_of_entry(work: Path, parts: Path) -> int:
    """Give the byte of the compressed stream that a run goes on from."""
    records = sorted((work / "segments").glob("*/record.json"))
    lines = (work / "progress.jsonl").read_text().splitlines() if (work / "progress.jsonl").exists() else []
    rows = [*map(json.loads, lines), *(json.loads(path.read_text()) for path in records)]
    with PartsFile(find_parts(parts)) as file:
        point = SeekPoints(file, work / "stream/seek-points").before(rows[-1]["cursor"]["offset"]) if rows else None
    return point.compressed if point is not None else 0


@pytest.mark.parametrize("location", ["0000003", "0000030", "0000068"])
def test_packing_goes_on_after_kill_9_from_the_last_point(
    tmp_path: Path, monkeypatch, layout, expected, parts, location: str
) -> None:
    """To the same bytes; what lies before the last point of entry is not read again, but for the head."""
    target = tmp_path / "a.zarr"
    script = KILLED.format(tests=str(Path(__file__).parent), parts=str(parts), target=str(target), location=location)
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    entry = place_of_entry(target.with_name("a.zarr.partial"), parts)
    monkeypatch.setattr("ssl4eo.collection.rawtar.PartsFile", partial(PartsFile, block=1000))
    monkeypatch.setattr("ssl4eo.collection.gzipped._INPUT", 1000)
    asked: list[tuple[str, int]] = []
    found = find_parts(parts)
    starts = dict(zip([p.name for p in found], accumulate([0, *(p.size for p in found)]), strict=False))

    report = pack(Tar([Counted(p.path, asked) for p in found], _size=SIZE, _spacing=SPACING), target)

    stored_before = int(location) // 8 * 8
    assert report.num_resumed == stored_before - (stored_before > 20)
    assert (entry > 0) == (stored_before > 0)
    first = [starts[name] + at for name, at in asked]
    assert not [at for at in first if HEAD < at < entry - 2000]
    assert tree(target) == without_places(tree(expected), layout)
    assert not target.with_name("a.zarr.partial").exists()


def test_a_location_that_comes_again_is_in_the_ledger(tmp_path: Path, layout: Path, expected: Path) -> None:
    """Neither merged nor lost in silence, whether it was stored or left out at first; also in another run."""

    def again(tar: tarfile.TarFile) -> None:
        for name in ("s1/0000003/more/VV.tif", "s1/0000020/more/VV.tif", "s1/0000003/evenmore/VV.tif"):
            add_file(tar, name)

    parts = put_parts(tmp_path / "parts", zipped(tar_bytes(layout, again)))

    report = pack(Tar(find_parts(parts), _size=SIZE), tmp_path / "a.zarr")

    assert list(report.skipped) == ["0000020", "0000003 (again)", "0000020 (again)"]
    assert "0000003: more of its files come after those of other" in report.skipped["0000003 (again)"]
    assert [row["location"] for row in open_archive(tmp_path / "a.zarr").skipped] == list(report.skipped)
    assert {k: v for k, v in tree(tmp_path / "a.zarr").items() if k.startswith("S1GRD/10m")} == {
        k: v for k, v in tree(expected).items() if k.startswith("S1GRD/10m")
    }


def test_the_work_folder_never_holds_the_tar(tmp_path: Path, layout: Path, parts: Path, monkeypatch) -> None:
    """Beside shards and segments there are two seek points of 32 KiB and some notes."""
    most = [0]
    monkeypatch.setattr("ssl4eo.collection.seekpoints.SAVED_EVERY", 1)
    monkeypatch.setattr("ssl4eo.collection.seekpoints.KEPT", 2)

    class Watched(Tar):
        def open(self, parcel):
            work = tmp_path / "a.zarr.partial"
            files = [p for p in work.rglob("*") if p.is_file()]
            extra = [p for p in files if not {"archive", "segments"} & set(p.relative_to(work).parts)]
            most[0] = max(most[0], sum(p.stat().st_size for p in extra))
            return super().open(parcel)

    pack(Watched(find_parts(parts), _size=SIZE, _spacing=SPACING), tmp_path / "a.zarr")

    assert 0 < most[0] < 75_000 < sum(p.stat().st_size for p in parts.iterdir())


@pytest.mark.parametrize(
    "harm",
    [lambda d: d[: len(d) // 2] + b"\xff" * (len(d) - len(d) // 2), lambda d: d[: len(d) // 2], lambda d: None],
    ids=["damaged", "cut short", "missing"],
)
def test_a_stream_that_breaks_is_gone_on_with_when_it_is_mended(
    tmp_path: Path, layout: Path, expected: Path, parts: Path, harm, monkeypatch
) -> None:
    """The last part comes late; what was whole is kept, and the archive is that of the folders."""
    read_in_small_bites(monkeypatch)
    broken = Path(shutil.copytree(parts, tmp_path / "broken"))
    last = max(broken.iterdir())
    whole = last.read_bytes()
    last.unlink() if harm(whole) is None else last.write_bytes(harm(whole))

    with pytest.raises(SourceInvalid, match="expected"):
        pack(Tar(find_parts(broken), _size=SIZE), tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    last.write_bytes(whole)
    report = pack(Tar(find_parts(broken), _size=SIZE), tmp_path / "a.zarr")

    assert report.num_resumed > 0
    assert tree(tmp_path / "a.zarr") == without_places(tree(expected), layout)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 locations of one date: three shards and a bit; two cannot be read, so that no segment ends with a shard."""
    root = write_layout(tmp_path_factory.mktemp("many"), range(200), "s1", products=1)
    for number in (20, 21):
        next((root / f"s1/{number:07d}").rglob("VH.tif")).unlink()
    return root


@pytest.fixture(scope="module")
def many_tar(many: Path) -> bytes:
    return tar_bytes(many)


@pytest.fixture(scope="module")
def many_expected(many_tar: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The archive of these locations, read undisturbed out of one part."""
    folder = tmp_path_factory.mktemp("many_expected")
    pack(WithoutPoints(find_parts(put_parts(folder / "parts", many_tar)), _size=SIZE), folder / "a.zarr")
    return tree(folder / "a.zarr")


class WithoutPoints(Tar):
    """Read only as far as it is packed: the finder of seek points reads 1 MiB ahead, which is half of these tars."""

    def use_work_folder(self, folder: Path) -> None:
        """Keep nothing."""


def harmed(data: bytes, number: int) -> bytes:
    """Change one pixel of a location."""
    at = data.index(b"II*\0", data.index(b"s1/%07d/S1A" % number)) + 300
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


def read_in_small_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl4eo.collection.rawtar.PartsFile", partial(PartsFile, block=1000))
    monkeypatch.setattr("ssl4eo.collection.gzipped._INPUT", 1000)
    monkeypatch.setattr("ssl4eo.collection.gzipped._OUTPUT", 10_000)


@pytest.mark.parametrize(
    ("first", "workers"),
    [
        (2, 1),
        *(pytest.param(first, 1, marks=pytest.mark.slow) for first in (60, 70, 125)),
        (73, 1),
        (133, 2),
        (146, 1),
    ],
)
def test_a_wrong_part_is_taken_back_and_what_came_before_it_is_kept(
    tmp_path: Path, many_tar: bytes, many_expected: dict[str, bytes], monkeypatch, first: int, workers: int
) -> None:
    """A byte that only the MD5 of its part shows is in shards by then; the next run makes them anew."""
    read_in_small_bites(monkeypatch)
    whole = gzip.compress(many_tar, 0, mtime=0)  # stored, so that a wrong byte is a wrong pixel
    borders = [whole.index(b"s1/%07d/S1A" % number) for number in (first, 190)]
    parts = put_parts(tmp_path / "parts", whole, borders)
    sums = _sums(parts)
    put_parts(parts, harmed(whole, first + 3), borders)
    shards: list[int] = []
    cut_back = Journal.cut_back
    monkeypatch.setattr(
        Journal, "cut_back", lambda self, is_good: shards.append(len([*self.rows()])) or cut_back(self, is_good)
    )

    with pytest.raises(ChecksumMismatch, match=r"partab has MD5.*run the same command again"):
        pack(WithoutPoints(find_parts(parts), _size=SIZE, md5=sums), tmp_path / "a.zarr", workers=workers)
    assert shards == [2]
    assert not (tmp_path / "a.zarr").exists()
    assert (tmp_path / "a.zarr.partial").exists() == (first > 72)
    put_parts(parts, whole, borders)
    report = pack(WithoutPoints(find_parts(parts), _size=SIZE, md5=sums), tmp_path / "a.zarr")

    assert report.num_resumed == {2: 0, 60: 0, 70: 0, 73: 64, 125: 64, 133: 64, 146: 142}[first]
    assert tree(tmp_path / "a.zarr") == many_expected
    assert not (tmp_path / "a.zarr.partial").exists()


def test_a_damaged_part_is_taken_back_too(
    tmp_path: Path, many_tar: bytes, many_expected: dict[str, bytes], monkeypatch
) -> None:
    """Deflate shows damage late: what was made of its part before is not trusted, with or without a checksum."""
    read_in_small_bites(monkeypatch)
    whole = zipped(many_tar)
    borders = [len(whole) * 2 // 5, len(whole) - 1000]
    parts = put_parts(tmp_path / "parts", whole, borders)
    at = len(whole) * 9 // 10
    put_parts(parts, whole[:at] + bytes(500) + whole[at + 500 :], borders)

    with pytest.raises(SourceInvalid, match=r"damaged.*run the same command again"):
        pack(Tar(find_parts(parts), _size=SIZE, _spacing=SPACING), tmp_path / "a.zarr")
    put_parts(parts, whole, borders)
    report = pack(Tar(find_parts(parts), _size=SIZE, _spacing=SPACING), tmp_path / "a.zarr")

    assert report.num_resumed == 64
    assert tree(tmp_path / "a.zarr") == many_expected


def test_another_tar_does_not_go_on_with_what_was_begun(tmp_path: Path, layout: Path, parts: Path) -> None:
    """A stream is known by its name and its beginning; one that only differs later fails its CRC."""

    class Interrupted(Tar):
        def open(self, parcel):
            if parcel.location == "0000040":
                raise KeyboardInterrupt
            return super().open(parcel)

    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(find_parts(parts), _size=SIZE), tmp_path / "a.zarr")
    other = put_parts(tmp_path / "other", zipped(tar_bytes(write_layout(tmp_path / "raw", [5], "s1"))))
    data = tar_bytes(layout)
    place = data.index(b"s1/0000030/S1A") + 1000
    later = put_parts(tmp_path / "later", zipped(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]))

    with pytest.raises(TargetExists, match="another archive"):
        pack(Tar(find_parts(other), _size=SIZE, num_seasons=2), tmp_path / "a.zarr")
    with pytest.raises(SourceInvalid, match="other data than an earlier run saw"):
        pack(Tar(find_parts(later), _size=SIZE), tmp_path / "a.zarr")


def test_the_layout_is_found_by_names(tmp_path: Path, parts: Path) -> None:
    """A folder of parts, the first part, all parts; two tars are refused with the way to go."""
    files = sorted(parts.iterdir())

    found = [open_source(parts), open_source(files[0]), open_source(*files), open_source(parts, num_seasons=3)]

    assert all(isinstance(source, RawTarStream) for source in found)
    assert len({source.identity for source in found}) == 1
    assert [source.num_seasons for source in found] == [2, 2, 2, 3]
    other = put_parts(tmp_path / "other", files[0].read_bytes(), name="s2_l1c.tar.gz")
    with pytest.raises(ConfigInvalid, match=r"2 tars.*join"):
        open_source(parts, other)
    with pytest.raises(ConfigInvalid, match="modalities"):
        open_source(parts, modalities=["S1GRD"])
    (tmp_path / "other/notes.txt").write_text("")
    with pytest.raises(DataMissing):
        open_source(tmp_path / "other/notes.txt")


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "tools" / "cut_raw_layout.py").exists(), reason="no real imagery beside the checkout")
def test_real_imagery_in_a_tar_is_the_archive_of_its_folders(tmp_path: Path) -> None:
    """Real Sentinel-2 L1C of published size: cut, tar, split, pack, compare."""
    tool = [sys.executable, str(SHARED / "tools" / "cut_raw_layout.py"), str(tmp_path / "raw")]
    subprocess.run([*tool, "--limit", "3", "--cities", "paris,nantes"], check=True, capture_output=True)
    data = zipped(tar_bytes(tmp_path / "raw"))
    parts = put_parts(tmp_path / "parts", data, (len(data) // 3, len(data) // 2))

    pack(Layout(tmp_path / "raw"), tmp_path / "folders.zarr")
    pack(Tar(find_parts(parts), md5=_sums(parts)), tmp_path / "tar.zarr")

    assert tree(tmp_path / "tar.zarr") == tree(tmp_path / "folders.zarr")


def _sums(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.iterdir()}
