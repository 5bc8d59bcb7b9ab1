# SPDX-License-Identifier: Apache-2.0
"""The kinds of value that a record's fields may have, and the check of one row against them.

A field is described by a few words ("a number or null"); fields that may be null may be absent.
Keys that are not described are left alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ssl4eo.errors import SourceInvalid


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_time(value: Any) -> bool:
    try:
        dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


KINDS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "anything": lambda _: True,
        "text": lambda v: isinstance(v, str),
        "the name of a file beside this one": lambda v: isinstance(v, str) and Path(v).name == v,
        "a JSON object": lambda v: isinstance(v, dict),
        "true or false": lambda v: isinstance(v, bool),
        "a whole number from 0": lambda v: _is_number(v) and isinstance(v, int) and v >= 0,
        "a number": _is_number,
        "a number from 0 to 1": _is_fraction,
        "two numbers from 0 to 1": lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_fraction, v)),
        "an ISO 8601 time": _is_time,
    }
)
"""Descriptions and what fulfills them; ", or null" may follow each."""

NULL = ", or null"


def check(row: Any, fields: Mapping[str, str], where: str) -> None:
    """Raise unless `row` is an object whose fields have the described kinds.

    Raises:
        SourceInvalid: a field is absent or of another kind; `where` opens the message.
    """
    if not isinstance(row, dict):
        raise SourceInvalid(f"{where} is a JSON {type(row).__name__}", expected="a JSON object", where=where)
    for name, kind in fields.items():
        if kind.endswith(NULL) and row.get(name) is None:
            continue
        if name not in row:
            raise SourceInvalid(f"{where} has no {name!r}", expected=kind, where=where)
        if not KINDS[kind.removesuffix(NULL)](row[name]):
            raise SourceInvalid(f"{where} has {name} = {row[name]!r}", expected=kind, where=where)


def check_present(row: Mapping[str, Any], fields: Mapping[str, str], where: str) -> None:
    """Raise for fields of another kind as `check` does; any of them may be absent."""
    check(row, {name: kind for name, kind in fields.items() if name in row}, where)
