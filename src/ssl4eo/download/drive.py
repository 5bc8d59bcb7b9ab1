# SPDX-License-Identifier: Apache-2.0
"""A file on Google Drive: past the page that asks for confirmation, to its name and address.

Drive answers large files with a page whose form leads on, and files that many people fetched with a notice instead of
the bytes: the notice becomes an error with the way out. The name comes from Content-Disposition, cut down to something
harmless.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser

import urllib3

from ssl4eo.download.entry import DriveFile, FileEntry
from ssl4eo.download.http import Again, Client, Patience, join_url, read_some, require_ok
from ssl4eo.download.names import disposition_name, harmless_name
from ssl4eo.errors import DownloadFailed

_PAGE = 1 << 20
_QUOTA = re.compile(r"quota|too many users", re.IGNORECASE)


def find_drive_file(file: DriveFile, client: Client) -> FileEntry:
    """Find the address, name and size of a file.

    Raises:
        DownloadFailed: its quota is used up, it is private or gone, or the page is one that we do not know.
    """
    query = urllib.parse.urlencode({"id": file.drive_id, "export": "download", "confirm": "t"})
    first = url = f"{file.base}?{query}"
    for _ in range(3):
        answer = _ask(url, client)
        if isinstance(answer, FileEntry):
            name = harmless_name(answer.name, file.fallback)
            archive = name if file.archive else ""
            return FileEntry(name=name, url=url, size=answer.size, archive=archive, key=f"drive:{file.drive_id}")
        url = _confirmed(answer, url, first)
    raise _refused(first, "asks for confirmation again and again")


def _ask(url: str, client: Client) -> FileEntry | str:
    """Ask for the file without reading it; give it, or the page that came instead."""
    patience = Patience(client, url)
    while True:
        try:
            response = client.request("GET", url)
            try:
                require_ok(response, url)
                return _file(response, url) or read_some(response, _PAGE).decode("utf-8", errors="replace")
            finally:
                response.close()
        except Again as failure:
            patience.wait(failure)


def _file(response: urllib3.BaseHTTPResponse, url: str) -> FileEntry | None:
    header = response.headers.get("Content-Disposition")
    if header is None and response.headers.get("Content-Type", "").startswith("text/html"):
        return None
    length = response.headers.get("Content-Length", "")
    return FileEntry(name=disposition_name(header), url=url, size=int(length) if length.isdecimal() else None)


def _confirmed(page: str, url: str, first: str) -> str:
    """Follow the form of a confirmation page."""
    if _QUOTA.search(page):
        raise _refused(first, "is not given out: too many people have fetched it of late (quota)")
    form = _Form()
    form.feed(page)
    if not form.action or not form.fields:
        raise _refused(first, "is a page without a download form")
    action = join_url(url, form.action)
    separator = "&" if urllib.parse.urlsplit(action).query else "?"
    return f"{action}{separator}{urllib.parse.urlencode(form.fields)}"


@dataclass
class _Form(HTMLParser):
    """The first form of a page with hidden inputs."""

    action: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the form's address and its hidden inputs."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.fields:
            self.action = given.get("action", "")
        elif tag == "input" and given.get("type") == "hidden" and self.action and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")


def _refused(url: str, why: str) -> DownloadFailed:
    return DownloadFailed(
        f"{url} {why}",
        expected="a file",
        remedy="try again in a day, or open the address in a browser with a Google account and save the file yourself",
        url=url,
    )
