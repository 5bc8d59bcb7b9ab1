# SPDX-License-Identifier: Apache-2.0
"""One part of a published file on its server, as something with a name and a size that can be opened.

What `collection/parts.py` reads parts of a tar through, without a copy on disk. Which file it is (length, ETag, date)
is asked for once and held against every answer of a later opening, so that all bytes are of the same file. The
checksum is only carried: who reads all parts in order checks it. Travels to other processes, without its connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from ssl4eo.download.body import Identity, ask_identity
from ssl4eo.download.entry import Checksum, FileEntry
from ssl4eo.download.http import Client, with_patience
from ssl4eo.download.remote import RemoteFile
from ssl4eo.errors import DownloadFailed

_ASKED_AT_ONCE = 8


@dataclass(frozen=True)
class RemotePart:
    """A part on a server."""

    name: str
    """File name, for messages and checksums."""
    url: str
    size: int
    """Bytes."""
    known: Identity
    """Which file it was when its size was asked for."""
    checksum: Checksum | None = None
    client: Client | None = field(default=None, compare=False, repr=False)
    """Connections and patience; None: those of each opening."""

    def open(self) -> BinaryIO:
        """Open it for reading; nothing is asked before the first read, which raises what RemoteFile raises."""
        return cast("BinaryIO", RemoteFile(self.url, size=self.size, known=self.known, client=self.client))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the connections behind."""
        return {**vars(self), "client": None}


def remote_parts(entries: Sequence[FileEntry], client: Client) -> tuple[RemotePart, ...]:
    """Ask for the sizes of files; give them as parts, in the same order.

    Raises:
        DownloadFailed: a server does not answer, does not say how long a file is, or has one of another size.
    """
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return tuple(pool.map(lambda entry: _remote_part(entry, client), entries))


def _remote_part(entry: FileEntry, client: Client) -> RemotePart:
    known = with_patience(lambda: ask_identity(client, entry.url), client, entry.url)
    size = entry.size if known.size is None else known.size
    if size is None or entry.size not in (None, size):
        raise DownloadFailed(
            f"{entry.url} {'does not say how long it is' if size is None else f'has {size} bytes'}",
            expected=f"{'a length' if entry.size is None else f'{entry.size} bytes'}",
            remedy="download it first: ssl4eo download NAME --out DIR",
            url=entry.url,
        )
    return RemotePart(entry.name, entry.url, size, known, entry.checksum, client)
