# SPDX-License-Identifier: Apache-2.0
"""Tuples of bytes and integers out of pickled data, without unpickling: what an LMDB of the reference holds.

A pickle is a program; Python's own reader runs it. This one knows the 21 instructions that put together bytes,
integers and tuples, and refuses every other by name: nothing is imported, called or looked up. Bytes are handed out
as views of the input, so a length that lies costs no memory. Protocols 2 to 5.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

from ssl4eo.errors import SourceInvalid

Plain: TypeAlias = "memoryview | int | tuple[Plain, ...]"
"""What comes out; bytes are views of what went in."""

MAX_STEPS = 256
"""Instructions of a value at most; one of the reference takes about 40."""
MAX_DEPTH = 2
"""Tuples within tuples at most: an entry, and the shapes in it."""


def read_plain(data: memoryview | bytes) -> tuple[Plain, ...]:
    """Read one pickled tuple of bytes, integers and tuples of integers.

    Raises:
        SourceInvalid: it holds anything else, is cut short or goes on after its end.
    """
    machine = _Machine(memoryview(data).cast("B"))
    for _ in range(MAX_STEPS):
        if machine.step():
            return machine.result()
    raise _invalid(f"more than {MAX_STEPS} pickle instructions")


class _Machine:
    """The stack, the marks and the memo of one pickled value."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0
        self._stack: list[Plain] = []
        self._marks: list[int] = []
        self._memo: dict[int, Plain] = {}

    def step(self) -> bool:
        """Do the next instruction; say whether it was the last."""
        is_first = self._at == 0
        (code,) = self._take(1)
        if is_first != (code == _PROTO):
            raise _invalid(f"pickle data whose instruction at byte {self._at - 1} is {_name(code)}")
        if code == _STOP:
            return True
        if code not in _INSTRUCTIONS:
            raise _invalid(f"the pickle instruction {_name(code)} at byte {self._at - 1}")
        _INSTRUCTIONS[code](self)
        return False

    def result(self) -> tuple[Plain, ...]:
        """Give the one value that is left."""
        rest = len(self._data) - self._at
        if rest or self._marks or len(self._stack) != 1 or not isinstance(self._stack[0], tuple):
            raise _invalid(f"pickle data that leaves {len(self._stack)} values and {rest} bytes")
        return self._stack[0]

    def _take(self, size: int) -> memoryview:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise _invalid(f"pickle data that ends after {len(self._data)} bytes where {size} more should follow")
        self._at += size
        return part

    def _number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return value

    def _pop(self) -> Plain:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            raise _invalid(f"pickle data that takes a value from an empty stack at byte {self._at}")
        return self._stack.pop()

    def protocol(self) -> None:
        version = self._number("<B")
        if not 2 <= version <= 5:
            raise _invalid(f"pickle protocol {version}")

    def frame(self) -> None:
        size = self._number("<Q")
        if size > len(self._data) - self._at:
            raise _invalid(f"a pickle frame of {size} bytes where {len(self._data) - self._at} are left")

    def long(self) -> None:
        size = self._number("<B")
        if size > 8:
            raise _invalid(f"an integer of {size} bytes")
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def push_bytes(self, layout: str) -> None:
        self._stack.append(self._take(self._number(layout)))

    def push_int(self, layout: str) -> None:
        self._stack.append(self._number(layout))

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def tuple_of(self, count: int) -> None:
        self._push_tuple(tuple(self._pop() for _ in range(count))[::-1])

    def tuple_to_mark(self) -> None:
        if not self._marks:
            raise _invalid(f"a tuple without a beginning at byte {self._at}")
        start = self._marks.pop()
        items = tuple(self._stack[start:])
        del self._stack[start:]
        self._push_tuple(items)

    def _push_tuple(self, items: tuple[Plain, ...]) -> None:
        if _depth(items) > MAX_DEPTH:
            raise _invalid(f"tuples nested deeper than {MAX_DEPTH}")
        self._stack.append(items)

    def put(self, layout: str | None) -> None:
        value = self._pop()
        self._stack.append(value)
        self._memo[len(self._memo) if layout is None else self._number(layout)] = value

    def get(self, layout: str) -> None:
        key = self._number(layout)
        if key not in self._memo:
            raise _invalid(f"pickle data that asks for value {key}, which is not there")
        self._stack.append(self._memo[key])


_PROTO, _STOP = 0x80, ord(".")
_INSTRUCTIONS: Mapping[int, Callable[[_Machine], None]] = {
    _PROTO: _Machine.protocol,
    0x95: _Machine.frame,
    ord("C"): lambda m: m.push_bytes("<B"),
    ord("B"): lambda m: m.push_bytes("<I"),
    0x8E: lambda m: m.push_bytes("<Q"),
    ord("K"): lambda m: m.push_int("<B"),
    ord("M"): lambda m: m.push_int("<H"),
    ord("J"): lambda m: m.push_int("<i"),
    0x8A: _Machine.long,
    ord("("): _Machine.mark,
    ord(")"): lambda m: m.tuple_of(0),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): _Machine.tuple_to_mark,
    0x94: lambda m: m.put(None),
    ord("q"): lambda m: m.put("<B"),
    ord("r"): lambda m: m.put("<I"),
    ord("h"): lambda m: m.get("<B"),
    ord("j"): lambda m: m.get("<I"),
}


def _depth(items: tuple[Plain, ...]) -> int:
    return 1 + max((_depth(item) for item in items if isinstance(item, tuple)), default=0)


def _name(code: int) -> str:
    return next((op.name for op in pickletools.opcodes if op.code == chr(code)), f"0x{code:02x}")


def _invalid(found: str) -> SourceInvalid:
    return SourceInvalid(
        found,
        expected="a pickled tuple of bytes and shapes, as the reference writes it",
        remedy="do not unpickle it: what it holds may be a program",
    )
