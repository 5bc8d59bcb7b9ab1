# SPDX-License-Identifier: Apache-2.0
"""The static site: the same bytes as the server gives, whole or absent, gone on with after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gallery_stage import extend_table, write_archive

from ssl4eo.archive import checksums
from ssl4eo.archive.reader import open_archive
from ssl4eo.commands import gallery
from ssl4eo.errors import ArchiveInvalid, Busy, ShardCorrupt, TargetExists, UnknownName
from ssl4eo.files import exclusive
from ssl4eo.gallery.site import Offer, Site, folder_of
from ssl4eo.gallery.write import write_site

OFFER = Offer(("true-color",), ("fixed",))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("written") / "a.zarr", 6)


def _content(folder: Path) -> dict[str, bytes]:
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    record = json.loads(files.pop("record.json"))
    assert record["locations"] == 6
    return files


def test_the_site_holds_what_the_server_gives_byte_for_byte(archive: Path, tmp_path: Path) -> None:
    """Every path and no other file; two workers write the same."""
    site = Site(open_archive(archive), offer=OFFER)
    paths = [*site.shared_paths(), *(path for name in site.archive.ids for path in site.location_paths(name))]

    report = write_site(open_archive(archive), tmp_path / "site", offer=OFFER, workers=2)

    found = _content(tmp_path / "site")
    assert sorted(found) == sorted(paths)
    assert all(found[path] == site.resource(path).content for path in paths)
    assert (report.num_written, report.num_found, report.wrong) == (6, 0, {})
    assert [p.name for p in tmp_path.iterdir()] == ["site"]
    assert str(tmp_path.parent) not in (tmp_path / "site/record.json").read_text()  # where it was made stays at home


def test_a_killed_run_goes_on_and_ends_with_the_same_site(archive: Path, tmp_path: Path) -> None:
    """SIGKILL within a location: nothing under the final name, what was whole is kept, the rest is written."""
    driver = Path(__file__).with_name("write_and_be_killed.py")
    out = tmp_path / "site"
    ended = subprocess.run([sys.executable, driver, archive, out, "13"], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    whole = list((tmp_path / "site.partial/place").glob("*/[0-9]*"))
    assert len(whole) == 2  # 5 pictures a location

    report = write_site(open_archive(archive), out, offer=OFFER)
    write_site(open_archive(archive), tmp_path / "other", offer=OFFER)

    assert (report.num_written, report.num_found) == (4, 2)
    left, right = _content(out), _content(tmp_path / "other")
    assert left.keys() == right.keys()
    assert all(left[path] == right[path] for path in left)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "site"]


def test_what_stands_there_is_not_touched(archive: Path, tmp_path: Path) -> None:
    """An existing folder, an unfinished site with other options, one that another process writes."""
    (tmp_path / "mine").mkdir()
    with pytest.raises(TargetExists, match="mine exists"):
        write_site(open_archive(archive), tmp_path / "mine", offer=OFFER)
    driver = Path(__file__).with_name("write_and_be_killed.py")
    subprocess.run([sys.executable, driver, archive, tmp_path / "site", "6"], check=False)
    with pytest.raises(TargetExists, match="unfinished site"):
        write_site(open_archive(archive), tmp_path / "site", offer=Offer(("swir",), ("fixed",)))
    with exclusive(tmp_path / "site.partial/.lock"), pytest.raises(Busy):
        write_site(open_archive(archive), tmp_path / "site", offer=OFFER)


def test_a_damaged_location_is_told_on_its_page_and_in_the_record(archive: Path, tmp_path: Path) -> None:
    """The others are whole; its own information says what is wrong."""
    copy = tmp_path / "b.zarr"
    shutil.copytree(archive, copy)
    shard = next((copy / "S2L2A/10m/bands").glob("c.*"))
    data = bytearray(shard.read_bytes())
    data[40] ^= 0xFF  # within the first chunk
    shard.write_bytes(data)

    report = write_site(open_archive(copy), tmp_path / "site", offer=OFFER)

    assert list(report.wrong) == ["0000000"]
    info = json.loads((tmp_path / "site" / folder_of("0000000") / "info.json").read_text())
    assert "ssl4eo verify" in info["wrong"]
    assert json.loads((tmp_path / "site/record.json").read_text())["wrong"] == report.wrong
    assert "b.zarr/S2L2A/10m" in info["wrong"]
    published = [file.read_text(errors="replace") for file in (tmp_path / "site").rglob("*.json")]
    assert not [text for text in published if str(tmp_path) in text]  # where it was made stays at home
    assert (tmp_path / "site" / folder_of("0000000") / "S1GRD-0-vv-vh-ratio-fixed.webp").exists()
    assert (tmp_path / "site" / folder_of("0000000") / "S2L2A-1-true-color-fixed.webp").exists()
    assert json.loads((tmp_path / "site" / folder_of("0000001") / "info.json").read_text())["wrong"] == ""


def test_the_command_writes_a_site_and_refuses_unknown_names_before(archive: Path, tmp_path: Path, capsys) -> None:
    """--json is one document on stdout; an unknown composite or stretch leaves nothing behind."""
    with pytest.raises(UnknownName, match="false-color"):
        gallery.run(archive, out=tmp_path / "site", composites=["rainbow"])
    with pytest.raises(UnknownName, match="shared"):
        gallery.run(archive, out=tmp_path / "site", stretches=["bright"])
    assert list(tmp_path.iterdir()) == []

    options = {"composites": ["B11"], "stretches": ["own"], "no_pixels": True, "json": True}
    with pytest.raises(UnknownName, match="band:B11"):
        gallery.run(archive, out=tmp_path / "site", **options)
    assert gallery.run(archive, out=tmp_path / "site", **{**options, "composites": ["band:B11"]}) == 0

    assert json.loads(capsys.readouterr().out)["num_written"] == 6
    assert not list((tmp_path / "site").rglob("*.npz"))
    assert (tmp_path / "site" / folder_of("0000001") / "S2L2A-0-band-B11-own.webp").exists()


def test_an_archive_that_cannot_be_read_leaves_nothing_behind(archive: Path, tmp_path: Path) -> None:
    """Neither a damaged table nor ids that cannot be make an unfinished site."""
    copy = tmp_path / "b.zarr"
    shutil.copytree(archive, copy)
    table = copy / "locations.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    with pytest.raises(ShardCorrupt, match="locations"):
        gallery.run(copy, out=tmp_path / "site")
    shutil.copy(archive / "locations.parquet", table)
    rows = pq.read_table(table)
    pq.write_table(rows.slice(0, 4), table)
    checksums.write(copy, checksums.load(copy))
    with pytest.raises(ArchiveInvalid, match="4 locations"):
        gallery.run(copy, out=tmp_path / "site")

    assert [path.name for path in tmp_path.iterdir()] == ["b.zarr"]


def test_the_record_tells_columns_that_are_left_out(archive: Path, tmp_path: Path) -> None:
    """The site is whole without them."""
    copy = tmp_path / "b.zarr"
    shutil.copytree(archive, copy)
    extend_table(copy, tags=pa.array([["a"]] * 6))

    write_site(open_archive(copy), tmp_path / "site", offer=OFFER)

    record = json.loads((tmp_path / "site/record.json").read_text())
    assert list(record["columns_left_out"]) == ["tags"]
