# SPDX-License-Identifier: Apache-2.0
"""What the first bytes of a file say, before any library opens it: weights, or what came in their place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

START = 4096
"""Bytes at the start of a file that tell its kind."""
_LONGEST_HEADER = 100_000_000
"""That safetensors reads [bytes]."""
_MOST_QUOTED = 120


class Notice(NamedTuple):
    """What a server or a tool left in place of the file."""

    found: str
    remedy: str


_BEGIN = rb"\s*(?:\xef\xbb\xbf)?\s*"
_PAGE = re.compile(_BEGIN + rb"(?:<\?xml[^>]*>\s*)?(?:<!--|<!doctype\s+html|<html|<head|<body)", re.IGNORECASE)
_XML = re.compile(_BEGIN + rb"(?:<\?xml|<error\b)", re.IGNORECASE)
_JSON = re.compile(_BEGIN + rb"""(?:\{\s*["}]|\[\s*[\[{"\]])""")
_POINTER = b"version https://git-lfs.github.com/spec/"
_TOLD = re.compile(rb"<(code|message)>([^<]*)</", re.IGNORECASE)


def notice_in(start: bytes) -> Notice | None:
    """Recognize a web page, a message in XML or JSON, or a pointer of Git LFS; None for anything else.

    Args:
        start: the first START bytes of a file.
    """
    if start.startswith(_POINTER):
        return Notice(
            "is a pointer of Git LFS, a note of where the weights are",
            "run `git lfs pull` where it was cloned, or fetch it anew (at HuggingFace: /resolve/ in place of /raw/)",
        )
    if _PAGE.match(start):
        return Notice(
            "is a web page",
            "the server sent a notice (Google Drive does when a file was fetched too often): remove it and fetch again "
            "later, or save the file with a browser",
        )
    if _XML.match(start):
        return Notice(
            f"is a message in XML{_quoted(b', '.join(text for _, text in _TOLD.findall(start)))}",
            "a storage refused to give the file (an address that has expired, or needs a key, does): remove it and "
            "fetch again from a fresh address",
        )
    if _JSON.match(start):
        return Notice(
            f"is a text in JSON{_quoted(start)}",
            "it is a server's message or a file that lies beside the weights: remove it and fetch the weights",
        )
    return None


def _quoted(text: bytes) -> str:
    words = " ".join(text.decode("utf-8", "replace").lstrip("\ufeff").split())
    return f" ({words[:_MOST_QUOTED]}{'...' if len(words) > _MOST_QUOTED else ''})" if words else ""


def is_safetensors(start: bytes) -> bool:
    """Say whether a file begins as safetensors does: the length of a header, then the header, which is JSON.

    The lowest byte of the length may be any, that of a pickle among them; no pickle and no zip has four zeros there.
    """
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER


def cut_from_safetensors(path: Path) -> str:
    """Say how much of a safetensors file is missing at its end; empty if nothing is, or if that cannot be told."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(START)
        if not is_safetensors(start):
            return ""
        end = 8 + int.from_bytes(start[:8], "little")
        stream.seek(8)
        header = stream.read(end - 8)
    if size < end:  # what says where the numbers end is cut itself
        return f"{size:,} of more than {end:,} bytes"
    end += _end_of_data(header)
    return f"{size:,} of {end:,} bytes" if size < end else ""


def _end_of_data(header: bytes) -> int:
    try:
        rows: Mapping[str, Any] = json.loads(header)
        return max((row["data_offsets"][1] for row in rows.values() if "data_offsets" in row), default=0)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError):
        return 0
