# SPDX-License-Identifier: Apache-2.0
"""Parts end to end are the file that they were cut from, or it is said which one is not."""

import hashlib
import random
from pathlib import Path

import pytest
from raw_tars import put_parts

from ssl4eo.collection.parts import LocalPart, PartsFile, find_parts, holds_tar
from ssl4eo.errors import ChecksumMismatch, ConfigInvalid, DataMissing, SourceInvalid

DATA = bytes(random.Random(0).randbytes(10_000))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("cuts", [(), (1,), (3, 3, 17, 9_999), (4096, 8192)])
def test_any_stretch_is_that_of_the_whole(tmp_path: Path, cuts) -> None:
    """Borders of parts and of blocks do not show, empty parts neither; blocks that are dropped are read again."""
    file = PartsFile(find_parts(put_parts(tmp_path, DATA, cuts)), block=1000, kept=2)
    chance = random.Random(1)

    assert file.read() == DATA
    for _ in range(100):
        start, count = chance.randrange(10_050), chance.randrange(3000)
        assert file.seek(start) == start
        assert file.read(count) == DATA[start : start + count]
        assert file.tell() == max(start, min(start + count, len(DATA)))
    assert file.seek(0, 2) == file.size == len(DATA)


def test_each_byte_is_asked_once(tmp_path: Path) -> None:
    """What is read again soon comes out of memory."""
    asked = []

    class Counted(LocalPart):
        def open(self):
            stream = super().open()

            class Stream:
                tell, seek, close = stream.tell, stream.seek, stream.close

                def read(self, count):
                    asked.append(count)
                    return stream.read(count)

            return Stream()

    file = PartsFile([Counted(p.path) for p in find_parts(put_parts(tmp_path, DATA, (5000,)))], block=500, kept=4)

    for start in range(0, 10_000, 500):
        file.seek(max(0, start - 1000))
        file.read(1500)

    assert sum(asked) == len(DATA)


def test_one_file_and_a_folder_are_found(tmp_path: Path) -> None:
    """A tar in one piece is one part; the first part stands for all."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.tar").write_bytes(b"x")
    folder = put_parts(tmp_path / "parts", DATA, (5, 6))

    assert [p.name for p in find_parts(tmp_path / "one")] == ["a.tar"]
    assert find_parts(tmp_path / "one/a.tar") == find_parts(tmp_path / "one")
    assert find_parts(folder / "x.tar.gz.partaa") == find_parts(folder)
    assert [p.name[-2:] for p in find_parts(folder)] == ["aa", "ab", "ac"]
    assert [holds_tar(p) for p in (folder, folder / "x.tar.gz.partac", tmp_path)] == [True, True, False]


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    """In the middle and at the front; not the first part is no place to begin."""
    folder = put_parts(tmp_path, DATA, (5, 6, 7))
    (folder / "x.tar.gz.partac").unlink()

    with pytest.raises(DataMissing, match=r"no x\.tar\.gz\.partac .*but x\.tar\.gz\.partad"):
        find_parts(folder)
    (folder / "x.tar.gz.partaa").unlink()
    with pytest.raises(DataMissing, match=r"no x\.tar\.gz\.partaa"):
        find_parts(folder)
    with pytest.raises(ConfigInvalid, match="not the first part"):
        find_parts(folder / "x.tar.gz.partab")


def test_more_than_one_tar_is_refused(tmp_path: Path) -> None:
    """Which one is meant cannot be known; nor whether the parts or the whole."""
    put_parts(tmp_path / "a", DATA, (5,))
    put_parts(tmp_path / "a", DATA, (5,), name="s1.tar.gz")
    put_parts(tmp_path / "b", DATA, (5,))
    (tmp_path / "b/x.tar.gz").write_bytes(DATA)
    (tmp_path / "c").mkdir()

    with pytest.raises(ConfigInvalid, match=r"2 tars \(s1.tar.gz, x.tar.gz\).*join them"):
        find_parts(tmp_path / "a")
    with pytest.raises(ConfigInvalid, match="parts of it"):
        find_parts(tmp_path / "b")
    with pytest.raises(DataMissing, match="no tar in"):
        find_parts(tmp_path / "c")


def test_a_wrong_part_is_found_by_its_md5_and_told_twice(tmp_path: Path) -> None:
    """The right ones pass; a reader that swallows the error hears it again."""
    folder = put_parts(tmp_path, DATA, (3000, 7000))
    sums = {p.name: md5(p) for p in folder.iterdir()}
    file = PartsFile(find_parts(folder), md5=sums, block=1000)
    assert file.read() == DATA

    broken = folder / "x.tar.gz.partab"
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    file = PartsFile(find_parts(folder), md5=sums, block=1000)

    assert file.read(6000) == DATA[:6000]
    for _ in range(2):
        with pytest.raises(ChecksumMismatch, match=r"partab has MD5 .*expected .*\.partial"):
            file.read(2000)


def test_bytes_that_are_read_again_are_not_hashed_again(tmp_path: Path) -> None:
    """Going back, also over blocks that were dropped, neither hides a wrong part nor accuses a right one."""
    folder = put_parts(tmp_path, DATA, (3000, 7000))
    sums = {p.name: md5(p) for p in folder.iterdir()}

    for wrong in (False, True):
        expected = {**sums, "x.tar.gz.partab": "0" * 32} if wrong else sums
        file = PartsFile(find_parts(folder), md5=expected, block=500, kept=1)
        file.seek(0)
        file.read(5000)
        file.seek(3500)
        if wrong:
            with pytest.raises(ChecksumMismatch, match="partab"):
                file.read(5000)
        else:
            assert file.read() == DATA[3500:]


def test_a_part_begun_in_the_middle_is_not_held_against_its_md5(tmp_path: Path) -> None:
    """A run that goes on has not seen its first bytes; the next part is checked again."""
    folder = put_parts(tmp_path, DATA, (3000, 7000))
    sums = {"x.tar.gz.partaa": "0" * 32, "x.tar.gz.partab": "0" * 32}
    file = PartsFile(find_parts(folder), md5=sums, block=1000)

    file.seek(1000)
    assert file.read(5000) == DATA[1000:6000]
    with pytest.raises(ChecksumMismatch, match="partab"):
        file.read(2000)


def test_a_part_that_shrinks_is_told(tmp_path: Path) -> None:
    """Sizes are looked up once; fewer bytes are an error, not an end."""
    folder = put_parts(tmp_path, DATA, (3000,))
    file = PartsFile(find_parts(folder), block=1000)
    (folder / "x.tar.gz.partab").write_bytes(DATA[3000:5000])

    with pytest.raises(SourceInvalid, match="partab ends after 2000 bytes; expected 7000"):
        file.read()
