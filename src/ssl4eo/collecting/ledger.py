# SPDX-License-Identifier: Apache-2.0
"""What became of every place: a SQLite file beside the archive, for people and for the next run.

The archive is the truth of what is stored; the ledger says how it came to it. A row changes only after the segment of
its place is on disk, so that it never claims more than there is; what a kill leaves between the two is put right when
the next run opens it.
One writer: the process that joins the archive. Times are UTC.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ssl4eo.errors import DataMissing, SourceInvalid, WriteFailed, unknown_name

Status = Literal["pending", "done", "skipped", "failed"]
"""Not yet tried, or to be tried again; stored; nothing suitable was seen there; could not be fetched."""
STATUSES: tuple[Status, ...] = get_args(Status)
_VERSION = 1
_PARTICULAR = re.compile(r"[^\s:;]*\d{4}[^\s:;]*|\d+(\.\d+)?%")
"""What differs from place to place in a reason: ids, product ids, shares."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS places (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL DEFAULT 'pending',
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    updated TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_status ON places (status);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Entry:
    """What one try at a place came to."""

    id: str
    status: Status
    reason: str = ""
    attempts: int = 0
    """Points of the place that were tried."""
    requests: int = 0
    num_bytes: int = 0
    """Over the network."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Totals:
    """The ledger in figures."""

    counts: Mapping[Status, int]
    tries: int
    requests: int
    num_bytes: int
    seconds: float
    """Summed over places; several are fetched at a time."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            **self.counts, "tries": self.tries, "requests": self.requests, "bytes": self.num_bytes,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


def ledger_path(archive: Path) -> Path:
    """Name the ledger of an archive, beside it."""
    return archive.with_name(f"{archive.name}.ledger.sqlite")


class Ledger:
    """An open ledger."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, *, create: bool = False, write: bool = False) -> Generator[Ledger]:
        """Open the ledger at a path.

        Args:
            path: of the file.
            create: make it where there is none, and write.
            write: rows will change; without, nothing on the disk does.

        Raises:
            DataMissing: there is none, and none is to be made.
            SourceInvalid: it is no ledger of this version.
            WriteFailed: it is to be written and cannot be.
        """
        if not create and not path.is_file():
            raise DataMissing(
                f"no ledger {path}", expected="one that `ssl4eo collect` keeps beside its archive", path=str(path)
            )
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path, write=create or write)
        try:
            with _foreseen(path):
                _prepare(connection, create=create, write=create or write)
            yield cls(connection)
        finally:
            connection.close()

    def begin(self, collection: str, facts: Mapping[str, str]) -> None:
        """Say what is collected; rows of another collection, whose archive is gone, go with it.

        Args:
            collection: hash of what decides the pixels.
            facts: options and versions, kept for people.
        """
        if self.facts().get("collection") != collection:
            with self._transaction():
                self._connection.execute("DELETE FROM places")
                self._connection.execute("DELETE FROM facts")
        for name, value in {**facts, "collection": collection}.items():
            self.set_fact(name, value)

    def add(self, ids: Iterable[str]) -> None:
        """Note places that are to be collected; those that are known stay as they are."""
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO places (id) VALUES (?)", ((name,) for name in ids))

    def note(self, entries: Iterable[Entry]) -> None:
        """Note tries: their figures add up, status and reason are those of the last."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO places (id, status, reason, tries, attempts, requests, bytes, seconds, updated) "
                "VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status, "
                "reason = excluded.reason, tries = tries + 1, attempts = excluded.attempts, "
                "requests = requests + excluded.requests, bytes = bytes + excluded.bytes, "
                "seconds = seconds + excluded.seconds, updated = excluded.updated",
                ((e.id, e.status, e.reason, e.attempts, e.requests, e.num_bytes, e.seconds, now) for e in entries),
            )

    def agree(self, ids: Iterable[str], done: AbstractSet[str], left_out: Mapping[str, str]) -> None:
        """Note places that are to be collected, and put right what a kill has left between archive and ledger.

        Args:
            ids: of all places; those that are known stay as they are.
            done: ids that are stored.
            left_out: by id the reason of those that are not; their status stays if it says the same.
        """
        noted = {n for (n,) in self._connection.execute("SELECT id FROM places WHERE status = 'done'")}
        others = {n for (n,) in self._connection.execute("SELECT id FROM places WHERE status != 'done'")}
        new = sorted({*ids, *left_out, *done} - noted - others)
        unknown = [(r, n) for n, r in sorted(left_out.items()) if n not in done and n not in others]
        with self._transaction():
            many = self._connection.executemany
            many("INSERT INTO places (id) VALUES (?)", ((n,) for n in new))
            many("UPDATE places SET status = 'done', reason = '' WHERE id = ?", ((n,) for n in sorted(done - noted)))
            many("UPDATE places SET status = 'pending' WHERE id = ?", ((n,) for n in sorted(noted - done)))
            many("UPDATE places SET status = 'failed', reason = ? WHERE id = ?", unknown)

    def retry(self, statuses: Sequence[Status] = (), ids: Sequence[str] = ()) -> int:
        """Mark places that are not stored to be tried again; give their number.

        Raises:
            UnknownName: an id that is not in the ledger, or that is stored.
        """
        known = {status: set(self.ids(status)) for status in STATUSES}
        for name in ids:
            if not any(name in members for status, members in known.items() if status != "done"):
                raise unknown_name("place that is not stored", name, set().union(*known.values()) - known["done"])
        chosen = set(ids).union(*(known[status] for status in statuses if status != "done"))
        with self._transaction():
            self._connection.executemany("UPDATE places SET status = 'pending' WHERE id = ?", [(n,) for n in chosen])
        return len(chosen)

    def ids(self, status: Status) -> list[str]:
        """List the places of a status."""
        rows = self._connection.execute("SELECT id FROM places WHERE status = ? ORDER BY id", (status,))
        return [name for (name,) in rows]

    def rows(self, status: Status, *, limit: int = -1) -> list[dict[str, Any]]:
        """Give the rows of a status as plain values."""
        cursor = self._connection.execute("SELECT * FROM places WHERE status = ? ORDER BY id LIMIT ?", (status, limit))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def reasons(self, status: Status) -> dict[str, int]:
        """Count the reasons of a status, product ids, shares and long numbers in them left out, most frequent first."""
        texts = (
            reason for (reason,) in self._connection.execute("SELECT reason FROM places WHERE status = ?", (status,))
        )
        return dict(Counter(_PARTICULAR.sub("#", text) for text in texts).most_common())

    def totals(self) -> Totals:
        """Add up."""
        counts = dict(self._connection.execute("SELECT status, COUNT(*) FROM places GROUP BY status"))
        sums = self._connection.execute(
            "SELECT TOTAL(tries), TOTAL(requests), TOTAL(bytes), TOTAL(seconds) FROM places"
        ).fetchone()
        tries, requests, num_bytes = (int(value) for value in sums[:3])
        return Totals({s: counts.get(s, 0) for s in STATUSES}, tries, requests, num_bytes, float(sums[3]))

    def set_fact(self, name: str, value: str) -> None:
        """Keep a fact of the collection: its options, its versions."""
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def facts(self) -> dict[str, str]:
        """Give all facts."""
        return dict(self._connection.execute("SELECT name, value FROM facts ORDER BY name"))

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise WriteFailed(
                    f"the ledger cannot be written: {error}",
                    expected="room on the disk and the right to write there",
                    remedy="mend that, then run the same command again: it goes on",
                ) from error
            raise


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open a connection; one that only reads also works where nothing can be written."""
    if write:
        return sqlite3.connect(path, isolation_level=None, timeout=30)
    # without a log of changes nobody writes: then no files beside it are made, which a full disk would not allow
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None, timeout=30)


def _prepare(connection: sqlite3.Connection, *, create: bool, write: bool) -> None:
    if write:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version != _VERSION and not (create and version == 0 and tables <= {"places", "facts"}):
        raise sqlite3.DatabaseError(f"version {version}, {len(tables)} tables")
    if create:
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={_VERSION}")


@contextlib.contextmanager
def _foreseen(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise WriteFailed(
            f"{path} cannot be opened ({error})", expected="room on the disk, and the right to write there",
            remedy="mend that: the ledger itself may be whole", path=str(path),
        ) from error  # fmt: skip
    except sqlite3.DatabaseError as error:
        raise SourceInvalid(
            f"{path} cannot be used ({error})", expected=f"a ledger of version {_VERSION}",
            remedy="move it away: the archive holds all pixels, a new ledger is made from it", path=str(path),
        ) from error  # fmt: skip
