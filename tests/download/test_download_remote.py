# SPDX-License-Identifier: Apache-2.0
"""A remote file reads like a local one, over drops; it never hands out bytes of two files."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile

import pytest
from fault_server import Fault
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ssl4eo.download import Checksum, Client, Joined, RemoteFile
from ssl4eo.errors import ChecksumMismatch, DownloadFailed


def md5_of(data):
    return Checksum("md5", hashlib.md5(data).hexdigest())


def read_all(remote, step=70_000):
    """Read in order, in steps."""
    return b"".join(iter(lambda: remote.read(step), b""))


def test_reading_in_order_uses_one_connection_and_verifies(server, client, data):
    """One request, no range; the last byte settles the checksum."""
    with RemoteFile(server.add("/a", data), checksum=md5_of(data), client=client) as remote:
        assert remote.verified is None
        assert read_all(remote) == data
        assert (remote.verified, remote.size, remote.tell()) == (True, len(data), len(data))

    assert server.ranges("/a") == [None]


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(cut=1000)],
        [Fault(stall=5000)],
        [Fault(status=503), Fault(cut=100_000), Fault(status=429), Fault(cut=3)],
        [Fault(cut=1000), Fault(shift=10), Fault(shift=-10)],
    ],
)
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("length", ["told", "chunked"])
def test_drops_do_not_show(server, client, data, faults, ranges, length):
    """Also from a server without ranges, where the bytes before are read over."""
    url = server.add("/a", data, *faults, ranges=ranges, length=length)

    with RemoteFile(url, checksum=md5_of(data), client=client) as remote:
        assert read_all(remote) == data
        assert remote.verified is True


def test_a_read_gives_what_was_asked_for_across_a_drop(server, client, data):
    """A short read of the network is no short read of the file."""
    with RemoteFile(server.add("/a", data, Fault(cut=1000), Fault(cut=10)), client=client) as remote:
        assert remote.read(5000) == data[:5000]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]), st.integers(-60, 60), st.integers(0, 40)),
        max_size=8,
    )
)
@example(steps=[(os.SEEK_SET, 50, 1), (os.SEEK_SET, 0, 1)])  # a 416 has no ETag
@example(steps=[(os.SEEK_SET, 10, 1), (os.SEEK_SET, 60, 1), (os.SEEK_SET, 0, 1)])
def test_seek_and_read_agree_with_a_file_in_memory(server, steps):
    """Any order of seeking and reading gives what io.BytesIO gives."""
    small = bytes(range(50))
    url = server.add("/s", small)
    with RemoteFile(url, client=Client(proxies={})) as remote, io.BytesIO(small) as local:
        for whence, offset, count in steps:
            try:
                expected = local.seek(offset, whence) if whence == os.SEEK_SET or offset >= 0 else None
            except ValueError:
                expected = None
            if expected is None:
                continue
            assert remote.seek(offset, whence) == expected
            assert remote.read(count) == local.read(count)
            assert remote.tell() == local.tell()


def test_a_far_seek_asks_for_a_range_and_gives_up_verifying(server, client, data):
    """Bytes that were left out cannot be held against a checksum of the whole."""
    big = data * 5
    with RemoteFile(server.add("/a", big), checksum=md5_of(big), client=client) as remote:
        assert remote.read(10) == big[:10]
        remote.seek(-10, os.SEEK_END)
        assert remote.read() == big[-10:]
        assert remote.verified is None
        assert server.ranges("/a") == [None, f"bytes={len(big) - 10}-"]

        assert remote.finish() is True  # reads what is missing


def test_a_zip_is_read_in_place(server, client):
    """The directory at its end is found by ranges."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "hello")

    with RemoteFile(server.add("/z", buffer.getvalue()), client=client) as remote, zipfile.ZipFile(remote) as archive:
        assert archive.read("a.txt") == b"hello"


def test_parts_of_a_tar_stream_as_one(server, client, data):
    """What streams several remote parts into a packer: no copy on disk, each part verified."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("s2c/0000001/x.tif")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    whole = buffer.getvalue()
    pieces = [whole[:1000], whole[1000:200_000], whole[200_000:]]
    remotes = [
        RemoteFile(server.add(f"/p{i}", piece, Fault(cut=500)), checksum=md5_of(piece), client=client)
        for i, piece in enumerate(pieces)
    ]

    with Joined([lambda remote=remote: remote for remote in remotes]) as joined:
        with tarfile.open(fileobj=joined, mode="r|gz") as archive:
            for member in archive:
                assert archive.extractfile(member).read() == data
        assert joined.read() == b""

    assert [remote.verified for remote in remotes] == [True, True, True]


def test_a_wrong_byte_is_an_error_at_the_end(server, client, data):
    """The read that would complete the file raises instead."""
    remote = RemoteFile(server.add("/a", data, Fault(flip=7)), checksum=md5_of(data), client=client)

    assert remote.read(len(data) - 1)
    with pytest.raises(ChecksumMismatch, match="do not use what was read"):
        remote.read(1)
    assert remote.verified is False
    remote.close()


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_file_that_changes_while_it_is_read_is_an_error(server, client, data, blind, checksum):
    """Bytes that were handed out cannot be taken back."""
    url = server.add("/a", data, Fault(cut=1000), Fault(swap=(data[::-1], '"two"'), blind=blind))

    with RemoteFile(url, checksum=md5_of(data) if checksum else None, client=client) as remote:
        assert remote.read(1000) == data[:1000]
        with pytest.raises(DownloadFailed, match=r"not the file any more.*byte 1000"):
            remote.read(1)


def test_without_validator_and_checksum_a_drop_is_an_error(server, client, data):
    """Nothing could tell that the second answer is of the same file."""
    with (
        RemoteFile(server.add("/a", data, Fault(cut=1000), etag=None), client=client) as remote,
        pytest.raises(DownloadFailed, match="neither ETag nor date"),
    ):
        read_all(remote)


@pytest.mark.parametrize(
    ("how", "given", "match"),
    [
        ({"headers": {"Content-Type": "text/html"}}, {}, "web page"),
        ({"length": "none"}, {}, "does not say where it ends"),
        ({}, {"size": 5}, "not the file any more"),
    ],
)
def test_what_cannot_be_the_file_is_refused_at_the_first_read(server, client, data, how, given, match):
    """A page, an answer without an end, another size."""
    with (
        RemoteFile(server.add("/a", data, **how), client=client, **given) as remote,
        pytest.raises(DownloadFailed, match=match),
    ):
        remote.read(1)


def test_a_published_size_shows_an_early_end(server, client, data):
    """Where the end of the connection is all there is, the size tells that it broke."""
    url = server.add("/a", data, Fault(cut=1000), length="none")
    with RemoteFile(url, size=len(data), client=client) as remote:
        assert read_all(remote) == data


def test_a_server_that_stays_away_is_given_up(server, client, data):
    """Patience ends."""
    with (
        RemoteFile(server.add("/a", data, *[Fault(status=503)] * 9), client=client) as remote,
        pytest.raises(DownloadFailed, match="4 times in a row"),
    ):
        remote.read(1)


def test_a_closed_file_is_not_read(server, client, data):
    """As for a local file."""
    remote = RemoteFile(server.add("/a", data), client=client)
    remote.close()

    with pytest.raises(ValueError, match="closed"):
        remote.read(1)
