# SPDX-License-Identifier: Apache-2.0
"""Many files: in parallel, what is missing only, others finished when one fails."""

from __future__ import annotations

import hashlib
import threading

import pytest
from fault_server import Fault

from ssl4eo.download import Checksum, Client, FileEntry, Retry, download, plan
from ssl4eo.errors import ConfigInvalid, DownloadFailed, WriteFailed


def entries_of(server, count=6, *, size=True):
    """Serve some files."""
    result = []
    for i in range(count):
        data = bytes([i]) * (1000 + i)
        url = server.add(f"/f{i}", data)
        checksum = Checksum("md5", hashlib.md5(data).hexdigest())
        result.append(FileEntry(name=f"d/f{i}", url=url, size=len(data) if size else None, checksum=checksum))
    return result


def test_all_files_come_in_parallel_and_in_order(tmp_path, server, client):
    """The report is in the order that was asked for; progress ends at the sum."""
    entries = entries_of(server)
    seen = []

    result = download(entries, tmp_path, client=client, jobs=3, progress=lambda done, total: seen.append((done, total)))

    assert [f.path.name for f in result] == [f"f{i}" for i in range(6)]
    total = sum(e.size for e in entries)
    assert seen[-1] == (total, total)
    assert all(done <= whole for done, whole in seen)


def test_the_bar_knows_the_whole_from_the_start(tmp_path, server, client):
    """Sizes that the table lacks are asked for, so that the time left is right; a server without HEAD is no fault."""
    entries = entries_of(server, size=False)
    server.files["/f0"].faults = [Fault(status=503, head=True)]
    seen = []

    download(entries, tmp_path, client=client, jobs=1, progress=lambda done, total: seen.append((done, total)))

    assert seen[0] == (0, 1001 + 1002 + 1003 + 1004 + 1005)
    assert seen[-1] == (6015, 6015)


def test_one_failure_lets_the_others_finish(tmp_path, server, client):
    """The error is told at the end; a second run fetches the rest only."""
    entries = entries_of(server)
    server.files["/f2"].faults = [Fault(status=404)]

    with pytest.raises(DownloadFailed, match="/f2 answers with status 404"):
        download(entries, tmp_path, client=client, jobs=2)

    assert sorted(p.name for p in (tmp_path / "d").glob("f?")) == ["f0", "f1", "f3", "f4", "f5"]
    asked = len(server.asked)
    download(entries, tmp_path, client=client)
    assert len(server.asked) == asked + 1


def test_several_failures_are_counted(tmp_path, server, client):
    """The message says how many."""
    entries = entries_of(server)
    for path in ("/f1", "/f2", "/f3"):
        server.files[path].faults = [Fault(status=404)]

    with pytest.raises(DownloadFailed, match="3 of 6 files failed"):
        download(entries, tmp_path, client=client)


def test_a_full_disk_stops_all(tmp_path, server, client, monkeypatch):
    """What no file can survive is not tried for each."""
    entries = entries_of(server)

    def full(*_args, **_options):
        raise WriteFailed("full")

    monkeypatch.setattr("ssl4eo.download.run.fetch", full)

    with pytest.raises(WriteFailed):
        download(entries, tmp_path, client=client, jobs=1)


def test_no_room_is_told_before_the_first_byte(tmp_path, server, client):
    """What is known to come is held against the disk."""
    entry = FileEntry(name="a", url=server.add("/a", b"abc"), size=10**18)

    with pytest.raises(WriteFailed, match="bytes free"):
        download([entry], tmp_path / "new", client=client)

    assert server.asked == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("length", ["told", "chunked", "none"])
@pytest.mark.parametrize("fault", [Fault(status=503, headers={"Retry-After": "600"}), Fault(stall=5000)])
def test_a_stop_ends_what_waits_and_keeps_the_parts(tmp_path, server, data, fault, length):
    """Neither a long Retry-After nor a stalled server holds up the end; the part is counted."""
    client = Client(read_timeout=600, retry=Retry(first_wait=0), proxies={})
    url = server.add("/a", data, Fault(status=500), fault, length=length)
    checksum = Checksum("md5", hashlib.md5(data).hexdigest())

    def stop_at_the_second_answer(*_):
        if len(server.ranges("/a")) == 2:
            threading.Thread(target=client.cancel).start()

    server.answered = stop_at_the_second_answer

    with pytest.raises(DownloadFailed, match="stopped after 0 of 1"):
        download([FileEntry(name="a", url=url, checksum=checksum)], tmp_path, client=client)

    assert (tmp_path / "a.part").exists()
    assert not (tmp_path / "a").exists()


def test_our_own_end_is_not_taken_for_the_end_of_the_file(tmp_path, server, data):
    """Where the end of the connection is the end of the file, a stop does not throw the part away."""
    client = Client(read_timeout=600, proxies={})
    entry = FileEntry(
        name="a", url=server.add("/a", data, Fault(stall=5000), length="none"), checksum=Checksum("md5", "0" * 32)
    )

    with pytest.raises(DownloadFailed, match="stopped"):
        download([entry], tmp_path, client=client, progress=lambda done, _: client.cancel() if done == 5000 else None)

    assert (tmp_path / "a.part").stat().st_size == 5000


def test_two_files_of_one_name_are_refused(tmp_path, server, client):
    """Also where only the case differs: there are file systems that do not tell."""
    with pytest.raises(ConfigInvalid, match="several files"):
        download([FileEntry(name=n, url=server.add("/a", b"")) for n in ("a", "A")], tmp_path, client=client)


def test_no_jobs_are_refused(tmp_path, client):
    """Zero files at a time would wait for ever."""
    with pytest.raises(ConfigInvalid, match="jobs"):
        download([], tmp_path, client=client, jobs=0)


def test_a_plan_with_known_sizes_asks_nobody(tmp_path, server, client):
    """The table is enough."""
    planned = plan(entries_of(server), None, client)

    assert planned.bytes_to_come == 6015
    assert server.asked == []


def test_a_plan_asks_for_unknown_sizes_by_head(tmp_path, server, client):
    """No file is fetched; a busy answer is overcome, no length stays unknown."""
    entries = entries_of(server, size=False)
    server.files["/f0"].faults = [Fault(status=503, head=True)]
    server.files["/f1"].faults = [Fault(status=405, head=True)]
    server.files["/f5"].length = "chunked"

    planned = plan(entries, None, client)

    assert planned.bytes_to_come == 1000 + 1001 + 1002 + 1003 + 1004
    assert planned.num_unknown == 1
    assert {asked.method for asked in server.asked if asked.path != "/f1"} == {"HEAD"}


def test_a_plan_counts_what_is_there(tmp_path, server, client):
    """Finished files and parts are taken off."""
    entries = entries_of(server)
    download(entries[:2], tmp_path, client=client)
    server.files["/f2"].faults = [Fault(cut=100), *[Fault(status=503)] * 9]
    with pytest.raises(DownloadFailed):
        download(entries[2:3], tmp_path, client=client)

    planned = plan(entries, tmp_path, client)

    assert [file.complete for file in planned.files] == [True, True, False, False, False, False]
    assert planned.bytes_to_come == 6015 - 1000 - 1001 - 100


def test_a_plan_of_thousands_does_not_ask_for_each(server, client):
    """Too many questions are told as unknown instead."""
    entries = [FileEntry(name=f"f{i}", url=server.url(f"/f{i}")) for i in range(200)]

    planned = plan(entries, None, client)

    assert (planned.num_unknown, server.asked) == (200, [])
