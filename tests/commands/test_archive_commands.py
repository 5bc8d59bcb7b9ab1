# SPDX-License-Identifier: Apache-2.0
"""pack, collect, info and verify as functions: results on stdout, progress on stderr, exit status."""

import json
from pathlib import Path

import pytest

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import VerifyReport
from ssl4eo.commands import collect, info, pack, verify
from ssl4eo.errors import ArchiveInvalid, DataMissing, TargetExists, WriteFailed


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic archive made by the command."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    assert collect.run(out=path, num_locations=3, size=24, num_seasons=2, modalities=("S2L1C",)) == 0
    return path


def _damage(path: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy.zarr"
    for file in path.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    shard = copy / "S2L1C/10m/bands/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    return copy


def test_collect_makes_an_archive_and_keeps_stdout_for_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The progress bar is on stderr; with json, stdout is one document."""
    status = collect.run(
        out=tmp_path / "a.zarr", num_locations=2, seed=3, size=24, num_seasons=1, modalities=("S1GRD",), json=True
    )

    out, err = capsys.readouterr()
    assert status == 0
    assert json.loads(out)["stored"] == 2
    assert "collecting" in err
    archive = open_archive(tmp_path / "a.zarr")
    assert (len(archive), archive.provenance.synthetic, archive.provenance.details["seed"]) == (2, True, 3)


def test_info_says_synthetic_before_anything_else(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pixels that no satellite saw are called that in the first line."""
    assert info.run(planet) == 0

    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("SYNTHETIC")
    for word in ("3 x 2 seasons", "24 x 24 px", "S2L1C", "uint16 DN", "landcover", "scene", "CC0-1.0"):
        assert word in out


def test_info_gives_json(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same facts for programs."""
    info.run(planet, json=True)

    facts = json.loads(capsys.readouterr().out)
    assert (facts["synthetic"], facts["locations"], facts["seasons"], facts["shape"]) == (True, 3, 2, [24, 24])
    assert facts["modalities"]["S2L1C"]["offset"] == 0
    assert facts["bytes"] == sum(p.stat().st_size for p in planet.rglob("*") if p.is_file())


def test_verify_passes_a_whole_archive(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 and what was checked."""
    assert verify.run(planet) == 0
    assert "whole" in capsys.readouterr().out
    assert verify.run(planet, json=True) == 0
    assert json.loads(capsys.readouterr().out)["is_whole"] is True


def test_verify_fails_a_damaged_archive(planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, with file and location."""
    copy = _damage(planet, tmp_path)

    assert verify.run(copy) == 1

    out = capsys.readouterr().out
    assert "DAMAGED, 1 fault" in out
    assert "S2L1C/10m/bands/c.0.0.0.0.0" in out
    assert "0000000" in out
    assert verify.run(copy, json=True) == 1


def test_verify_reports_a_root_that_cannot_be_read(
    planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As damage in words and as JSON; no list of what is spared can be made."""
    copy = _damage(planet, tmp_path)
    root = copy / "zarr.json"
    root.write_bytes(b"?" + root.read_bytes()[1:])

    assert verify.run(copy, json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["is_whole"] is False
    assert [fault["file"] for fault in report["faults"]] == ["zarr.json"]
    assert verify.run(copy) == 1
    assert "DAMAGED" in capsys.readouterr().out
    with pytest.raises(ArchiveInvalid, match="copy it again"):
        verify.run(copy, drop=tmp_path / "ids.txt")
    assert not (tmp_path / "ids.txt").exists()


def test_verify_prints_some_of_many_faults(planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says how many more there are; JSON has all."""
    copy = _damage(planet, tmp_path)
    for number in range(30):
        (copy / f"stray_{number:02d}").touch()

    assert verify.run(copy) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 23
    assert lines[20] == "and 11 more: --json lists all"
    assert "DAMAGED, 31 faults" in lines[21]
    assert verify.run(copy, json=True) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 31


def test_verify_looks_first_whether_the_list_can_be_written(
    planet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, below a file, in a read-only folder: told before a byte is verified."""
    (tmp_path / "x").touch()
    monkeypatch.setattr(verify, "verify_archive", None)

    for drop, reason in ((tmp_path, "is a folder"), (tmp_path / "x/y/ids.txt", "x is no folder")):
        with pytest.raises(WriteFailed, match=reason):
            verify.run(planet, drop=drop)
    monkeypatch.setattr("ssl4eo.files.os.access", lambda path, mode: False)
    with pytest.raises(WriteFailed, match="is read-only"):
        verify.run(planet, drop=tmp_path / "ids.txt")


def test_verify_tells_a_list_that_cannot_be_written_in_the_end(
    planet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the name that was asked for and a remedy, not with that of a temporary file."""
    folder = tmp_path / "lists"
    folder.mkdir()
    whole = verify.verify_archive

    def lose_the_folder(*args: object, **options: object) -> VerifyReport:
        folder.rmdir()
        folder.touch()
        return whole(*args, **options)

    monkeypatch.setattr(verify, "verify_archive", lose_the_folder)

    with pytest.raises(WriteFailed, match=r"ids\.txt cannot be written .*choose another place"):
        verify.run(planet, drop=folder / "ids.txt")


def test_pack_refuses_what_it_cannot_read_or_would_overwrite(planet: Path, tmp_path: Path) -> None:
    """Errors are ours, for the command line to print; the target stays."""
    (tmp_path / "s1/0000001/x").mkdir(parents=True)

    with pytest.raises(DataMissing, match="none of 1 locations"):
        pack.run([tmp_path], tmp_path / "b.zarr")
    with pytest.raises(TargetExists):
        pack.run([tmp_path], planet)
    with pytest.raises(DataMissing, match="known layout"):
        pack.run([planet.parent], tmp_path / "b.zarr")
    with pytest.raises(ArchiveInvalid):
        info.run(tmp_path)
    with pytest.raises(ArchiveInvalid):
        verify.run(tmp_path)
    assert not (tmp_path / "b.zarr").exists()
    assert not (tmp_path / "b.zarr.partial").exists()
