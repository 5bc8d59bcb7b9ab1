# SPDX-License-Identifier: Apache-2.0
"""A data set as a whole: which files, what is still to come, and all of them in parallel.

`resolve` turns a name of the table into files, `plan` says what is there and what is missing without fetching, and
`download` fetches. One failed file does not stop the others; a full disk does. Unpacking is a step of its own.
"""

from __future__ import annotations

import contextlib
import fnmatch
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from ssl4eo.download.body import ask_identity
from ssl4eo.download.drive import find_drive_file
from ssl4eo.download.entry import Dataset, FileEntry
from ssl4eo.download.fetch import Fetched, fetch
from ssl4eo.download.http import Again, Client, Stopped, with_patience
from ssl4eo.download.huggingface import list_repository
from ssl4eo.download.names import inside
from ssl4eo.download.partial import SYNC_EVERY, is_complete, read_sidecar
from ssl4eo.errors import ConfigInvalid, DownloadFailed, Ssl4eoError, WriteFailed, unknown_name

ASK_AT_MOST = 100
"""Files whose size is asked for one by one when none is published; beyond that they are told as unknown."""

Progress = Callable[[int, int], None]
"""Called with the bytes on disk and the bytes in all, as far as known."""


@dataclass(frozen=True)
class Planned:
    """One file and how much of it is there."""

    entry: FileEntry
    have: int
    """Bytes on disk, of a finished file or a part."""
    complete: bool

    @property
    def to_come(self) -> int | None:
        """Bytes that are missing; None: unknown."""
        if self.complete:
            return 0
        return None if self.entry.size is None else max(0, self.entry.size - self.have)


@dataclass(frozen=True)
class Plan:
    """What a download would do."""

    files: tuple[Planned, ...]

    @property
    def bytes_to_come(self) -> int:
        """Bytes that are missing, of the files whose size is known."""
        return sum(file.to_come or 0 for file in self.files)

    @property
    def num_unknown(self) -> int:
        """Files to come whose size nobody tells."""
        return sum(file.to_come is None for file in self.files)


def resolve(dataset: Dataset, client: Client, *, only: Sequence[str] = ()) -> tuple[FileEntry, ...]:
    """Give the files of a data set, asking its server for a listing where the table has none.

    Args:
        dataset: of the table.
        client: connections.
        only: subsets (a modality, a split) or patterns of file names; empty: all.

    Raises:
        DownloadFailed: it cannot be had by HTTP: the error says how else; or the listing does not come.
        UnknownName: nothing fits a word of `only`.
    """
    if dataset.manual:
        raise DownloadFailed(
            f"{dataset.name} cannot be fetched by HTTP",
            expected="another way",
            remedy=dataset.manual,
            page=dataset.page,
        )
    entries = dataset.files
    if dataset.listing is not None:
        entries += list_repository(dataset.listing, client)
    if dataset.drive is not None:
        entries += (find_drive_file(dataset.drive, client),)
    for word in only:
        if not any(_fits(entry, word) for entry in entries):
            raise unknown_name(f"part of {dataset.name}", word, [*dataset.subsets, "a pattern of file names"])
    return tuple(entry for entry in entries if not only or any(_fits(entry, word) for word in only))


def _fits(entry: FileEntry, word: str) -> bool:
    return entry.subset == word or fnmatch.fnmatchcase(entry.name, word)


def plan(entries: Sequence[FileEntry], out: Path | None, client: Client) -> Plan:
    """Say what is there and what is to come; sizes that the table lacks are asked for, no file is fetched.

    Args:
        entries: files.
        out: target folder; None or absent: nothing is there.
        client: connections.

    Raises:
        TargetExists: something else stands under a final name.
        DownloadFailed: a server does not answer.
    """
    return _with_sizes(plan_locally(entries, out), lambda entry: ask_size(entry, client))


def _with_sizes(planned: Plan, ask: Callable[[FileEntry], int | None]) -> Plan:
    """Fill in the sizes that the table lacks, unless they are too many."""
    unknown = [file.entry for file in planned.files if file.to_come is None]
    if not 0 < len(unknown) <= ASK_AT_MOST:
        return planned
    with ThreadPoolExecutor(8) as pool:
        sizes = dict(zip((entry.name for entry in unknown), pool.map(ask, unknown), strict=True))
    return Plan(
        tuple(replace(f, entry=replace(f.entry, size=sizes.get(f.entry.name, f.entry.size))) for f in planned.files)
    )


def _planned(entry: FileEntry, out: Path | None) -> Planned:
    if out is None:
        return Planned(entry, 0, complete=False)
    target = inside(out, entry.name, entry.url)
    if is_complete(target, entry, read=False):
        return Planned(entry, target.stat().st_size, complete=True)
    return Planned(entry, int(read_sidecar(target, entry.identity).get("done", 0)), complete=False)


def ask_size(entry: FileEntry, client: Client) -> int | None:
    """Ask a server how long a file is, without fetching it; None if it does not say.

    Raises:
        DownloadFailed: it does not answer.
    """
    return with_patience(lambda: ask_identity(client, entry.url), client, entry.url).size


def _hint(entry: FileEntry, client: Client) -> int | None:
    """Ask once for a size that is only for the bar and the room: what is wrong with the server shows later."""
    with contextlib.suppress(Again, DownloadFailed):
        return ask_identity(client, entry.url).size
    return None


def download(
    entries: Sequence[FileEntry],
    out: Path,
    *,
    client: Client | None = None,
    jobs: int = 4,
    progress: Progress | None = None,
    sync_every: int = SYNC_EVERY,
) -> tuple[Fetched, ...]:
    """Download files into a folder, several at a time; what is there whole is not fetched again.

    Args:
        entries: files.
        out: target folder; made if absent.
        client: connections and patience; None: the default.
        jobs: files at a time.
        progress: told about bytes.
        sync_every: bytes of a file that a kill may cost.

    Returns:
        What became of each, in the same order.

    Raises:
        ConfigInvalid: no jobs, or two files of one name.
        TargetExists: `out` is or lies in an archive.
        WriteFailed: the disk has no room for what is to come.
        DownloadFailed, ChecksumMismatch, TargetExists, Busy: a file failed (all others were finished first).
    """
    from ssl4eo.archive.journal import require_outside  # here: it loads NumPy, and lists of files need none

    _require_sane(entries, jobs)
    require_outside(out, is_folder=True)
    client = client or Client(connections=max(16, jobs))
    chosen = client
    planned = _with_sizes(plan_locally(entries, out), lambda entry: _hint(entry, chosen))
    require_room(planned, out)
    tally = _Tally(planned, progress)
    results: dict[int, Fetched] = {}
    failures: list[Ssl4eoError] = []
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {
            pool.submit(fetch, entry, out, client=client, moved=tally.of(entry), sync_every=sync_every): index
            for index, entry in enumerate(entries)
        }
        for future in as_completed(futures):
            _collect(future, futures[future], results, failures, client)
    finally:
        if len(results) + len(failures) < len(entries):  # interrupted: the others end here, with their parts counted
            client.cancel()
        pool.shutdown(cancel_futures=True)
    stopped = client.stop.is_set()
    client.stop.clear()
    if failures:
        raise _summary(failures, len(entries))
    if stopped and len(results) < len(entries):
        raise DownloadFailed(
            f"stopped after {len(results)} of {len(entries)} files", remedy="run it again: what came so far is kept"
        )
    return tuple(results[index] for index in range(len(entries)))


def _require_sane(entries: Sequence[FileEntry], jobs: int) -> None:
    """Raise if a download cannot work.

    Raises:
        ConfigInvalid: no jobs, or two files of one name.
    """
    if jobs < 1:
        raise ConfigInvalid(f"jobs is {jobs}", expected="at least 1")
    names = [entry.name.lower() for entry in entries]  # there are file systems that do not tell A from a
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigInvalid(f"several files are called {twice!r}", expected="one name for each")


def plan_locally(entries: Iterable[FileEntry], out: Path | None) -> Plan:
    """Say what is there and what is to come without asking a server."""
    return Plan(tuple(_planned(entry, out) for entry in entries))


def require_room(planned: Plan, out: Path) -> None:
    """Raise if the disk is smaller than what is known to come.

    Raises:
        WriteFailed: it is.
    """
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if planned.bytes_to_come > free:
        raise WriteFailed(
            f"{folder} has {free} bytes free",
            expected=f"{planned.bytes_to_come} bytes to come, and more to unpack",
            remedy="free some space, choose another folder, or a part with --only",
            path=str(out),
        )


def _collect(
    future: Future[Fetched], index: int, results: dict[int, Fetched], failures: list[Ssl4eoError], client: Client
) -> None:
    """Note the end of one file; what no other file can survive stops all."""
    try:
        results[index] = future.result()
    except Stopped:
        return
    except WriteFailed as error:
        client.cancel()
        failures.insert(0, error)
    except Ssl4eoError as error:
        failures.append(error)


def _summary(failures: list[Ssl4eoError], total: int) -> Ssl4eoError:
    """Give the first failure, and say in it how many there are."""
    first = failures[0]
    if len(failures) > 1:
        first.found = f"{len(failures)} of {total} files failed; the first: {first.found}"
    return first


class _Tally:
    """Adds up the bytes of all files for one progress bar."""

    def __init__(self, planned: Plan, progress: Progress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._have = {file.entry.name: 0 for file in planned.files}
        self._sizes = {file.entry.name: file.entry.size or file.have for file in planned.files}
        self._done, self._total = 0, sum(self._sizes.values())

    def of(self, entry: FileEntry) -> Callable[[int], None]:
        """Give the function that tells about one file."""

        def moved(have: int) -> None:
            with self._lock:
                self._done += have - self._have[entry.name]
                self._total += max(0, have - self._sizes[entry.name])
                self._have[entry.name] = have
                self._sizes[entry.name] = max(self._sizes[entry.name], have)
                if self._progress is not None:
                    self._progress(self._done, self._total)

        return moved
