# SPDX-License-Identifier: Apache-2.0
"""A gzip stream entered anywhere gives the same data, and no damage passes."""

import gzip
import io
import random
import zlib
from pathlib import Path

import numpy as np
import pytest

from ssl4eo.collection import seekpoints
from ssl4eo.collection.gzipped import READ, GzipStream, PlainStream, alignment
from ssl4eo.collection.seekpoints import SeekPoint, SeekPoints, cut_points, parse_index, thinned
from ssl4eo.errors import SourceInvalid

SPACING = 40_000
RNG = np.random.default_rng(0)
DATA = b"".join(
    [
        RNG.integers(0, 200, 300_000).astype("u1").tobytes(),  # Huffman codes
        RNG.bytes(300_000),  # stored blocks, which begin at whole bytes
        b"hello" * 20_000,
        RNG.normal(size=50_000).astype("f4").tobytes(),
    ]
)


@pytest.fixture(autouse=True)
def _save_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seekpoints, "SAVED_EVERY", 1)
    monkeypatch.setattr("ssl4eo.collection.gzipped._OUTPUT", 10_000)
    monkeypatch.setattr("ssl4eo.collection.gzipped._INPUT", 5_000)


def open_stream(data: bytes, path: Path | None, state=None) -> GzipStream:
    file = io.BytesIO(data)
    return GzipStream(file, SeekPoints(file, path, spacing=SPACING), state)


def drain(stream: GzipStream, count: int = 7_777) -> tuple[bytes, list[dict[str, int]]]:
    pieces, states = [], [stream.state()]
    while piece := stream.read(count):
        pieces.append(piece)
        states.append(stream.state())
    return b"".join(pieces), states


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("byte", [0, 0x5A, 0xFF])
def test_alignment_emits_nothing_and_ends_with_the_bits_of_the_byte(bits: int, byte: int) -> None:
    """Zlib takes the blocks for valid and gives no data; the highest bits are the byte's."""
    made = alignment(bits, byte)

    assert zlib.decompressobj(-15).decompress(alignment(bits, 0)) == b""
    assert made[-1] >> (8 - bits) == byte >> (8 - bits)


@pytest.mark.parametrize("level", [1, 6, 9])
def test_a_stream_goes_on_from_any_state(tmp_path: Path, level: int) -> None:
    """Every state of a first run leads to the rest, bit for bit, at blocks that begin at any bit."""
    data, points = gzip.compress(DATA, level), tmp_path / "points"

    whole, states = drain(open_stream(data, points))
    bits = {point.bits for point in parse_index(points.read_bytes()[:-4])}

    assert whole == DATA
    assert len(bits) > 3
    for state in random.Random(level).sample(states, 30) + states[-2:]:
        rest, later = drain(open_stream(data, points, state))
        assert rest == DATA[state["offset"] :]
        assert later[-1] == states[-1]


def test_a_later_run_enters_at_the_last_point(tmp_path: Path) -> None:
    """It reads only from there on; without points it reads all."""
    data, points = gzip.compress(DATA), tmp_path / "points"
    _, states = drain(open_stream(data, points))

    class Watched(io.BytesIO):
        lowest = len(data)

        def read(self, count: int = -1) -> bytes:
            self.lowest = min(self.lowest, self.tell())
            return super().read(count)

    file = Watched(data)
    drain(GzipStream(file, SeekPoints(file, points, spacing=SPACING), states[-5]))
    place = SeekPoints(io.BytesIO(data), points).before(states[-5]["offset"])

    assert place is not None
    assert states[-5]["offset"] - place.offset < 3 * SPACING
    assert file.lowest == place.compressed - (place.bits > 0)
    assert drain(open_stream(data, None, states[-5]))[0] == DATA[states[-5]["offset"] :]


def test_several_members_are_one_stream(tmp_path: Path) -> None:
    """Concatenated gzip files, padded with zeros, from any state; each has a CRC of its own."""
    data, points = gzip.compress(DATA) + b"\0" * 50 + gzip.compress(DATA[:200_000]) + b"\0", tmp_path / "points"

    whole, states = drain(open_stream(data, points))

    assert whole == DATA + DATA[:200_000]
    for state in random.Random(0).sample(states, 20) + states[-1:]:
        assert drain(open_stream(data, points, state))[0] == whole[state["offset"] :]


DAMAGED = {
    "a flipped byte": lambda d: d[:400_000] + bytes([d[400_000] ^ 1]) + d[400_001:],
    "a wrong CRC": lambda d: d[:-7] + bytes([d[-7] ^ 1]) + d[-6:],
    "a wrong length": lambda d: d[:-2] + bytes([d[-2] ^ 1]) + d[-1:],
    "cut short": lambda d: d[:-50_000],
    "cut in the trailer": lambda d: d[:-3],
    "goes on": lambda d: d + b"hello, I am no gzip",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("resumed", [False, True])
def test_damage_does_not_pass(tmp_path: Path, damage: str, resumed: bool) -> None:
    """Neither in a run from the start nor in one that has entered before or after it."""
    data, points = gzip.compress(DATA), tmp_path / "points"
    _, states = drain(open_stream(data, points))
    bad = DAMAGED[damage](data)
    entered = None
    if resumed:
        entered = states[20]
    else:
        points.unlink()

    with pytest.raises(SourceInvalid, match="expected") as caught:
        drain(open_stream(bad, points, entered))

    assert caught.value.remedy


def test_a_state_with_another_crc_is_found_at_the_end(tmp_path: Path) -> None:
    """A wrong byte before the place of entry shows in the CRC that was carried along."""
    data, points = gzip.compress(DATA), tmp_path / "points"
    _, states = drain(open_stream(data, points))
    state = {**states[40], "crc": states[40]["crc"] ^ 1}

    with pytest.raises(SourceInvalid, match="other data than its CRC says"):
        drain(open_stream(data, points, state))
    with pytest.raises(SourceInvalid, match="other data than an earlier run saw"):
        open_stream(data, None, state)


def test_a_state_beyond_the_end_is_refused(tmp_path: Path) -> None:
    """The stream was longer when the state was made."""
    data = gzip.compress(DATA)

    with pytest.raises(SourceInvalid, match=f"gives {len(DATA)} bytes"):
        open_stream(data, None, {"offset": len(DATA) + 1, "crc": 0, "size": 0})


@pytest.mark.parametrize("harm", [lambda d: b"", lambda d: d[:60], lambda d: d[:-1], lambda d: d[:99] + b"?" + d[100:]])
def test_a_damaged_file_of_points_is_left_aside(tmp_path: Path, harm, caplog: pytest.LogCaptureFixture) -> None:
    """The stream is read from the start instead, and that is told."""
    data, points = gzip.compress(DATA), tmp_path / "points"
    _, states = drain(open_stream(data, points))
    points.write_bytes(harm(points.read_bytes()))

    rest, _ = drain(open_stream(data, points, states[30]))

    assert rest == DATA[states[30]["offset"] :]
    assert "holds no seek points" in caplog.text


def test_only_the_last_points_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays small however long the stream is, and its points still work."""
    monkeypatch.setattr(seekpoints, "KEPT", 3)
    data, points = gzip.compress(DATA), tmp_path / "points"

    _, states = drain(open_stream(data, points))

    assert points.stat().st_size < 4 * 33_000
    assert drain(open_stream(data, points, states[-3]))[0] == DATA[states[-3]["offset"] :]


def test_of_the_older_points_a_few_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has to go back behind the last ones does not go back to the start; thinned bit by bit or at once."""
    monkeypatch.setattr(seekpoints, "KEPT", 2)
    monkeypatch.setattr(seekpoints, "OLDER_APART", 30)
    points = [SeekPoint(offset, 0, offset, b"w") for offset in range(0, 110, 10)]

    bit_by_bit: list[SeekPoint] = []
    for point in points:
        bit_by_bit = thinned([*bit_by_bit, point])

    assert [point.offset for point in thinned(points)] == [0, 30, 60, 90, 100]
    assert bit_by_bit == thinned(points)


def test_points_behind_a_wrong_byte_are_forgotten(tmp_path: Path) -> None:
    """Those before stay, and a stream can be entered there; a file that is not there is not made."""
    data, path = gzip.compress(DATA), tmp_path / "points"
    _, states = drain(open_stream(data, path))
    all_points = SeekPoints(io.BytesIO(data), path).before(len(DATA))
    at = len(data) // 2

    cut_points(path, at)
    cut_points(tmp_path / "none", at)

    last = SeekPoints(io.BytesIO(data), path).before(len(DATA))
    assert 0 < last.compressed <= at < all_points.compressed
    assert drain(open_stream(data, path, states[-3]))[0] == DATA[states[-3]["offset"] :]
    assert not (tmp_path / "none").exists()


def test_a_state_tells_how_many_bytes_of_the_file_it_rests_on() -> None:
    """Cut there, the file still gives all data up to the state; what is damaged is told from its part's start on."""
    data = gzip.compress(DATA)
    _, states = drain(open_stream(data, None))

    for state in states[1::20]:
        short = zlib.decompressobj(31).decompress(data[: state[READ]])
        assert short[: state["offset"]] == DATA[: state["offset"]]
    broken = bytearray(gzip.compress(DATA[:300_000]))
    broken[len(broken) // 2 : len(broken) // 2 + 300] = bytes(300)
    file = io.BytesIO(bytes(broken))
    stream = GzipStream(file, SeekPoints(file, None), part_start=lambda at: 100_000 if at >= 100_000 else 0)
    with pytest.raises(SourceInvalid) as caught:
        drain(stream)
    assert caught.value.where["suspect_from"] == 100_000


def test_a_broken_finder_of_points_stops_nothing(tmp_path: Path, monkeypatch, caplog) -> None:
    """Points are a convenience: without them the stream is read on."""

    class Failing:
        def __init__(self, **_: object) -> None: ...

        def seek(self, offset: int) -> None:
            raise OSError("no points today")

        def close(self) -> None: ...

    monkeypatch.setattr(seekpoints, "IndexedGzipFile", Failing)

    assert drain(open_stream(gzip.compress(DATA), tmp_path / "points"))[0] == DATA
    assert "no points today" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_while_points_are_looked_for_is_not_swallowed(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a read comes out as what it is."""

    class Impatient(io.BytesIO):
        def read(self, count: int = -1) -> bytes:
            if self.tell() > 200_000:
                raise KeyboardInterrupt
            return super().read(count)

    file = Impatient(gzip.compress(DATA))
    points = SeekPoints(file, tmp_path / "points", spacing=SPACING)

    with pytest.raises(KeyboardInterrupt):
        points.advance(len(DATA))


def test_a_plain_stream_goes_on_too() -> None:
    """Without compression the position is all there is."""
    first = PlainStream(io.BytesIO(DATA))

    assert first.read(1000) == DATA[:1000]
    assert PlainStream(io.BytesIO(DATA), first.state()).read(10**7) == DATA[1000:]
