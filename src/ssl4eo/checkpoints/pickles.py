# SPDX-License-Identifier: Apache-2.0
"""Which objects a pickle asks for: its operations are listed, none is carried out."""

from __future__ import annotations

import fnmatch
import io
import mmap
import pickletools
import zipfile
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

_MAGIC = 0x1950A86A20F9469CFC6C
"""What torch's old format begins with, a pickle by itself."""
_NUM_PICKLES = 5
"""In a file of the old format; the numbers follow."""
_MOST_OPERATIONS = 3_000_000
"""That are looked at: about as many seconds."""
_HEAD = 30
"""Bytes of a zip's part before its name."""
_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING"})
_GETS, _PUTS = frozenset({"BINGET", "LONG_BINGET", "GET"}), frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"})
_USUAL = (
    "torch._utils._rebuild_*",
    "torch._tensor._rebuild_*",
    "torch.*Storage",
    "torch.storage.*",
    "torch.*int*",
    "torch.*float*",
    "torch.Size",
    "torch.device",
    "collections.OrderedDict",
    "collections.defaultdict",
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.*multiarray.*",
    "numpy.dtypes.*",
    "_codecs.encode",
)
"""Patterns of objects that files of weights ask for and that are not to be blamed."""


@dataclass
class Asked:
    """What a pickle asks for."""

    names: list[str] = field(default_factory=list[str])
    """Of objects, with their modules; `?` where a part of a name is put together while it runs."""
    protocol: int = 0
    whole: bool = False
    """Whether it comes to its end."""
    of_torch: bool = True
    """Whether it stands in a file as torch lays them out, not alone."""

    def strange(self, message: str) -> str | None:
        """Name the object that a reader refused.

        Args:
            message: of the reader.

        Returns:
            The one that the message names, else the first that files of weights do not ask for; None if there is none.
        """
        strange = (n for n in self.names if not any(fnmatch.fnmatchcase(n, usual) for usual in _USUAL))
        return next((n for n in self.names if f"GLOBAL {n} " in f"{message} "), None) or next(strange, None)


def asked_for(path: Path) -> Asked:
    """List what the pickle of a file asks for: of a zip its data.pkl, else the file itself.

    Args:
        path: of a file of torch's, of any age, or of a bare pickle.
    """
    asked = Asked()
    try:
        if zipfile.is_zipfile(path):
            _list_one(io.BytesIO(_data_pkl(path)), asked)
        elif path.stat().st_size:
            with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _list(content, asked)
    except (ValueError, OverflowError, MemoryError, zipfile.BadZipFile):  # pickletools has only these words for damage
        asked.whole = False
    return asked


def _list(stream: mmap.mmap, asked: Asked) -> None:
    """Go through the first pickle, and through all of them in torch's old format."""
    asked.of_torch = _list_one(stream, asked) == _MAGIC
    for _ in range(_NUM_PICKLES - 1 if asked.of_torch else 0):
        _list_one(stream, asked)


def _list_one(stream: io.BytesIO | mmap.mmap, asked: Asked) -> object:
    """Go through one pickle; gives the argument of its first operation after the protocol's number."""
    asked.whole, first, strings = False, None, _Strings()
    for number, (operation, argument, _) in enumerate(
        islice(pickletools.genops(cast("Any", stream)), _MOST_OPERATIONS)
    ):
        first = argument if number == 1 else first
        if operation.name == "PROTO":
            asked.protocol = max(asked.protocol, int(argument or 0))
        elif operation.name in ("GLOBAL", "INST"):
            asked.names.append(str(argument).replace(" ", "."))
        elif operation.name == "STACK_GLOBAL":
            asked.names.append(strings.last_two())
        else:
            strings.follow(operation.name, argument)
        asked.whole = operation.name == "STOP"
    return first


class _Strings:
    """The texts that a pickle has put on its stack, last ones last; other objects are not followed."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.memo: dict[int, str] = {}

    def follow(self, name: str, argument: Any) -> None:
        """Do what an operation does with texts."""
        if name in _TEXTS:
            self.stack.append(str(argument))
        elif name in _GETS:
            self.stack.append(self.memo.get(int(argument), "?"))
        elif name in _PUTS:
            self.memo[len(self.memo) if argument is None else int(argument)] = self.stack[-1] if self.stack else "?"

    def last_two(self) -> str:
        """Give module and name of an object."""
        return ".".join(["?", "?", *self.stack][-2:])


def _data_pkl(path: Path) -> bytes:
    """Give the pickle of a zip of torch's as it lies there, whatever its checksum says; empty if there is none."""
    with zipfile.ZipFile(path) as archive:
        part = next((part for part in archive.infolist() if part.filename.endswith("data.pkl")), None)
        if part is None:
            return b""
        if part.compress_type != zipfile.ZIP_STORED:
            return archive.read(part)
    with path.open("rb") as stream:
        stream.seek(part.header_offset)
        head = stream.read(_HEAD)
        stream.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), io.SEEK_CUR)
        return stream.read(part.file_size)
