# SPDX-License-Identifier: Apache-2.0
"""Pickles are taken apart without running them: what the reference writes is read, everything else refused."""

import os
import pickle
import pickletools
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl4eo.collection.plain_pickle import read_plain
from ssl4eo.errors import SourceInvalid

ENTRY = (b"\x01" * 700, (4, 2, 3, 5), b"\x02" * 70_000, (4, 12, 3, 5), b"", (4, 13, -70_000, 2**40))


def _solid(value: Any) -> Any:
    """Turn views into bytes."""
    if isinstance(value, tuple):
        return tuple(_solid(v) for v in value)
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_pickle_writes_is_read(protocol: int) -> None:
    """Bytes of all length classes, integers of all sizes, memoized shapes."""
    shape = (4, 13, 264, 264)
    for value in (ENTRY, (b"a", shape), (b"a", shape, b"a", shape), (), ((),)):
        assert _solid(read_plain(pickle.dumps(value, protocol))) == value
        assert _solid(read_plain(pickletools.optimize(pickle.dumps(value, protocol)))) == value


@given(
    st.tuples(st.binary(max_size=300), st.tuples(*[st.integers(-(2**62), 2**62)] * 4)),
    st.sampled_from([3, 4, 5]),
)
def test_any_plain_tuple_is_read(value: tuple[bytes, tuple[int, ...]], protocol: int) -> None:
    """The same as Python's own reader gives."""
    assert _solid(read_plain(pickle.dumps(value, protocol))) == value


def test_bytes_are_views_of_the_input() -> None:
    """Nothing is copied, so a length cannot cost memory."""
    data = pickle.dumps((b"x" * 1000, (1,)))

    (view, _) = read_plain(data)

    assert isinstance(view, memoryview)
    assert view.obj is data


class Shell:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Say what unpickling shall call."""
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_program_in_a_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    """The file that the program would make is not made; Python's own reader makes it."""
    marker = tmp_path / "run"
    data = pickle.dumps((b"x", Shell(marker)), protocol)

    with pytest.raises(SourceInvalid, match=r"GLOBAL|BINUNICODE"):
        read_plain(data)

    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()


HOSTILE = {
    "GLOBAL": b"cos\nsystem\n.",
    "STACK_GLOBAL": b"\x93.",
    "REDUCE": b"))R.",
    "BUILD": b"))b.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "PERSID": b"Pid\n.",
    "BINPERSID": b")Q.",
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(o.",
    "NEWOBJ": b"))\x81.",
    "NEWOBJ_EX": b")))\x92.",
    "EMPTY_LIST": b"].",
    "EMPTY_DICT": b"}.",
    "LONG4": b"\x8b\xff\xff\xff\x7f.",
    "INT": b"I1\n.",
    "LONG": b"L" + b"9" * 5000 + b"L\n.",
    "STRING": b"S'a'\n.",
    "BINUNICODE8": b"\x8d" + b"\xff" * 8 + b".",
    "BYTEARRAY8": b"\x96" + b"\xff" * 8 + b".",
    "NEXT_BUFFER": b"\x97.",
    "DUP": b")2.",
    "0xff": b"\xff.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_other_instruction_is_refused_by_name(name: str) -> None:
    """The message names it, so that one can look it up."""
    with pytest.raises(SourceInvalid, match=name):
        read_plain(b"\x80\x04" + HOSTILE[name])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends after 0 bytes"),
        (b").", "EMPTY_TUPLE"),
        (b"\x80\x01).", "protocol 1"),
        (b"\x80\x06).", "protocol 6"),
        (b"\x80\x04\x80\x04).", "PROTO"),
        (b"\x80\x04B\xff\xff\xff\xff1234\x85.", "4294967295 more"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b"1234\x85.", "18446744073709551615 more"),
        (b"\x80\x04\x95" + struct.pack("<Q", 99) + b").", "frame of 99 bytes where 2 are left"),
        (b"\x80\x04\x8a\xff" + b"\x01" * 255 + b"\x85.", "255 bytes"),
        (b"\x80\x04)\x85\x85\x85.", "nested"),
        (b"\x80\x04" + b"(" * 20 + b"t" * 20 + b".", "nested"),
        (b"\x80\x04" + b"K\x01" * 300 + b".", "more than 256"),
        (b"\x80\x04)) .", "0x20"),
        (b"\x80\x04)).", "leaves 2 values"),
        (b"\x80\x04).x", "1 bytes"),
        (b"\x80\x04).\x80\x04).", "4 bytes"),
        (b"\x80\x04(.", "leaves 0 values"),
        (b"\x80\x04K\x01.", "leaves 1 values"),
        (b"\x80\x04\x85.", "empty stack"),
        (b"\x80\x04)(\x85.", "empty stack"),
        (b"\x80\x04t.", "without a beginning"),
        (b"\x80\x04h\x00.", "asks for value 0"),
        (b"\x80\x04\x94.", "empty stack"),
    ],
)
def test_pickles_that_lie_are_refused(data: bytes, reason: str) -> None:
    """Lengths, nesting, marks, memo, protocol, and what follows the end."""
    with pytest.raises(SourceInvalid, match=reason):
        read_plain(data)


def test_every_truncation_is_refused() -> None:
    """Whatever the place it is cut at."""
    data = pickle.dumps((b"x" * 300, (4, 13, 264, 264)))

    for length in range(len(data)):
        with pytest.raises(SourceInvalid):
            read_plain(data[:length])


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_give_a_value_or_a_refusal(data: bytes) -> None:
    """No other error, whatever comes."""
    for text in (data, b"\x80\x04" + data, b"\x80\x04(" + data + b"t."):
        try:
            read_plain(text)
        except SourceInvalid:
            continue


def test_flipped_bytes_give_a_value_or_a_refusal() -> None:
    """Entries with a few bytes changed, 3000 of them."""
    chance = random.Random(3)
    data = pickle.dumps((b"xyz" * 5, (4, 13, 264, 264), b"xyz", (4, 2, 70_000, 1)))

    for _ in range(3000):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            read_plain(bytes(broken))
        except SourceInvalid:
            continue
