# SPDX-License-Identifier: Apache-2.0
"""One file from a server that misbehaves: the right bytes under the final name, or an error and nothing there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap

import pytest
from fault_server import Fault

from ssl4eo.download import Checksum, FileEntry, fetch
from ssl4eo.download.partial import lock_path
from ssl4eo.errors import Busy, ChecksumMismatch, DownloadFailed, SourceInvalid, TargetExists, WriteFailed
from ssl4eo.files import exclusive


def entry_of(url, data=None, **facts):
    """Make an entry; with data, its MD5 is published."""
    checksum = None if data is None else Checksum("md5", hashlib.md5(data).hexdigest())
    return FileEntry(name="a.bin", url=url, checksum=checksum, **facts)


def leftovers(folder):
    """Give what lies in a folder besides records."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def assert_nothing_final(folder):
    assert not (folder / "a.bin").exists()


# The right file at the end


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Fault(cut=1000)],
        [Fault(cut=1000), Fault(cut=2000), Fault(cut=0)],
        [Fault(stall=5000)],
        [Fault(status=503), Fault(status=429), Fault(status=500)],
        [Fault(cut=10), Fault(status=502), Fault(cut=10), Fault(stall=0), Fault(cut=10)],
        [Fault(claim=400_000, cut=300_000), Fault(claim=400_000, cut=0)],
        [Fault(cut=1000), Fault(shift=50)],
        [Fault(cut=1000), Fault(shift=-50)],
    ],
)
def test_passing_faults_end_with_the_right_file(tmp_path, server, client, data, faults, published):
    """Drops, stalls, busy answers, wrong ranges and a passing lie about the length are overcome."""
    url = server.add("/a", data, *faults)

    result = fetch(entry_of(url, data if published else None), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == data
    assert (result.size, result.verified) == (len(data), published)
    assert leftovers(tmp_path) == ["a.bin"]


def test_a_drop_is_mended_by_asking_for_the_rest_of_the_same_file(tmp_path, server, client, data):
    """Only the missing bytes are asked for, on condition that the file is the same."""
    url = server.add("/a", data, Fault(cut=1000))

    fetch(entry_of(url), tmp_path, client=client)

    assert server.ranges("/a") == [None, "bytes=1000-"]
    assert server.asked[1].headers["if-range"] == '"one"'


def test_a_server_without_ranges_gives_the_right_file_from_the_start(tmp_path, server, client, data):
    """An answer with the whole file is not appended to the part."""
    url = server.add("/a", data, Fault(cut=1000), ranges=False)

    fetch(entry_of(url), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == data


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("longer", [True, False])
def test_a_file_that_changes_between_requests_is_not_joined(tmp_path, server, client, data, blind, longer):
    """The new file comes whole, also from a server that ignores If-Range."""
    new = bytes(reversed(data)) + (b"more" if longer else b"")
    url = server.add("/a", data, Fault(cut=1000), Fault(swap=(new, '"two"'), blind=blind))

    fetch(entry_of(url), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == new


def test_a_change_is_seen_by_last_modified_where_there_is_no_etag(tmp_path, server, client, data):
    """The date is the condition then."""
    url = server.add("/a", data, Fault(cut=1000), etag=None, modified="Wed, 01 Jan 2025 00:00:00 GMT")

    fetch(entry_of(url), tmp_path, client=client)

    assert server.asked[1].headers["if-range"] == "Wed, 01 Jan 2025 00:00:00 GMT"
    assert (tmp_path / "a.bin").read_bytes() == data


def test_without_validator_and_checksum_nothing_is_joined(tmp_path, server, client, data):
    """Where nothing could tell a change, a drop means to begin anew."""
    url = server.add("/a", data, Fault(cut=1000), etag=None)

    fetch(entry_of(url), tmp_path, client=client)

    assert server.ranges("/a") == [None, None]
    assert (tmp_path / "a.bin").read_bytes() == data


def test_a_wrong_byte_in_one_of_several_pieces_is_mended(tmp_path, server, client, data):
    """After a mismatch of joined pieces the file is fetched once more in one piece."""
    url = server.add("/a", data, Fault(cut=1000), Fault(flip=2000))

    fetch(entry_of(url, data), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == data


@pytest.mark.parametrize("published", [True, False])
def test_chunked_answers_are_whole_or_asked_for_again(tmp_path, server, client, data, published):
    """A chunked body that breaks off before its last chunk is a drop."""
    url = server.add("/a", data, Fault(cut=1000), length="chunked")

    fetch(entry_of(url, data if published else None), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == data


def test_an_end_of_connection_is_trusted_only_with_a_published_size(tmp_path, server, client, data):
    """A body whose end nothing tells can be cut short without a sign."""
    url = server.add("/a", data, Fault(cut=1000), length="none")
    fetch(entry_of(url, size=len(data)), tmp_path, client=client)
    assert (tmp_path / "a.bin").read_bytes() == data

    url = server.add("/b", data, length="none")
    with pytest.raises(DownloadFailed, match="does not say where it ends"):
        fetch(FileEntry(name="b.bin", url=url), tmp_path, client=client)
    assert not (tmp_path / "b.bin").exists()


def test_an_empty_file_is_a_file(tmp_path, server, client):
    """Nothing to fetch is fetched well."""
    fetch(entry_of(server.add("/a", b""), b""), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == b""


# A clear error, and nothing under the final name


def test_a_server_that_stays_away_ends_with_the_part_kept(tmp_path, server, client, data, slept):
    """After several failures in a row the download ends; waits double; what came is kept and counted."""
    url = server.add("/a", data, Fault(cut=1000), *[Fault(status=503)] * 9)

    with pytest.raises(DownloadFailed, match=r"4 times in a row.*503.*what came so far is kept"):
        fetch(entry_of(url), tmp_path, client=client)

    assert_nothing_final(tmp_path)
    assert json.loads((tmp_path / "a.bin.part.json").read_text())["done"] == 1000
    assert slept == [1.0, 2.0, 4.0]


def test_a_short_length_is_caught_by_the_published_size(tmp_path, server, client, data):
    """A server that pretends a shorter file is not believed."""
    url = server.add("/a", data, *[Fault(claim=1000)] * 9)

    with pytest.raises(DownloadFailed, match=r"has 1000 bytes.*expected a.bin \(300000 bytes\)"):
        fetch(entry_of(url, size=len(data)), tmp_path, client=client)

    assert_nothing_final(tmp_path)


def test_a_short_length_is_caught_by_the_checksum(tmp_path, server, client, data):
    """Where no size is published, the checksum tells."""
    url = server.add("/a", data, *[Fault(claim=1000)] * 9)

    with pytest.raises(ChecksumMismatch):
        fetch(entry_of(url, data), tmp_path, client=client)

    assert leftovers(tmp_path) == ["a.bin.part.lock"]


def test_a_long_length_that_never_comes_is_an_error(tmp_path, server, client, data):
    """A server that goes on promising more than it has is given up."""
    url = server.add("/a", data, *[Fault(claim=400_000)] * 99)

    with pytest.raises(DownloadFailed):
        fetch(entry_of(url), tmp_path, client=client)

    assert_nothing_final(tmp_path)


def test_chunks_beyond_the_published_size_are_refused(tmp_path, server, client, data):
    """A body without an end does not fill the disk."""
    url = server.add("/a", data, length="chunked")

    with pytest.raises(DownloadFailed, match="goes on after 1000 bytes"):
        fetch(entry_of(url, size=1000), tmp_path, client=client)

    assert_nothing_final(tmp_path)


def test_a_wrong_byte_is_an_error_and_nothing_is_kept(tmp_path, server, client, data):
    """The message has both checksums; nothing of the file can be built upon."""
    url = server.add("/a", data, *[Fault(flip=2000)] * 9)

    with pytest.raises(ChecksumMismatch, match=f"expected md5 {hashlib.md5(data).hexdigest()}"):
        fetch(entry_of(url, data), tmp_path, client=client)

    assert leftovers(tmp_path) == ["a.bin.part.lock"]


def test_a_changed_file_does_not_pass_for_the_published_one(tmp_path, server, client, data):
    """The file that comes after the change is held against the checksum too."""
    url = server.add("/a", data, Fault(cut=1000), Fault(swap=(bytes(reversed(data)), '"two"')))

    with pytest.raises(ChecksumMismatch):
        fetch(entry_of(url, data), tmp_path, client=client)

    assert_nothing_final(tmp_path)


@pytest.mark.parametrize(("status", "word"), [(404, "moved"), (403, "login"), (401, "login"), (410, "gone"), (400, "")])
def test_a_refusal_is_told_at_once(tmp_path, server, client, data, slept, status, word):
    """What no retry mends is not retried."""
    url = server.add("/a", data, Fault(status=status))

    with pytest.raises(DownloadFailed, match=f"status {status}.*{word}"):
        fetch(entry_of(url), tmp_path, client=client)

    assert slept == []
    assert_nothing_final(tmp_path)


def test_a_web_page_instead_of_the_file_is_refused(tmp_path, server, client):
    """A login page is not data."""
    url = server.add("/a", b"<html>please log in</html>", headers={"Content-Type": "text/html; charset=utf-8"})

    with pytest.raises(DownloadFailed, match="web page"):
        fetch(entry_of(url), tmp_path, client=client)

    assert_nothing_final(tmp_path)


def test_a_packed_body_is_refused_without_a_checksum(tmp_path, server, client, data):
    """Bytes that are packed for the way are not the file."""
    url = server.add("/a", data, headers={"Content-Encoding": "gzip"})

    with pytest.raises(DownloadFailed, match="packed as gzip"):
        fetch(entry_of(url), tmp_path, client=client)

    assert_nothing_final(tmp_path)


@pytest.mark.parametrize(
    "name", ["../a", "/etc/a", "a/../../b", "a\\b", "", "a//b", "C:a", "a\nb", ".ssl4eo-download/x"]
)
def test_a_name_that_leaves_the_target_is_refused(tmp_path, server, client, data, name):
    """No request is sent for it, nothing is written."""
    out = tmp_path / "out"

    with pytest.raises(SourceInvalid, match="stays in the target"):
        fetch(FileEntry(name=name, url=server.add("/a", data)), out, client=client)

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_part(tmp_path, server, client, data, monkeypatch):
    """The error says what to do; with room, only the rest is fetched."""
    url = server.add("/a", data, Fault(cut=1000))
    write = type(tmp_path).open
    room = {"left": 150_000}

    def small_disk(path, mode="r", *rest, **options):
        stream = write(path, mode, *rest, **options)
        return _SmallDisk(stream, room) if mode == "ab+" else stream

    monkeypatch.setattr(type(tmp_path), "open", small_disk)

    with pytest.raises(WriteFailed, match="free some space"):
        fetch(entry_of(url, data), tmp_path, client=client)

    assert_nothing_final(tmp_path)
    assert json.loads((tmp_path / "a.bin.part.json").read_text())["done"] == 150_000
    monkeypatch.undo()
    fetch(entry_of(url, data), tmp_path, client=client)
    assert server.ranges("/a")[-1] == "bytes=150000-"
    assert (tmp_path / "a.bin").read_bytes() == data


class _SmallDisk:
    """A file on a disk that is nearly full."""

    def __init__(self, stream, room):
        self._stream = stream
        self._room = room

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, data):
        if self._room["left"] == 0:
            raise OSError(28, "No space left on device")
        taken = bytes(data[: self._room["left"]])
        self._room["left"] -= len(taken)
        return self._stream.write(taken)


# What is there already


def test_a_complete_file_is_not_fetched_again(tmp_path, server, client, data):
    """Its record tells, without reading it or asking the server."""
    entry = entry_of(server.add("/a", data), data)
    fetch(entry, tmp_path, client=client)

    result = fetch(entry, tmp_path, client=client)

    assert len(server.asked) == 1
    assert result.num_fetched == 0


def test_a_file_from_elsewhere_is_known_by_its_checksum(tmp_path, server, client, data):
    """Without a record the bytes are read."""
    (tmp_path / "a.bin").write_bytes(data)

    fetch(entry_of(server.add("/a", data), data), tmp_path, client=client)

    assert server.asked == []


@pytest.mark.parametrize("published", [True, False])
def test_another_file_under_the_name_is_never_overwritten(tmp_path, server, client, data, published):
    """It stays, and the error says what to do."""
    (tmp_path / "a.bin").write_bytes(b"mine")

    with pytest.raises(TargetExists, match="move it away"):
        fetch(entry_of(server.add("/a", data), data if published else None), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == b"mine"


def test_a_file_of_another_size_is_told_without_reading_it(tmp_path, server, client, data):
    """A cut copy from elsewhere."""
    (tmp_path / "a.bin").write_bytes(data[:-1])

    with pytest.raises(TargetExists, match="299999 bytes, not 300000"):
        fetch(entry_of(server.add("/a", data), data, size=len(data)), tmp_path, client=client)


def test_damage_after_the_download_is_noticed(tmp_path, server, client, data):
    """A touched file is read again, and is not the published one any more."""
    entry = entry_of(server.add("/a", data))
    fetch(entry, tmp_path, client=client)
    (tmp_path / "a.bin").write_bytes(data[:-1] + b"x")

    with pytest.raises(TargetExists, match="sha256"):
        fetch(entry, tmp_path, client=client)


def test_a_part_of_another_address_is_not_continued(tmp_path, server, client, data):
    """The sidecar says what the part belongs to."""
    with pytest.raises(DownloadFailed):
        fetch(
            entry_of(server.add("/old", data[::-1], Fault(cut=1000), *[Fault(status=503)] * 9)), tmp_path, client=client
        )

    fetch(entry_of(server.add("/new", data)), tmp_path, client=client)

    assert server.ranges("/new") == [None]
    assert (tmp_path / "a.bin").read_bytes() == data


@pytest.mark.parametrize("damage", ["not json", "[]", '{"url": 3}', '{"done": 9999999}'])
def test_a_damaged_sidecar_means_to_begin_anew(tmp_path, server, client, data, damage):
    """Nothing is built upon what cannot be read."""
    (tmp_path / "a.bin.part").write_bytes(b"x" * 500)
    (tmp_path / "a.bin.part.json").write_text(damage)

    fetch(entry_of(server.add("/a", data)), tmp_path, client=client)

    assert (tmp_path / "a.bin").read_bytes() == data


def test_a_part_shorter_than_counted_is_not_continued(tmp_path, server, client, data):
    """Somebody else has written there."""
    url = server.add("/a", data)
    (tmp_path / "a.bin.part").write_bytes(b"x" * 100)
    sidecar = {"url": url, "etag": '"one"', "last_modified": None, "size": len(data), "done": 5000}
    (tmp_path / "a.bin.part.json").write_text(json.dumps(sidecar))

    fetch(entry_of(url), tmp_path, client=client)

    assert server.ranges("/a") == [None]
    assert (tmp_path / "a.bin").read_bytes() == data


def test_bytes_that_were_never_counted_are_not_trusted(tmp_path, server, client, data):
    """After a power cut the end of a part can be zeros: only what the sidecar counts is kept."""
    url = server.add("/a", data)
    (tmp_path / "a.bin.part").write_bytes(data[:5000] + b"\0" * 5000)
    sidecar = {"url": url, "etag": '"one"', "last_modified": None, "size": len(data), "done": 5000}
    (tmp_path / "a.bin.part.json").write_text(json.dumps(sidecar))

    fetch(entry_of(url), tmp_path, client=client)

    assert server.ranges("/a") == ["bytes=5000-"]
    assert (tmp_path / "a.bin").read_bytes() == data


def test_a_whole_part_needs_no_byte_more(tmp_path, server, client, data):
    """A kill between the last byte and the final name costs one question."""
    url = server.add("/a", data)
    (tmp_path / "a.bin.part").write_bytes(data)
    sidecar = {"url": url, "etag": '"one"', "last_modified": None, "size": len(data), "done": len(data)}
    (tmp_path / "a.bin.part.json").write_text(json.dumps(sidecar))

    result = fetch(entry_of(url, data), tmp_path, client=client)

    assert result.num_fetched == 0
    assert (tmp_path / "a.bin").read_bytes() == data


def test_two_downloads_of_one_file_do_not_meet(tmp_path, server, client, data):
    """The second is refused while the first lives."""
    entry = entry_of(server.add("/a", data))

    with exclusive(lock_path(tmp_path / "a.bin")), pytest.raises(Busy):
        fetch(entry, tmp_path, client=client)

    assert server.asked == []


def test_a_killed_download_goes_on_with_the_missing_bytes_only(tmp_path, server, client, data):
    """Kill -9 in the middle; the next run asks for what is missing and ends with the right file."""
    url = server.add("/a", data, Fault(stall=200_000))
    code = textwrap.dedent(f"""
        from pathlib import Path
        from ssl4eo.download import Client, FileEntry, fetch
        client = Client(read_timeout=60, proxies={{}})
        fetch(FileEntry(name="a.bin", url={url!r}), Path({str(tmp_path)!r}), client=client,
              moved=lambda done: print(done, flush=True), sync_every=1)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as child:
        for line in child.stdout:
            if int(line) == 200_000:
                break
        child.kill()

    assert (child.returncode, leftovers(tmp_path)) == (-9, ["a.bin.part", "a.bin.part.json", "a.bin.part.lock"])
    result = fetch(entry_of(url, data), tmp_path, client=client)

    assert server.ranges("/a") == [None, "bytes=200000-"]
    assert result.num_fetched == len(data) - 200_000
    assert (tmp_path / "a.bin").read_bytes() == data
    assert leftovers(tmp_path) == ["a.bin"]
