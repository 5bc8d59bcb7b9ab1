# SPDX-License-Identifier: Apache-2.0
"""The files of a HuggingFace data set repository, from its public listing.

A branch is first turned into the commit that it shows, so that all pages and all files are of one state. Large files
come with their sha256; for the small ones of the repository itself only the size is told. Names are checked where they
become paths (`names.py`); nothing is downloaded here.
"""

from __future__ import annotations

import fnmatch
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from ssl4eo.download.entry import Checksum, FileEntry, HubListing
from ssl4eo.download.http import Client, join_url
from ssl4eo.download.names import require_inside
from ssl4eo.errors import DownloadFailed

MAX_PAGES = 10_000


def list_repository(listing: HubListing, client: Client) -> tuple[FileEntry, ...]:
    """Give the files of a repository that belong to the data, in order of their paths.

    Raises:
        DownloadFailed: no answer, or none that is a listing.
        SourceInvalid: a path in it that would leave the target.
    """
    commit = _commit(listing, client)
    found: dict[str, FileEntry] = {}
    for item in _tree(listing, commit, client):
        if item.get("type") != "file" or not any(fnmatch.fnmatchcase(_path(item), p) for p in listing.keep):
            continue
        entry = _entry(item, listing, commit)
        found[entry.name] = entry
    return tuple(found[name] for name in sorted(found))


def _commit(listing: HubListing, client: Client) -> str:
    """Give the commit of a revision."""
    if re.fullmatch(r"[0-9a-f]{40}", listing.revision):
        return listing.revision
    url = f"{listing.base}/api/datasets/{listing.repository}/revision/{urllib.parse.quote(listing.revision, safe='')}"
    text, _ = client.get_page(url)
    data = _json(text, url)
    commit = data.get("sha") if isinstance(data, dict) else None
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise _no_listing(url, "no commit in it")
    return commit


def _tree(listing: HubListing, commit: str, client: Client) -> Iterator[dict[str, Any]]:
    """Give all entries of the tree, page after page."""
    url = f"{listing.base}/api/datasets/{listing.repository}/tree/{commit}?recursive=true"
    seen: set[str] = set()
    while url:
        if url in seen or len(seen) >= MAX_PAGES:
            raise _no_listing(url, f"its pages do not end after {len(seen)}")
        seen.add(url)
        text, response = client.get_page(url)
        page = _json(text, url)
        if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
            raise _no_listing(url, "no list of objects")
        yield from page
        url = _next_page(url, response.headers.get("Link", ""))


def _next_page(url: str, link: str) -> str:
    """Read the address of the next page from a Link header; empty after the last.

    >>> _next_page("https://h/a?x=1", '<https://h/a?cursor=2>; rel="next"')
    'https://h/a?cursor=2'
    """
    found = re.search(r'<([^>]+)>\s*;[^,]*\brel="?next\b', link)
    return join_url(url, found[1]) if found else ""


def _entry(item: dict[str, Any], listing: HubListing, commit: str) -> FileEntry:
    path = _path(item)
    large: dict[str, Any] = item["lfs"] if isinstance(item.get("lfs"), dict) else {}
    size, digest = large.get("size", item.get("size")), large.get("oid")
    folders = require_inside(path, f"the listing of {listing.repository}").parts[:-1]
    return FileEntry(
        name=path,
        url=f"{listing.base}/datasets/{listing.repository}/resolve/{commit}/{urllib.parse.quote(path)}",
        size=size if isinstance(size, int) and size >= 0 else None,
        checksum=Checksum("sha256", digest.removeprefix("sha256:")) if isinstance(digest, str) else None,
        subset=next((folder for folder in folders if folder in listing.subsets), ""),
    )


def _path(item: dict[str, Any]) -> str:
    path = item.get("path")
    return path if isinstance(path, str) else ""


def _json(text: str, url: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _no_listing(url, f"not JSON: {text[:80]!r}") from error


def _no_listing(url: str, why: str) -> DownloadFailed:
    return DownloadFailed(
        f"{url} is no listing ({why})",
        expected="the file tree of a public data set",
        remedy="try again later; if it stays so, report it",
        url=url,
    )
