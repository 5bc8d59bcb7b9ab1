# SPDX-License-Identifier: Apache-2.0
"""A tar on a server goes into an archive without lying on disk, and whatever the server does, never a wrong one."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest
from fault_server import Fault, FaultServer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "collection"))
from raw_tars import SIZE, tar_bytes, write_layout, zipped

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.cli import main
from ssl4eo.collection import gzipped, seekpoints
from ssl4eo.collection.parts import PartsFile
from ssl4eo.collection.published import RawLayout
from ssl4eo.collection.rawtar import RawTarStream
from ssl4eo.commands import download as command
from ssl4eo.commands import download_into
from ssl4eo.download import Checksum, Client, Dataset, FileEntry, Retry, remote_parts
from ssl4eo.download import table as table_module
from ssl4eo.download.body import Identity
from ssl4eo.errors import DownloadFailed
from ssl4eo.packing.pack import pack

SPACING = 40_000
BLOCK = 20_000
HEAD = 20_000
"""Bytes that hold the first location, which every run looks at."""


def tree(archive: Path) -> dict[str, bytes]:
    """All bytes of an archive but the time it was made at and where it comes from."""
    found = {str(p.relative_to(archive)): p.read_bytes() for p in archive.rglob("*") if p.is_file()}
    facts = json.loads(found.pop("zarr.json"))
    for changing in ("created", "provenance", "source"):
        facts["attributes"]["ssl4eo"].pop(changing, None)
    del found["checksums.json"]
    return {**found, "zarr.json": json.dumps(facts).encode()}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 locations of Sentinel-1: a shard and a bit."""
    return write_layout(tmp_path_factory.mktemp("raw"), range(70), "s1")


@pytest.fixture(scope="module")
def expected(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The archive of the folders."""
    path = tmp_path_factory.mktemp("expected") / "a.zarr"
    pack(RawLayout(layout, _size=SIZE), path)
    return tree(path)


@pytest.fixture(scope="module")
def data(layout: Path) -> bytes:
    """The tar, gzipped."""
    return zipped(tar_bytes(layout))


@pytest.fixture(scope="module")
def parts_and_archive(data: bytes, expected: dict[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
    """Both."""
    return data, expected


def cuts(data: bytes) -> list[bytes]:
    """Cut into odd parts: one shorter than the gzip header, one that ends in a member."""
    borders = [0, 7, len(data) // 3 + 1, len(data) * 2 // 3, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(borders)]


def serve(server: FaultServer, data: bytes, *, sums: bool = True) -> tuple[FileEntry, ...]:
    """Put the parts on the server; give their entries."""
    return tuple(
        FileEntry(
            name=f"s1_grd.tar.gz.parta{letter}",
            url=server.add(f"/{letter}", part),
            checksum=Checksum("md5", hashlib.md5(part).hexdigest()) if sums else None,
            subset="s1_grd",
            archive="s1_grd.tar.gz",
        )
        for letter, part in zip("abcd", cuts(data), strict=True)
    )


def offer(monkeypatch: pytest.MonkeyPatch, entries: tuple[FileEntry, ...]) -> None:
    """Make them the table's `raw`, beside another tar and a data set of another layout."""
    other = tuple(
        FileEntry(name=f"s2_l1c.tar.gz.parta{c}", url="http://127.0.0.1:9", subset="s2_l1c", archive="s2_l1c.tar.gz")
        for c in "ab"
    )
    raw = Dataset(name="raw", title="raw", license="MIT", page="p", files=(*other, *entries), layout="raw-tar")
    landsat = Dataset(name="ssl4eo-l", title="l", license="MIT", page="p", files=other)
    tables = MappingProxyType({"raw": raw, "ssl4eo-l": landsat})
    monkeypatch.setattr(table_module, "DATASETS", tables)
    monkeypatch.setattr(command, "DATASETS", tables)


def be_tiny() -> None:
    """Let the command read images of 12 px, in small bites."""
    seekpoints.SAVED_EVERY, gzipped._INPUT, gzipped._OUTPUT = 1, 5_000, 10_000
    download_into.RawTarStream = partial(RawTarStream, _size=SIZE, _spacing=SPACING)
    sys.modules["ssl4eo.collection.rawtar"].PartsFile = partial(PartsFile, block=BLOCK)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    """Undo `be_tiny` after a test; let the command's client write down its sleeps."""
    monkeypatch.setattr(seekpoints, "SAVED_EVERY", 1)
    monkeypatch.setattr(gzipped, "_INPUT", 5_000)
    monkeypatch.setattr(gzipped, "_OUTPUT", 10_000)
    monkeypatch.setattr(download_into, "RawTarStream", partial(RawTarStream, _size=SIZE, _spacing=SPACING))
    monkeypatch.setattr("ssl4eo.collection.rawtar.PartsFile", partial(PartsFile, block=BLOCK))
    retry = Retry(attempts=4, sleep=slept.append, jitter=lambda: 1.0)
    monkeypatch.setattr(command, "Client", lambda **_: Client(read_timeout=5, retry=retry, proxies={}))


def run(target: Path, *more: str) -> int:
    return main(["download", "raw", "--only", "s1_grd", "--into", str(target), *more])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_archive_is_that_of_the_folders(
    tmp_path: Path, server, monkeypatch, capsys, data: bytes, expected, workers: str
) -> None:
    """Byte for byte but for its time and origin; nothing else is on disk, and only the head is asked for again."""
    offer(monkeypatch, serve(server, data))

    assert run(tmp_path / "a.zarr", "--workers", workers, "--json") == 0

    assert json.loads(capsys.readouterr().out)["stored"] == 70
    assert tree(tmp_path / "a.zarr") == expected
    assert verify_archive(tmp_path / "a.zarr").faults == ()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert [len(server.ranges(f"/{letter}")) for letter in "cd"] == [1, 1]


def test_the_work_folder_never_holds_the_tar(tmp_path: Path, server, monkeypatch, data: bytes) -> None:
    """Beside what is packed there are two seek points of 32 KiB and some notes."""
    offer(monkeypatch, serve(server, data))
    monkeypatch.setattr(seekpoints, "KEPT", 2)
    most: list[int] = []

    class Watched(RawTarStream):
        def open(self, parcel):
            files = [p for p in tmp_path.rglob("*") if p.is_file()]
            assert {p.relative_to(tmp_path).parts[0] for p in files} == {"a.zarr.partial"}
            extra = [p for p in files if not {"archive", "segments"} & set(p.parts)]
            most.append(sum(p.stat().st_size for p in extra))
            return super().open(parcel)

    monkeypatch.setattr(download_into, "RawTarStream", partial(Watched, _size=SIZE, _spacing=SPACING))

    assert run(tmp_path / "a.zarr") == 0

    assert 0 < max(most) < 110_000 < len(data)


@pytest.mark.parametrize(
    ("faults", "ranges", "wait"),
    [
        ([Fault(cut=30_000), Fault(cut=1), Fault(status=503, headers={"Retry-After": "7"})], True, [7.0]),
        ([Fault(status=503, headers={"Retry-After": "5"}, head=True)], True, [5.0]),
        ([Fault(cut=30_000)], False, [1.0]),
        ([Fault(status=405, head=True)], True, []),
    ],
    ids=["drops", "busy", "without ranges", "without HEAD"],
)
def test_what_passes_is_borne(
    tmp_path: Path, server, monkeypatch, slept, parts_and_archive, faults, ranges: bool, wait
) -> None:
    """The same archive after drops in the middle, 503 with Retry-After, ranges that are ignored, no HEAD."""
    data, expected = parts_and_archive
    offer(monkeypatch, serve(server, data))
    server.files["/c"].faults, server.files["/c"].ranges = faults, ranges

    assert run(tmp_path / "a.zarr") == 0

    assert tree(tmp_path / "a.zarr") == expected
    assert server.files["/c"].faults == []
    assert set(wait) <= set(slept)


def test_a_file_that_changes_between_two_answers_is_an_error(
    tmp_path: Path, server, monkeypatch, capsys, data: bytes
) -> None:
    """Within a part after a drop, and at the first opening after its size was asked for; nothing is published."""
    entries = serve(server, data)
    offer(monkeypatch, entries)
    part = cuts(data)[2]
    server.files["/c"].faults = [Fault(cut=30_000), Fault(swap=(part, '"two"'))]

    assert run(tmp_path / "a.zarr") == 1
    assert "is not the file any more that it was" in capsys.readouterr().err
    server.files["/d"].faults = [Fault(swap=(cuts(data)[3], '"two"'))]
    assert run(tmp_path / "b.zarr") == 1

    assert "/d is not the file any more that it was" in capsys.readouterr().err
    assert not (tmp_path / "a.zarr").exists()
    assert not (tmp_path / "b.zarr").exists()


@pytest.mark.parametrize(("letter", "kept"), [("c", 16), ("d", 0)])
def test_a_wrong_byte_is_never_published_and_the_next_run_makes_it_good(
    tmp_path: Path, server, monkeypatch, capsys, parts_and_archive, letter: str, kept: int
) -> None:
    """The part's checksum tells, of the trailer too; segments from before it stay, unless a shard used them up."""
    monkeypatch.setattr(RawTarStream, "use_work_folder", lambda *_: None)  # the finder of points reads far ahead
    data, expected = parts_and_archive
    offer(monkeypatch, serve(server, data))
    served = server.files[f"/{letter}"]
    served.faults = [Fault(flip=len(served.data) - 3)]

    assert run(tmp_path / "a.zarr") == 1
    assert f"s1_grd.tar.gz.parta{letter} has MD5" in capsys.readouterr().err
    assert not (tmp_path / "a.zarr").exists()
    assert run(tmp_path / "a.zarr", "--json") == 0

    assert json.loads(capsys.readouterr().out)["resumed"] == kept
    assert tree(tmp_path / "a.zarr") == expected


@pytest.mark.parametrize("letter", ["c", "d"])
@pytest.mark.parametrize("place", ["middle", "end"])
def test_without_checksums_the_stream_itself_tells(
    tmp_path: Path, server, monkeypatch, capsys, data: bytes, letter: str, place: str
) -> None:
    """A byte in the middle of a part, or at its end, which is the trailer of the last: nothing is published."""
    offer(monkeypatch, serve(server, data, sums=False))
    size = len(server.files[f"/{letter}"].data)
    server.files[f"/{letter}"].faults = [Fault(flip={"middle": size // 2, "end": size - 6}[place])]

    assert run(tmp_path / "a.zarr") == 1

    assert "ssl4eo: " in capsys.readouterr().err
    assert not (tmp_path / "a.zarr").exists()


KILLED = """
import os, signal, sys
from functools import partial
from pathlib import Path
sys.path[:0] = {paths!r}
import pytest
import test_download_into as tests
from ssl4eo.collection.rawtar import RawTarStream
from ssl4eo.commands import download_into

class Deadly(RawTarStream):
    def open(self, parcel):
        if parcel.location == {location!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(parcel)

tests.offer(pytest.MonkeyPatch(), {entries})
tests.be_tiny()
download_into.RawTarStream = partial(Deadly, _size=tests.SIZE, _spacing=tests.SPACING)
tests.run(Path({target!r}))
"""


@pytest.mark.parametrize("location", ["0000030", "0000068"])
def test_after_kill_9_only_what_follows_the_last_seek_point_is_asked_for(
    tmp_path: Path, server, monkeypatch, capsys, data: bytes, expected, location: str
) -> None:
    """The same command goes on; the server's log shows the head, and then nothing before the point."""
    entries = serve(server, data)
    target = tmp_path / "a.zarr"
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "collection")]
    spelled = "tuple(tests.FileEntry(**e) for e in [" + ", ".join(
        f"dict(name={e.name!r}, url={e.url!r}, checksum=tests.Checksum('md5', {e.checksum.value!r}), "
        f"subset={e.subset!r}, archive={e.archive!r})" for e in entries
    ) + "])"  # fmt: skip
    script = KILLED.format(paths=paths, location=location, entries=spelled, target=str(target))
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ, "no_proxy": "127.0.0.1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr.partial"]
    point = entry_point(tmp_path / "a.zarr.partial", data)
    server.asked.clear()
    offer(monkeypatch, entries)

    assert run(target, "--json") == 0

    assert json.loads(capsys.readouterr().out)["resumed"] == int(location) // 8 * 8
    assert tree(target) == expected
    starts = dict(zip("abcd", [0, 7, len(data) // 3 + 1, len(data) * 2 // 3], strict=True))
    asked = [starts[letter] + int((r or "bytes=0-")[6:-1]) for letter in "abcd" for r in server.ranges(f"/{letter}")]
    assert point > starts["c"] - BLOCK
    assert not [at for at in asked if HEAD < at < point - BLOCK]
    assert max(at for at in asked if at < HEAD) <= 7


def entry_point(work: Path, data: bytes) -> int:
    """Give the byte of the stream that a run goes on from."""
    records = sorted((work / "segments").glob("*/record.json"))
    lines = (work / "progress.jsonl").read_text().splitlines() if (work / "progress.jsonl").exists() else []
    rows = [*map(json.loads, lines), *(json.loads(path.read_text()) for path in records)]
    found = seekpoints._read(work / "stream/seek-points")
    return max(p.compressed for p in found if p.offset <= rows[-1]["cursor"]["offset"] and p.compressed < len(data))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["raw", "--into", "A"], ["2 modalities are chosen (s2_l1c, s1_grd)", "--only s2_l1c"]),
        (["raw", "--only", "s1_grd", "--into", "A", "--out", "O"], ["--into together with --out"]),
        (["raw", "--only", "s1_grd", "--into", "A", "--extract"], ["--into together with --out or --extract"]),
        (["raw", "--only", "*partab", "--into", "A"], ["2 modalities"]),
        (["raw", "--only", "s1_grd*ab", "--into", "A"], ["1 of the 4 parts", "--only s1_grd"]),
        (["ssl4eo-l", "--only", "s2_l1c", "--into", "A"], ["expected raw with --into", "--out DIR --extract"]),
        (["raw", "--only", "s1_grd", "--out", "O", "--workers", "2"], ["--into ARCHIVE with them"]),
        (["raw", "--only", "s1_grd"], ["--out DIR, or --into ARCHIVE"]),
    ],
)
def test_what_cannot_go_into_one_archive_is_refused(
    tmp_path: Path, server, monkeypatch, capsys, data: bytes, arguments, words
) -> None:
    """Before anything is asked or written, with the way out."""
    offer(monkeypatch, serve(server, data))
    monkeypatch.chdir(tmp_path)

    assert main(["download", *arguments]) == 2

    err = capsys.readouterr().err
    assert [word for word in words if word not in err] == []
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_stands_is_left_alone(tmp_path: Path, server, monkeypatch, capsys, data: bytes) -> None:
    """No server is asked."""
    offer(monkeypatch, serve(server, data))
    (tmp_path / "a.zarr").mkdir()

    assert run(tmp_path / "a.zarr") == 1

    assert "a.zarr" in capsys.readouterr().err
    assert server.asked == []


def test_a_dry_run_tells_the_bytes_to_come_and_that_none_stay(
    tmp_path: Path, server, monkeypatch, capsys, data: bytes
) -> None:
    """By HEAD; nothing is fetched or written."""
    offer(monkeypatch, serve(server, data))

    assert run(tmp_path / "a.zarr", "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert run(tmp_path / "a.zarr", "--dry-run") == 0

    assert (told["bytes_to_come"], told["bytes_kept_on_disk"]) == (len(data), 0)
    assert "none of them stays on disk" in capsys.readouterr().out
    assert {asked.method for asked in server.asked} == {"HEAD"}
    assert list(tmp_path.iterdir()) == []


def test_a_part_travels_without_its_connections(server, client, data: bytes) -> None:
    """It reads the same bytes in another process, and is still the same part."""
    (part, *_) = remote_parts(serve(server, data)[2:], client)

    copy = pickle.loads(pickle.dumps(part))

    assert copy == part
    assert copy.client is None
    assert (part.name, part.size, part.known) == (
        "s1_grd.tar.gz.partac", len(cuts(data)[2]), Identity('"one"', None, len(cuts(data)[2])),
    )  # fmt: skip
    with copy.open() as stream:
        assert stream.read() == cuts(data)[2]


def test_a_part_of_another_or_of_no_size_is_refused(server, client) -> None:
    """It would be found at the end of many hours otherwise."""
    long = FileEntry(name="x", url=server.add("/x", b"abc"), size=4)
    server.add("/y", b"abc", length="chunked")

    with pytest.raises(DownloadFailed, match="has 3 bytes; expected 4 bytes"):
        remote_parts([long], client)
    with pytest.raises(DownloadFailed, match="does not say how long it is"):
        remote_parts([FileEntry(name="y", url=server.url("/y"))], client)


def test_an_archive_says_which_tar_it_is_of(tmp_path: Path, server, monkeypatch, data: bytes) -> None:
    """The license and the name of the first part are in its metadata."""
    offer(monkeypatch, serve(server, data))

    assert run(tmp_path / "a.zarr") == 0

    provenance = open_archive(tmp_path / "a.zarr").provenance
    assert "CC-BY-4.0" in provenance.licence
    assert provenance.details["tar"] == "s1_grd.tar.gz.partaa"
