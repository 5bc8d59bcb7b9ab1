# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, read-only or shared with another writer: one clear error, nothing lost, and it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_source import TinySource, tree

from ssl4eo.archive.verify import verify_archive
from ssl4eo.errors import Busy, TargetExists, WriteFailed
from ssl4eo.packing.pack import pack

SOURCE = TinySource(num_locations=70, size=36)


def _mount(*arguments: str) -> bool:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True)
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or not _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The archive on a disk with room."""
    target = tmp_path_factory.mktemp("wanted") / "a.zarr"
    pack(SOURCE, target)
    return tree(target)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_error_and_packing_goes_on_after_it(
    disk: Path, wanted: dict[str, bytes], workers: int
) -> None:
    """Nothing has the final name; with more room the same call makes the same bytes, again and again too small."""
    target = disk / "a.zarr"
    assert sum(map(len, wanted.values())) > 1 << 20

    for size in ("1m", "1200k"):
        assert _mount("-o", f"remount,size={size}", str(disk))
        with pytest.raises(WriteFailed, match=r"No space left on device.*free some space"):
            pack(SOURCE, target, workers=workers)
        assert not target.exists()
    assert _mount("-o", "remount,size=20m", str(disk))
    report = pack(SOURCE, target, workers=workers)

    assert report.num_stored == 69
    assert tree(target) == wanted
    assert verify_archive(target).is_whole
    assert [entry.name for entry in disk.iterdir()] == ["a.zarr"]


def test_every_size_of_disk_ends_in_an_error_or_a_whole_archive(disk: Path, wanted: dict[str, bytes]) -> None:
    """Room for pixels but not for tables, for tables but not for checksums: no size leaves half an archive.

    Errors are kept, as a notebook does: what their frames hold must not be the lock.
    """
    target = disk / "a.zarr"
    failed: list[WriteFailed] = []
    for size in range(1000, 8000, 350):
        assert _mount("-o", f"remount,size={size}k", str(disk))
        try:
            pack(SOURCE, target)
        except WriteFailed as error:
            assert not target.exists()
            failed.append(error)
            continue
        break

    assert len(failed) > 1
    assert tree(target) == wanted


@pytest.mark.parametrize("workers", [1, 2])
def test_a_read_only_disk_is_told(disk: Path, workers: int) -> None:
    """The target's folder cannot be written: one error with the remedy, and nothing there."""
    assert _mount("-o", "remount,ro", str(disk))

    with pytest.raises(WriteFailed, match="Read-only file system"):
        pack(SOURCE, disk / "a.zarr", workers=workers)

    assert list(disk.iterdir()) == []


def test_a_disk_that_somebody_else_fills_is_told(disk: Path, wanted: dict[str, bytes]) -> None:
    """What was finished before stays, and is gone on with when there is room again."""

    class Crowded(TinySource):
        def read(self, location: str):
            if location == "0000066":
                free = os.statvfs(disk)
                with (disk / "filler").open("wb") as stream:
                    os.posix_fallocate(stream.fileno(), 0, free.f_bavail * free.f_bsize)
            return super().read(location)

    assert _mount("-o", "remount,size=20m", str(disk))
    with pytest.raises(WriteFailed, match="No space left"):
        pack(Crowded(num_locations=70, size=36), disk / "a.zarr")
    (disk / "filler").unlink()

    report = pack(SOURCE, disk / "a.zarr")

    assert report.num_resumed == 63
    assert tree(disk / "a.zarr") == wanted


HOLDING = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny_source import TinySource
from ssl4eo.packing.pack import pack

class Waiting(TinySource):
    def read(self, location):
        if location == "0000003":
            print("packing", flush=True)
            sys.stdin.read()
        return super().read(location)

pack(Waiting(), Path({target!r}))
"""


def test_two_writers_of_one_target_cannot_be(tmp_path: Path) -> None:
    """The second is refused while the first is at work, and takes over when that is killed."""
    target = tmp_path / "a.zarr"
    script = HOLDING.format(tests=str(Path(__file__).parent), target=str(target))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "packing\n"

        with pytest.raises(Busy, match="being written by another process"):
            pack(TinySource(), target)

        first.send_signal(signal.SIGKILL)
        first.wait()
    assert pack(TinySource(), target).num_stored == 69
    with pytest.raises(TargetExists):
        pack(TinySource(), target)
    assert verify_archive(target).is_whole


def test_the_first_of_two_writers_is_not_disturbed(tmp_path: Path) -> None:
    """It ends with the archive that it would have made alone."""
    target = tmp_path / "a.zarr"
    script = HOLDING.format(tests=str(Path(__file__).parent), target=str(target))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        for workers in (1, 2):
            with pytest.raises(Busy):
                pack(TinySource(), target, workers=workers)
        first.communicate("")

    assert first.returncode == 0
    pack(TinySource(), tmp_path / "b.zarr")
    assert tree(target) == tree(tmp_path / "b.zarr")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]
