# SPDX-License-Identifier: Apache-2.0
"""Files are whole or absent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ssl4eo.errors import Busy, DataMissing, SourceInvalid, TargetExists, WriteFailed
from ssl4eo.files import (
    append_jsonl,
    atomic_path,
    exclusive,
    read_jsonl,
    require_absent,
    whole_folder,
    whole_or_told,
    write_json,
)


def test_failed_write_leaves_the_old_file_and_no_partial(tmp_path):
    """An error in the middle of a write changes nothing."""
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def write_half() -> None:
        with atomic_path(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()

    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_folder_appears_when_it_is_whole(tmp_path):
    """Its name is not there before the block ends; parents are made."""
    path = tmp_path / "a" / "b"

    with whole_folder(path) as partial:
        (partial / "file").write_text("text")
        assert not path.exists()

    assert (path / "file").read_text() == "text"
    assert [p.name for p in path.parent.iterdir()] == ["b"]


def test_folder_where_a_file_is_to_be_is_told_and_kept(tmp_path):
    """Neither room nor rights would help; a run's next checkpoint is such a file."""
    there = tmp_path / "step-00000010.pt"
    (there / "inside").mkdir(parents=True)
    with (
        pytest.raises(WriteFailed, match=r"a folder has that name.*move the folder away"),
        whole_or_told(there) as part,
    ):
        part.write_bytes(b"1")
    assert [path.name for path in tmp_path.rglob("*")] == [there.name, "inside"]


@pytest.mark.parametrize(("error", "told"), [(RuntimeError(), RuntimeError), (OSError(28, "full"), WriteFailed)])
def test_failed_folder_leaves_nothing(tmp_path, error, told):
    """Whatever went wrong in the middle; what the system refused is told with a remedy."""

    def write_half() -> None:
        with whole_folder(tmp_path / "a") as partial:
            (partial / "file").write_text("half")
            raise error

    with pytest.raises(told):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_there_stays(tmp_path):
    """An empty one too."""
    (tmp_path / "a").mkdir()

    with pytest.raises(TargetExists), whole_folder(tmp_path / "a"):
        pass


def test_jsonl_round_trip_and_cut_last_line(tmp_path):
    """A last line cut short by a crash is left out; the rest stays."""
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"step": 1})
    append_jsonl(path, {"step": 2})
    with path.open("a") as stream:
        stream.write('{"step": 3, "lo')

    assert [row["step"] for row in read_jsonl(path)] == [1, 2]


def test_appending_after_a_crash_drops_the_cut_line(tmp_path):
    """The next row starts on a line of its own."""
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"step": 1})
    with path.open("a") as stream:
        stream.write('{"step": 2, "lo')

    append_jsonl(path, {"step": 2})

    assert [row["step"] for row in read_jsonl(path)] == [1, 2]


def test_jsonl_damage_in_the_middle_is_named(tmp_path):
    """A broken line that is not the last is an error with its number."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"b"\n{"c": 3}\n')

    with pytest.raises(SourceInvalid, match="line 2"):
        list(read_jsonl(path))


def test_missing_jsonl_is_said(tmp_path):
    """No file is not an empty file."""
    with pytest.raises(DataMissing):
        list(read_jsonl(tmp_path / "none.jsonl"))


def test_require_absent_refuses_what_stands_there(tmp_path):
    """An existing target is named and kept."""
    with pytest.raises(TargetExists, match="remove it yourself"):
        require_absent(tmp_path, "archive")
    require_absent(tmp_path / "new", "archive")


def test_lock_is_exclusive_between_processes_and_goes_with_its_process(tmp_path):
    """A second process is refused while the first lives, and let in after."""
    lock = tmp_path / ".lock"
    code = f"from pathlib import Path; from ssl4eo.files import exclusive\nwith exclusive(Path({str(lock)!r})): pass"

    with exclusive(lock):
        inside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    outside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert inside.returncode != 0
    assert "Busy" in inside.stderr
    assert outside.returncode == 0, outside.stderr


def test_lock_in_one_process_is_exclusive_too(tmp_path):
    """Two writers in one process are refused as well."""
    with exclusive(tmp_path / ".lock"), pytest.raises(Busy), exclusive(tmp_path / ".lock"):
        pass
