# SPDX-License-Identifier: Apache-2.0
"""The nouns of downloading: a checksum, a remote file, a data set made of remote files.

Values only. What is published where stands in `table.py`, how a file comes in `fetch.py`. A fact that nobody gave
us (size, checksum) is None, never a guess.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ssl4eo.errors import ConfigInvalid

Algorithm = Literal["md5", "sha256"]
DIGITS: Mapping[str, int] = MappingProxyType({"md5": 32, "sha256": 64})
"""Hexadecimal digits of each kind of checksum."""
CHUNK = 1 << 20


@dataclass(frozen=True)
class Checksum:
    """What the bytes of a whole file must add up to.

    >>> str(Checksum("md5", "5AC12B3B2557AA56E1826E981E8E200E"))
    'md5 5ac12b3b2557aa56e1826e981e8e200e'
    """

    algorithm: Algorithm
    value: str

    def __post_init__(self) -> None:
        """Refuse what cannot be a checksum.

        Raises:
            ConfigInvalid: another algorithm, or not as many hexadecimal digits as it has.
        """
        digits = DIGITS.get(self.algorithm, 0)
        if not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", self.value) or not digits:
            raise ConfigInvalid(
                f"{self.value!r} is no {self.algorithm}", expected=f"one of {', '.join(DIGITS)} in hexadecimal digits"
            )
        object.__setattr__(self, "value", self.value.lower())

    def __str__(self) -> str:
        """Name the algorithm with the value."""
        return f"{self.algorithm} {self.value}"


def md5(value: str) -> Checksum:
    """Make an MD5 checksum: most publishers in the table give no other."""
    return Checksum("md5", value)


def new_hash(algorithm: Algorithm) -> Any:
    """Make a running hash. MD5 finds damage here, it is no protection against a forger."""
    return hashlib.new(algorithm, usedforsecurity=False)


def hash_file(path: Path, algorithm: Algorithm) -> Checksum:
    """Read a file to its end and give its checksum."""
    running = new_hash(algorithm)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            running.update(chunk)
    return Checksum(algorithm, running.hexdigest())


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One remote file and the name that it gets in the target folder."""

    name: str
    """Relative path in the target folder, with slashes."""
    url: str
    size: int | None = None
    """Bytes; None: not published."""
    checksum: Checksum | None = None
    subset: str = ""
    """Modality or split, for choosing a part of the data set."""
    archive: str = ""
    """The tar or zip file that this is, or is a part of: files of one `archive` are joined in order to unpack."""
    unverified: str = ""
    """What about this entry could not be checked when the table was written; empty: its source is named there."""
    key: str = ""
    """What names the bytes if the URL does not (it is new for each download); empty: the URL."""

    @property
    def identity(self) -> str:
        """What an interrupted download and a finished one are recognized by."""
        return self.key or self.url


@dataclass(frozen=True, kw_only=True)
class HubListing:
    """Files that are too many for a table: the tree of a data set repository on HuggingFace."""

    repository: str
    """owner/name."""
    revision: str
    """Branch, or commit; a branch is turned into the commit that it shows when the listing is read."""
    keep: tuple[str, ...] = ("*",)
    """Patterns of the paths that belong to the data."""
    subsets: tuple[str, ...] = ()
    """Names of folders that divide the data set."""
    base: str = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class DriveFile:
    """A file on Google Drive, which tells its name only with its bytes."""

    drive_id: str
    fallback: str
    """Name if the server gives none."""
    archive: bool = False
    base: str = "https://drive.usercontent.google.com/download"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Something published under one name: files by HTTP, or the way to get them by hand."""

    name: str
    title: str
    license: str
    page: str
    """Where a human reads about it."""
    about_size: str | None = None
    """Size as its publisher tells it, for a human; None: not told."""
    files: tuple[FileEntry, ...] = ()
    listing: HubListing | None = None
    drive: DriveFile | None = None
    layout: str = ""
    """What is in its tars, by the name that `ssl4eo pack --layout` has for it, where they can be packed while they
    come; empty: they cannot."""
    manual: str = ""
    """How to get it by hand; only where plain HTTP does not do it."""
    unverified: str = ""

    @property
    def subsets(self) -> tuple[str, ...]:
        """Names that choose a part of it, in order."""
        if self.listing is not None:
            return self.listing.subsets
        return tuple(dict.fromkeys(entry.subset for entry in self.files if entry.subset))
