# SPDX-License-Identifier: Apache-2.0
"""The ids of the location table, held against their rule: text, one a location, each once, each fit for a file name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ssl4eo.archive.layout import LOCATIONS
from ssl4eo.errors import ArchiveInvalid, shown
from ssl4eo.sample import ID_PATTERN, ID_RULE

_ID = re.compile(ID_PATTERN)


def read_location_ids(archive: Path, table: Path, count: int) -> tuple[str, ...]:
    """Read the ids of an archive of `count` locations: 250,000 in some 0.2 s.

    Raises:
        ArchiveInvalid: the table cannot be parsed, or an id breaks the rule; `where` has `file` and `reason`.
    """
    from ssl4eo.archive.tables import read_column

    try:
        ids = tuple(read_column(table, "id").to_pylist())
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:  # what pyarrow raises
        reason = f"the ids cannot be read ({shown(str(error))})"
        raise _invalid(archive, reason, "Parquet with a column `id` of text") from error
    if fault := _fault_of(ids, count):
        raise _invalid(archive, *fault)
    return ids


def _fault_of(ids: Sequence[str], count: int) -> tuple[str, str] | None:
    """Say what is wrong with ids, and what was expected; None where nothing is."""
    if len(ids) != count:
        return f"{len(ids)} locations", f"{count}, as the root tells"
    if missing := ids.count(None):
        return f"{missing} of {count} locations have no id", "an id for each"
    if kinds := {type(name).__name__ for name in ids} - {"str"}:
        return f"ids are of type {kinds.pop()}", "text"
    if not all(map(_ID.fullmatch, ids)):
        number = next(i for i, name in enumerate(ids) if not _ID.fullmatch(name))
        return f"location number {number} has id {shown(ids[number])}", ID_RULE
    if len(set(ids)) != count:
        return f"id {shown(Counter(ids).most_common(1)[0][0])} comes twice", "each id once"
    return None


def _invalid(archive: Path, reason: str, expected: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"{archive / LOCATIONS}: {reason}",
        expected=expected,
        remedy="copy the file again or pack anew: it was written so, or changed and sealed again",
        path=str(archive),
        file=LOCATIONS,
        reason=f"{reason}, expected {expected}",
    )
