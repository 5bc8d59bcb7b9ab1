# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo download raw --into A.zarr`: a published tar straight into an archive, nothing of it on disk.

Here the two halves meet that know nothing of each other: parts on a server from `download`, a stream of locations
and its packing from `collection` and `packing`. Apart from download.py, so that listing what there is loads none of
them. One tar, which is one modality, makes one archive.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ssl4eo.archive.journal import require_free
from ssl4eo.collection.rawtar import RawTarStream
from ssl4eo.commands.pack import show
from ssl4eo.download import Client, FileEntry, archives_of, remote_parts
from ssl4eo.packing.pack import pack as pack_source
from ssl4eo.progress import progress_bar


def run_into(
    entries: Sequence[FileEntry],
    target: Path,
    *,
    client: Client,
    workers: int,
    errors: Literal["skip", "raise"],
    nodata: Literal["skip", "flag"],
    profile: Literal["fast", "default", "compact"],
    json: bool,
) -> None:
    """Read the parts of one tar from their server, in order, and pack what is in it; print what became of it.

    Args:
        entries: all parts of one tar of the raw layout.
        target: archive to make; an interrupted run is gone on with.
        client: connections.
        workers: processes that read and encode images; the stream itself is read by this one.
        errors: as `ssl4eo pack`.
        nodata: as `ssl4eo pack`.
        profile: of the compression.
        json: print the result as JSON.

    Raises:
        DownloadFailed: a part does not come, or is not the file any more that it was.
        ChecksumMismatch: a part is not the published one; what was made of it is taken back.
        SourceInvalid: the tar is damaged or cut short.
        TargetExists, Busy, WriteFailed, WorkerLost: as `packing.pack`.
    """
    require_free(target)
    ((name, files),) = archives_of(entries).items()
    parts = remote_parts(files, client)
    md5 = {part.name: part.checksum.value for part in parts if part.checksum and part.checksum.algorithm == "md5"}
    with progress_bar(f"packing {name} as it comes") as progress:
        report = pack_source(
            RawTarStream(parts, md5=md5),
            target,
            errors=errors,
            nodata=nodata,
            profile=profile,
            workers=workers,
            progress=progress,
        )
    show(report, json=json)
