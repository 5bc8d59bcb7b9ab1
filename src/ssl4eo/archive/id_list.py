# SPDX-License-Identifier: Apache-2.0
"""Lists of location ids as others write them: read from a file, matched to the ids that an archive holds.

The published list of 50,000 has numbers without leading zeros, four of them twice. A number is found as 7 digits
where it is not there as it is, and every id counts once; what no archive holds is left for the caller to judge.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from ssl4eo.errors import DataMissing, SourceInvalid

log = logging.getLogger(__name__)


def read_ids(path: Path) -> tuple[str, ...]:
    """Read a list of ids, one a line, as they are spelled; empty lines and a byte order mark are left out.

    Raises:
        DataMissing: there is no such file.
        SourceInvalid: it is not text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceInvalid(f"{path} is not UTF-8 text", expected="one id a line", path=str(path)) from error
    except OSError as error:
        raise DataMissing(
            f"{path} cannot be read ({error.strerror})", expected="a list of ids, one a line", path=str(path)
        ) from error
    return tuple(line.strip() for line in lines if line.strip())


def match_ids(wanted: Iterable[str], held: Collection[str]) -> tuple[str, ...]:
    """Give each id once, in the order asked for, spelled as it is held.

    Args:
        wanted: ids, with or without leading zeros.
        held: a set or mapping of those that there are; an id that is not among them stays as it is.

    >>> match_ids(["17", "0000017", "lake", "9"], {"0000017", "lake"})
    ('0000017', 'lake', '9')
    """
    found = [_spelled(name, held) for name in wanted]
    unique = tuple(dict.fromkeys(found))
    if len(unique) < len(found):
        log.info("of %d ids asked for, %d repeat another: each is taken once", len(found), len(found) - len(unique))
    return unique


def _spelled(name: str, held: Collection[str]) -> str:
    padded = name.zfill(7)
    return padded if name not in held and name.isdecimal() and padded in held else name
