# SPDX-License-Identifier: Apache-2.0
"""A repository listing becomes entries; what is no listing, or names a path outside, is refused."""

from __future__ import annotations

import hashlib
import json

import pytest

from ssl4eo.download import Client, Dataset, HubListing, download, resolve
from ssl4eo.errors import ChecksumMismatch, DownloadFailed, SourceInvalid, UnknownName

COMMIT = "a" * 40
TREE = f"/api/datasets/o/r/tree/{COMMIT}?recursive=true"


def dataset_of(server, revision="main", **how):
    """Make a data set that is listed by the server."""
    base = f"http://127.0.0.1:{server.server_address[1]}"
    listing = HubListing(repository="o/r", revision=revision, base=base, subsets=("S1GRD", "S2L1C"), **how)
    return Dataset(name="d", title="t", license="l", page="p", listing=listing)


def large(path, data):
    """Make a listing's line for a large file."""
    return {
        "type": "file", "path": path, "size": 134, "oid": "0" * 40,
        "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134},
    }  # fmt: skip


def serve(server, *pages):
    """Serve pages of a listing."""
    server.add("/api/datasets/o/r/revision/main", json.dumps({"sha": COMMIT}).encode())
    for number, page in enumerate(pages):
        path = TREE if number == 0 else f"/page{number}"
        more = {"Link": f'<{server.url(f"/page{number + 1}")}>; rel="next"'} if number + 1 < len(pages) else {}
        server.add(path, json.dumps(page).encode(), headers=more)


def test_all_pages_become_entries_of_one_commit(server, client):
    """Size and sha256 come from the listing, the address is pinned."""
    serve(
        server,
        [{"type": "directory", "path": "train"}, large("train/S2L1C/b.zarr.zip", b"bb")],
        [large("train/S1GRD/a b.zarr.zip", b"aaa"), {"type": "file", "path": "splits/t.txt", "size": 5}],
        [{"type": "file", "path": "README.md", "size": 9}],
    )

    entries = resolve(dataset_of(server, keep=("*.zarr.zip", "*.txt")), client)

    assert [(e.name, e.size, e.subset) for e in entries] == [
        ("splits/t.txt", 5, ""),
        ("train/S1GRD/a b.zarr.zip", 3, "S1GRD"),
        ("train/S2L1C/b.zarr.zip", 2, "S2L1C"),
    ]
    assert entries[0].checksum is None
    assert entries[1].checksum.value == hashlib.sha256(b"aaa").hexdigest()
    assert entries[1].url.endswith(f"/datasets/o/r/resolve/{COMMIT}/train/S1GRD/a%20b.zarr.zip")


def test_a_part_is_downloaded_and_held_against_its_sha256(tmp_path, server, client):
    """The whole way: listing, choice, files, checksums."""
    serve(server, [large("train/S1GRD/a.zip", b"good"), large("train/S2L1C/b.zip", b"bad")])
    server.add(f"/datasets/o/r/resolve/{COMMIT}/train/S1GRD/a.zip", b"good")
    server.add(f"/datasets/o/r/resolve/{COMMIT}/train/S2L1C/b.zip", b"dab")
    dataset = dataset_of(server)

    download(resolve(dataset, client, only=("S1GRD",)), tmp_path, client=client)
    with pytest.raises(ChecksumMismatch):
        download(resolve(dataset, client, only=("*/b.zip",)), tmp_path, client=client)

    assert (tmp_path / "train/S1GRD/a.zip").read_bytes() == b"good"
    assert not (tmp_path / "train/S2L1C/b.zip").exists()


def test_a_commit_needs_no_question(server, client):
    """A pinned revision is listed at once."""
    serve(server, [large("a.zip", b"a")])

    resolve(dataset_of(server, revision=COMMIT), client)

    assert [asked.path for asked in server.asked] == [TREE]


def test_a_part_that_is_not_there_is_named(server, client):
    """A typing error in --only is a usage error."""
    serve(server, [large("train/S1GRD/a.zip", b"a")])

    with pytest.raises(UnknownName, match="did you mean S1GRD"):
        resolve(dataset_of(server), client, only=("S1GDR",))


@pytest.mark.parametrize("path", ["../a.zip", "/a.zip", "x/../../a.zip", ".ssl4eo-download/a.zip"])
def test_a_path_outside_is_refused(server, client, path):
    """A listing cannot write anywhere."""
    serve(server, [large(path, b"a")])

    with pytest.raises(SourceInvalid, match="stays in the target"):
        resolve(dataset_of(server), client)


@pytest.mark.parametrize("page", [b"<html>", b'{"error": "x"}', b"[1]"])
def test_what_is_no_listing_is_refused(server, client, page):
    """A page of another kind is an error, not an empty data set."""
    serve(server, [])
    server.add(TREE, page)

    with pytest.raises(DownloadFailed, match="no listing"):
        resolve(dataset_of(server), client)


def test_pages_in_a_circle_are_refused(server, client):
    """A listing that never ends is an error."""
    serve(server, [])
    server.add(TREE, b"[]", headers={"Link": f'<{server.url(TREE)}>; rel="next"'})

    with pytest.raises(DownloadFailed, match="do not end"):
        resolve(dataset_of(server), client)


@pytest.mark.parametrize("answer", [b"{}", b'{"sha": "main"}', b"[]"])
def test_a_revision_without_a_commit_is_refused(server, client, answer):
    """Files of two states are never mixed."""
    server.add("/api/datasets/o/r/revision/main", answer)

    with pytest.raises(DownloadFailed, match="no commit"):
        resolve(dataset_of(server), client)


def test_a_private_repository_is_told(server):
    """401 is not retried."""
    with pytest.raises(DownloadFailed, match="404"):
        resolve(dataset_of(server), Client(proxies={}))
